// What the tables of a run say, in sentences.
#pragma once

#include <string>
#include <vector>

#include "eval/results/results.h"

namespace sinkbench {

/// A line for each cell that has a dense one beside it, the same but for its policy: "sinks 4+508:
/// perplexity 4 % above dense, at 1/16 of its memory". None without perplexity.
std::vector<std::string> findings(const Results& results);

}  // namespace sinkbench
