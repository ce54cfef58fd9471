#include "eval/engines/scored_stepwise.h"

#include <ATen/ATen.h>
#include <c10/core/InferenceMode.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <stdexcept>

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
                                           const EngineOptions& options)
    : Engine(decoder, options.storage),
      rules_(policy, decoder.config()),
      decisions_(options.decisions, decoder.config().layers, decoder.config().kv_heads) {}

void ScoredStepwiseEngine::check(int64_t fed) const {
  check_rules(rules_, decoder_.config(), fed);
}

void ScoredStepwiseEngine::prepare() {
  const c10::InferenceMode inference;
  decisions_.begin_piece(static_cast<int64_t>(piece()));
  const DecoderConfig& config = decoder_.config();
  const int64_t d = config.head_dim;
  const auto exact = at::TensorOptions().dtype(decoder_.accumulate_dtype());
  entries_.clear();
  for (int64_t layer = 0; layer < config.layers; ++layer) {
    const ScorePolicy* score = rules_.score(layer);
    const Needs needs = score != nullptr ? needs_of(*score) : Needs{};
    entries_.emplace_back();
    for (int64_t h = 0; h < config.kv_heads; ++h) {
      entries_.back().push_back(
          {.place = at::zeros({0}, at::kLong),
           .frozen = at::zeros({0}, at::kLong),
           .key = at::zeros({0, d}, exact),
           .value = at::zeros({0, d}, exact),
           .sum = at::zeros({0}, at::kDouble),
           .squares = at::zeros({0}, at::kDouble),
           .rows = at::zeros({0, needs.rows}, at::kDouble),
           .own = at::zeros({0, needs.own}, at::kDouble),
           .queries = at::zeros({config.heads / config.kv_heads, 0, d}, at::kDouble)});
    }
  }
}

std::vector<at::Tensor> ScoredStepwiseEngine::state() const {
  std::vector<at::Tensor> result;
  for (const std::vector<Entries>& layer : entries_) {
    for (Entries head : layer) {
      for (const at::Tensor* part : head.parts()) result.push_back(*part);
      result.push_back(head.queries);
    }
  }
  return result;
}

void ScoredStepwiseEngine::restore(const std::vector<at::Tensor>& state) {
  const auto with_size = [](const at::Tensor& like, int64_t dimension, int64_t size) {
    std::vector<int64_t> sizes = like.sizes().vec();
    sizes[dimension] = size;
    return at::zeros(sizes, like.options());
  };
  size_t at = 0;  // of the state's tensors, the first of a head
  for (size_t l = 0; l < entries_.size(); ++l) {
    const auto layer = static_cast<int64_t>(l);
    const ScorePolicy* score = rules_.score(layer);
    for (int64_t h = 0; h < std::ssize(entries_[l]); ++h) {
      Entries& head = entries_[l][h];
      int64_t n = rules_.kept(layer, h, next_);
      if (rules_.adaptive(layer) && at < state.size() && state[at].dim() == 1) {
        n = state[at].size(0);
      }
      for (at::Tensor* part : head.parts()) *part = with_size(*part, 0, n);
      if (score != nullptr && needs_of(*score).queries) {
        head.queries = with_size(head.queries, 1, next_);
      }
      at += head.parts().size() + 1;
    }
  }
  copy_state(state, this->state());
}

void ScoredStepwiseEngine::advance_piece(const RowSink& sink) {
  const c10::InferenceMode inference;
  const int64_t first = next_;
  const at::Device device = decoder_.options().device;
  // A token, or where later ones are looked at, the whole piece, layer after layer.
  next_ = rules_.ahead() > 0 ? fed() : first + 1;
  const std::vector<int64_t> ids(ids_.begin() + first, ids_.begin() + next_);
  at::Tensor x =
      decoder_.embed(at::tensor(ids, at::kLong).to(device),
                     at::arange(first, next_, at::TensorOptions(at::kLong).device(device)));
  for (int64_t layer = 0; layer < decoder_.config().layers; ++layer) {
    const Projection projection = project(layer, x, first);
    std::vector<at::Tensor> attended;
    for (int64_t row = 0; row < x.size(0); ++row) {
      attended.push_back(attend(layer, first + row, projection, row));
    }
    x = decoder_.finish(layer, x, at::cat(attended).to(device, decoder_.options().dtype));
  }
  if (first < storage_.zero_values()) {
    for (auto& heads : entries_) {
      for (Entries& entries : heads) entries.value.zero_();
    }
  }
  decisions_.flush();
  sink({.x = x, .first = first});
}

at::Tensor ScoredStepwiseEngine::weights(int64_t layer, int64_t query_head, const at::Tensor& query,
                                         const at::Tensor& keys, const at::Tensor& where) const {
  const DecoderConfig& config = decoder_.config();
  const at::ScalarType dtype = decoder_.accumulate_dtype();
  const int64_t n = where.size(0);
  const at::Tensor own = where.narrow(0, n - 1, 1);
  const at::Tensor placed = rotated(config.rotary(layer), query.unsqueeze(0), own)[0];
  at::Tensor scores = at::matmul(keys, placed) * config.attention_scale;
  if (config.score_cap != 0.0) scores = config.score_cap * (scores / config.score_cap).tanh();
  if (config.alibi) {
    scores = scores - ((own - where).to(at::kDouble) * config.alibi->slopes[query_head]).to(dtype);
  }
  const at::Tensor reads = read(layer, placed, keys);
  if (reads.defined()) {
    scores = scores.masked_fill(reads.logical_not(), -std::numeric_limits<double>::infinity());
  }
  if (decoder_.sink_logit(layer).defined()) {
    const at::Tensor logit = decoder_.sink_logit(layer)[query_head].to(at::kCPU, dtype).view({1});
    scores = at::cat({scores, logit});
  }
  return at::softmax(scores, 0).narrow(0, 0, n);
}

at::Tensor ScoredStepwiseEngine::positions(int64_t layer, const at::Tensor& place,
                                           const at::Tensor& frozen) const {
  switch (rules_.positions(layer)) {
    case Positions::cache:
      return at::arange(place.size(0), at::kLong);
    case Positions::original:
      return place;
    case Positions::frozen:
      return frozen;
    case Positions::capped:  // as places from which the query at t stands so far
      return place[-1] - at::clamp_max(place[-1] - place, rules_.cap());
  }
  throw std::logic_error("unknown positions");
}

at::Tensor ScoredStepwiseEngine::read(int64_t layer, const at::Tensor& query,
                                      const at::Tensor& keys) const {
  const auto reading = rules_.reading(layer);
  const int64_t n = keys.size(0);
  if (!reading || n <= reading->page * reading->pages) return {};
  std::vector<double> bounds;
  for (int64_t first = 0; first + reading->page < n; first += reading->page) {
    const at::Tensor products = keys.narrow(0, first, reading->page) * query;
    // The largest that a key with these coordinates could reach, each for itself.
    bounds.push_back(products.to(at::kDouble).amax(0).sum().item<double>());
  }
  at::Tensor reads = at::zeros({n}, at::kBool);
  for (const int64_t page : pages_read(*reading, bounds)) {
    const int64_t first = page * reading->page;
    reads.narrow(0, first, std::min(reading->page, n - first)).fill_(true);
  }
  return reads;
}

std::vector<at::Tensor> ScoredStepwiseEngine::reduce(int64_t layer,
                                                     const std::vector<at::Tensor>& weights) const {
  const DecoderConfig& config = decoder_.config();
  const int64_t K = config.kv_heads, group = config.heads / K;
  const ScorePolicy* score = rules_.score(layer);
  const bool by_layer = score != nullptr && score->retention().scope == Retention::Scope::layer;
  const bool largest = score != nullptr && score->retention().reduce == Retention::Reduce::max;
  std::vector<at::Tensor> reduced;
  for (int64_t h = 0; h < K; ++h) {
    const auto begin = weights.begin() + (by_layer ? 0 : h * group);
    const at::Tensor all =
        at::stack(std::vector<at::Tensor>(begin, begin + (by_layer ? K : 1) * group));
    reduced.push_back((largest ? all.amax(0) : all.mean(0)).contiguous());
  }
  return reduced;
}

std::vector<at::Tensor> ScoredStepwiseEngine::look_ahead(int64_t layer, int64_t t,
                                                         const Projection& projection,
                                                         int64_t row) const {
  const DecoderConfig& config = decoder_.config();
  const at::ScalarType dtype = decoder_.accumulate_dtype();
  const int64_t K = config.kv_heads, group = config.heads / K;
  const int64_t queries = std::min(rules_.ahead(), projection.query.size(0) - row - 1);
  std::vector<at::Tensor> sum(K);
  for (int64_t h = 0; h < K; ++h) {
    sum[h] = at::zeros({entries_[layer][h].place.size(0)}, at::kDouble);
  }
  for (int64_t i = 1; i <= queries; ++i) {
    std::vector<at::Tensor> given;  // of each query head, to what there is now
    for (int64_t h = 0; h < K; ++h) {
      const Entries& e = entries_[layer][h];
      const int64_t n = e.place.size(0);
      const at::Tensor place = at::cat({e.place, at::arange(t + 1, t + i + 1, at::kLong)});
      const at::Tensor frozen = at::cat({e.frozen, at::arange(n, n + i, at::kLong)});
      const at::Tensor come = projection.key.narrow(0, row + 1, i).select(1, h).to(at::kCPU, dtype);
      const at::Tensor where = positions(layer, place, frozen);
      const at::Tensor keys = rotated(config.rotary(layer), at::cat({e.key, come}), where);
      for (int64_t head = h * group; head < (h + 1) * group; ++head) {
        const at::Tensor query = projection.query[row + i][head].to(at::kCPU, dtype);
        given.push_back(weights(layer, head, query, keys, where).narrow(0, 0, n).to(at::kDouble));
      }
    }
    const std::vector<at::Tensor> reduced = reduce(layer, given);
    for (int64_t h = 0; h < K; ++h) sum[h] = sum[h] + reduced[h];
  }
  return sum;
}

at::Tensor ScoredStepwiseEngine::attend(int64_t layer, int64_t t, const Projection& projection,
                                        int64_t row) {
  const DecoderConfig& config = decoder_.config();
  const at::ScalarType dtype = decoder_.accumulate_dtype();
  const auto here = [&](const at::Tensor& x) { return x[row].to(at::kCPU, dtype).unsqueeze(1); };
  const int64_t K = config.kv_heads, group = config.heads / K;
  const at::Tensor query = here(projection.query);  // [heads, 1, head_dim]
  const at::Tensor key = here(projection.key), value = here(projection.value);
  const ScorePolicy* score = rules_.score(layer);
  std::vector<at::Tensor> outputs, given;  // of each query head
  for (int64_t h = 0; h < K; ++h) {
    Entries& e = entries_[layer][h];
    const int64_t n = e.place.size(0) + 1;
    e.frozen = at::cat({e.frozen, at::full({1}, n - 1, at::kLong)});
    e.place = at::cat({e.place, at::full({1}, t, at::kLong)});
    e.key = at::cat({e.key, key[h]});
    e.value = at::cat({e.value, value[h]});
    for (at::Tensor* numbers : {&e.sum, &e.squares, &e.rows, &e.own}) {
      std::vector<int64_t> one = numbers->sizes().vec();
      one[0] = 1;
      *numbers = at::cat({*numbers, at::zeros(one, at::kDouble)});
    }
    if (score != nullptr && needs_of(*score).queries) {
      e.queries = at::cat({e.queries, query.narrow(0, h * group, group).to(at::kDouble)}, 1);
    }
    const at::Tensor where = positions(layer, e.place, e.frozen);
    const at::Tensor keys = rotated(config.rotary(layer), e.key, where);
    for (int64_t head = h * group; head < (h + 1) * group; ++head) {
      const at::Tensor weight = weights(layer, head, query[head][0], keys, where);
      outputs.push_back(at::matmul(weight, e.value));
      given.push_back(weight.to(at::kDouble));
    }
  }
  evict(layer, t, reduce(layer, given), projection, row);
  return at::cat(outputs).view({1, config.heads * config.head_dim});
}

void ScoredStepwiseEngine::evict(int64_t layer, int64_t t, const std::vector<at::Tensor>& reduced,
                                 const Projection& projection, int64_t row) {
  const DecoderConfig& config = decoder_.config();
  const int64_t K = config.kv_heads;
  std::vector<Entries>& heads = entries_[layer];
  const auto keep = [](Entries& e, const at::Tensor& stay) {
    for (at::Tensor* part : e.parts()) *part = part->index_select(0, stay.nonzero().view({-1}));
  };
  const ScorePolicy* score = rules_.score(layer);
  if (score == nullptr) {
    const View view = rules_.view(layer, t + 1);
    for (Entries& e : heads) {
      at::Tensor seen = at::zeros({e.place.size(0)}, at::kBool);
      for (const Range& range : view) {
        seen = seen.logical_or(e.place.ge(range.begin).logical_and(e.place.lt(range.end)));
      }
      keep(e, seen);
    }
    return;
  }
  const Retention& retention = score->retention();
  const Needs needs = needs_of(*score);
  const bool by_layer = retention.scope == Retention::Scope::layer;
  int64_t surplus = 0;
  for (int64_t h = 0; h < K; ++h) {
    Entries& e = heads[h];
    const int64_t n = e.place.size(0);
    e.sum = e.sum * needs.decay + reduced[h];
    e.squares = e.squares + reduced[h] * reduced[h];
    if (needs.rows > 0) e.rows.select(1, t % needs.rows).copy_(reduced[h]);
    if (needs.own > 0) {
      at::Tensor own = e.own.t().contiguous();
      score->observe({.layer = layer,
                      .head = h,
                      .t = t,
                      .place = {e.place.data_ptr<int64_t>(), static_cast<size_t>(n)},
                      .weights = numbers(reduced[h])},
                     {own.data_ptr<double>(), n});
      e.own = own.t().contiguous();
    }
    surplus += n - rules_.capacity(layer, h);
  }
  const bool adaptive = rules_.adaptive(layer);
  if (!retention.is_round(t) || (adaptive && surplus <= 0)) return;

  std::vector<at::Tensor> ahead;
  if (needs.ahead > 0) ahead = look_ahead(layer, t, projection, row);

  // What rounds look at, which lives until they are decided.
  std::vector<at::Tensor> held;
  const auto hold = [&](const at::Tensor& x) {
    held.push_back(x.to(at::kDouble).contiguous());
    return numbers(held.back());
  };
  std::vector<std::vector<double>> entry_scores(K);
  std::vector<Round> rounds;
  for (int64_t h = 0; h < (by_layer ? 1 : K); ++h) {
    const Entries& e = heads[h];
    const int64_t n = e.place.size(0);
    const at::Tensor keys =
        rotated(config.rotary(layer), e.key.to(at::kDouble), e.place).contiguous();
    const std::span<const double> nothing;
    for (int64_t j = 0; needs.entry_score && j < n; ++j) {
      const at::Tensor key = e.key[j].to(at::kDouble).contiguous(), placed = keys[j].contiguous();
      entry_scores[h].push_back(score->enter({.layer = layer,
                                              .head = h,
                                              .place = e.place[j].item<int64_t>(),
                                              .key = numbers(key),
                                              .rotated = needs.keys ? numbers(placed) : nothing}));
    }
    // With all heads keeping the same tokens: their values one after another.
    std::vector<at::Tensor> values;
    for (int64_t i = h; i < (by_layer ? K : h + 1); ++i) values.push_back(heads[i].value);
    Round round = {.layer = layer,
                   .head = h,
                   .next = t + 1,
                   .keep = rules_.capacity(layer, h),
                   .place = {e.place.data_ptr<int64_t>(), static_cast<size_t>(n)}};
    if (needs.sum) round.sum = hold(e.sum);
    if (needs.squares) round.squares = hold(e.squares);
    if (needs.last) round.last = hold(reduced[h]);
    round.rows = {hold(e.rows.t()).data(), n};
    round.row_count = std::min(needs.rows, t + 1);
    round.own = {hold(e.own.t()).data(), n};
    if (needs.keys) round.keys = hold(keys);
    round.head_dim = config.head_dim;
    if (needs.values) round.values = hold(at::cat(values, 1));
    round.value_dim = std::ssize(values) * config.head_dim;
    round.entry_score = entry_scores[h];
    if (needs.ahead > 0) round.ahead = hold(ahead[h]);
    if (needs.queries) {
      const int64_t sinks = std::min(retention.sinks, t + 1);
      const at::Tensor q = e.queries.narrow(1, sinks, t + 1 - sinks);
      round.queries = {.count = t + 1 - sinks,
                       .sum = hold(q.sum(1)),
                       .products = hold(at::matmul(q.transpose(1, 2), q)),
                       .scale = config.attention_scale};
      if (const RotaryConfig* rotary = config.rotary(layer)) {
        round.rotation = {.frequencies = rotary->inverse_frequencies,
                          .magnitude = rotary->magnitude};
      }
    }
    rounds.push_back(round);
  }
  const auto leave = [&](int64_t h, const std::vector<int64_t>& indices) {
    at::Tensor stay = at::ones({heads[h].place.size(0)}, at::kBool);
    for (const int64_t i : indices) stay[i] = false;
    keep(heads[h], stay);
  };
  if (adaptive) {
    const auto indices = decisions_.decide(*score, rounds);
    for (int64_t h = 0; h < K; ++h) leave(h, indices[h]);
    return;
  }
  for (size_t r = 0; r < rounds.size(); ++r) {
    if (std::ssize(rounds[r].place) <= rounds[r].keep) continue;
    const auto indices = decisions_.decide(*score, std::span(&rounds[r], 1), by_layer ? K : 1);
    const auto h = static_cast<int64_t>(r);
    for (int64_t i = h; i < (by_layer ? K : h + 1); ++i) leave(i, indices.front());
  }
}

}  // namespace sinkbench
