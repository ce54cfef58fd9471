#include "datasets/compressed.h"

#include <bzlib.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <lzma.h>
#include <unistd.h>
#include <zlib.h>
#include <zstd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <span>

#include "base/error.h"
#include "base/text.h"

namespace sinkbench {
namespace {

namespace fs = std::filesystem;

constexpr size_t chunk_bytes = 1 << 17;
constexpr uint64_t suspicious_bytes = uint64_t{1} << 28;
constexpr uint64_t most_times = 250;

}  // namespace

std::string_view compression_of(std::string_view first_bytes) {
  const auto at = [&](size_t i) {
    return i < first_bytes.size() ? static_cast<unsigned char>(first_bytes[i]) : 0;
  };
  if (at(0) == 0x1F && at(1) == 0x8B && at(2) == 8) return "gzip";
  if (first_bytes.starts_with("BZh") && at(3) >= '1' && at(3) <= '9') {
    const std::string_view block = first_bytes.substr(4, 6);  // pi, or sqrt(pi) where there is none
    if (block == "\x31\x41\x59\x26\x53\x59" || block == "\x17\x72\x45\x38\x50\x90") return "bzip2";
  }
  if (first_bytes.starts_with(std::string_view("\xFD"
                                               "7zXZ\0",
                                               6))) {
    return "xz";
  }
  const bool skippable = (at(0) & 0xF0) == 0x50 && at(1) == 0x2A && at(2) == 0x4D && at(3) == 0x18;
  if (skippable || first_bytes.starts_with("\x28\xB5\x2F\xFD")) return "zstd";
  return "";
}

std::string without_compression_suffix(const std::string& name) {
  constexpr std::array suffixes = {".gz", ".gzip", ".bgz", ".bz2", ".xz", ".zst", ".zstd"};
  const std::string suffix = lower_case(fs::path(name).extension().string());
  const bool known = std::find(suffixes.begin(), suffixes.end(), suffix) != suffixes.end();
  return known ? name.substr(0, name.size() - suffix.size()) : name;
}

/// A file's bytes as they stand in it, a chunk in memory.
class CompressedFile::Input {
 public:
  explicit Input(const fs::path& path)
      : path_(path), fd_(::open(path.c_str(), O_RDONLY | O_CLOEXEC)), chunk_(chunk_bytes, '\0') {
    if (fd_ < 0) {
      throw InputError::format("{}: cannot open: {}", path.string(), std::strerror(errno));
    }
    try {
      fill();
    } catch (...) {
      ::close(fd_);
      throw;
    }
  }
  ~Input() { ::close(fd_); }
  Input(const Input&) = delete;
  Input& operator=(const Input&) = delete;

  /// The bytes that come next: some, or none at the end.
  std::string_view next() {
    if (rest_.empty()) fill();
    return rest_;
  }
  void skip(size_t bytes) { rest_.remove_prefix(bytes); }

  [[noreturn]] void fail(std::string_view what) const {
    throw InputError::format("{}: {}", path_.string(), what);
  }

 private:
  void fill() {
    size_t size = 0;
    while (size < chunk_.size()) {  // a pipe gives less at a time
      const ssize_t n = ::read(fd_, chunk_.data() + size, chunk_.size() - size);
      if (n < 0 && errno == EINTR) continue;
      if (n < 0) fail(std::string("cannot read: ") + std::strerror(errno));
      if (n == 0) break;
      size += static_cast<size_t>(n);
    }
    rest_ = std::string_view(chunk_).substr(0, size);
  }

  fs::path path_;
  int fd_;
  std::string chunk_;
  std::string_view rest_;  // of the chunk
};

/// Of one kind of compression. Each `step` takes some of `in`, which is empty only at the input's
/// end, and fills some of `out`.
class CompressedFile::Decompressor {
 public:
  virtual ~Decompressor() = default;
  /// The bytes taken and made. Where neither is above 0 at the input's end, that is the end.
  struct Progress {
    size_t taken, made;
  };
  virtual Progress step(std::string_view in, std::span<char> out) = 0;
  /// Whether what was read so far may be all.
  virtual bool complete() const = 0;
  virtual std::string_view name() const = 0;

 protected:
  explicit Decompressor(const Input& input) : input_(input) {}
  [[noreturn]] void fail(std::string_view why) const {
    input_.fail(fmt::format("cannot be decompressed ({}): {}", name(), why));
  }

 private:
  const Input& input_;
};

class CompressedFile::Gzip final : public Decompressor {
 public:
  explicit Gzip(const Input& input) : Decompressor(input) {
    constexpr int largest_window = 15, gzip_alone = 16;
    if (::inflateInit2(&stream_, largest_window + gzip_alone) != Z_OK) throw std::bad_alloc();
  }
  ~Gzip() override { ::inflateEnd(&stream_); }

  Progress step(std::string_view in, std::span<char> out) override {
    if (ended_) {
      // Tapes and block devices leave zeros behind.
      const size_t zeros = std::min(in.find_first_not_of('\0'), in.size());
      if (zeros > 0 || in.empty()) return {zeros, 0};
      if (compression_of(in) != "gzip" && in.size() > 2) fail("something else is behind the data");
      ::inflateReset(&stream_);
      ended_ = false;
    }
    stream_.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(in.data()));
    stream_.avail_in = static_cast<uInt>(in.size());
    stream_.next_out = reinterpret_cast<Bytef*>(out.data());
    stream_.avail_out = static_cast<uInt>(out.size());
    const int status = ::inflate(&stream_, Z_NO_FLUSH);
    if (status == Z_STREAM_END) {
      ended_ = true;
    } else if (status == Z_NEED_DICT) {
      fail("it needs a dictionary");
    } else if (status != Z_OK && status != Z_BUF_ERROR) {
      fail(stream_.msg != nullptr ? stream_.msg : ::zError(status));
    }
    return {in.size() - stream_.avail_in, out.size() - stream_.avail_out};
  }
  bool complete() const override { return ended_; }
  std::string_view name() const override { return "gzip"; }

 private:
  z_stream stream_{};
  bool ended_ = false;
};

class CompressedFile::Bzip2 final : public Decompressor {
 public:
  explicit Bzip2(const Input& input) : Decompressor(input) { begin(); }
  ~Bzip2() override { ::BZ2_bzDecompressEnd(&stream_); }

  Progress step(std::string_view in, std::span<char> out) override {
    if (ended_) {
      if (in.empty()) return {0, 0};
      ::BZ2_bzDecompressEnd(&stream_);
      begin();
    }
    stream_.next_in = const_cast<char*>(in.data());
    stream_.avail_in = static_cast<unsigned>(in.size());
    stream_.next_out = out.data();
    stream_.avail_out = static_cast<unsigned>(out.size());
    const int status = ::BZ2_bzDecompress(&stream_);
    if (status == BZ_STREAM_END) {
      ended_ = true;
    } else if (status == BZ_MEM_ERROR) {
      throw std::bad_alloc();
    } else if (status != BZ_OK) {
      fail("the data are damaged");
    }
    return {in.size() - stream_.avail_in, out.size() - stream_.avail_out};
  }
  bool complete() const override { return ended_; }
  std::string_view name() const override { return "bzip2"; }

 private:
  void begin() {
    stream_ = {};
    if (::BZ2_bzDecompressInit(&stream_, 0, 0) != BZ_OK) throw std::bad_alloc();
    ended_ = false;
  }

  bz_stream stream_{};
  bool ended_ = false;
};

class CompressedFile::Xz final : public Decompressor {
 public:
  explicit Xz(const Input& input) : Decompressor(input) {
    // A dictionary has 4 GiB at the most, and none of xz's own presets more than 64 MiB.
    constexpr uint64_t most_memory = uint64_t{5} << 30;
    if (::lzma_stream_decoder(&stream_, most_memory, LZMA_CONCATENATED) != LZMA_OK) {
      throw std::bad_alloc();
    }
  }
  ~Xz() override { ::lzma_end(&stream_); }

  Progress step(std::string_view in, std::span<char> out) override {
    if (ended_) return {0, 0};
    stream_.next_in = reinterpret_cast<const uint8_t*>(in.data());
    stream_.avail_in = in.size();
    stream_.next_out = reinterpret_cast<uint8_t*>(out.data());
    stream_.avail_out = out.size();
    const lzma_ret status = ::lzma_code(&stream_, in.empty() ? LZMA_FINISH : LZMA_RUN);
    if (status == LZMA_STREAM_END) {
      ended_ = true;
    } else if (status == LZMA_MEM_ERROR) {
      throw std::bad_alloc();
    } else if (status != LZMA_OK && status != LZMA_BUF_ERROR) {
      fail(status == LZMA_OPTIONS_ERROR ? "an option that liblzma doesn't have"
                                        : "the data are damaged");
    }
    return {in.size() - stream_.avail_in, out.size() - stream_.avail_out};
  }
  bool complete() const override { return ended_; }
  std::string_view name() const override { return "xz"; }

 private:
  lzma_stream stream_ = LZMA_STREAM_INIT;
  bool ended_ = false;
};

class CompressedFile::Zstd final : public Decompressor {
 public:
  explicit Zstd(const Input& input) : Decompressor(input), stream_(::ZSTD_createDStream()) {
    if (stream_ == nullptr) throw std::bad_alloc();
    ::ZSTD_DCtx_setParameter(stream_.get(), ZSTD_d_windowLogMax,
                             ::ZSTD_dParam_getBounds(ZSTD_d_windowLogMax).upperBound);
  }

  Progress step(std::string_view in, std::span<char> out) override {
    ZSTD_inBuffer from{in.data(), in.size(), 0};
    ZSTD_outBuffer to{out.data(), out.size(), 0};
    if (in.empty() && !open_) return {0, 0};
    const size_t status = ::ZSTD_decompressStream(stream_.get(), &to, &from);
    if (::ZSTD_isError(status) != 0) fail(::ZSTD_getErrorName(status));
    open_ = status != 0;
    return {from.pos, to.pos};
  }
  bool complete() const override { return !open_; }
  std::string_view name() const override { return "zstd"; }

 private:
  struct Free {
    void operator()(ZSTD_DStream* stream) const { ::ZSTD_freeDStream(stream); }
  };
  std::unique_ptr<ZSTD_DStream, Free> stream_;
  bool open_ = false;  // a frame has begun and not ended
};

CompressedFile::CompressedFile(const fs::path& path) : input_(std::make_unique<Input>(path)) {
  const std::string_view compression = compression_of(input_->next());
  if (compression == "gzip") decompressor_ = std::make_unique<Gzip>(*input_);
  if (compression == "bzip2") decompressor_ = std::make_unique<Bzip2>(*input_);
  if (compression == "xz") decompressor_ = std::make_unique<Xz>(*input_);
  if (compression == "zstd") decompressor_ = std::make_unique<Zstd>(*input_);
}

CompressedFile::CompressedFile(CompressedFile&&) noexcept = default;
CompressedFile& CompressedFile::operator=(CompressedFile&&) noexcept = default;
CompressedFile::~CompressedFile() = default;

std::string_view CompressedFile::compression() const {
  return decompressor_ != nullptr ? decompressor_->name() : "";
}

size_t CompressedFile::read(char* to, size_t size) {
  size_t done = 0;
  while (done < size) {
    const std::string_view in = input_->next();
    if (decompressor_ == nullptr) {
      if (in.empty()) break;
      const size_t bytes = std::min(in.size(), size - done);
      std::memcpy(to + done, in.data(), bytes);
      input_->skip(bytes);
      done += bytes;
      continue;
    }
    const Decompressor::Progress progress =
        decompressor_->step(in, std::span(to + done, size - done));
    input_->skip(progress.taken);
    done += progress.made;
    taken_ += progress.taken;
    made_ += progress.made;
    if (made_ > suspicious_bytes && made_ / most_times > taken_) {
      input_->fail(
          fmt::format("expands to more than {} times its size, as no text does; decompress "
                      "it to see what it is",
                      most_times));
    }
    if (progress.taken > 0 || progress.made > 0) continue;
    if (!in.empty()) input_->fail("cannot be decompressed: it leads nowhere");
    if (!decompressor_->complete()) input_->fail("the compressed data end too early");
    break;
  }
  return done;
}

}  // namespace sinkbench
