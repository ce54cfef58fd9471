#include "eval/stepwise.h"

#include <ATen/ATen.h>
#include <c10/core/InferenceMode.h>

#include "eval/attention.h"
#include "eval/attention_kernel.h"
#include "models/rotary.h"

namespace sinkbench {

StepwiseEngine::StepwiseEngine(const Decoder& decoder, const Policy& policy)
    : decoder_(decoder), policy_(policy), slots_(policy) {}

void StepwiseEngine::reset(int64_t fed) {
  slots_ = SlotMap(policy_);
  fed_ = 0;
  cache_.reset();  // before the new one is allocated
  cache_ =
      std::make_unique<KvCache>(decoder_.config(), kept_entries(policy_, fed), decoder_.options());
}

void StepwiseEngine::fill(int64_t count) {
  const c10::InferenceMode inference;
  for (int64_t i = 0; i < count; ++i) slots_.advance(fed_++);
  for (int64_t layer = 0; layer < decoder_.config().layers; ++layer) {
    cache_->keys(layer).normal_();
    cache_->values(layer).normal_();
  }
}

at::Tensor StepwiseEngine::step(int32_t id) {
  const c10::InferenceMode inference;
  const DecoderConfig& config = decoder_.config();
  const int64_t t = fed_;
  const View view = policy_.view(t);
  const std::vector<int64_t> positions = query_positions(view, t, policy_.positions());
  const std::vector<Segment> segments = slots_.segments();
  const int64_t slot = slots_.advance(t);

  // Rows of the table: the query's place for each range of its view, then its own place in the
  // stream, for its key and for its product with itself.
  RotaryTable table;
  const auto row = [&](size_t i) {
    return RotaryTable{table.cosine.narrow(0, i, 1), table.sine.narrow(0, i, 1)};
  };
  if (config.rotary) {
    std::vector<int64_t> places = positions;
    places.push_back(t);
    table = rotary_table(*config.rotary, places, decoder_.accumulate_dtype(),
                         decoder_.options().device);
  }
  const auto placed = [&](const at::Tensor& heads, size_t i) {  // [1, h, d] -> [h, 1, d]
    return (config.rotary ? rotate(*config.rotary, heads, row(i)) : heads).transpose(0, 1);
  };

  const bool use_kernel =
      decoder_.options().device.is_cpu() &&
      (decoder_.options().dtype == at::kFloat || decoder_.options().dtype == at::kBFloat16);
  at::Tensor x = decoder_.embed(
      at::full({1}, id, at::TensorOptions().dtype(at::kLong).device(decoder_.options().device)));
  for (int64_t layer = 0; layer < config.layers; ++layer) {
    const Projection projection = decoder_.project(layer, x);
    const at::Tensor own_key = placed(projection.key, positions.size());
    const at::Tensor own_value = projection.value.transpose(0, 1);
    std::vector<at::Tensor> queries;  // for each range, then for the query itself
    for (size_t i = 0; i <= positions.size(); ++i) queries.push_back(placed(projection.query, i));
    const at::Tensor attended =
        use_kernel ? attend_in_kernel(layer, queries, own_key, own_value, segments)
                   : attend_in_tensors(layer, queries, own_key, own_value, segments);
    if (slot >= 0) {
      cache_->keys(layer).narrow(1, slot, 1).copy_(own_key);
      cache_->values(layer).narrow(1, slot, 1).copy_(own_value);
    }
    x = decoder_.finish(layer, x, attended);
  }
  ++fed_;
  return decoder_.logits(x);
}

at::Tensor StepwiseEngine::attend_in_tensors(int64_t layer, const std::vector<at::Tensor>& queries,
                                             const at::Tensor& own_key, const at::Tensor& own_value,
                                             const std::vector<Segment>& segments) {
  std::vector<KeyGroup> groups;
  for (const Segment& segment : segments) {
    groups.push_back({.query = queries[segment.range],
                      .keys = cache_->keys(layer).narrow(1, segment.slot, segment.size),
                      .values = cache_->values(layer).narrow(1, segment.slot, segment.size),
                      .mask = {}});
  }
  groups.push_back({.query = queries.back(), .keys = own_key, .values = own_value, .mask = {}});
  return attend(groups, decoder_.config().attention_scale, decoder_.accumulate_dtype());
}

at::Tensor StepwiseEngine::attend_in_kernel(int64_t layer, const std::vector<at::Tensor>& queries,
                                            const at::Tensor& own_key, const at::Tensor& own_value,
                                            const std::vector<Segment>& segments) {
  const DecoderConfig& config = decoder_.config();
  const at::Tensor query = at::stack(queries).to(at::kFloat).contiguous();
  const at::Tensor key = own_key.to(at::kFloat).contiguous();
  const at::Tensor value = own_value.to(at::kFloat).contiguous();
  at::Tensor output = at::empty({1, config.heads * config.head_dim}, at::kFloat);
  attend_one({.heads = config.heads,
              .kv_heads = config.kv_heads,
              .head_dim = config.head_dim,
              .ranges = static_cast<int64_t>(queries.size()) - 1,
              .query = query.data_ptr<float>(),
              .slots = cache_->keys(layer).size(1),
              .bfloat16 = decoder_.options().dtype == at::kBFloat16,
              .key = cache_->keys(layer).data_ptr(),
              .value = cache_->values(layer).data_ptr(),
              .segments = segments,
              .bias = nullptr,
              .own_key = key.data_ptr<float>(),
              .own_value = value.data_ptr<float>(),
              .scale = static_cast<float>(config.attention_scale),
              .sink_logit = nullptr,
              .output = output.data_ptr<float>()});
  return output.to(decoder_.options().dtype);
}

void StepwiseEngine::score(std::span<const int32_t> ids, const NllSink& sink) {
  const c10::InferenceMode inference;
  check_ids(ids, decoder_.config());
  reset(static_cast<int64_t>(ids.size()) - 1);
  for (size_t t = 0; t + 1 < ids.size(); ++t) {
    const at::Tensor target = at::full(
        {1}, ids[t + 1], at::TensorOptions().dtype(at::kLong).device(decoder_.options().device));
    const float nll =
        negative_log_likelihood(step(ids[t]), target, decoder_.accumulate_dtype()).item().toFloat();
    sink({&nll, 1});
  }
}

}  // namespace sinkbench
