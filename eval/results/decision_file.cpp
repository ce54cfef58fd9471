#include "eval/results/decision_file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <unistd.h>
#include <zstd.h>

#include <cerrno>
#include <nlohmann/json.hpp>
#include <utility>

#include "base/error.h"
#include "base/file.h"
#include "base/json.h"

namespace sinkbench {
namespace {

namespace fs = std::filesystem;

constexpr size_t most_pending = size_t{1} << 20;  // bytes that are compressed together

fs::path part_of(const fs::path& path) {
  return path.string() + ".part";
}

}  // namespace

struct DecisionFile::Compressor {
  ZSTD_CCtx* context = ZSTD_createCCtx();
  std::vector<char> out = std::vector<char>(ZSTD_CStreamOutSize());
  ~Compressor() { ZSTD_freeCCtx(context); }
};

DecisionFile::DecisionFile(const fs::path& path, int64_t bytes)
    : path_(path),
      part_(part_of(path)),
      compressor_(std::make_unique<Compressor>()),
      bytes_(bytes) {
  if (bytes > 0) {
    std::error_code error;
    // It may have been finished after the moment that is gone on from.
    if (!fs::exists(part_) && fs::exists(path_)) fs::rename(path_, part_, error);
    const uintmax_t size = fs::file_size(part_, error);
    if (error || size < static_cast<uintmax_t>(bytes)) {
      throw InputError::format("{}: expected {} bytes or more", part_.string(), bytes);
    }
    fs::resize_file(part_, static_cast<uintmax_t>(bytes));
  }
  fd_ = ::open(part_.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC | (bytes > 0 ? O_APPEND : O_TRUNC),
               0666);
  if (fd_ < 0) throw_write_error(part_, "created");
}

DecisionFile::~DecisionFile() {
  if (fd_ >= 0) ::close(fd_);
}

void DecisionFile::append(const EvictionRecord& record) {
  fmt::format_to(std::back_inserter(pending_), "[{},{},{},[{}]]\n", record.t, record.layer,
                 record.head, fmt::join(record.places, ","));
  if (pending_.size() >= most_pending) write(false);
}

void DecisionFile::write(bool end_frame) {
  if (pending_.empty() && !in_frame_) return;
  ZSTD_inBuffer in = {pending_.data(), pending_.size(), 0};
  for (size_t rest = 1; rest > 0;) {
    ZSTD_outBuffer out = {compressor_->out.data(), compressor_->out.size(), 0};
    rest = ZSTD_compressStream2(compressor_->context, &out, &in,
                                end_frame ? ZSTD_e_end : ZSTD_e_continue);
    if (ZSTD_isError(rest)) throw std::runtime_error(ZSTD_getErrorName(rest));
    for (size_t done = 0; done < out.pos;) {
      const ssize_t n = ::write(fd_, compressor_->out.data() + done, out.pos - done);
      if (n < 0 && errno == EINTR) continue;
      if (n < 0) throw_write_error(part_, "written");
      done += static_cast<size_t>(n);
    }
    bytes_ += static_cast<int64_t>(out.pos);
    if (!end_frame) rest = in.pos < in.size ? 1 : 0;
  }
  pending_.clear();
  in_frame_ = !end_frame;
}

int64_t DecisionFile::sync() {
  write(true);
  if (::fsync(fd_) != 0) throw_write_error(part_, "synced");
  return bytes_;
}

void DecisionFile::finish() {
  sync();
  if (::rename(part_.c_str(), path_.c_str()) != 0) throw_write_error(path_, "replaced");
  ::close(std::exchange(fd_, -1));
  sync_folder(path_.parent_path());
}

std::vector<EvictionRecord> read_decision_file(const fs::path& path) {
  const MappedFile file(path);
  const auto damaged = [&](const std::string& why) {
    return InputError::format("{}: no decision log: {}", path.string(), why);
  };
  std::string text;
  const std::unique_ptr<ZSTD_DCtx, size_t (*)(ZSTD_DCtx*)> context(ZSTD_createDCtx(),
                                                                   ZSTD_freeDCtx);
  std::vector<char> buffer(ZSTD_DStreamOutSize());
  ZSTD_inBuffer in = {file.text().data(), file.text().size(), 0};
  size_t rest = 0;
  for (bool more = in.size > 0; more;) {
    ZSTD_outBuffer out = {buffer.data(), buffer.size(), 0};
    rest = ZSTD_decompressStream(context.get(), &out, &in);
    if (ZSTD_isError(rest)) throw damaged(ZSTD_getErrorName(rest));
    text.append(buffer.data(), out.pos);
    more = in.pos < in.size || out.pos == out.size;
  }
  if (rest != 0) throw damaged("it ends early");
  std::vector<EvictionRecord> records;
  size_t number = 0;
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = std::min(text.find('\n', begin), text.size());
    ++number;
    try {
      const auto line = parse_json(std::string_view(text).substr(begin, end - begin));
      records.push_back(
          {integer(line.at(0)), integer(line.at(1)), integer(line.at(2)), integers(line.at(3))});
    } catch (const nlohmann::json::exception&) {
      throw damaged(fmt::format("line {}", number));
    }
    begin = end + 1;
  }
  return records;
}

fs::path decision_path(const fs::path& nll_file) {
  return fs::path(nll_file).replace_extension(".decisions.jsonl.zst");
}

}  // namespace sinkbench
