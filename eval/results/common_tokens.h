// Perplexities over the same tokens, where a stride left some out.
#pragma once

#include <filesystem>
#include <optional>

#include "eval/results/results.h"

namespace sinkbench {

/// What scored so many tokens, one in `own`, scored so many of those that are one in `stride`, a
/// multiple of `own`.
int64_t tokens_of_stride(int64_t scored, int64_t own, int64_t stride);

/// Sets each cell's `common` from the NLL files in `folder`: over the tokens that every cell of the
/// same model and stream scored, where their strides differ; else to nothing. Of a stream whose NLL
/// files aren't all there it stays. Returns whether any was set.
/// InputError naming an NLL file that has not as many numbers as were scored.
bool find_common_tokens(Results& results, const std::filesystem::path& folder);

/// The mean NLL of one less that of another, in nats, over the same tokens; nothing where that is
/// not known.
std::optional<double> nll_above(const CellResult& cell, const CellResult& other);

}  // namespace sinkbench
