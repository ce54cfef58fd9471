// What caches held over time, from the decision logs that runs wrote.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "eval/results/results.h"

namespace sinkbench {

/// Of one key head: for each token of the stream the last query that saw it in the cache, its own
/// where it left at once.
using LastSeen = std::vector<int64_t>;

/// What a cell's cache held.
struct HeldCache {
  const CellResult* cell = nullptr;
  int64_t tokens = 0;  ///< that were fed
  /// [layers][key heads]; an index policy's heads, and where it is so its layers, are one. None of
  /// layers that hold the model's own window.
  std::vector<std::vector<LastSeen>> heads;
  int64_t evictions = 0, rounds = 0;  ///< of all heads; rounds that evicted something
};

/// What there is of a results folder: the cells with a decision log and, beside them, those of
/// index policies that come with the program, whose caches are known. Throws InputError naming the
/// file where a log is damaged or doesn't fit its cell. `left_out`: other cells, and why, a line
/// each.
std::vector<HeldCache> read_held_caches(const Results& results, const std::filesystem::path& folder,
                                        std::vector<std::string>& left_out);

/// Over all heads; shares are of entries times the queries that saw them.
struct HeldSummary {
  double evictions_per_head = 0;
  double median_age = 0, p90_age = 0;  ///< of an entry at its eviction, tokens
  double first = 0;                    ///< the stream's first 4 tokens
  double recent =
      0;             ///< of the last `size` tokens and the query's own, as a window would hold them
  double older = 0;  ///< the rest
  /// Of what is held beyond what is protected, the first `sinks` tokens and the last `recent`
  /// entries, the share that is gone `size` tokens later: 0, frozen; 1, a window.
  double replaced = 0;
};
/// Nothing where the policy has no size or nothing was evicted.
std::optional<HeldSummary> summary_of(const HeldCache& cache);

/// What two caches of the same stream and model hold in common, as a share of the smaller: entries
/// times queries, over all heads. Nothing where they aren't of the same.
std::optional<double> in_common(const HeldCache& a, const HeldCache& b);

/// The tables: each cell's summary, and where there are two or more, what each two have in common.
std::string format_held(const std::vector<HeldCache>& caches, int width);

/// A picture of what a head holds: token by token, each entry a line from its place on. Files
/// held-CELL-lL-hH.svg, .png, .gp and .csv in `plots`. Returns its name. Throws InputError where
/// there is no such head, or no gnuplot.
std::string draw_held(const HeldCache& cache, int64_t layer, int64_t head, int64_t tokens,
                      const std::filesystem::path& plots);

}  // namespace sinkbench
