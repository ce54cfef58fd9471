// What every policy must keep to, tried on it: of those that come with the program in its tests, of
// others by `verify --plugin`.
#pragma once

#include <random>
#include <string>

#include "policies/registry.h"

namespace sinkbench {

/// Random arguments within bounds, of small caches.
PolicyArguments random_arguments(const PolicyEntry& entry, std::mt19937& random);

/// By index or to recompute: for some arguments, whether views are ascending, disjoint and causal,
/// no larger than the capacity, the same whenever they are asked for, and what has left never comes
/// back. By score: whether scores are numbers, the same when they are asked for again, of what is
/// asked for alone, and nothing is written beyond them.
/// @return "" where all that holds, else what doesn't, in one line
std::string broken_property(const PolicyEntry& entry);

}  // namespace sinkbench
