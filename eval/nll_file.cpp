#include "eval/nll_file.h"

#include <unistd.h>

#include <bit>
#include <cerrno>
#include <cstring>

#include "base/error.h"
#include "base/file.h"

namespace sinkbench {

static_assert(std::endian::native == std::endian::little, "NLL files are little-endian");

NllFile::NllFile(const std::filesystem::path& path) : path_(path), part_(path.string() + ".part") {
  file_ = std::fopen(part_.c_str(), "wb");
  if (file_ == nullptr) fail("create");
}

NllFile::~NllFile() {
  if (file_ == nullptr) return;
  std::fclose(file_);
  ::unlink(part_.c_str());
}

void NllFile::append(std::span<const float> nll) {
  if (std::fwrite(nll.data(), sizeof(float), nll.size(), file_) != nll.size()) fail("write");
}

void NllFile::finish() {
  if (std::fflush(file_) != 0 || ::fsync(::fileno(file_)) != 0) fail("write");
  std::FILE* const file = std::exchange(file_, nullptr);
  if (std::fclose(file) != 0) fail("close");
  if (::rename(part_.c_str(), path_.c_str()) != 0) fail("rename into place");
}

void NllFile::fail(const char* what) const {
  throw InputError::format("{}: cannot {}: {}", path_.string(), what, std::strerror(errno));
}

std::vector<float> read_nll_file(const std::filesystem::path& path) {
  const MappedFile file(path);
  const std::string_view bytes = file.text();
  if (bytes.size() % sizeof(float) != 0) {
    throw InputError::format("{}: {} bytes; expected a multiple of 4 (float32)", path.string(),
                             bytes.size());
  }
  std::vector<float> result(bytes.size() / sizeof(float));
  std::memcpy(result.data(), bytes.data(), bytes.size());
  return result;
}

}  // namespace sinkbench
