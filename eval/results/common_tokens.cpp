#include "eval/results/common_tokens.h"

#include <algorithm>
#include <limits>
#include <map>
#include <numeric>
#include <vector>

#include "eval/metrics/batch_means.h"
#include "eval/results/nll_file.h"

namespace sinkbench {
namespace {

/// The stride of the tokens that all scored, where theirs differ; nothing, too, where it would be
/// longer than any stream.
std::optional<int64_t> common_stride(const std::vector<CellResult*>& cells) {
  constexpr int64_t most = int64_t{1} << 31;
  int64_t stride = 1;
  bool differ = false;
  for (const CellResult* cell : cells) {
    const int64_t own = cell->perplexity->stride;
    differ |= own != cells.front()->perplexity->stride;
    if (own < 1 || own > most) return std::nullopt;
    stride = std::lcm(stride, own);
    if (stride > most) return std::nullopt;
  }
  return differ ? std::optional(stride) : std::nullopt;
}

/// Of the NLLs of one token in `own` the first `count` of those of one token in `stride`.
CommonTokensResult over(const std::vector<double>& nll, int64_t own, int64_t stride,
                        int64_t count) {
  BatchMeans means(count);
  for (int64_t i = 0; i < count; ++i) means.add(nll.at(static_cast<size_t>(i * (stride / own))));
  return {.stride = stride,
          .scored = count,
          .nll_mean = means.mean(),
          .nll_stderr = means.standard_error()};
}

}  // namespace

int64_t tokens_of_stride(int64_t scored, int64_t own, int64_t stride) {
  const int64_t step = stride / own;
  return scored / step + (scored % step > 0 ? 1 : 0);
}

bool find_common_tokens(Results& results, const std::filesystem::path& folder) {
  std::map<std::pair<std::string, std::string>, std::vector<CellResult*>> streams;
  for (CellResult& cell : results.cells) {
    if (!cell.perplexity || cell.cell.dataset.is_task()) continue;
    streams[{cell.model_sha256, cell.dataset_sha256}].push_back(&cell);
  }
  bool found = false;
  for (const auto& [stream, cells] : streams) {
    const bool known = std::all_of(cells.begin(), cells.end(), [&](const CellResult* cell) {
      return !cell->nll_file.empty() && std::filesystem::exists(folder / cell->nll_file);
    });
    if (!known) {
      // What was found before holds where it is of all of these.
      const auto& first = cells.front()->common;
      const bool holds = std::all_of(cells.begin(), cells.end(), [&](const CellResult* cell) {
        return cell->common && first && cell->common->stride == first->stride &&
               cell->common->scored == first->scored;
      });
      if (!holds) {
        for (CellResult* cell : cells) cell->common.reset();
      }
      continue;
    }
    for (CellResult* cell : cells) cell->common.reset();
    const std::optional<int64_t> stride = common_stride(cells);
    if (!stride) continue;
    int64_t count = std::numeric_limits<int64_t>::max();
    for (const CellResult* cell : cells) {
      const PerplexityResult& p = *cell->perplexity;
      count = std::min(count, tokens_of_stride(p.scored, p.stride, *stride));
    }
    if (count < 2) continue;
    for (CellResult* cell : cells) {
      const std::vector<double> nll = read_nll_file(folder / cell->nll_file, *cell->perplexity);
      cell->common = over(nll, cell->perplexity->stride, *stride, count);
    }
    found = true;
  }
  return found;
}

std::optional<double> nll_above(const CellResult& cell, const CellResult& other) {
  if (!cell.perplexity || !other.perplexity) return std::nullopt;
  if (cell.perplexity->stride == other.perplexity->stride) {
    return cell.perplexity->nll_mean - other.perplexity->nll_mean;
  }
  const bool common = cell.common && other.common && cell.common->stride == other.common->stride &&
                      cell.common->scored == other.common->scored;
  if (!common) return std::nullopt;
  return cell.common->nll_mean - other.common->nll_mean;
}

}  // namespace sinkbench
