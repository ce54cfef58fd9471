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
  if (!config.rotary || config.rotary->limit == 0 || seen <= config.rotary->limit) return;
  throw InputError::format(
      "policy {}: a query would stand at position {}, and past {} positions the frequencies of "
      "this model (rope_scaling in config.json) depend on the length of the whole sequence; "
      "expected {}",
      label, seen - 1, config.rotary->limit, expected);
}

}  // namespace

void check_views(const LayerViews& views, const DecoderConfig& config, int64_t fed) {
  const IndexPolicy& policy = views.policy();
  const std::string label = policy.label();
  if (config.learned_positions > 0 && !policy.keeps_all()) {
    throw InputError::format(
        "policy {}: the positions of a {} model are learned and part of its embeddings, so that "
        "a cache can't shift them; expected dense or recompute",
        label, config.family);
  }
  check_learned(label, config, fed, "a shorter stream, or recompute");
  // The farthest that a query stands from the first key, and itself.
  const int64_t seen = policy.positions() == Positions::original
                           ? fed
                           : std::min(fed, policy.capacity().value_or(fed) + 1);
  if (!policy.keeps_all()) {
    check_local_window(label, config, seen,
                       policy.capacity() ? "a smaller one" : "a shorter stream");
  }
  check_frequencies(label, config, seen,
                    policy.capacity() ? "a smaller cache or window" : "a shorter stream");
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
