#include "reports/merge.h"

#include <fmt/format.h>

#include <algorithm>
#include <tuple>

namespace sinkbench {
namespace {

using Key = std::tuple<std::string, std::string, std::string>;

/// Which run's cell stays, for each cell: cell and index of the run.
std::map<Key, std::pair<const CellResult*, size_t>> choose(std::span<const Results> runs) {
  std::map<Key, std::pair<const CellResult*, size_t>> chosen;
  for (size_t r = 0; r < runs.size(); ++r) {
    for (const CellResult& cell : runs[r].cells) {
      const auto [place, added] =
          chosen.try_emplace({cell.cell.id, cell.model_sha256, cell.dataset_sha256}, &cell, r);
      if (added) continue;
      const auto& [other, from] = place->second;
      // Measured before failed, then newer before older.
      const auto rank = [&](const CellResult& result, size_t run) {
        return std::make_tuple(result.error.empty(), runs[run].info.started);
      };
      if (rank(cell, r) > rank(*other, from)) place->second = {&cell, r};
    }
  }
  // A cell that failed before its model was read has no hashes; any measured cell of its id
  // answers for it.
  std::erase_if(chosen, [&](const auto& entry) {
    const auto& [key, cell] = entry;
    return !cell.first->error.empty() &&
           std::any_of(chosen.begin(), chosen.end(), [&](const auto& other) {
             return std::get<0>(other.first) == std::get<0>(key) &&
                    other.second.first->error.empty();
           });
  });
  return chosen;
}

std::string fact(const std::map<std::string, std::string>& facts, const std::string& name) {
  const auto found = facts.find(name);
  return found == facts.end() ? "unknown" : found->second;
}

}  // namespace

Results merge(std::span<const Results> runs) {
  Results merged;
  const auto newest = std::max_element(runs.begin(), runs.end(), [](const auto& a, const auto& b) {
    return a.info.started < b.info.started;
  });
  if (newest != runs.end()) merged.info = newest->info;
  merged.info.warnings.clear();
  for (const Results& run : runs) {
    for (const std::string& warning : run.info.warnings) merged.info.warnings.push_back(warning);
  }
  auto& warnings = merged.info.warnings;
  std::sort(warnings.begin(), warnings.end());
  warnings.erase(std::unique(warnings.begin(), warnings.end()), warnings.end());
  for (const auto& [key, cell] : choose(runs)) merged.cells.push_back(*cell.first);
  return merged;
}

std::string format_provenance(std::span<const std::string> folders, std::span<const Results> runs) {
  std::vector<int64_t> given(runs.size());
  for (const auto& [key, cell] : choose(runs)) ++given[cell.second];
  std::string text;
  for (size_t r = 0; r < runs.size(); ++r) {
    const RunInfo& info = runs[r].info;
    text += fmt::format("from {}: {} of {} cells, {}, {}, commit {}, {}\n", folders[r], given[r],
                        runs[r].cells.size(), info.name, info.started,
                        fact(info.versions, "commit"), fact(info.machine, "cpu"));
  }
  return text;
}

}  // namespace sinkbench
