#include "reports/collapse.h"

#include <algorithm>
#include <numeric>
#include <tuple>
#include <vector>

#include "eval/results/common_tokens.h"
#include "eval/results/nll_file.h"

namespace sinkbench {
namespace {

const CellResult* reference_of(const Results& results, const CellResult& cell) {
  const CellResult* best = nullptr;
  const auto key = [](const CellResult& r) {
    return std::tie(r.model_sha256, r.dataset_sha256, r.cell.dtype, r.cell.device);
  };
  const auto rank = [](const CellResult& r) {
    return std::tie(r.perplexity->stride, r.perplexity->nll_mean);
  };
  for (const CellResult& other : results.cells) {
    if (!other.perplexity) continue;
    if (!cell.cell.reference.empty()) {
      if (other.cell.id == cell.cell.reference) return &other;
    } else if (key(other) == key(cell) && (best == nullptr || rank(other) < rank(*best))) {
      best = &other;
    }
  }
  return best;
}

}  // namespace

std::optional<int64_t> collapse_onset(const StridedNll& cell, const StridedNll& reference,
                                      const CollapseSpec& spec) {
  const int64_t stride = std::lcm(cell.stride, reference.stride);
  const int64_t n = std::min(tokens_of_stride(std::ssize(cell.nll), cell.stride, stride),
                             tokens_of_stride(std::ssize(reference.nll), reference.stride, stride));
  const auto at = [&](const StridedNll& series, int64_t i) {
    return static_cast<double>(series.nll[i * (stride / series.stride)]);
  };
  const auto difference = [&](int64_t i) { return at(cell, i) - at(reference, i); };
  double sum = 0;
  int64_t above = 0;  // so many running means in a row
  for (int64_t i = 0; i < n; ++i) {
    sum += difference(i);
    if (i >= spec.window) sum -= difference(i - spec.window);
    if (i + 1 < spec.window) continue;
    above = sum / static_cast<double>(spec.window) > spec.margin ? above + 1 : 0;
    if (above == spec.window + 1) return (i - spec.window) * stride + 1;
  }
  return std::nullopt;
}

bool can_collapse(const Results& results, const CellResult& cell) {
  if (!cell.collapse || !cell.perplexity) return false;
  const int64_t own = cell.perplexity->stride;
  int64_t common = cell.perplexity->scored;
  for (const CellResult& other : results.cells) {
    if (other.cell.id != cell.collapse->reference || !other.perplexity) continue;
    const int64_t stride = std::lcm(own, other.perplexity->stride);
    common = std::min(tokens_of_stride(cell.perplexity->scored, own, stride),
                      tokens_of_stride(other.perplexity->scored, other.perplexity->stride, stride));
  }
  return common / 2 >= cell.collapse->window;
}

void find_collapses(Results& results, const std::filesystem::path& folder,
                    const CollapseSpec& spec) {
  const CellResult* last = nullptr;  // neighbouring cells share their reference
  std::vector<double> reference_nll;
  for (CellResult& cell : results.cells) {
    cell.collapse.reset();
    if (!cell.perplexity || cell.cell.dataset.is_task()) continue;
    const CellResult* reference = reference_of(results, cell);
    if (reference == nullptr || reference == &cell) continue;
    if (reference != last)
      reference_nll = read_nll_file(folder / reference->nll_file, *reference->perplexity);
    last = reference;
    const std::vector<double> nll = read_nll_file(folder / cell.nll_file, *cell.perplexity);
    cell.collapse = {.reference = reference->cell.id,
                     .window = spec.window,
                     .margin = spec.margin,
                     .onset = collapse_onset({nll, cell.perplexity->stride},
                                             {reference_nll, reference->perplexity->stride}, spec)};
  }
}

}  // namespace sinkbench
