#include "reports/findings.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <set>
#include <tuple>

#include "eval/results/common_tokens.h"
#include "reports/names.h"

namespace sinkbench {
namespace {

bool same_but_for_policy(const Cell& a, const Cell& b) {
  const auto rest = [](const Cell& cell) {
    return std::tie(cell.model, cell.dataset, cell.engine, cell.dtype, cell.kv, cell.device,
                    cell.chunk);
  };
  return rest(a) == rest(b);
}

std::string kv_of(const Cell& cell) {
  return cell.kv.is_native() ? "" : ", kv " + storage_label(cell.kv);
}

/// "4 % above dense", "2.1 times dense's", "as dense"
std::string against(double ratio) {
  const double percent = 100 * (ratio - 1);
  if (std::abs(percent) < 0.05) return "as dense";
  if (ratio >= 2) return fmt::format("{:.{}f} times dense's", ratio, ratio < 9.95 ? 1 : 0);
  return fmt::format("{:.{}f} % {} dense", std::abs(percent), std::abs(percent) < 9.95 ? 1 : 0,
                     percent > 0 ? "above" : "below");
}

}  // namespace

std::vector<std::string> findings(const Results& results) {
  std::vector<std::string> lines;
  const auto& cells = results.cells;
  const bool several = std::any_of(cells.begin(), cells.end(), [&](const CellResult& cell) {
    return cell.cell.dtype != cells.front().cell.dtype || cell.cell.kv != cells.front().cell.kv;
  });
  const Names names(measured_cells(results));
  std::set<std::string> models, texts;
  for (const CellResult* cell : measured_cells(results)) {
    models.insert(names.model(*cell));
    texts.insert(names.dataset(*cell));
  }
  const auto of = [&](const CellResult& cell) {
    std::string where = models.size() > 1 ? names.model(cell) + ", " : "";
    if (texts.size() > 1) where += names.dataset(cell) + ", ";
    return where;
  };
  for (const CellResult& cell : cells) {
    if (is_plain_dense(cell.cell.policy) || !cell.perplexity || cell.cell.dataset.is_task()) {
      continue;
    }
    if (!bound_of(cell.cell.policy).empty()) continue;
    const auto dense = std::find_if(cells.begin(), cells.end(), [&](const CellResult& other) {
      return is_plain_dense(other.cell.policy) && other.perplexity &&
             same_but_for_policy(other.cell, cell.cell);
    });
    if (dense == cells.end()) continue;
    const std::optional<double> above = nll_above(cell, *dense);
    if (!above || !std::isfinite(*above)) continue;
    std::string line = fmt::format(
        "{}{} {}{}{}: perplexity {}", of(cell), cell.cell.policy.name, cell.cache_label,
        cell.cell.policy.positions == Positions::cache ? ""
                                                       : ", " + positions_label(cell.cell.policy),
        several ? ", " + cell.cell.dtype + kv_of(cell.cell) : "", against(std::exp(*above)));
    if (cell.perplexity->stride != dense->perplexity->stride) {
      line += fmt::format(" over the same tokens, 1 in {}", cell.common->stride);
    }
    if (cell.memory && dense->memory && cell.memory->kv_bytes_formula > 0) {
      const double share = static_cast<double>(dense->memory->kv_bytes_formula) /
                           static_cast<double>(cell.memory->kv_bytes_formula);
      if (share >= 1.5) line += fmt::format(", at 1/{:.0f} of its memory", share);
    }
    if (std::find(lines.begin(), lines.end(), line) == lines.end()) lines.push_back(line);
  }
  // A large grid is read in its tables.
  constexpr size_t most_lines = 24;
  return lines.size() > most_lines ? std::vector<std::string>() : lines;
}

}  // namespace sinkbench
