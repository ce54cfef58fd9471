#include "eval/results/nll_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <bit>
#include <cerrno>
#include <cmath>
#include <cstring>
#include <numeric>
#include <utility>

#include "base/error.h"
#include "base/file.h"

namespace sinkbench {
namespace {

namespace fs = std::filesystem;

static_assert(std::endian::native == std::endian::little, "NLL files are little-endian");

constexpr size_t most_unwritten = 65536;  // bytes that are written together

size_t size_of(NllPrecision precision) {
  return precision == NllPrecision::float64 ? sizeof(double) : sizeof(float);
}

template <typename T>
std::vector<double> values(std::string_view bytes) {
  std::vector<double> result(bytes.size() / sizeof(T));
  for (size_t i = 0; i < result.size(); ++i) {
    T value;
    std::memcpy(&value, bytes.data() + i * sizeof(T), sizeof(T));
    result[i] = value;
  }
  return result;
}

}  // namespace

std::string nll_extension(NllPrecision precision) {
  return precision == NllPrecision::float64 ? ".f64" : ".f32";
}

NllFile::NllFile(const fs::path& path, NllPrecision precision, int64_t count)
    : path_(path), part_(nll_part(path)), precision_(precision) {
  if (count > 0) {
    std::error_code error;
    // It may have been finished after the moment that is gone on from.
    if (!fs::exists(part_) && fs::exists(path_)) fs::rename(path_, part_, error);
    const auto bytes = static_cast<uintmax_t>(count) * size_of(precision);
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

void NllFile::append(std::span<const double> nll) {
  const auto put = [&](const auto& value) {
    const auto bytes = std::as_bytes(std::span(&value, 1));
    pending_.insert(pending_.end(), bytes.begin(), bytes.end());
  };
  for (const double value : nll) {
    if (precision_ == NllPrecision::float64) {
      put(value);
    } else {
      put(static_cast<float>(value));
    }
  }
  if (pending_.size() >= most_unwritten) flush();
}

void NllFile::flush() {
  std::span<const std::byte> bytes = pending_;
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

std::vector<double> read_nll_file(const fs::path& path) {
  const MappedFile file(path);
  const std::string_view bytes = file.text();
  const fs::path whole = path.extension() == ".part" ? path.stem() : path.filename();
  const bool wide = whole.extension() == nll_extension(NllPrecision::float64);
  const size_t size = wide ? sizeof(double) : sizeof(float);
  if (bytes.size() % size != 0) {
    throw InputError::format("{}: {} bytes; expected a multiple of {} ({})", path.string(),
                             bytes.size(), size, wide ? "float64" : "float32");
  }
  return wide ? values<double>(bytes) : values<float>(bytes);
}

std::vector<double> read_nll_file(const fs::path& path, const PerplexityResult& perplexity) {
  std::vector<double> nll = read_nll_file(path);
  check_nlls(nll, perplexity, path.string());
  return nll;
}

void check_nlls(std::span<const double> nll, const PerplexityResult& perplexity,
                const std::string& place) {
  if (std::ssize(nll) != perplexity.scored) {
    throw InputError::format("{}: {} numbers; expected {}, as many as were scored", place,
                             nll.size(), perplexity.scored);
  }
  const double mean =
      std::accumulate(nll.begin(), nll.end(), 0.0) / static_cast<double>(nll.size());
  // The same sum in another order, at the most.
  const double expected = perplexity.nll_mean;
  if (std::isfinite(mean) != std::isfinite(expected) ||
      std::abs(mean - expected) > 1e-6 * std::max(1.0, std::abs(expected))) {
    throw InputError::format(
        "{}: the numbers' mean is {:.6f}; expected {:.6f}, the mean NLL in results.json: they are "
        "of another run",
        place, mean, expected);
  }
}

}  // namespace sinkbench
