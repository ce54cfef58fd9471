#include "base/file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "base/error.h"

namespace sinkbench {
namespace {

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

std::string read_file(const std::filesystem::path& path) {
  return std::string(MappedFile(path).text());
}

void write_file_atomically(const std::filesystem::path& path, std::string_view content) {
  const std::filesystem::path beside = path.string() + fmt::format(".{}.part", ::getpid());
  const auto fail = [&](const char* what) {
    const std::string why = reason();
    ::unlink(beside.c_str());
    throw InputError::format("{}: cannot {}: {}", path.string(), what, why);
  };
  {
    const Descriptor file{::open(beside.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666)};
    if (file.fd < 0) fail("create");
    for (size_t done = 0; done < content.size();) {
      const ssize_t n = ::write(file.fd, content.data() + done, content.size() - done);
      if (n < 0 && errno == EINTR) continue;
      if (n < 0) fail("write");
      done += static_cast<size_t>(n);
    }
    if (::fsync(file.fd) != 0) fail("sync");
  }
  if (::rename(beside.c_str(), path.c_str()) != 0) fail("rename into place");
  // The rename itself lasts only once the folder is synced.
  const std::filesystem::path folder = path.has_parent_path() ? path.parent_path() : ".";
  const Descriptor parent{::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)};
  if (parent.fd >= 0) ::fsync(parent.fd);
}

}  // namespace sinkbench
