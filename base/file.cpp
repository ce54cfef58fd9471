#include "base/file.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstdio>
#include <cstring>
#include <ctime>
#include <optional>
#include <utility>

#include "base/console.h"
#include "base/error.h"

namespace sinkbench {
namespace {

/// Of a file that is being written, after the process that writes it.
constexpr const char* beside_suffix = ".beside";

std::string reason() {
  return std::strerror(errno);
}

/// Which of this process's open files a path names: 1 for /dev/stdout, 63 for /dev/fd/63.
std::optional<int> stream_number(const std::filesystem::path& path) {
  const std::string text = path.lexically_normal().string();
  if (text == "/dev/stdout") return STDOUT_FILENO;
  if (text == "/dev/stderr") return STDERR_FILENO;
  for (const std::string_view folder : {"/dev/fd/", "/proc/self/fd/"}) {
    if (!text.starts_with(folder)) continue;
    int number = 0;
    const char* const end = text.data() + text.size();
    if (std::from_chars(text.data() + folder.size(), end, number) ==
        std::from_chars_result{end, std::errc()}) {
      return number;
    }
  }
  return std::nullopt;
}

/// What a symbolic link leads to, whether it is there or not; other paths as they are.
std::filesystem::path behind_links(std::filesystem::path path) {
  std::error_code error;
  for (int links = 0; links < 40 && std::filesystem::is_symlink(path, error); ++links) {
    const std::filesystem::path to = std::filesystem::read_symlink(path, error);
    if (error) break;
    path = path.parent_path() / to;  // `to` alone where it is absolute
  }
  return path;
}

/// Closes a file descriptor on every way out.
struct Descriptor {
  int fd;
  ~Descriptor() {
    if (fd >= 0) ::close(fd);
  }
};

}  // namespace

MappedFile::MappedFile(const std::filesystem::path& path) : path_(path) {
  const Descriptor file{::open(path.c_str(), O_RDONLY | O_CLOEXEC)};
  if (file.fd < 0) throw InputError::format("{}: cannot open: {}", path.string(), reason());
  struct stat info {};
  if (::fstat(file.fd, &info) != 0) {
    throw InputError::format("{}: cannot read: {}", path.string(), reason());
  }
  if (!S_ISREG(info.st_mode)) {
    throw InputError::format("{}: expected a file, found {}", path.string(),
                             S_ISDIR(info.st_mode) ? "a folder" : "something else");
  }
  size_ = static_cast<size_t>(info.st_size);
  // The time of the inode's last change can't be set back by anybody, as that of the content can.
  changed_ = std::max(info.st_mtim.tv_sec, info.st_ctim.tv_sec);
  stamp_ = fmt::format("{} {} {} {}.{:09} {}.{:09}", size_, info.st_dev, info.st_ino,
                       info.st_mtim.tv_sec, info.st_mtim.tv_nsec, info.st_ctim.tv_sec,
                       info.st_ctim.tv_nsec);
  if (size_ == 0) return;
  void* address = ::mmap(nullptr, size_, PROT_READ, MAP_PRIVATE, file.fd, 0);
  if (address == MAP_FAILED) {
    throw InputError::format("{}: cannot map into memory: {}", path.string(), reason());
  }
  data_ = static_cast<const std::byte*>(address);
}

MappedFile::~MappedFile() {
  if (data_ != nullptr) ::munmap(const_cast<std::byte*>(data_), size_);
}

bool MappedFile::changed_within(int64_t seconds) const {
  return std::time(nullptr) - changed_ < seconds;
}

void MappedFile::forget(std::span<const std::byte> part) const {
  const auto page = static_cast<uintptr_t>(::sysconf(_SC_PAGESIZE));
  const uintptr_t begin = (reinterpret_cast<uintptr_t>(part.data()) + page - 1) / page * page;
  const uintptr_t end = reinterpret_cast<uintptr_t>(part.data() + part.size()) / page * page;
  // Advice alone: where it is not taken, nothing is lost.
  if (begin < end) ::madvise(reinterpret_cast<void*>(begin), end - begin, MADV_DONTNEED);
}

std::string read_file(const std::filesystem::path& path) {
  return std::string(MappedFile(path).text());
}

std::string read_stream(const std::filesystem::path& path) {
  constexpr size_t most_bytes = size_t{64} << 20;
  const bool standard_input = path == "-";
  const Descriptor file{standard_input ? ::fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 3)
                                       : ::open(path.c_str(), O_RDONLY | O_CLOEXEC)};
  const std::string name = standard_input ? "standard input" : path.string();
  if (file.fd < 0) throw InputError::format("{}: cannot open: {}", name, reason());
  std::string content;
  char buffer[1 << 16];
  for (;;) {
    const ssize_t n = ::read(file.fd, buffer, sizeof buffer);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) throw InputError::format("{}: cannot read: {}", name, reason());
    if (n == 0) return content;
    content.append(buffer, static_cast<size_t>(n));
    if (content.size() > most_bytes) {
      throw InputError::format("{}: is longer than {} MiB", name, most_bytes >> 20);
    }
  }
}

void throw_write_error(const std::filesystem::path& path, const char* what) {
  const int code = errno;
  const std::string text =
      fmt::format("{}: cannot be {}: {}", path.string(), what, std::strerror(code));
  for (const int fatal : {ENOSPC, EDQUOT, EFBIG, EIO, EROFS, ESTALE, ENOTCONN, ETIMEDOUT}) {
    if (code == fatal) throw DiskError(text);
  }
  throw InputError(text);
}

AtomicFile::AtomicFile(const std::filesystem::path& path) : path_(path), target_(path) {
  if (const std::optional<int> stream = stream_number(path)) {
    // Its place among what is written there otherwise is kept.
    std::fflush(nullptr);
    fd_ = ::fcntl(*stream, F_DUPFD_CLOEXEC, 3);
    if (fd_ < 0) throw_write_error(path_, "written");
    return;
  }
  struct stat there {};
  const bool exists = ::stat(path.c_str(), &there) == 0;
  if (exists && S_ISDIR(there.st_mode)) {
    throw InputError::format("{}: is a folder; expected a file", path.string());
  }
  if (exists && !S_ISREG(there.st_mode)) {
    fd_ = ::open(path.c_str(), O_WRONLY | O_CLOEXEC);
    if (fd_ < 0) throw_write_error(path_, "opened");
    return;
  }
  target_ = behind_links(path);
  beside_ = target_.string() + fmt::format(".{}{}", ::getpid(), beside_suffix);
  ::unlink(beside_.c_str());  // of an earlier process of this number
  // Not through a link that somebody else may have put there.
  fd_ = ::open(beside_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
  if (fd_ < 0) throw_write_error(path_, "created");
  // For comfort alone: a file of other permissions is as good.
  if (exists && ::fchmod(fd_, there.st_mode & 0777) != 0) errno = 0;
}

AtomicFile::~AtomicFile() {
  if (fd_ < 0) return;
  ::close(fd_);
  if (!beside_.empty()) ::unlink(beside_.c_str());
}

void AtomicFile::write(std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const ssize_t n = ::write(fd_, bytes.data(), bytes.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) throw_write_error(path_, "written");
    bytes = bytes.subspan(static_cast<size_t>(n));
  }
}

void AtomicFile::commit() {
  if (beside_.empty()) {
    if (::close(std::exchange(fd_, -1)) != 0) throw_write_error(path_, "written");
    return;
  }
  if (::fsync(fd_) != 0) throw_write_error(path_, "synced");
  if (::rename(beside_.c_str(), target_.c_str()) != 0) throw_write_error(path_, "replaced");
  ::close(std::exchange(fd_, -1));
  sync_folder(target_.parent_path());
}

std::filesystem::path without_dots(const std::filesystem::path& path) {
  std::filesystem::path result;
  for (const std::filesystem::path& part : path) {
    if (part == ".") continue;
    if (part != ".." || result.empty() || result.filename() == "..") {
      result /= part;
      continue;
    }
    std::error_code error;
    if (std::filesystem::is_symlink(result, error)) {
      const std::filesystem::path target = std::filesystem::canonical(result, error);
      if (!error) result = target;
    }
    result = result.parent_path();
  }
  return result.empty() ? "." : result;
}

void write_file_atomically(const std::filesystem::path& path, std::string_view content) {
  AtomicFile file(path);
  file.write(content);
  file.commit();
}

void remove_leftovers(const std::filesystem::path& folder) {
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(folder, error)) {
    // NAME.PID.beside
    const std::filesystem::path name = entry.path().filename();
    const std::string pid = name.stem().extension().string();
    const bool digits = pid.size() > 1 && pid.find_first_not_of("0123456789", 1) == pid.npos;
    if (name.extension() == beside_suffix && digits && entry.is_regular_file(error)) {
      std::filesystem::remove(entry.path(), error);
    }
  }
}

void sync_folder(const std::filesystem::path& folder) {
  const char* name = folder.empty() ? "." : folder.c_str();
  const Descriptor parent{::open(name, O_RDONLY | O_DIRECTORY | O_CLOEXEC)};
  if (parent.fd >= 0) ::fsync(parent.fd);
}

FolderLock::FolderLock(const std::filesystem::path& folder) {
  const std::filesystem::path path = folder / ".lock";
  fd_ = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0666);
  if (fd_ < 0) throw_write_error(path, "created");
  if (::flock(fd_, LOCK_EX | LOCK_NB) != 0) {
    const int code = errno;
    char owner[32] = {};
    if (::pread(fd_, owner, sizeof owner - 1, 0) < 0) owner[0] = '\0';
    ::close(fd_);
    if (code == ENOSYS || code == EOPNOTSUPP || code == ENOLCK || code == EINVAL) {
      fd_ = -1;
      remark(
          "sinkbench: {}: this file system has no locks ({}); see to it that no two runs write "
          "here\n",
          folder.string(), std::strerror(code));
      return;
    }
    errno = code;
    if (code != EWOULDBLOCK) throw_write_error(path, "locked");
    throw InputError::format(
        "{}: another run{} is writing here; wait until it has ended, or give another folder",
        folder.string(), owner[0] == '\0' ? "" : fmt::format(" (process {})", owner));
  }
  const std::string owner = std::to_string(::getpid());
  // For the message alone: a lock without a number is as good.
  if (::ftruncate(fd_, 0) == 0 && ::pwrite(fd_, owner.data(), owner.size(), 0) < 0) errno = 0;
}

FolderLock::~FolderLock() {
  if (fd_ >= 0) ::close(fd_);
}

}  // namespace sinkbench
