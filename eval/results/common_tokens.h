// Perplexities over the same tokens, where a stride left some out.
#pragma once

#include <filesystem>
#include <optional>

#include "eval/results/results.h"

namespace sinkbench {

/// Sets each cell's `common` from the NLL files in `folder`: over the tokens that every cell of the
/// same model and stream scored, where their strides differ; else to nothing. Of a stream whose NLL
/// files aren't all there it stays. Returns whether any was set.
bool find_common_tokens(Results& results, const std::filesystem::path& folder);

/// The mean NLL of one less that of another, in nats, over the same tokens; nothing where that is
/// not known.
std::optional<double> nll_above(const CellResult& cell, const CellResult& other);

}  // namespace sinkbench
