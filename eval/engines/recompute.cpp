#include "eval/engines/recompute.h"

#include <ATen/ATen.h>
#include <c10/core/InferenceMode.h>

#include <algorithm>
#include <numeric>
#include <optional>

#include "eval/attention/attention.h"
#include "eval/attention/parts.h"
#include "eval/engines/limits.h"
#include "models/rotary.h"

namespace sinkbench {

RecomputeEngine::RecomputeEngine(const Decoder& decoder, const RecomputePolicy& policy,
                                 bool in_parts)
    : Engine(decoder),
      policy_(policy),
      in_parts_(in_parts || attends_in_parts(decoder.config(), decoder.options())) {}

std::vector<int64_t> places_of_pass(const RecomputePolicy& policy, int64_t t) {
  std::vector<int64_t> places;
  for (const Range& range : policy.view(t)) {
    for (int64_t place = range.begin; place < range.end; ++place) places.push_back(place);
  }
  places.push_back(t);
  return places;
}

void RecomputeEngine::check(int64_t fed) const {
  check_passes(policy_, decoder_.config(), *policy_.capacity() + 1);
}

void RecomputeEngine::fill(std::optional<int64_t>, int64_t fed, int64_t) {
  stepped_.assign(*policy_.capacity(), 0);
}

void RecomputeEngine::start(int64_t steps) {
  check(steps);
  stepped_.clear();
}

at::Tensor RecomputeEngine::step(int32_t id) {
  stepped_.push_back(id);
  std::vector<int32_t> ids;
  for (const int64_t place : places_of_pass(policy_, std::ssize(stepped_) - 1)) {
    ids.push_back(stepped_[place]);
  }
  return pass(ids);
}

int64_t RecomputeEngine::kv_bytes_held(int64_t fed) {
  kv_bytes_held_ = 0;
  pass(std::vector<int32_t>(std::min(fed, *policy_.capacity() + 1), 0));
  return kv_bytes_held_;
}

at::Tensor RecomputeEngine::pass(std::span<const int32_t> ids) {
  const c10::InferenceMode inference;
  return decoder_.logits(pass_row(ids));
}

at::Tensor RecomputeEngine::pass_row(std::span<const int32_t> ids) {
  const DecoderConfig& config = decoder_.config();
  const at::Device device = decoder_.options().device;
  const int64_t n = static_cast<int64_t>(ids.size());

  std::vector<int64_t> positions(ids.size());
  std::iota(positions.begin(), positions.end(), 0);
  std::vector<RotaryTable> tables;
  for (const RotaryConfig& rotary : config.rotaries) {
    tables.push_back(rotary_table(rotary, positions, decoder_.accumulate_dtype(), device));
  }
  const auto placed = [&](int64_t layer, const at::Tensor& heads) {  // [n, h, d] -> [h, n, d]
    const int rotary = config.rotary_index(layer);
    return (rotary < 0 ? heads : rotate(config.rotaries[rotary], heads, tables[rotary]))
        .transpose(0, 1);
  };
  std::optional<AlibiTable> bias;
  if (config.alibi) {
    bias.emplace(*config.alibi, n, decoder_.accumulate_dtype(), device);
  }
  const auto causal = [&](int64_t layer) {
    const int64_t window = config.local_windows.empty() ? 0 : config.local_windows[layer];
    RangeView view;
    for (int64_t i = 0; i < n; ++i) {
      view.first.push_back(window > 0 ? std::max<int64_t>(0, i + 1 - window) : 0);
      view.last.push_back(i + 1);
      if (bias) view.column.push_back(bias->column(0, i));
    }
    return view;
  };
  const std::vector<int64_t> wide(ids.begin(), ids.end());
  at::Tensor x = decoder_.embed(at::tensor(wide, at::kLong).to(device),
                                at::tensor(positions, at::kLong).to(device));
  int64_t bytes = 0;
  for (int64_t layer = 0; layer < config.layers; ++layer) {
    const Projection projection = decoder_.project(layer, x);
    bytes += static_cast<int64_t>(projection.key.nbytes() + projection.value.nbytes());
    if (in_parts_) {
      // Of the last layer one row is asked for.
      const int64_t rows = layer + 1 == config.layers ? 1 : n;
      const at::Tensor attended = attend_windows(decoder_, layer, projection, tables, n, rows);
      x = decoder_.finish(layer, x.narrow(0, n - rows, rows), attended);
      continue;
    }
    AttentionInput input = {
        .ranges = {causal(layer)},
        .keys = placed(layer, projection.key).to(decoder_.accumulate_dtype()),
        .values = projection.value.transpose(0, 1).to(decoder_.accumulate_dtype()),
        .bias = bias ? &*bias : nullptr,
        .sink_logit = decoder_.sink_logit(layer),
        .scale = config.attention_scale,
        .score_cap = config.score_cap};
    input.ranges.front().query = placed(layer, projection.query).to(decoder_.accumulate_dtype());
    x = decoder_.finish(layer, x, attend_in_tensors(input).to(decoder_.options().dtype));
  }
  kv_bytes_held_ = std::max(kv_bytes_held_, bytes);
  return x.narrow(0, x.size(0) - 1, 1);
}

void RecomputeEngine::advance_piece(const RowSink& sink) {
  const c10::InferenceMode inference;
  const int64_t t = next_;
  std::vector<int32_t> ids;
  for (const int64_t place : places_of_pass(policy_, t)) ids.push_back(ids_[place]);
  const at::Tensor x = pass_row(ids);
  next_ = std::min(t + policy_.stride(), fed());
  sink({.x = x, .first = t, .step = policy_.stride()});
}

}  // namespace sinkbench
