// Files: read-only memory maps, atomic writing, locks.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "base/error.h"

namespace sinkbench {

/// Thrown where nothing more can be written, whatever the file: the disk is full (or a quota, or
/// the limit on a file's size), broken, read-only or gone (a file server).
class DiskError : public InputError {
 public:
  using InputError::InputError;
};

/// Throws the reason in errno why `path` can't be `what` ("written"): DiskError or InputError.
[[noreturn]] void throw_write_error(const std::filesystem::path& path, const char* what);

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
  /// Which file it was and when it was changed, as text: size, device, inode, times of change.
  /// Another content has another stamp, but for changes within the clock's grain.
  const std::string& stamp() const { return stamp_; }
  /// Whether it was last changed within so many seconds.
  bool changed_within(int64_t seconds) const;
  /// Gives back the memory that whole pages of `part`, a part of bytes(), take after they were
  /// read; they are read from the file again where they are used again.
  void forget(std::span<const std::byte> part) const;

 private:
  std::filesystem::path path_;
  std::string stamp_;
  int64_t changed_ = 0;  // seconds since the epoch
  const std::byte* data_ = nullptr;
  size_t size_ = 0;
};

/// The whole file as a string; InputError names the path and the reason.
std::string read_file(const std::filesystem::path& path);
/// The same of a pipe or a device too, which can be read once; "-" is standard input. InputError
/// beyond 64 MiB.
std::string read_stream(const std::filesystem::path& path);

/// A file that is written beside `path` and put in its place by `commit`: a reader, or a crash at
/// any moment, finds either the old file or the new one whole, with the old one's permissions.
/// Without `commit` the old file stays and nothing is left of the new one. A symbolic link stays,
/// and what it points to is written; a device, a pipe or a stream of this process (/dev/stdout) is
/// written as it comes. Throws DiskError or InputError naming the path.
class AtomicFile {
 public:
  explicit AtomicFile(const std::filesystem::path& path);
  ~AtomicFile();
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;

  void write(std::span<const std::byte> bytes);
  void write(std::string_view text) { write(std::as_bytes(std::span(text))); }
  void commit();

 private:
  std::filesystem::path path_, target_, beside_;  // beside_ is empty where nothing is replaced
  int fd_ = -1;
};

/// The path without "." and "..", which above a symbolic link is where the link leads.
std::filesystem::path without_dots(const std::filesystem::path& path);

/// Replaces `path` by `content` so that a reader, or a crash at any moment, finds either the old
/// file or the new one whole: written beside it, synced, renamed. InputError names the path and
/// the system's reason (disk full, no permission), and the old file is untouched.
void write_file_atomically(const std::filesystem::path& path, std::string_view content);

/// Removes from a folder what writers that were killed have left beside their files. No other
/// writer may be at work there.
void remove_leftovers(const std::filesystem::path& folder);

/// Makes a rename or a removal in the folder last.
void sync_folder(const std::filesystem::path& folder);

/// Exclusive use of a folder among the processes that ask for it, for as long as the object lives
/// or the process does: the system takes the lock back however the process ends. A file system
/// without locks is warned of, and there is no lock.
class FolderLock {
 public:
  /// Throws InputError naming the process that has the lock.
  explicit FolderLock(const std::filesystem::path& folder);
  ~FolderLock();
  FolderLock(const FolderLock&) = delete;
  FolderLock& operator=(const FolderLock&) = delete;

 private:
  int fd_ = -1;
};

}  // namespace sinkbench
