// How far the texts, and the seeds, agree on what a policy costs.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "eval/results/results.h"
#include "reports/text_table.h"

namespace sinkbench {

/// A policy with one model and one setting, over several texts.
struct Spread {
  const CellResult* example;  ///< one of its cells
  std::string label;          ///< of the policy, without its seed
  int64_t texts = 0, seeds = 0;
  /// Nats per token above dense attention on the same text, the seeds of a text as their mean: the
  /// mean over texts, the standard deviation over texts (n - 1), the least and the most.
  double mean = 0, deviation = 0, least = 0, most = 0;
  /// The standard deviation over a text's seeds (n - 1), the mean over texts; with one seed
  /// nothing.
  std::optional<double> over_seeds = {};
};

/// Of each policy that was measured on two texts or more on which dense attention was measured,
/// too; in the order of the cells.
std::vector<Spread> spreads(const Results& results);

inline constexpr const char* spread_title = "Above dense attention, over texts";
/// As a table to read, and as CSV.
Columns spread_table(const Results& results);
std::string spread_csv(const Results& results);

}  // namespace sinkbench
