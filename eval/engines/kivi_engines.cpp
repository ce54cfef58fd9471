#include "eval/engines/kivi_engines.h"

#include <ATen/ATen.h>
#include <c10/core/InferenceMode.h>

#include <algorithm>
#include <numeric>

#include "base/error.h"
#include "eval/attention/attention.h"
#include "eval/engines/chunked.h"
#include "eval/engines/limits.h"
#include "models/rotary.h"

namespace sinkbench {
namespace {

std::vector<int64_t> places(int64_t begin, int64_t end) {
  std::vector<int64_t> result(end - begin);
  std::iota(result.begin(), result.end(), begin);
  return result;
}

/// Of all rotaries of the model at places of the stream.
std::vector<RotaryTable> tables(const Decoder& decoder, int64_t begin, int64_t end) {
  std::vector<RotaryTable> result;
  for (const RotaryConfig& rotary : decoder.config().rotaries) {
    result.push_back(rotary_table(rotary, places(begin, end), decoder.accumulate_dtype(),
                                  decoder.options().device));
  }
  return result;
}

std::optional<AlibiTable> biases(const Decoder& decoder, const LayerViews& views, int64_t fed) {
  if (!decoder.config().alibi) return std::nullopt;
  return AlibiTable(*decoder.config().alibi, bias_places(views, 0, fed), decoder.accumulate_dtype(),
                    decoder.options().device);
}

}  // namespace

void check_keeps_all(const LayerViews& views, const StorageSpec& storage, int64_t fed) {
  for (int64_t kind = 0; kind < views.kinds(); ++kind) {
    for (int64_t t = 0; t <= fed; ++t) {
      if (size(views.view(kind, t)) == t) continue;
      throw InputError::format(
          "kv: {}: query {} of layer {} doesn't see all before it, and groups of keys are of "
          "tokens "
          "side by side, which evictions would tear; expected a policy that keeps all (dense), and "
          "a model without local windows",
          storage_label(storage), t, views.example(kind));
    }
  }
}

KiviChunkedEngine::KiviChunkedEngine(const Decoder& decoder, const IndexPolicy& policy,
                                     const StorageSpec& storage, int64_t chunk)
    : Engine(decoder),
      views_(policy, decoder.config()),
      kivi_(storage, decoder.config()),
      chunk_(chunk) {}

void KiviChunkedEngine::check(int64_t fed) const {
  check_views(views_, decoder_.config(), fed);
}

void KiviChunkedEngine::prepare() {
  const c10::InferenceMode inference;
  const DecoderConfig& config = decoder_.config();
  const at::Device device = decoder_.options().device;
  block_ = ChunkedEngine::block_size(config, chunk_, fed(), device);
  bias_ = biases(decoder_, views_, fed());
  for (auto* buffers : {&keys_, &values_, &decoded_values_}) {
    buffers->clear();
    for (int64_t layer = 0; layer < config.layers; ++layer) {
      buffers->push_back(
          at::empty({config.kv_heads, fed(), config.head_dim},
                    at::TensorOptions().dtype(decoder_.accumulate_dtype()).device(device)));
    }
  }
}

void KiviChunkedEngine::advance_piece(const RowSink& sink) {
  const c10::InferenceMode inference;
  const int64_t begin = next_;
  const int64_t end = std::min(begin + block_, fed());
  const at::Tensor x = run_block(begin, end);
  next_ = end;
  sink({.x = x, .first = begin});
}

at::Tensor KiviChunkedEngine::run_block(int64_t begin, int64_t end) {
  const DecoderConfig& config = decoder_.config();
  const auto integers = at::TensorOptions().dtype(at::kLong).device(decoder_.options().device);
  const std::vector<int64_t> wide(ids_.begin() + begin, ids_.begin() + end);
  const at::Tensor ids = at::tensor(wide, at::kLong).to(integers.device());
  at::Tensor x = decoder_.embed(ids, at::arange(begin, end, integers));
  const std::vector<RotaryTable> rotated = tables(decoder_, begin, end);
  const int64_t residual = kivi_.residual();
  for (int64_t layer = 0; layer < config.layers; ++layer) {
    const Projection projection = decoder_.project(layer, x);
    const int of = config.rotary_index(layer);
    const RotaryConfig* const rotary = config.rotary(layer);
    const RotaryTable table = of < 0 ? RotaryTable{} : rotated[of];
    place_heads(rotary, projection.key, table, keys_[layer].narrow(1, begin, end - begin));
    place_heads(nullptr, projection.value, {}, values_[layer].narrow(1, begin, end - begin));
    const at::Tensor query = at::empty({config.heads, end - begin, config.head_dim},
                                       projection.query.options().dtype(keys_[layer].dtype()));
    place_heads(rotary, projection.query, table, query);
    std::vector<at::Tensor> attended;
    for (int64_t first = begin; first < end;) {
      const int64_t last = std::min(end, kivi_.quantised_keys(first) + residual);
      attended.push_back(attend(layer, query.narrow(1, first - begin, last - first), first, last));
      if (last % residual == 0) {
        const at::Tensor block = keys_[layer].narrow(1, last - residual, residual);
        block.copy_(kivi_.decode_keys(kivi_.encode_keys(block).unsqueeze(1)));
      }
      first = last;
    }
    x = decoder_.finish(layer, x, at::cat(attended).to(decoder_.options().dtype));
  }
  return x;
}

at::Tensor KiviChunkedEngine::attend(int64_t layer, const at::Tensor& query, int64_t begin,
                                     int64_t end) {
  const DecoderConfig& config = decoder_.config();
  const at::Tensor &keys = keys_[layer], &values = values_[layer];
  const at::Tensor& decoded = decoded_values_[layer];
  // Values that the last of these queries sees quantised, the first may see as they are: the
  // buffer has both, one after the other, and a query's two ranges meet at its own border.
  const int64_t from = kivi_.quantised_values(begin), to = kivi_.quantised_values(end);
  if (to > from) {
    decoded.narrow(1, from, to - from)
        .copy_(kivi_.decode_values(kivi_.encode_values(values.narrow(1, from, to - from))));
  }
  const auto join = [&](const at::Tensor& quantised, const at::Tensor& newest) {
    return at::cat({quantised.narrow(1, 0, to), newest.narrow(1, from, end - from)}, 1);
  };
  const RangeView whole = {.query = query, .first = {}, .last = {}, .column = {}};
  AttentionInput input = {.ranges = {whole, whole},
                          .keys = join(keys, keys),
                          .values = join(decoded, values),
                          .bias = bias_ ? &*bias_ : nullptr,
                          .sink_logit = decoder_.sink_logit(layer),
                          .scale = config.attention_scale,
                          .score_cap = config.score_cap};
  RangeView &quantised = input.ranges[0], &newest = input.ranges[1];
  for (int64_t t = begin; t < end; ++t) {
    const int64_t border = kivi_.quantised_values(t);
    quantised.first.push_back(0);
    quantised.last.push_back(border);
    newest.first.push_back(to + border - from);
    newest.last.push_back(to + t + 1 - from);
    if (!bias_) continue;
    quantised.column.push_back(bias_->column(0, t));
    newest.column.push_back(bias_->column(border, t) - newest.first.back());
  }
  return sinkbench::attend(input);
}

std::vector<at::Tensor> KiviChunkedEngine::state() const {
  std::vector<at::Tensor> result;
  const int64_t quantised = kivi_.quantised_values(next_);
  for (size_t layer = 0; layer < keys_.size(); ++layer) {
    result.push_back(keys_[layer].narrow(1, 0, next_));
    result.push_back(values_[layer].narrow(1, quantised, next_ - quantised));
    result.push_back(decoded_values_[layer].narrow(1, 0, quantised));
  }
  return result;
}

void KiviChunkedEngine::restore(const std::vector<at::Tensor>& state) {
  copy_state(state, this->state());
}

KiviStepwiseEngine::KiviStepwiseEngine(const Decoder& decoder, const IndexPolicy& policy,
                                       const StorageSpec& storage)
    : Engine(decoder), views_(policy, decoder.config()), kivi_(storage, decoder.config()) {}

void KiviStepwiseEngine::check(int64_t fed) const {
  check_views(views_, decoder_.config(), fed);
}

void KiviStepwiseEngine::reset(int64_t fed) {
  const c10::InferenceMode inference;
  const DecoderConfig& config = decoder_.config();
  const auto there = at::TensorOptions().device(decoder_.options().device);
  const int64_t heads = config.kv_heads, room = std::min(fed, kivi_.residual());
  next_ = 0;
  bias_ = biases(decoder_, views_, fed);
  layers_.clear();
  for (int64_t layer = 0; layer < config.layers; ++layer) {
    const auto bytes = [&](std::vector<int64_t> sizes) {
      return at::empty(sizes, there.dtype(at::kByte));
    };
    const auto numbers = [&] {
      return at::empty({heads, room, config.head_dim}, there.dtype(decoder_.options().dtype));
    };
    layers_.push_back(
        {.key_blocks =
             bytes({heads, fed / kivi_.residual(), config.head_dim, kivi_.key_row_bytes()}),
         .newest_keys = numbers(),
         .value_bytes = bytes({heads, kivi_.quantised_values(fed), kivi_.value_row_bytes()}),
         .newest_values = numbers()});
  }
}

void KiviStepwiseEngine::fill(std::optional<int64_t> entries, int64_t fed, int64_t steps) {
  int64_t tokens = views_.tokens_to_fill(entries, fed);
  if (const int64_t rows = decoder_.config().learned_positions; rows > 0) {
    if (steps > rows) {  // each takes a place in its table
      throw InputError::format(
          "latency: {} steps, warm-up included, are more than the model's {} positions", steps,
          rows);
    }
    tokens = std::min(tokens, rows - steps);
  }
  reset(tokens + steps);
  next_ = tokens;
  const c10::InferenceMode inference;
  for (Layer& layer : layers_) {
    layer.newest_keys.normal_();
    layer.newest_values.normal_();
    // Bytes of one block of random numbers, over and over: what they are takes no time.
    const DecoderConfig& config = decoder_.config();
    const at::Tensor some = at::randn({config.kv_heads, kivi_.residual(), config.head_dim});
    if (layer.key_blocks.size(1) > 0) {
      layer.key_blocks.copy_(kivi_.encode_keys(some).unsqueeze(1).expand_as(layer.key_blocks));
    }
    layer.value_bytes.copy_(kivi_.encode_values(some.narrow(1, 0, 1)).expand_as(layer.value_bytes));
  }
}

void KiviStepwiseEngine::start(int64_t steps) {
  check(steps);
  reset(steps);
}

at::Tensor KiviStepwiseEngine::step(int32_t id) {
  const c10::InferenceMode inference;
  return decoder_.logits(step_row(id));
}

int64_t KiviStepwiseEngine::kv_bytes_held(int64_t fed) {
  reset(fed);
  size_t bytes = 0;
  for (const Layer& layer : layers_) {
    for (const at::Tensor* tensor :
         {&layer.key_blocks, &layer.newest_keys, &layer.value_bytes, &layer.newest_values}) {
      bytes += tensor->nbytes();
    }
  }
  return static_cast<int64_t>(bytes);
}

void KiviStepwiseEngine::advance_piece(const RowSink& sink) {
  const c10::InferenceMode inference;
  const int64_t t = next_;
  sink({.x = step_row(ids_[t]), .first = t});
}

at::Tensor KiviStepwiseEngine::step_row(int32_t id) {
  const DecoderConfig& config = decoder_.config();
  const int64_t t = next_++;
  const auto integers = at::TensorOptions().dtype(at::kLong).device(decoder_.options().device);
  at::Tensor x = decoder_.embed(at::full({1}, id, integers), at::full({1}, t, integers));
  const std::vector<RotaryTable> rotated = tables(decoder_, t, t + 1);
  for (int64_t layer = 0; layer < config.layers; ++layer) {
    Projection projection = decoder_.project(layer, x);
    const at::ScalarType exact = decoder_.accumulate_dtype();
    if (const int of = config.rotary_index(layer); of >= 0) {
      const RotaryConfig& rotary = config.rotaries[of];
      projection.query = rotate(rotary, projection.query.to(exact), rotated[of]);
      projection.key = rotate(rotary, projection.key.to(exact), rotated[of]);
    }
    const at::Tensor attended = attend(layers_[layer], layer, t, projection);
    x = decoder_.finish(layer, x, attended.to(decoder_.options().dtype));
  }
  return x;
}

at::Tensor KiviStepwiseEngine::attend(Layer& layer, int64_t l, int64_t t,
                                      const Projection& projection) {
  const DecoderConfig& config = decoder_.config();
  const at::ScalarType exact = decoder_.accumulate_dtype();
  const at::Device device = decoder_.options().device;
  const int64_t residual = kivi_.residual(), blocks = t / residual;
  const int64_t quantised = kivi_.quantised_values(t);
  const auto own = [&](const at::Tensor& x) { return x.to(exact).transpose(0, 1); };
  // In the order of tokens, the own one last.
  const at::Tensor keys =
      at::cat({kivi_.decode_keys(layer.key_blocks.narrow(1, 0, blocks)).to(exact),
               layer.newest_keys.narrow(1, 0, t % residual).to(exact), own(projection.key)},
              1);
  std::vector<int64_t> rows;
  for (int64_t p = quantised; p < t; ++p) rows.push_back(p % residual);
  const at::Tensor newest =
      layer.newest_values.index_select(1, at::tensor(rows, at::kLong).to(device));
  const at::Tensor values =
      at::cat({kivi_.decode_values(layer.value_bytes.narrow(1, 0, quantised)).to(exact),
               newest.to(exact), own(projection.value)},
              1);

  const int64_t share = config.heads / config.kv_heads;
  const at::Tensor query = projection.query.to(exact).view({config.kv_heads, share, -1});
  at::Tensor score =
      at::bmm(query, keys.transpose(1, 2)).mul_(config.attention_scale).view({config.heads, t + 1});
  cap_scores(score, config.score_cap);
  if (bias_) score += bias_->values().narrow(1, bias_->column(0, t), t + 1);
  if (const at::Tensor& sink = decoder_.sink_logit(l); sink.defined()) {
    score = at::cat({score, sink.to(exact).view({config.heads, 1})}, 1);
  }
  const at::Tensor weights = at::softmax(score, 1).narrow(1, 0, t + 1);
  const at::Tensor output = at::bmm(weights.reshape({config.kv_heads, share, t + 1}), values)
                                .view({1, config.heads * config.head_dim});

  const auto put = [&](const at::Tensor& held, const at::Tensor& row) {
    held.narrow(1, t % residual, 1).copy_(row.transpose(0, 1));
  };
  if (t >= residual) {  // the value whose row the own one takes
    const at::Tensor leaves = layer.newest_values.narrow(1, t % residual, 1);
    layer.value_bytes.narrow(1, t - residual, 1).copy_(kivi_.encode_values(leaves));
  }
  put(layer.newest_values, projection.value);
  put(layer.newest_keys, projection.key);
  if ((t + 1) % residual == 0) {
    layer.key_blocks.select(1, blocks).copy_(kivi_.encode_keys(layer.newest_keys));
  }
  return output;
}

std::vector<at::Tensor> KiviStepwiseEngine::state() const {
  std::vector<at::Tensor> result;
  const int64_t residual = kivi_.residual();
  for (const Layer& layer : layers_) {
    result.push_back(layer.key_blocks.narrow(1, 0, next_ / residual));
    result.push_back(layer.newest_keys.narrow(1, 0, next_ % residual));
    result.push_back(layer.value_bytes.narrow(1, 0, kivi_.quantised_values(next_)));
    result.push_back(layer.newest_values.narrow(1, 0, std::min(next_, residual)));
  }
  return result;
}

}  // namespace sinkbench
