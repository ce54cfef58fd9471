// Files' bytes, decompressed on the way.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>

namespace sinkbench {

/// The name of the compression that a file's first bytes show: "gzip" (RFC 1952), "bzip2", "xz",
/// "zstd" (RFC 8878); "" of any other file.
std::string_view compression_of(std::string_view first_bytes);

/// `name` without the suffix of a compression (.gz, .bz2, .xz, .zst and the like, in any case).
std::string without_compression_suffix(const std::string& name);

/// The bytes of a file or a pipe from first to last, read once, decompressed where they are
/// compressed (several members or frames one after the other; zstd with windows up to 2 GiB).
/// A few hundred KiB are in memory at a time, and what the decompressor needs.
///
/// InputError names the file: where it can't be read, where the compressed data are damaged, end
/// too early or have something else behind them, and where more than 256 MiB come of less than a
/// 250th, as of files that are made to fill a memory and not of text.
class CompressedFile {
 public:
  explicit CompressedFile(const std::filesystem::path& path);
  CompressedFile(CompressedFile&&) noexcept;
  CompressedFile& operator=(CompressedFile&&) noexcept;
  ~CompressedFile();

  /// What it is compressed by, as compression_of has it.
  std::string_view compression() const;

  /// Up to `size` of the next bytes; fewer only at the end.
  size_t read(char* to, size_t size);

 private:
  class Input;
  class Decompressor;
  class Gzip;
  class Bzip2;
  class Xz;
  class Zstd;

  std::unique_ptr<Input> input_;
  std::unique_ptr<Decompressor> decompressor_;  // nothing of a file that isn't compressed
  uint64_t taken_ = 0, made_ = 0;               // bytes, compressed and not
};

}  // namespace sinkbench
