// Loaded before the C library: file systems as they are elsewhere.
#include <dlfcn.h>

#include <atomic>
#include <cerrno>
#include <cstdlib>

/// A file system without locks, where FAULT_FLOCK is set.
extern "C" int flock(int fd, int operation) {
  if (std::getenv("FAULT_FLOCK") != nullptr) {
    errno = ENOSYS;
    return -1;
  }
  return reinterpret_cast<int (*)(int, int)>(::dlsym(RTLD_NEXT, "flock"))(fd, operation);
}

/// A file server that is gone after FAULT_FSYNC calls.
extern "C" int fsync(int fd) {
  static std::atomic<int> calls = 0;
  const char* const most = std::getenv("FAULT_FSYNC");
  if (most != nullptr && ++calls > std::atoi(most)) {
    errno = ESTALE;
    return -1;
  }
  return reinterpret_cast<int (*)(int)>(::dlsym(RTLD_NEXT, "fsync"))(fd);
}
