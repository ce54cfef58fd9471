#include "eval/engines/stepwise.h"

#include <ATen/ATen.h>
#include <c10/core/InferenceMode.h>

#include "eval/attention/attention_kernel.h"
#include "models/rotary.h"

namespace sinkbench {

StepwiseEngine::StepwiseEngine(const Decoder& decoder, const Policy& policy)
    : Engine(decoder, policy), slots_(policy) {}

void StepwiseEngine::reset(int64_t fed) {
  slots_ = SlotMap(policy_);
  next_ = 0;
  cache_.reset();  // before the new one is allocated
  cache_ =
      std::make_unique<KvCache>(decoder_.config(), kept_entries(policy_, fed), decoder_.options());
  if (decoder_.config().alibi) {
    bias_.emplace(*decoder_.config().alibi, bias_places(policy_, fed), decoder_.accumulate_dtype(),
                  decoder_.options().device);
  }
}

void StepwiseEngine::fill(int64_t count) {
  const c10::InferenceMode inference;
  for (int64_t i = 0; i < count; ++i) slots_.advance(next_++);
  for (int64_t layer = 0; layer < decoder_.config().layers; ++layer) {
    cache_->keys(layer).normal_();
    cache_->values(layer).normal_();
  }
}

at::Tensor StepwiseEngine::step(int32_t id) {
  const c10::InferenceMode inference;
  return decoder_.logits(step_row(id));
}

at::Tensor StepwiseEngine::step_row(int32_t id) {
  const DecoderConfig& config = decoder_.config();
  const at::Device device = decoder_.options().device;
  const int64_t t = next_++;
  const View view = policy_.view(t);
  const std::vector<int64_t> positions = query_positions(view, t, policy_.positions());
  Step step{.segments = slots_.segments(), .bias = {}};
  if (bias_) {
    std::vector<int64_t> columns(cache_->keys(0).size(1), 0);
    for (const Segment& segment : step.segments) {
      for (int64_t slot = segment.slot; slot < segment.slot + segment.size; ++slot) {
        columns[slot] = bias_->column(slots_.tokens()[slot], positions[segment.range]);
      }
    }
    step.bias = bias_->values().index_select(1, at::tensor(columns, at::kLong).to(device));
  }
  const int64_t slot = slots_.advance(t);

  // Row i: the query's place for range i; last: its own place in the stream, for its key and for
  // its product with itself.
  const int64_t rows = static_cast<int64_t>(positions.size()) + 1;
  RotaryTable table, own;
  if (config.rotary) {
    std::vector<int64_t> places = positions;
    places.push_back(t);
    table = rotary_table(*config.rotary, places, decoder_.accumulate_dtype(), device);
    own = {table.cosine.narrow(0, rows - 1, 1), table.sine.narrow(0, rows - 1, 1)};
  }
  const bool use_kernel = device.is_cpu() && (decoder_.options().dtype == at::kFloat ||
                                              decoder_.options().dtype == at::kBFloat16);
  const auto integers = at::TensorOptions().dtype(at::kLong).device(device);
  at::Tensor x = decoder_.embed(at::full({1}, id, integers), at::full({1}, t, integers));
  for (int64_t layer = 0; layer < config.layers; ++layer) {
    const Projection projection = decoder_.project(layer, x);
    at::Tensor queries = projection.query.expand({rows, config.heads, config.head_dim});
    at::Tensor key = projection.key;
    if (config.rotary) {
      queries = rotate(*config.rotary, queries, table);
      key = rotate(*config.rotary, key, own);
    }
    const at::Tensor attended =
        use_kernel ? attend_by_kernel(step, layer, queries, key, projection.value)
                   : attend_by_tensors(step, layer, queries, key, projection.value);
    if (slot >= 0) {
      cache_->keys(layer).narrow(1, slot, 1).copy_(key.transpose(0, 1));
      cache_->values(layer).narrow(1, slot, 1).copy_(projection.value.transpose(0, 1));
    }
    x = decoder_.finish(layer, x, attended.to(decoder_.options().dtype));
  }
  return x;
}

at::Tensor StepwiseEngine::attend_by_kernel(const Step& step, int64_t layer,
                                            const at::Tensor& queries, const at::Tensor& own_key,
                                            const at::Tensor& own_value) {
  const DecoderConfig& config = decoder_.config();
  const at::Tensor query = queries.to(at::kFloat).contiguous();
  const at::Tensor key = own_key.to(at::kFloat).contiguous();
  const at::Tensor value = own_value.to(at::kFloat).contiguous();
  const at::Tensor sink_logit = decoder_.sink_logit(layer);
  at::Tensor output = at::empty({1, config.heads * config.head_dim}, at::kFloat);
  attend_one({.heads = config.heads,
              .kv_heads = config.kv_heads,
              .head_dim = config.head_dim,
              .ranges = queries.size(0) - 1,
              .query = query.data_ptr<float>(),
              .slots = cache_->keys(layer).size(1),
              .bfloat16 = decoder_.options().dtype == at::kBFloat16,
              .key = cache_->keys(layer).data_ptr(),
              .value = cache_->values(layer).data_ptr(),
              .segments = step.segments,
              .bias = step.bias.defined() ? step.bias.data_ptr<float>() : nullptr,
              .own_key = key.data_ptr<float>(),
              .own_value = value.data_ptr<float>(),
              .scale = static_cast<float>(config.attention_scale),
              .sink_logit = sink_logit.defined() ? sink_logit.data_ptr<float>() : nullptr,
              .output = output.data_ptr<float>()});
  return output;
}

at::Tensor StepwiseEngine::attend_by_tensors(const Step& step, int64_t layer,
                                             const at::Tensor& queries, const at::Tensor& own_key,
                                             const at::Tensor& own_value) {
  const DecoderConfig& config = decoder_.config();
  const at::ScalarType dtype = decoder_.accumulate_dtype();
  const int64_t share = config.heads / config.kv_heads;
  // Query heads that share a key head are the rows of one small product.
  const auto rows = [&](int64_t i) {
    return queries[i].to(dtype).view({config.kv_heads, share, config.head_dim});
  };
  std::vector<at::Tensor> scores, values;
  for (const Segment& segment : step.segments) {
    const at::Tensor keys = cache_->keys(layer).narrow(1, segment.slot, segment.size).to(dtype);
    at::Tensor score = at::bmm(rows(static_cast<int64_t>(segment.range)), keys.transpose(1, 2))
                           .mul_(config.attention_scale)
                           .view({config.heads, -1});
    if (step.bias.defined()) score += step.bias.narrow(1, segment.slot, segment.size);
    scores.push_back(score);
    values.push_back(cache_->values(layer).narrow(1, segment.slot, segment.size).to(dtype));
  }
  scores.push_back(at::bmm(rows(queries.size(0) - 1),
                           own_key.to(dtype).view({config.kv_heads, config.head_dim, 1}))
                       .mul_(config.attention_scale)
                       .view({config.heads, 1}));
  values.push_back(own_value.to(dtype).view({config.kv_heads, 1, config.head_dim}));
  if (decoder_.sink_logit(layer).defined()) {
    scores.push_back(decoder_.sink_logit(layer).to(dtype).view({config.heads, 1}));
    values.push_back(at::zeros({config.kv_heads, 1, config.head_dim}, values.back().options()));
  }
  const at::Tensor weights = at::softmax(at::cat(scores, 1), 1);
  return at::bmm(weights.view({config.kv_heads, share, -1}), at::cat(values, 1))
      .view({1, config.heads * config.head_dim});
}

void StepwiseEngine::advance_rows(const RowSink& sink) {
  const c10::InferenceMode inference;
  const int64_t t = next_;
  sink({.x = step_row(ids_[t]), .first = t});
}

std::vector<at::Tensor> StepwiseEngine::state() const {
  const int64_t slots = static_cast<int64_t>(slots_.tokens().size());
  std::vector<at::Tensor> result;
  for (int64_t layer = 0; layer < decoder_.config().layers; ++layer) {
    result.push_back(cache_->keys(layer).narrow(1, 0, slots));
    result.push_back(cache_->values(layer).narrow(1, 0, slots));
  }
  return result;
}

void StepwiseEngine::restore(const std::vector<at::Tensor>& state) {
  slots_ = SlotMap(policy_);
  for (int64_t t = 0; t < next_; ++t) slots_.advance(t);
  copy_state(state, this->state());
}

}  // namespace sinkbench
