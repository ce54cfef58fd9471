// What a model can't be run under.
#pragma once

#include <cstdint>

#include "eval/cache/layer_rules.h"

namespace sinkbench {

/// As Method::check, for an index policy.
void check_views(const LayerViews& views, const DecoderConfig& config, int64_t fed);
/// The same for any policy that evicts.
void check_rules(const LayerRules& rules, const DecoderConfig& config, int64_t fed);
/// The same where every scored token has a pass over `seen` tokens at the most.
void check_passes(const Policy& policy, const DecoderConfig& config, int64_t seen);

/// Columns that a table of biases needs: the farthest that a query stands from a key, and one.
int64_t bias_places(const LayerViews& views, int64_t kind, int64_t fed);

}  // namespace sinkbench
