#include "eval/engines/scored_stepwise.h"

#include <ATen/ATen.h>
#include <c10/core/InferenceMode.h>

#include <algorithm>
#include <cmath>

#include "eval/engines/limits.h"

namespace sinkbench {
namespace {

/// x [n, head_dim] with row i rotated by place[i].
at::Tensor rotated(const RotaryConfig* rotary, const at::Tensor& x, const at::Tensor& place) {
  if (rotary == nullptr) return x;
  const int64_t half = rotary->dims / 2, rest = x.size(1) - rotary->dims;
  const at::Tensor angle =
      at::outer(place.to(at::kDouble), at::tensor(rotary->inverse_frequencies, at::kDouble));
  const at::Tensor cosine = (angle.cos() * rotary->magnitude).to(x.scalar_type());
  const at::Tensor sine = (angle.sin() * rotary->magnitude).to(x.scalar_type());
  const at::Tensor a = x.narrow(1, 0, half), b = x.narrow(1, half, half);
  return at::cat({a * cosine - b * sine, b * cosine + a * sine, x.narrow(1, rotary->dims, rest)},
                 1);
}

std::span<const double> numbers(const at::Tensor& t) {
  return {t.data_ptr<double>(), static_cast<size_t>(t.numel())};
}

}  // namespace

ScoredStepwiseEngine::ScoredStepwiseEngine(const Decoder& decoder, const Policy& policy,
                                           const DecisionOptions& decisions)
    : Engine(decoder),
      rules_(policy, decoder.config()),
      decisions_(decisions, decoder.config().layers, decoder.config().kv_heads) {}

void ScoredStepwiseEngine::check(int64_t fed) const {
  check_rules(rules_, decoder_.config(), fed);
}

void ScoredStepwiseEngine::prepare() {
  const c10::InferenceMode inference;
  decisions_.begin_piece(static_cast<int64_t>(piece()));
  const DecoderConfig& config = decoder_.config();
  const int64_t K = config.kv_heads, d = config.head_dim;
  const auto exact = at::TensorOptions().dtype(decoder_.accumulate_dtype());
  entries_.clear();
  for (int64_t layer = 0; layer < config.layers; ++layer) {
    const ScorePolicy* score = rules_.score(layer);
    const Needs needs = score != nullptr ? needs_of(*score) : Needs{};
    entries_.push_back({.place = at::zeros({K, 0}, at::kLong),
                        .frozen = at::zeros({K, 0}, at::kLong),
                        .key = at::zeros({K, 0, d}, exact),
                        .value = at::zeros({K, 0, d}, exact),
                        .sum = at::zeros({K, 0}, at::kDouble),
                        .squares = at::zeros({K, 0}, at::kDouble),
                        .rows = at::zeros({K, 0, needs.rows}, at::kDouble),
                        .own = at::zeros({K, 0, needs.own}, at::kDouble),
                        .queries = at::zeros({config.heads, 0, d}, at::kDouble)});
  }
}

std::vector<at::Tensor> ScoredStepwiseEngine::state() const {
  std::vector<at::Tensor> result;
  for (Entries layer : entries_) {
    for (const at::Tensor* part : layer.parts()) result.push_back(*part);
    result.push_back(layer.queries);
  }
  return result;
}

void ScoredStepwiseEngine::restore(const std::vector<at::Tensor>& state) {
  for (size_t layer = 0; layer < entries_.size(); ++layer) {
    for (at::Tensor* part : entries_[layer].parts()) {
      std::vector<int64_t> sizes = part->sizes().vec();
      sizes[1] = rules_.kept(static_cast<int64_t>(layer), next_);
      *part = at::zeros(sizes, part->options());
    }
    const ScorePolicy* score = rules_.score(static_cast<int64_t>(layer));
    if (score == nullptr || !needs_of(*score).queries) continue;
    std::vector<int64_t> sizes = entries_[layer].queries.sizes().vec();
    sizes[1] = next_;
    entries_[layer].queries = at::zeros(sizes, at::kDouble);
  }
  copy_state(state, this->state());
}

void ScoredStepwiseEngine::advance_piece(const RowSink& sink) {
  const c10::InferenceMode inference;
  const int64_t t = next_++;
  const at::Device device = decoder_.options().device;
  at::Tensor x =
      decoder_.embed(at::full({1}, ids_[t], at::TensorOptions().dtype(at::kLong).device(device)));
  for (int64_t layer = 0; layer < decoder_.config().layers; ++layer) {
    const at::Tensor attended = attend(layer, t, decoder_.project(layer, x));
    x = decoder_.finish(layer, x, attended.to(device, decoder_.options().dtype));
  }
  decisions_.flush();
  sink({.x = x, .first = t});
}

at::Tensor ScoredStepwiseEngine::attend(int64_t layer, int64_t t, const Projection& projection) {
  const DecoderConfig& config = decoder_.config();
  const at::ScalarType dtype = decoder_.accumulate_dtype();
  const auto here = [&](const at::Tensor& x) { return x[0].to(at::kCPU, dtype).unsqueeze(1); };
  const int64_t K = config.kv_heads, group = config.heads / K;
  Entries& e = entries_[layer];
  const int64_t n = e.place.size(1) + 1;
  e.frozen = at::cat({e.frozen, at::full({K, 1}, n - 1, at::kLong)}, 1);
  e.place = at::cat({e.place, at::full({K, 1}, t, at::kLong)}, 1);
  e.key = at::cat({e.key, here(projection.key)}, 1);
  e.value = at::cat({e.value, here(projection.value)}, 1);
  for (at::Tensor* numbers : {&e.sum, &e.squares, &e.rows, &e.own}) {
    std::vector<int64_t> one = numbers->sizes().vec();
    one[1] = 1;
    *numbers = at::cat({*numbers, at::zeros(one, at::kDouble)}, 1);
  }

  const at::Tensor query = here(projection.query);  // [heads, 1, head_dim]
  if (rules_.score(layer) != nullptr && needs_of(*rules_.score(layer)).queries) {
    e.queries = at::cat({e.queries, query.to(at::kDouble)}, 1);
  }
  std::vector<at::Tensor> outputs, weights;
  for (int64_t head = 0; head < config.heads; ++head) {
    const int64_t h = head / group;
    at::Tensor where;
    switch (rules_.positions(layer)) {
      case Positions::cache:
        where = at::arange(n, at::kLong);
        break;
      case Positions::original:
        where = e.place[h];
        break;
      case Positions::frozen:
        where = e.frozen[h];
        break;
      case Positions::capped:  // as places from which the query at t stands so far
        where = t - at::clamp_max(t - e.place[h], rules_.cap());
        break;
    }
    const at::Tensor keys = rotated(config.rotary(layer), e.key[h], where);
    const at::Tensor own = where.narrow(0, n - 1, 1);
    at::Tensor scores = at::matmul(keys, rotated(config.rotary(layer), query[head], own)[0]) *
                        config.attention_scale;
    if (config.score_cap != 0.0) {
      scores = config.score_cap * (scores / config.score_cap).tanh();
    }
    if (config.alibi) {
      scores = scores - ((own - where).to(at::kDouble) * config.alibi->slopes[head]).to(dtype);
    }
    if (decoder_.sink_logit(layer).defined()) {
      const at::Tensor logit = decoder_.sink_logit(layer)[head].to(at::kCPU, dtype).view({1});
      scores = at::cat({scores, logit});
    }
    const at::Tensor weight = at::softmax(scores, 0).narrow(0, 0, n);
    outputs.push_back(at::matmul(weight, e.value[h]));
    weights.push_back(weight.to(at::kDouble));
  }
  const at::Tensor all = at::stack(weights).view({K, group, n});
  at::Tensor reduced = all.mean(1);
  if (const ScorePolicy* score = rules_.score(layer)) {
    const Retention& retention = score->retention();
    if (retention.scope == Retention::Scope::layer) {
      reduced = all.mean(at::IntArrayRef{0, 1}).expand({K, n}).contiguous();
    } else if (retention.reduce == Retention::Reduce::max) {
      reduced = all.amax(1);
    }
  }
  evict(layer, t, reduced.contiguous());
  return at::cat(outputs).view({1, config.heads * config.head_dim});
}

void ScoredStepwiseEngine::evict(int64_t layer, int64_t t, const at::Tensor& reduced) {
  const DecoderConfig& config = decoder_.config();
  const int64_t K = config.kv_heads;
  Entries& e = entries_[layer];
  const int64_t n = e.place.size(1);
  const ScorePolicy* score = rules_.score(layer);
  std::vector<at::Tensor> stay;
  if (score == nullptr) {
    const View view = rules_.view(layer, t + 1);
    at::Tensor seen = at::zeros({n}, at::kBool);
    for (const Range& range : view) {
      seen = seen.logical_or(e.place[0].ge(range.begin).logical_and(e.place[0].lt(range.end)));
    }
    stay.assign(K, seen.nonzero().view({-1}));
  } else {
    const Needs needs = needs_of(*score);
    e.sum = e.sum * needs.decay + reduced;
    e.squares = e.squares + reduced * reduced;
    if (needs.rows > 0) e.rows.select(2, t % needs.rows).copy_(reduced);
    for (int64_t h = 0; needs.own > 0 && h < K; ++h) {
      const at::Tensor place = e.place[h].contiguous(), weights = reduced[h].contiguous();
      at::Tensor own = e.own[h].t().contiguous();
      score->observe({.layer = layer,
                      .head = h,
                      .t = t,
                      .place = {place.data_ptr<int64_t>(), static_cast<size_t>(n)},
                      .weights = numbers(weights)},
                     {own.data_ptr<double>(), n});
      e.own[h].copy_(own.t());
    }
    if ((t + 1) % score->retention().every != 0) return;
    const bool by_layer = score->retention().scope == Retention::Scope::layer;
    for (int64_t h = 0; h < K; ++h) {
      if (by_layer && h > 0) {
        stay.push_back(stay.front());
        continue;
      }
      const at::Tensor keys =
          rotated(config.rotary(layer), e.key[h].to(at::kDouble), e.place[h]).contiguous();
      std::vector<double> entry_score;
      for (int64_t j = 0; needs.entry_score && j < n; ++j) {
        const at::Tensor key = e.key[h][j].to(at::kDouble).contiguous();
        entry_score.push_back(
            score->enter({.layer = layer,
                          .head = h,
                          .place = e.place[h][j].item<int64_t>(),
                          .key = numbers(key),
                          .rotated = needs.keys ? numbers(keys[j]) : std::span<const double>()}));
      }
      const at::Tensor place = e.place[h].contiguous(), sum = e.sum[h].contiguous();
      const at::Tensor squares = e.squares[h].contiguous(), own = e.own[h].t().contiguous();
      // With all heads keeping the same tokens: their values one after another.
      const at::Tensor values = (by_layer ? e.value.transpose(0, 1).reshape({n, -1}) : e.value[h])
                                    .to(at::kDouble)
                                    .contiguous();
      QueryMoments queries;
      Rotation rotation;
      at::Tensor query_sum, query_products;
      if (needs.queries) {
        const int64_t group = config.heads / K, sinks = std::min(score->retention().sinks, t + 1);
        const at::Tensor q = e.queries.narrow(0, h * group, group).narrow(1, sinks, t + 1 - sinks);
        query_sum = q.sum(1).contiguous();
        query_products = at::matmul(q.transpose(1, 2), q).contiguous();
        queries = {
            .count = t + 1 - sinks, .sum = numbers(query_sum), .products = numbers(query_products),
                   .scale = config.attention_scale};
        if (const RotaryConfig* rotary = config.rotary(layer)) {
          rotation = {.frequencies = rotary->inverse_frequencies, .magnitude = rotary->magnitude};
        }
      }
      const at::Tensor last = reduced[h].contiguous(), rows = e.rows[h].t().contiguous();
      const Round round = {.layer = layer,
                           .head = h,
                           .next = t + 1,
                           .keep = score->retention().capacity_of(layer),
                           .place = {place.data_ptr<int64_t>(), static_cast<size_t>(n)},
                           .sum = needs.sum ? numbers(sum) : std::span<const double>(),
                           .squares = needs.squares ? numbers(squares) : std::span<const double>(),
                           .last = needs.last ? numbers(last) : std::span<const double>(),
                           .rows = {rows.data_ptr<double>(), n},
                           .row_count = std::min(needs.rows, t + 1),
                           .own = {own.data_ptr<double>(), n},
                           .keys = needs.keys ? numbers(keys) : std::span<const double>(),
                           .head_dim = config.head_dim,
                           .values = needs.values ? numbers(values) : std::span<const double>(),
                           .value_dim = values.size(1),
                           .entry_score = entry_score,
                           .queries = queries,
                           .rotation = rotation};
      at::Tensor kept = at::ones({n}, at::kBool);
      for (const int64_t i : decisions_.decide(*score, round, by_layer ? K : 1)) kept[i] = false;
      stay.push_back(kept.nonzero().view({-1}));
    }
  }
  for (at::Tensor* part : e.parts()) {
    std::vector<at::Tensor> heads;
    for (int64_t h = 0; h < K; ++h) heads.push_back((*part)[h].index_select(0, stay[h]));
    *part = at::stack(heads);
  }
}

}  // namespace sinkbench
