#include "eval/results/nll_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <bit>
#include <cerrno>
#include <cstring>
#include <utility>

#include "base/error.h"
#include "base/file.h"

namespace sinkbench {
namespace {

namespace fs = std::filesystem;

static_assert(std::endian::native == std::endian::little, "NLL files are little-endian");

constexpr size_t most_pending = 16384;  // values that are written together

}  // namespace

NllFile::NllFile(const fs::path& path, int64_t count) : path_(path), part_(nll_part(path)) {
  if (count > 0) {
    std::error_code error;
    // It may have been finished after the moment that is gone on from.
    if (!fs::exists(part_) && fs::exists(path_)) fs::rename(path_, part_, error);
    const auto bytes = static_cast<uintmax_t>(count) * sizeof(float);
    if (const uintmax_t size = fs::file_size(part_, error); error || size < bytes) {
      throw InputError::format("{}: expected {} values or more", part_.string(), count);
    }
    fs::resize_file(part_, bytes);
  }
  const int mode = count > 0 ? O_APPEND : O_TRUNC;
  fd_ = ::open(part_.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC | mode, 0666);
  if (fd_ < 0) throw_write_error(part_, "created");
}

NllFile::~NllFile() {
  if (fd_ >= 0) ::close(fd_);
}

void NllFile::append(std::span<const float> nll) {
  pending_.insert(pending_.end(), nll.begin(), nll.end());
  if (pending_.size() >= most_pending) flush();
}

void NllFile::flush() {
  std::span<const std::byte> bytes = std::as_bytes(std::span(pending_));
  while (!bytes.empty()) {
    const ssize_t n = ::write(fd_, bytes.data(), bytes.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) throw_write_error(part_, "written");
    bytes = bytes.subspan(static_cast<size_t>(n));
  }
  pending_.clear();
}

void NllFile::sync() {
  flush();
  if (::fsync(fd_) != 0) throw_write_error(part_, "synced");
}

void NllFile::finish() {
  sync();
  if (::rename(part_.c_str(), path_.c_str()) != 0) throw_write_error(path_, "replaced");
  ::close(std::exchange(fd_, -1));
  sync_folder(path_.parent_path());
}

fs::path nll_part(const fs::path& path) {
  return path.string() + ".part";
}

std::vector<float> read_nll_file(const fs::path& path) {
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
