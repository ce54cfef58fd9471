// What evicting an entry does to a head's output depends on its value too: shares of the attention
// are combined with the values here, whichever policy they come from.
#pragma once

#include "policies/score_policy.h"

namespace sinkbench {

/// Turns scores that are shares of the attention, 0 or more, into what `values` says of them. With
/// w the shares divided by their sum, v the values and o the mean of the values by w:
/// - norm: score * ||v||, in L2 (after Guo et al. 2024, arXiv 2406.12335, who take L1)
/// - caote: w / (1 - w) * ||o - v||, by how much the output changes where this entry alone is gone
///   (Goel et al. 2025, arXiv 2504.14051)
/// - fast_caote: the same with o the plain mean of the values
/// Scores that are infinite, which a policy protects itself, stay, and their entries are left out;
/// an entry that has all of the attention becomes infinite.
/// @param values the entries' values, [n, value_dim]
void combine_with_values(Retention::Values how, std::span<const double> values, int64_t value_dim,
                         std::span<double> scores);

}  // namespace sinkbench
