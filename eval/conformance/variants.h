// What a cache that departs from a kit may have done instead: the mistakes that implementations are
// known for, each as a policy (or a stream, or a way of writing numbers) that makes the same ones.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "eval/conformance/kit.h"

namespace sinkbench {

/// What has to be run to have a variant's numbers.
struct Variant {
  std::string meaning;  ///< "positions frozen: a key keeps the place it got when it came"
  PolicySpec policy;
  int64_t dropped = 0;  ///< first ids that are not fed: the BOS
};

/// Those of a policy of the kit; where two would be the same, the first. Without those that no
/// stream as long as the kit's could tell from it (a cache that is never full).
std::vector<Variant> variants_of(const KitPolicy& policy, const Kit& kit);

/// Second mistakes: those of what `first`, one of the above, runs; without what the kit asks for
/// and without the first ones alone.
std::vector<Variant> variants_beside(const Variant& first, const KitPolicy& policy, const Kit& kit);

/// How two series of NLLs of the same tokens differ. Places count the tokens of the stream from 0:
/// the i-th number is of token i + 1.
struct Departure {
  int64_t compared = 0;
  int64_t above = 0;   ///< numbers that differ by more than the tolerance
  int64_t first = -1;  ///< token of the first of these; -1: none
  double largest = 0;  ///< nats; infinite where a number is none
  int64_t largest_at = -1;
  double mean = 0;  ///< of the differences' sizes

  bool equal() const { return above == 0; }
};

/// Of the first tokens that both have; `offset`: how many numbers of `expected` come before the
/// first of `found`.
Departure departure(std::span<const double> expected, std::span<const double> found,
                    double tolerance, int64_t offset = 0);

/// Ways of writing numbers: what `found` is of `expected` where every number agrees by it: "in
/// bits", "log-probabilities, their sign not changed", "one token late"; "" where none does.
std::string written_as(std::span<const double> expected, std::span<const double> found,
                       double tolerance);

}  // namespace sinkbench
