#include "base/file.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <ctime>
#include <utility>

#include "base/error.h"

namespace sinkbench {
namespace {

/// Of a file that is being written, after the process that writes it.
constexpr const char* beside_suffix = ".beside";

std::string reason() {
  return std::strerror(errno);
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

void throw_write_error(const std::filesystem::path& path, const char* what) {
  const int code = errno;
  const std::string text =
      fmt::format("{}: cannot be {}: {}", path.string(), what, std::strerror(code));
  for (const int fatal : {ENOSPC, EDQUOT, EFBIG, EIO, EROFS}) {
    if (code == fatal) throw DiskError(text);
  }
  throw InputError(text);
}

AtomicFile::AtomicFile(const std::filesystem::path& path)
    : path_(path), beside_(path.string() + fmt::format(".{}{}", ::getpid(), beside_suffix)) {
  fd_ = ::open(beside_.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
  if (fd_ < 0) throw_write_error(path_, "created");
}

AtomicFile::~AtomicFile() {
  if (fd_ < 0) return;
  ::close(fd_);
  ::unlink(beside_.c_str());
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
  if (::fsync(fd_) != 0) throw_write_error(path_, "synced");
  if (::rename(beside_.c_str(), path_.c_str()) != 0) throw_write_error(path_, "replaced");
  ::close(std::exchange(fd_, -1));
  sync_folder(path_.parent_path());
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
  ::close(fd_);
}

}  // namespace sinkbench
