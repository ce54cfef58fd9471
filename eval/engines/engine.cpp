#include "eval/engines/engine.h"

#include <ATen/ATen.h>
#include <c10/core/InferenceMode.h>

#include <algorithm>

#include "base/error.h"
#include "eval/engines/batched_recompute.h"
#include "eval/engines/chunked.h"
#include "eval/engines/recompute.h"
#include "eval/engines/stepwise.h"

namespace sinkbench {
namespace {

/// Logits exist for so many elements at once, whatever the vocabulary.
constexpr int64_t logits_at_once = int64_t{1} << 22;

}  // namespace

void Engine::score(std::span<const int32_t> ids, const NllSink& sink) {
  begin(ids);
  while (!done()) advance(sink);
}

void Engine::begin(std::span<const int32_t> ids) {
  check_ids(ids, decoder_.config());
  check_policy(policy_, decoder_.config(), static_cast<int64_t>(ids.size()) - 1);
  ids_ = ids;
  next_ = 0;
  prepare();
}

void Engine::advance(const NllSink& sink) {
  advance_rows([&](const QueryRows& rows) {
    score_rows(rows, [&](const ScoredRows& scored) { sink(scored.nll); });
  });
}

void Engine::score_rows(const QueryRows& rows, const ScoreSink& sink) const {
  const c10::InferenceMode inference;
  const int64_t count = rows.x.size(0);
  const int64_t at_once =
      std::clamp<int64_t>(logits_at_once / decoder_.config().vocab_size, 1, count);
  for (int64_t row = 0; row < count; row += at_once) {
    const int64_t n = std::min(at_once, count - row);
    const int64_t first = rows.first + row * rows.step;
    std::vector<int64_t> targets(n);
    for (int64_t i = 0; i < n; ++i) targets[i] = ids_[first + i * rows.step + 1];
    const at::Tensor logits = decoder_.logits(rows.x.narrow(0, row, n));
    const at::Tensor nll =
        negative_log_likelihood(logits, at::tensor(targets, at::kLong).to(logits.device()),
                                decoder_.accumulate_dtype())
            .to(at::TensorOptions().dtype(at::kFloat).device(at::kCPU))
            .contiguous();
    sink({.logits = logits,
          .nll = {nll.data_ptr<float>(), static_cast<size_t>(n)},
          .first = first,
          .step = rows.step});
  }
}

void Engine::resume(int64_t next, const std::vector<at::Tensor>& state) {
  if (next < 0 || next > fed()) {
    throw InputError::format("the state is that after {} tokens; the stream has {}", next, fed());
  }
  const c10::InferenceMode inference;
  next_ = next;
  restore(state);
}

void copy_state(const std::vector<at::Tensor>& from, const std::vector<at::Tensor>& to) {
  bool same = from.size() == to.size();
  for (size_t i = 0; same && i < to.size(); ++i) {
    same = from[i].sizes() == to[i].sizes() && from[i].scalar_type() == to[i].scalar_type();
  }
  if (!same) throw InputError("the state is that of another model or policy");
  for (size_t i = 0; i < to.size(); ++i) to[i].copy_(from[i]);
}

std::unique_ptr<Engine> make_engine(const std::string& name, const Decoder& decoder,
                                    const Policy& policy, const EngineOptions& options) {
  if (name == "stepwise") {
    if (policy.recomputes()) return std::make_unique<RecomputeEngine>(decoder, policy);
    return std::make_unique<StepwiseEngine>(decoder, policy);
  }
  if (name == "chunked") {
    if (policy.recomputes()) return std::make_unique<BatchedRecomputeEngine>(decoder, policy);
    return std::make_unique<ChunkedEngine>(decoder, policy, options.chunk);
  }
  throw InputError::format("unknown engine '{}'{}", name, suggestion(name, engine_names()));
}

int64_t kept_entries(const Policy& policy, int64_t fed) {
  // A policy that recomputes holds the keys and values of a whole pass, the query's among them.
  const auto capacity = policy.capacity();
  if (!capacity) return fed;
  return std::min(fed, *capacity + (policy.recomputes() ? 1 : 0));
}

int64_t bias_places(const Policy& policy, int64_t fed) {
  return (policy.positions() == Positions::original ? fed : kept_entries(policy, fed)) + 1;
}

void check_policy(const Policy& policy, const DecoderConfig& config, int64_t fed) {
  const int64_t seen = policy.recomputes() ? *policy.capacity() + 1
                       : policy.positions() == Positions::original
                           ? fed
                           : std::min(fed, policy.capacity().value_or(fed) + 1);
  if (config.learned_positions > 0) {
    if (!policy.recomputes() && policy.capacity()) {
      throw InputError::format(
          "policy {}: the positions of a {} model are learned and part of its embeddings, so that "
          "a cache can't shift them; expected dense or recompute",
          policy.label(), config.family);
    }
    if (seen > config.learned_positions) {
      throw InputError::format(
          "policy {}: {} positions are needed, and the model's table ends after {}; expected {}",
          policy.label(), seen, config.learned_positions,
          policy.recomputes() ? "a smaller window" : "a shorter stream, or recompute");
    }
  }
  if (config.local_window > 0 && seen > config.local_window) {
    throw InputError::format(
        "policy {}: a query would see {} tokens, itself among them, and the model was trained with "
        "a local window of {} (sliding_window in config.json); expected {}",
        policy.label(), seen, config.local_window,
        policy.capacity() ? "a smaller one" : "a shorter stream");
  }
  if (config.rotary && config.rotary->limit > 0 && seen > config.rotary->limit) {
    throw InputError::format(
        "policy {}: a query would stand at position {}, and past {} positions the frequencies of "
        "this model (rope_scaling in config.json) depend on the length of the whole sequence; "
        "expected {}",
        policy.label(), seen - 1, config.rotary->limit,
        policy.capacity() ? "a smaller cache or window" : "a shorter stream");
  }
}

int64_t longest_sequence(const DecoderConfig& config) {
  int64_t limit = 0;
  for (const int64_t bound :
       {config.learned_positions, config.local_window, config.rotary ? config.rotary->limit : 0}) {
    if (bound > 0) limit = limit > 0 ? std::min(limit, bound) : bound;
  }
  return limit;
}

void check_ids(std::span<const int32_t> ids, const DecoderConfig& config) {
  if (ids.size() < 2) {
    throw InputError::format(
        "the stream has {} token{}; expected at least 2 (one to feed, one to "
        "score)",
        ids.size(), ids.size() == 1 ? "" : "s");
  }
  for (size_t i = 0; i < ids.size(); ++i) {
    if (ids[i] < 0 || ids[i] >= config.vocab_size) {
      throw InputError::format(
          "token {} of the stream is {}; expected an id from 0 to {}, the "
          "model's vocabulary",
          i, ids[i], config.vocab_size - 1);
    }
  }
}

at::Tensor negative_log_likelihood(const at::Tensor& logits, const at::Tensor& targets,
                                   at::ScalarType dtype) {
  const at::Tensor exact = logits.to(dtype);
  return at::logsumexp(exact, {-1}) - exact.gather(-1, targets.unsqueeze(-1)).squeeze(-1);
}

}  // namespace sinkbench
