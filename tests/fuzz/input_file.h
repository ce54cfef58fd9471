// What the targets share: the input as a file, as users give it.
#pragma once

#include <unistd.h>

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <string>

#include "base/error.h"

namespace sinkbench::fuzz {

/// A folder in memory with the input as its one file, written anew for each execution.
class InputFile {
 public:
  explicit InputFile(const std::string& name)
      : folder_("/dev/shm/sinkbench-fuzz-" + std::to_string(::getpid())), file_(folder_ / name) {
    std::filesystem::create_directories(folder_);
  }
  ~InputFile() {
    std::error_code error;
    std::filesystem::remove_all(folder_, error);
  }
  InputFile(const InputFile&) = delete;
  InputFile& operator=(const InputFile&) = delete;

  void write(const uint8_t* data, size_t size) const {
    std::ofstream(file_, std::ios::binary | std::ios::trunc)
        .write(reinterpret_cast<const char*>(data), static_cast<std::streamsize>(size));
  }
  const std::filesystem::path& folder() const { return folder_; }
  const std::filesystem::path& file() const { return file_; }

 private:
  std::filesystem::path folder_, file_;
};

/// Runs `read` on the input. Bad input may end in an InputError and in nothing else.
template <typename Read>
int run(const InputFile& input, const uint8_t* data, size_t size, Read read) {
  input.write(data, size);
  try {
    read();
  } catch (const InputError&) {
  }
  return 0;
}

}  // namespace sinkbench::fuzz
