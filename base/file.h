// Files: read-only memory maps and atomic writing.
#pragma once

#include <cstddef>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <string_view>

namespace sinkbench {

/// A file mapped read-only for as long as the object lives. Throws InputError where the path is
/// not a readable regular file. An empty file maps to an empty span.
class MappedFile {
 public:
  explicit MappedFile(const std::filesystem::path& path);
  ~MappedFile();
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  std::span<const std::byte> bytes() const { return {data_, size_}; }
  std::string_view text() const { return {reinterpret_cast<const char*>(data_), size_}; }
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
  const std::byte* data_ = nullptr;
  size_t size_ = 0;
};

/// The whole file as a string; InputError names the path and the reason.
std::string read_file(const std::filesystem::path& path);

/// Replaces `path` by `content` so that a reader, or a crash at any moment, finds either the old
/// file or the new one whole: written beside it, synced, renamed. InputError names the path and
/// the system's reason (disk full, no permission), and the old file is untouched.
void write_file_atomically(const std::filesystem::path& path, std::string_view content);

}  // namespace sinkbench
