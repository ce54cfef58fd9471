// Where a policy collapses: the first place in the stream where the windowed NLL leaves the
// reference's by a margin and stays away.
#pragma once

#include <filesystem>
#include <optional>
#include <span>

#include "eval/results/results.h"

namespace sinkbench {

/// The NLLs of a cell's scored tokens, in nats; with a stride of k the i-th is that of token i*k+1.
struct StridedNll {
  std::span<const double> nll;
  int64_t stride = 1;
};

/// With d the cell's NLL less the reference's at the tokens that both scored, and D its running
/// mean over the last `window` of these, the onset is the first one with D > margin there and at
/// each of the `window` next ones, the last of which begins a window with nothing in common: one
/// or few outliers make no onset, whatever their size. Returned is its place in the stream, from 1
/// as the BOS or first token is never scored; nothing where there is none, or where the stream ends
/// before it is certain. After a jump by J > margin, D is above it within window * margin / J
/// tokens, and never before.
std::optional<int64_t> collapse_onset(const StridedNll& cell, const StridedNll& reference,
                                      const CollapseSpec& spec);

/// Whether the cell and its reference scored enough common tokens for an onset to be found, which
/// takes twice the window.
bool can_collapse(const Results& results, const CellResult& cell);

/// Sets each cell's `collapse` from the NLL files in `folder`, or to nothing: of cells without
/// perplexity, of the reference itself and where the reference isn't there. The reference is the
/// cell that `cell.reference` names; where that is empty, of the cells with the same model, text,
/// dtype and device, those with the smallest stride, the one of the lowest mean NLL.
void find_collapses(Results& results, const std::filesystem::path& folder,
                    const CollapseSpec& spec);

}  // namespace sinkbench
