// What every policy must keep to, tried on it: of those that come with the program in its tests, of
// others by `verify --plugin`.
#pragma once

#include <random>
#include <string>
#include <vector>

#include "policies/registry.h"

namespace sinkbench {

/// Random arguments within bounds, of small caches.
PolicyArguments random_arguments(const PolicyEntry& entry, std::mt19937& random);

/// A round of n entries, the last of them just come, whose numbers are draws: what the policy asks
/// for and nothing else.
struct SampleRound {
  SampleRound(const ScorePolicy& policy, uint64_t seed, int64_t n);
  SampleRound(const SampleRound&) = delete;
  SampleRound& operator=(const SampleRound&) = delete;

  std::vector<int64_t> place;
  Round round;  ///< views of what is here
  std::vector<double> sum, squares, last, rows, own, keys, values, entry_score, query_sum,
      query_products, frequencies, ahead;
};

/// By index or to recompute: for some arguments, whether views are ascending, disjoint and causal,
/// no larger than the capacity, the same whenever they are asked for, and what has left never comes
/// back. By score: whether scores are numbers, the same when they are asked for again, of what is
/// asked for alone, and nothing is written beyond them.
/// @return "" where all that holds, else what doesn't, in one line
std::string broken_property(const PolicyEntry& entry);

}  // namespace sinkbench
