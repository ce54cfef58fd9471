// What the tables of a run say, in sentences.
#pragma once

#include <string>
#include <vector>

#include "eval/results/results.h"

namespace sinkbench {

/// A line for each cell that has a dense one beside it, the same but for its policy: "sinks 4+508:
/// perplexity 4 % above dense, at 1/16 of its memory", with the model and the text before it where
/// there are several. None without perplexity, or where they would be more than people read.
std::vector<std::string> findings(const Results& results);

}  // namespace sinkbench
