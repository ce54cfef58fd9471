// What a policy gives up: the share of dense attention that the tokens which it has evicted would
// have received, and how far the output of attention is off without them.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "eval/experiment/storage_spec.h"
#include "models/decoder.h"
#include "policies/policy.h"

namespace sinkbench {

struct EvictedMass {
  std::vector<std::vector<double>> by_head;  ///< [layers][heads], 0..1
  /// The same of the share that each head gives to its trained sink; empty where there is none.
  std::vector<std::vector<double>> to_sink_logit;
  /// [layers]: with o the output of a layer's attention, all heads one after another, and o' the
  /// same without the evicted tokens, the weights of the others (and of a trained sink) made to sum
  /// to 1 again: the mean over queries of ||o' - o|| / ||o||.
  std::vector<double> output_error;
};

/// Query-key pairs whose scores exist at a time.
inline constexpr int64_t evicted_mass_pairs = int64_t{1} << 22;

/// The model runs with dense attention, at dense positions, over all of `ids`, each of which is a
/// query. With the weights A[t,j] that query t gives key j, by_head[layer][head] is the mean over t
/// of the sum of A[t,j] over the earlier tokens j that are not in the policy's view(t): 0..1.
/// Where a model has a trained sink, A is what its softmax leaves to the tokens; the sink's part is
/// neither kept nor evicted. Takes time quadratic in the length; the scores of a bounded number of
/// query-key pairs exist at a time. `between` is called now and then and may throw. `storage`: of
/// the keys and values by which the policy decides; those of the dense attention are as they come.
/// InputError where the model can't be run densely on so many tokens.
EvictedMass evicted_mass(const Decoder& decoder, const Policy& policy, std::span<const int32_t> ids,
                         const std::function<void()>& between = {},
                         int64_t pairs_at_once = evicted_mass_pairs,
                         const StorageSpec& storage = {});

}  // namespace sinkbench
