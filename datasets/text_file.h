// A text file's bytes as UTF-8, by what the file begins with.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>

#include "datasets/compressed.h"

namespace sinkbench {

/// Reads a file or a pipe once, from first to last: decompressed (datasets/compressed.h), UTF-16
/// with a byte order mark as UTF-8, and without the mark. What is no UTF-8 stays as it is.
///
/// InputError names the file, what it is and what to do where it is no text: a placeholder
/// (base/placeholder.h), Parquet, an archive, text in UTF-32, binary data (which NUL bytes in the
/// first ones show, unless `any_bytes`), or compressed data in compressed data.
class TextFile {
 public:
  explicit TextFile(const std::filesystem::path& path, bool any_bytes = false);

  /// The first ones of the bytes, up to 64 KiB: to see what the text is.
  std::string_view first() const { return first_; }

  /// Appends some of the next bytes to `out`; false at the end.
  bool append_to(std::string& out);

  const std::filesystem::path& path() const { return path_; }
  /// As compression_of has it.
  std::string_view compression() const { return bytes_.compression(); }
  /// "UTF-8", "UTF-16LE" or "UTF-16BE".
  std::string_view encoding() const { return encoding_; }
  bool has_byte_order_mark() const { return has_mark_; }

 private:
  bool append_decoded(std::string& out);

  std::filesystem::path path_;
  CompressedFile bytes_;
  std::string_view encoding_ = "UTF-8";
  bool has_mark_ = false;
  std::string undecoded_;  // bytes that were read, in the file's encoding
  std::string first_;
  bool gave_first_ = false;
};

}  // namespace sinkbench
