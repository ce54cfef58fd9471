#include "eval/engines/scan_engine.h"

#include <ATen/ATen.h>
#include <c10/core/InferenceMode.h>

#include <algorithm>

#include "eval/engines/chunked.h"
#include "eval/engines/limits.h"

namespace sinkbench {

ScanEngine::ScanEngine(const Decoder& decoder, const Policy& policy, const EngineOptions& options)
    : Engine(decoder, options.storage),
      rules_(policy, decoder.config()),
      decisions_(options.decisions, decoder.config().layers, decoder.config().kv_heads),
      scan_(make_layer_scan(decoder, rules_, decisions_)),
      chunk_(options.chunk) {}

void ScanEngine::check(int64_t fed) const {
  check_rules(rules_, decoder_.config(), fed);
}

void ScanEngine::prepare() {
  const c10::InferenceMode inference;
  decisions_.begin_piece(static_cast<int64_t>(piece()));
  scan_->reset(fed());
}

void ScanEngine::restore(const std::vector<at::Tensor>& state) {
  scan_->restore(next_, state);
}

void ScanEngine::advance_piece(const RowSink& sink) {
  const c10::InferenceMode inference;
  const int64_t begin = next_;
  const bool zeroes = begin < storage_.zero_values();  // a token at a time
  const int64_t end = rules_.ahead() > 0 ? fed()
                      : zeroes           ? begin + 1
                                         : std::min(begin + block_size(), fed());
  const at::Tensor x = run_block(ids_.subspan(begin, end - begin), begin);
  if (zeroes) scan_->zero_values();
  next_ = end;
  decisions_.flush();
  sink({.x = x, .first = begin});
}

at::Tensor ScanEngine::run_block(std::span<const int32_t> ids, int64_t begin) {
  const std::vector<int64_t> wide(ids.begin(), ids.end());
  const at::Device device = decoder_.options().device;
  at::Tensor x = decoder_.embed(
      at::tensor(wide, at::kLong).to(device),
      at::arange(begin, begin + std::ssize(ids), at::TensorOptions(at::kLong).device(device)));
  const at::ScalarType dtype = decoder_.options().dtype;
  const int64_t fed = x.size(0), ahead = rules_.ahead(), block = ahead > 0 ? block_size() : fed;
  for (int64_t layer = 0; layer < decoder_.config().layers; ++layer) {
    if (block >= fed) {
      const at::Tensor attended = scan_->attend(layer, begin, fed, project(layer, x, begin));
      x = decoder_.finish(layer, x, attended.to(device, dtype));
      continue;
    }
    for (int64_t i = 0; i < fed; i += block) {
      const int64_t n = std::min(block, fed - i), seen = std::min(n + ahead, fed - i);
      const at::Tensor rows = x.narrow(0, i, n);
      const at::Tensor attended =
          scan_->attend(layer, begin + i, n, project(layer, x.narrow(0, i, seen), begin + i));
      rows.copy_(decoder_.finish(layer, rows, attended.to(device, dtype)));
    }
  }
  return x;
}

int64_t ScanEngine::block_size() const {
  return ChunkedEngine::block_size(decoder_.config(), chunk_, fed());
}

int64_t ScanEngine::period(int64_t fed) const {
  const auto* score = dynamic_cast<const ScorePolicy*>(&rules_.policy());
  return score != nullptr && score->retention().every <= fed ? score->retention().every : 1;
}

void ScanEngine::fill(std::optional<int64_t> entries, int64_t fed, int64_t steps) {
  const c10::InferenceMode inference;
  // A round was just now, on a cache as full as it gets.
  const int64_t full = rules_.full(entries, fed), period = this->period(fed);
  const int64_t next = (full + period - 1) / period * period;
  scan_->reset(next + steps);
  scan_->fill(next);
  next_ = next;
}

void ScanEngine::start(int64_t steps) {
  const c10::InferenceMode inference;
  check(steps);
  scan_->reset(steps);
  next_ = 0;
}

at::Tensor ScanEngine::step(int32_t id) {
  const c10::InferenceMode inference;
  const at::Tensor x = run_block(std::span(&id, 1), next_);
  if (next_ < storage_.zero_values()) scan_->zero_values();
  ++next_;
  return decoder_.logits(x);
}

int64_t ScanEngine::entries() const {
  int64_t most = 0;
  for (int64_t layer = 0; layer < decoder_.config().layers; ++layer) {
    most = std::max(most, scan_->entries(layer));
  }
  return most;
}

int64_t ScanEngine::kv_bytes_held(int64_t fed) {
  scan_->reset(fed);
  return scan_->kv_bytes();
}

}  // namespace sinkbench
