// Several results folders as one: shards of a grid, or runs one after another.
#pragma once

#include <span>
#include <string>

#include "eval/results/results.h"

namespace sinkbench {

/// The cells of all results, sorted by id, whatever the order they are given in. Of cells with the
/// same id, model and dataset (by hash) the one of the run that started last stays, with what only
/// an older one measured (a run of latencies doesn't hide the perplexities of the run before); one
/// that failed never takes the place of one that was measured. What started together is told apart
/// by what it holds. `info` is that of the newest run, with the warnings of all; a fact of machine
/// or program in which runs differ is "several".
Results merge(std::span<const Results> runs);

/// Where the cells of a merged result come from, a line for each folder, the oldest first: of how
/// many cells something is its, when, by which commit, on which machine. `folders` and `runs`
/// belong together.
std::string format_provenance(std::span<const std::string> folders, std::span<const Results> runs);

}  // namespace sinkbench
