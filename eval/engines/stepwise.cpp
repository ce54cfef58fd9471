#include "eval/engines/stepwise.h"

#include <ATen/ATen.h>
#include <c10/core/InferenceMode.h>

#include <algorithm>
#include <numeric>

#include "base/error.h"
#include "eval/attention/attention.h"
#include "eval/attention/attention_kernel.h"
#include "eval/attention/place_keys.h"
#include "eval/engines/limits.h"

namespace sinkbench {

namespace {

/// Keys [n, heads, head_dim] that are rotated already, row i by so many positions more.
at::Tensor turned(const RotaryConfig& rotary, const at::Tensor& keys,
                  const std::vector<int64_t>& positions) {
  at::Tensor result =
      rotate(rotary, keys, rotary_table(rotary, positions, keys.scalar_type(), keys.device()));
  if (rotary.magnitude != 1) result.narrow(-1, 0, rotary.dims).div_(rotary.magnitude);
  return result;
}

/// x [n, heads, head_dim], placed: [heads, n, head_dim] in float32.
at::Tensor head_by_head(const RotaryConfig* rotary, const at::Tensor& x, const RotaryTable& table) {
  at::Tensor result = at::empty({x.size(1), x.size(0), x.size(2)}, at::kFloat);
  place_heads(rotary, x, table, result);
  return result;
}

}  // namespace

StepwiseEngine::StepwiseEngine(const Decoder& decoder, const IndexPolicy& policy, bool planned,
                               const StorageSpec& storage)
    : Engine(decoder, storage),
      views_(policy, decoder.config()),
      kinds_(views_.kinds()),
      plans_(storage.is_native() && fused::takes_heads(decoder.config()) &&
             // Which experts there are to run is read back to the host, which no graph can.
             (planned || (fused::takes(decoder.options().device, decoder.options().dtype) &&
                          !decoder.config().experts))) {}

void StepwiseEngine::check(int64_t fed) const {
  check_views(views_, decoder_.config(), fed);
}

bool StepwiseEngine::uses_kernel() const {
  return decoder_.options().device.is_cpu() &&
         (decoder_.options().dtype == at::kFloat || decoder_.options().dtype == at::kBFloat16);
}

void StepwiseEngine::reset(int64_t fed) {
  const DecoderConfig& config = decoder_.config();
  const at::Device device = decoder_.options().device;
  next_ = 0;
  fed_ = fed;
  planned_.reset();
  ahead_.reset();
  cache_.reset();  // before the new one is allocated
  placed_.reset();
  std::vector<int64_t> slots(config.layers);
  int64_t most_placed = 0;
  for (int64_t k = 0; k < views_.kinds(); ++k) {
    Kind& kind = kinds_[k];
    const int64_t kept = views_.kept(k, fed);
    kind.slots = SlotMap(views_.view(k, 0));
    kind.room = kept;
    kind.rotary = config.rotary(views_.example(k));
    kind.placing = Placing::by_range;
    if (views_.scattered(k, fed)) {
      kind.placing = views_.positions(k) == Positions::cache ? Placing::by_rank : Placing::as_is;
    }
    kind.ranks = {};
    if (kind.placing == Placing::by_rank && kind.rotary != nullptr) {
      std::vector<int64_t> ranks(kept + 1);
      std::iota(ranks.begin(), ranks.end(), 0);
      kind.ranks = rotary_table(*kind.rotary, ranks, decoder_.accumulate_dtype(), device);
      most_placed = std::max(most_placed, kept);
    }
    if (config.alibi) {
      kind.bias.emplace(*config.alibi, bias_places(views_, k, fed), decoder_.accumulate_dtype(),
                        device);
    }
    for (int64_t layer = 0; layer < config.layers; ++layer) {
      if (views_.kind(layer) == k) slots[layer] = kept;
    }
  }
  cache_ = std::make_unique<KvCache>(config, slots, decoder_.options(), storage_);
  if (plans_) {
    std::vector<PlannedStep::Kind> planned;
    for (const Kind& kind : kinds_) {
      if (kind.placing != Placing::by_rank) planned.push_back({kind.room, kind.rotary});
    }
    std::vector<int64_t> kind_of_layer;
    for (int64_t layer = 0; layer < config.layers; ++layer) {
      kind_of_layer.push_back(views_.kind(layer));
    }
    if (planned.size() == kinds_.size()) {
      planned_.emplace(decoder_, *cache_, planned, kind_of_layer);
    }
  }
  if (most_placed > 0) {
    placed_ = at::empty({config.kv_heads * most_placed * config.head_dim},
                        at::TensorOptions().dtype(decoder_.accumulate_dtype()).device(device));
  }
}

void StepwiseEngine::fill(std::optional<int64_t> entries, int64_t fed, int64_t steps) {
  int64_t tokens = views_.tokens_to_fill(entries, fed);
  if (const int64_t rows = decoder_.config().learned_positions; rows > 0) {
    if (steps > rows) {  // each takes a place in its table
      throw InputError::format(
          "latency: {} steps, warm-up included, are more than the model's {} "
          "positions",
          steps, rows);
    }
    tokens = std::min(tokens, rows - steps);
  }
  reset(tokens + steps);
  const c10::InferenceMode inference;
  for (int64_t k = 0; k < views_.kinds(); ++k) {
    for (int64_t t = 0; t < tokens; ++t) kinds_[k].slots.advance(t, views_.view(k, t + 1));
  }
  next_ = tokens;
  for (int64_t layer = 0; layer < decoder_.config().layers; ++layer) {
    const auto at_random = [&](at::Tensor& held, const Codec* codec) {
      if (codec == nullptr) {
        held.normal_();
      } else {
        held.copy_(encode_rows(
            *codec,
            at::randn({held.size(0), held.size(1), decoder_.config().head_dim}, at::kFloat)));
      }
    };
    at_random(cache_->keys(layer), storage_.keys());
    at_random(cache_->values(layer), storage_.values());
  }
}

int64_t StepwiseEngine::kv_bytes_held(int64_t fed) {
  reset(fed);
  return kv_bytes_held();
}

void StepwiseEngine::start(int64_t steps) {
  const c10::InferenceMode inference;
  check(steps);
  reset(steps);
}

at::Tensor StepwiseEngine::step(int32_t id) {
  const c10::InferenceMode inference;
  return decoder_.logits(step_row(id));
}

StepwiseEngine::Step StepwiseEngine::begin_step(int64_t k, int64_t t) {
  const at::Device device = decoder_.options().device;
  Kind& kind = kinds_[k];
  const View& view = kind.slots.view();
  Step step;
  std::vector<int64_t> places;  // of the query for each range
  int64_t own = t;
  switch (kind.placing) {
    case Placing::by_range:
      step.segments = kind.slots.segments();
      places = query_positions(view, t, views_.positions(k));
      break;
    case Placing::as_is:
      step.segments = kind.slots.runs();
      places = {t};
      break;
    case Placing::by_rank:
      step.segments = kind.slots.runs();
      step.ranked = kind.slots.ranked();
      step.tokens.assign(kind.slots.tokens().begin(), kind.slots.tokens().end());
      own = static_cast<int64_t>(step.ranked.size());
      places = {own};
      break;
  }
  if (kind.bias) {
    const std::span<const int64_t> tokens = kind.slots.tokens();
    std::vector<int64_t> columns(kind.room, 0);
    for (const Segment& segment : step.segments) {
      for (int64_t slot = segment.slot; slot < segment.slot + segment.size; ++slot) {
        columns[slot] = kind.bias->column(tokens[slot], places[segment.range]);
      }
    }
    for (size_t rank = 0; rank < step.ranked.size(); ++rank) {
      columns[step.ranked[rank]] = kind.bias->column(static_cast<int64_t>(rank), own);
    }
    step.bias = kind.bias->values().index_select(1, at::tensor(columns, at::kLong).to(device));
  }
  step.rows = static_cast<int64_t>(places.size()) + 1;
  step.own_place = own;
  if (kind.rotary != nullptr && kind.placing == Placing::by_rank) {
    const auto at_rank = [&](const at::Tensor& rows) { return rows.narrow(0, own, 1); };
    step.own = {at_rank(kind.ranks.cosine), at_rank(kind.ranks.sine)};
    const auto twice = [](const at::Tensor& row) { return row.expand({2, -1}).contiguous(); };
    step.table = {twice(step.own.cosine), twice(step.own.sine)};
  } else if (kind.rotary != nullptr) {
    places.push_back(own);
    step.table = rotary_table(*kind.rotary, places, decoder_.accumulate_dtype(), device);
    step.own = {step.table.cosine.narrow(0, step.rows - 1, 1),
                step.table.sine.narrow(0, step.rows - 1, 1)};
  }
  step.slot = kind.slots.advance(t, views_.view(k, t + 1));
  return step;
}

StepwiseEngine::Planned StepwiseEngine::plan_step(int64_t t) const {
  Planned plan{.t = t, .seen = {}, .after = {}};
  for (int64_t k = 0; k < views_.kinds(); ++k) {
    const Kind& kind = kinds_[k];
    const View& view = kind.slots.view();
    const bool by_range = kind.placing == Placing::by_range;
    PlannedStep::Seen seen{.range_of_slot = std::vector<uint8_t>(kind.room, fused::free_slot),
                           .used = static_cast<int64_t>(kind.slots.tokens().size())};
    seen.places.fill(t);
    if (by_range) {
      const std::vector<int64_t> places = query_positions(view, t, views_.positions(k));
      std::copy(places.begin(), places.end(), seen.places.begin());
    }
    for (const Segment& run : by_range ? kind.slots.segments() : kind.slots.runs()) {
      std::fill_n(seen.range_of_slot.begin() + run.slot, run.size, static_cast<uint8_t>(run.range));
    }
    if (kind.bias) {
      seen.tokens.assign(kind.room, 0);
      std::copy(kind.slots.tokens().begin(), kind.slots.tokens().end(), seen.tokens.begin());
    }
    plan.after.push_back(kind.slots);
    seen.slot = plan.after.back().advance(t, views_.view(k, t + 1));
    plan.seen.push_back(std::move(seen));
  }
  return plan;
}

at::Tensor StepwiseEngine::planned_row(int32_t id) {
  const int64_t t = next_++;
  const auto prepare = [&](int64_t at) {
    ahead_ = plan_step(at);
    planned_->prepare(at, ahead_->seen);
  };
  if (!ahead_ || ahead_->t != t) prepare(t);
  for (int64_t k = 0; k < views_.kinds(); ++k) kinds_[k].slots = std::move(ahead_->after[k]);
  ahead_.reset();
  const at::Tensor x = planned_->run(id);
  if (decoder_.options().device.is_cuda() && next_ < fed_) prepare(next_);
  return x;
}

at::Tensor StepwiseEngine::step_row(int32_t id) {
  if (planned_) return planned_row(id);
  const DecoderConfig& config = decoder_.config();
  const at::Device device = decoder_.options().device;
  const int64_t t = next_++;
  std::vector<Step> steps;
  for (int64_t k = 0; k < views_.kinds(); ++k) steps.push_back(begin_step(k, t));

  const auto integers = at::TensorOptions().dtype(at::kLong).device(device);
  at::Tensor x = decoder_.embed(at::full({1}, id, integers), at::full({1}, t, integers));
  for (int64_t layer = 0; layer < config.layers; ++layer) {
    const Kind& kind = kinds_[views_.kind(layer)];
    const Step& step = steps[views_.kind(layer)];
    const Projection projection = decoder_.project(layer, x);
    at::Tensor key = projection.key, value = projection.value;
    at::Tensor stored_key, stored_value;
    const bool by_rank = kind.placing == Placing::by_rank && kind.rotary != nullptr;
    if (storage_.keys() != nullptr) {
      // Stored as it is at its place in the stream, and then put where the query stands.
      const std::vector<int64_t> place = {t};
      key = key.to(decoder_.accumulate_dtype());
      if (kind.rotary != nullptr) {
        key = rotate(*kind.rotary, key,
                     rotary_table(*kind.rotary, place, decoder_.accumulate_dtype(), device));
      }
      stored_key = store(*storage_.keys(), key);
      if (by_rank) key = turned(*kind.rotary, key, {step.own_place - t});
    } else {
      const at::Tensor before = key;
      if (uses_kernel()) {  // which takes what isn't rounded
        key = head_by_head(kind.rotary, key, step.own).view(key.sizes());
      } else if (kind.rotary != nullptr) {
        key = rotate(*kind.rotary, key, step.own);
      }
      stored_key = by_rank ? before : key;
    }
    stored_value = value;
    if (storage_.values() != nullptr) {
      value = value.to(decoder_.accumulate_dtype());
      stored_value = store(*storage_.values(), value);
    }
    if (t < storage_.zero_values()) {
      at::Tensor nothing = at::zeros_like(value);
      stored_value = storage_.values() != nullptr ? store(*storage_.values(), nothing) : nothing;
    }
    const at::Tensor keys = placed_keys(kind, step, layer);
    const at::Tensor values = held_values(kind, layer);
    const at::Tensor query = projection.query.expand({step.rows, config.heads, config.head_dim});
    const at::Tensor attended =
        uses_kernel() ? attend_by_kernel(kind, step, layer, keys, values, query, key, value)
                      : attend_by_tensors(kind, step, layer, keys, values, query, key, value);
    if (step.slot >= 0) cache_->put(layer, step.slot, stored_key, stored_value);
    x = decoder_.finish(layer, x, attended);
  }
  return x;
}

at::Tensor StepwiseEngine::store(const Codec& codec, at::Tensor& row) {
  const at::Tensor bytes = encode_rows(codec, row);
  row = decode_rows(codec, bytes, row.size(-1)).to(row.scalar_type());
  return bytes;
}

at::Tensor StepwiseEngine::held_values(const Kind& kind, int64_t layer) {
  const at::Tensor& values = cache_->values(layer);
  if (storage_.values() == nullptr) return values;
  const auto used = static_cast<int64_t>(kind.slots.tokens().size());
  return decode_slots(*storage_.values(), values, used, decoder_.config().head_dim);
}

at::Tensor StepwiseEngine::moved_keys(const Kind& kind, const Step& step, const at::Tensor& keys) {
  std::vector<int64_t> by(keys.size(1), 0);
  for (size_t rank = 0; rank < step.ranked.size(); ++rank) {
    const int64_t slot = step.ranked[rank];
    by[slot] = static_cast<int64_t>(rank) - step.tokens[slot];
  }
  return turned(*kind.rotary, keys.transpose(0, 1), by).transpose(0, 1).contiguous();
}

at::Tensor StepwiseEngine::placed_keys(const Kind& kind, const Step& step, int64_t layer) {
  const DecoderConfig& config = decoder_.config();
  const at::Tensor& keys = cache_->keys(layer);
  if (storage_.keys() != nullptr) {
    const auto used = static_cast<int64_t>(kind.slots.tokens().size());
    const at::Tensor held =
        decode_slots(*storage_.keys(), keys, used, config.head_dim).to(decoder_.accumulate_dtype());
    const bool moves = kind.placing == Placing::by_rank && kind.rotary != nullptr;
    return moves ? moved_keys(kind, step, held) : held;
  }
  if (kind.placing != Placing::by_rank || kind.rotary == nullptr) return keys;
  const int64_t slots = keys.size(1);
  const at::Tensor placed = placed_.narrow(0, 0, config.kv_heads * slots * config.head_dim)
                                .view({config.kv_heads, slots, config.head_dim});
  if (uses_kernel()) {
    place_keys({.kv_heads = config.kv_heads,
                .slots = slots,
                .head_dim = config.head_dim,
                .bfloat16 = keys.scalar_type() == at::kBFloat16,
                .key = keys.data_ptr(),
                .ranked = step.ranked,
                .rotated = kind.rotary->dims,
                .cosine = kind.ranks.cosine.data_ptr<float>(),
                .sine = kind.ranks.sine.data_ptr<float>(),
                .placed = placed.data_ptr<float>()});
    return placed;
  }
  const int64_t n = static_cast<int64_t>(step.ranked.size());
  const at::Tensor index = at::tensor(step.ranked, at::kLong).to(keys.device());
  const at::Tensor rotated =
      rotate(*kind.rotary, keys.index_select(1, index).to(placed.scalar_type()).transpose(0, 1),
             {kind.ranks.cosine.narrow(0, 0, n), kind.ranks.sine.narrow(0, 0, n)});
  placed.index_copy_(1, index, rotated.transpose(0, 1));
  return placed;
}

at::Tensor StepwiseEngine::attend_by_kernel(const Kind& kind, const Step& step, int64_t layer,
                                            const at::Tensor& keys, const at::Tensor& values,
                                            const at::Tensor& query, const at::Tensor& own_key,
                                            const at::Tensor& own_value) {
  const DecoderConfig& config = decoder_.config();
  const at::Tensor queries = head_by_head(kind.rotary, query, step.table);
  const at::Tensor key = own_key.contiguous();
  const at::Tensor value = head_by_head(nullptr, own_value, {});
  const at::Tensor sink_logit = decoder_.sink_logit(layer);
  const at::Tensor output =
      at::empty({1, config.heads * config.head_dim}, decoder_.options().dtype);
  attend_one({.heads = config.heads,
              .kv_heads = config.kv_heads,
              .head_dim = config.head_dim,
              .ranges = step.rows - 1,
              .query = queries.data_ptr<float>(),
              .slots = keys.size(1),
              .bfloat16_keys = keys.scalar_type() == at::kBFloat16,
              .bfloat16_values = values.scalar_type() == at::kBFloat16,
              .key = keys.data_ptr(),
              .value = values.data_ptr(),
              .segments = step.segments,
              .bias = step.bias.defined() ? step.bias.data_ptr<float>() : nullptr,
              .own_key = key.data_ptr<float>(),
              .own_value = value.data_ptr<float>(),
              .scale = static_cast<float>(config.attention_scale),
              .score_cap = static_cast<float>(config.score_cap),
              .sink_logit = sink_logit.defined() ? sink_logit.data_ptr<float>() : nullptr,
              .bfloat16_output = output.scalar_type() == at::kBFloat16,
              .output = output.data_ptr()});
  return output;
}

at::Tensor StepwiseEngine::attend_by_tensors(const Kind& kind, const Step& step, int64_t layer,
                                             const at::Tensor& cached, const at::Tensor& held,
                                             const at::Tensor& query, const at::Tensor& own_key,
                                             const at::Tensor& own_value) {
  const DecoderConfig& config = decoder_.config();
  const at::Tensor queries =
      kind.rotary != nullptr ? rotate(*kind.rotary, query, step.table) : query;
  const at::ScalarType dtype = decoder_.accumulate_dtype();
  const int64_t share = config.heads / config.kv_heads;
  // Query heads that share a key head are the rows of one small product.
  const auto rows = [&](int64_t i) {
    return queries[i].to(dtype).view({config.kv_heads, share, config.head_dim});
  };
  std::vector<at::Tensor> scores, values;
  for (const Segment& segment : step.segments) {
    const at::Tensor keys = cached.narrow(1, segment.slot, segment.size).to(dtype);
    at::Tensor score = at::bmm(rows(static_cast<int64_t>(segment.range)), keys.transpose(1, 2))
                           .mul_(config.attention_scale)
                           .view({config.heads, -1});
    cap_scores(score, config.score_cap);
    if (step.bias.defined()) score += step.bias.narrow(1, segment.slot, segment.size);
    scores.push_back(score);
    values.push_back(held.narrow(1, segment.slot, segment.size).to(dtype));
  }
  scores.push_back(at::bmm(rows(queries.size(0) - 1),
                           own_key.to(dtype).view({config.kv_heads, config.head_dim, 1}))
                       .mul_(config.attention_scale)
                       .view({config.heads, 1}));
  cap_scores(scores.back(), config.score_cap);
  values.push_back(own_value.to(dtype).view({config.kv_heads, 1, config.head_dim}));
  if (decoder_.sink_logit(layer).defined()) {
    scores.push_back(decoder_.sink_logit(layer).to(dtype).view({config.heads, 1}));
    values.push_back(at::zeros({config.kv_heads, 1, config.head_dim}, values.back().options()));
  }
  const at::Tensor weights = at::softmax(at::cat(scores, 1), 1);
  return at::bmm(weights.view({config.kv_heads, share, -1}), at::cat(values, 1))
      .view({1, config.heads * config.head_dim})
      .to(decoder_.options().dtype);
}

void StepwiseEngine::advance_piece(const RowSink& sink) {
  const c10::InferenceMode inference;
  const int64_t t = next_;
  sink({.x = step_row(ids_[t]), .first = t});
}

std::vector<at::Tensor> StepwiseEngine::state() const {
  std::vector<at::Tensor> result;
  for (int64_t layer = 0; layer < decoder_.config().layers; ++layer) {
    const int64_t slots = static_cast<int64_t>(kinds_[views_.kind(layer)].slots.tokens().size());
    result.push_back(cache_->keys(layer).narrow(1, 0, slots));
    result.push_back(cache_->values(layer).narrow(1, 0, slots));
  }
  return result;
}

void StepwiseEngine::restore(const std::vector<at::Tensor>& state) {
  ahead_.reset();
  for (int64_t k = 0; k < views_.kinds(); ++k) {
    kinds_[k].slots = SlotMap(views_.view(k, 0));
    for (int64_t t = 0; t < next_; ++t) kinds_[k].slots.advance(t, views_.view(k, t + 1));
  }
  copy_state(state, this->state());
}

}  // namespace sinkbench
