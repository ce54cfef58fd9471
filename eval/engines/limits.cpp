#include "eval/engines/limits.h"

#include <algorithm>

#include "base/error.h"

namespace sinkbench {
namespace {

void check_learned(const std::string& label, const DecoderConfig& config, int64_t seen,
                   const char* expected) {
  if (config.learned_positions == 0 || seen <= config.learned_positions) return;
  throw InputError::format(
      "policy {}: {} positions are needed, and the model's table ends after {}; expected {}", label,
      seen, config.learned_positions, expected);
}

void check_local_window(const std::string& label, const DecoderConfig& config, int64_t seen,
                        const char* expected) {
  if (!config.every_layer_is_local()) return;
  const int64_t window =
      *std::min_element(config.local_windows.begin(), config.local_windows.end());
  if (seen <= window) return;
  throw InputError::format(
      "policy {}: a query would see {} tokens, itself among them, and the model was trained with "
      "a local window of {} (sliding_window in config.json); expected {}",
      label, seen, window, expected);
}

void check_frequencies(const std::string& label, const DecoderConfig& config, int64_t seen,
                       const char* expected) {
  int64_t limit = 0;
  for (const RotaryConfig& rotary : config.rotaries) {
    if (rotary.limit > 0) limit = limit > 0 ? std::min(limit, rotary.limit) : rotary.limit;
  }
  if (limit == 0 || seen <= limit) return;
  throw InputError::format(
      "policy {}: a query would stand at position {}, and past {} positions the frequencies of "
      "this model (rope_scaling in config.json) depend on the length of the whole sequence; "
      "expected {}",
      label, seen - 1, limit, expected);
}

}  // namespace

namespace {

/// `most`: that a query sees beside itself.
void check_kept(const Policy& policy, const DecoderConfig& config, int64_t fed, int64_t most,
                bool keeps_all) {
  const std::string label = policy.label();
  if (config.learned_positions > 0 && !keeps_all) {
    throw InputError::format(
        "policy {}: the positions of a {} model are learned and part of its embeddings, so that "
        "a cache can't shift them; expected dense or recompute",
        label, config.family);
  }
  if (config.learned_positions > 0 && policy.positions() == Positions::capped) {
    throw InputError::format(
        "policy {}: the positions of a {} model are learned and part of its embeddings, so that "
        "distances can't be capped; expected other positions",
        label, config.family);
  }
  check_learned(label, config, fed, "a shorter stream, or recompute");
  // The farthest that a query stands from a key, and itself.
  const int64_t seen = policy.positions() == Positions::original ? fed
                       : policy.positions() == Positions::capped ? std::min(fed, policy.cap() + 1)
                                                                 : std::min(fed, most + 1);
  if (!keeps_all) {
    check_local_window(label, config, seen,
                       policy.capacity() ? "a smaller one" : "a shorter stream");
  }
  check_frequencies(label, config, seen,
                    policy.capacity() ? "a smaller cache or window" : "a shorter stream");
}

}  // namespace

void check_views(const LayerViews& views, const DecoderConfig& config, int64_t fed) {
  check_kept(views.policy(), config, fed, views.policy().capacity().value_or(fed),
             views.policy().keeps_all());
}

void check_rules(const LayerRules& rules, const DecoderConfig& config, int64_t fed) {
  const Policy& policy = rules.policy();
  const auto* index = dynamic_cast<const IndexPolicy*>(&policy);
  if (const auto* score = dynamic_cast<const ScorePolicy*>(&policy)) {
    const Retention& retention = score->retention();
    const std::string mismatch =
        retention.budget.mismatch({.layers = config.layers, .heads = config.kv_heads});
    if (!mismatch.empty()) {
      throw InputError::format("policy {}: {}; expected one for each", policy.label(), mismatch);
    }
    for (int64_t layer = 0; layer < config.layers; ++layer) {
      for (int64_t head = 0; head < config.kv_heads; ++head) {
        const int64_t capacity = rules.capacity(layer, head);
        if (capacity >= retention.guarded()) continue;
        throw InputError::format(
            "policy {}: {} first tokens and {} last entries are protected, and head {} of layer {} "
            "keeps {}; expected a larger capacity, or less of sinks and recent",
            policy.label(), retention.sinks, retention.recent, head, layer, capacity);
      }
    }
    const Needs needs = score->needs();
    if (retention.scope == Retention::Scope::layer &&
        (needs.keys || needs.entry_score || needs.queries)) {
      throw InputError::format(
          "policy {}: it reads keys or queries, which each head has of its own; expected scope: "
          "head",
          policy.label());
    }
  }
  if (config.alibi && dynamic_cast<const ReadPolicy*>(&policy) != nullptr) {
    throw InputError::format(
        "policy {}: pages are chosen by products of queries and keys, which linear biases (ALiBi) "
        "are no part of; expected a model without them",
        policy.label());
  }
  check_kept(
      policy, config, fed,
      index != nullptr ? policy.capacity().value_or(fed) : rules.most(rules.widest(fed), fed),
      index != nullptr && index->keeps_all());
  if (!config.alibi || policy.positions() != Positions::frozen) return;
  if (rules.adaptive(0)) {
    throw InputError::format(
        "policy {}: with an adaptive budget a key may be frozen at a place after its query, for "
        "which linear biases (ALiBi) have no meaning; expected other positions",
        policy.label());
  }
  // Where the count of entries falls, a later query may stand before a key.
  constexpr int64_t longest_search = int64_t{1} << 16;
  for (int64_t t = 0; t < std::min(fed, longest_search); ++t) {
    if (rules.kept(0, 0, t + 1) >= rules.kept(0, 0, t)) continue;
    throw InputError::format(
        "policy {}: where several entries are evicted at once, a key may be frozen at a place "
        "after its query, for which linear biases (ALiBi) have no meaning; expected other "
        "positions, or every: 1",
        policy.label());
  }
}

void check_passes(const Policy& policy, const DecoderConfig& config, int64_t seen) {
  const std::string label = policy.label();
  check_learned(label, config, seen, "a smaller window");
  check_frequencies(label, config, seen, "a smaller cache or window");
}

int64_t bias_places(const LayerViews& views, int64_t kind, int64_t fed) {
  return (views.positions(kind) == Positions::original ? fed : views.kept(kind, fed)) + 1;
}

}  // namespace sinkbench
