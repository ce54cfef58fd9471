#include "reports/merge.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <numeric>
#include <tuple>

namespace sinkbench {
namespace {

using Key = std::tuple<std::string, std::string, std::string>;

/// The runs' indices, the oldest first; of those that started together, by what they hold, so that
/// the order in which folders are given never counts.
std::vector<size_t> by_age(std::span<const Results> runs) {
  std::vector<size_t> order(runs.size());
  std::iota(order.begin(), order.end(), size_t{0});
  const auto content = [&](size_t run) {
    return to_json(runs[run]).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
  };
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) {
    const int age = runs[a].info.started.compare(runs[b].info.started);
    return age != 0 ? age < 0 : content(a) < content(b);
  });
  return order;
}

/// Which run's cell stays, for each cell: cell and index of the run.
std::map<Key, std::pair<const CellResult*, size_t>> choose(std::span<const Results> runs) {
  std::map<Key, std::pair<const CellResult*, size_t>> chosen;
  for (const size_t r : by_age(runs)) {
    for (const CellResult& cell : runs[r].cells) {
      const auto [place, added] =
          chosen.try_emplace({cell.cell.id, cell.model_sha256, cell.dataset_sha256}, &cell, r);
      // Measured before failed, then newer before older.
      if (!added && (cell.error.empty() || !place->second.first->error.empty())) {
        place->second = {&cell, r};
      }
    }
  }
  // A cell that failed before its model was read has no hashes; any measured cell of its id
  // answers for it.
  std::erase_if(chosen, [&](const auto& entry) {
    const std::string& id = std::get<0>(entry.first);
    return !entry.second.first->error.empty() &&
           std::any_of(chosen.begin(), chosen.end(), [&](const auto& other) {
             return std::get<0>(other.first) == id && other.second.first->error.empty();
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
  if (!runs.empty()) merged.info = runs[by_age(runs).back()].info;
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
  for (const size_t r : by_age(runs)) {
    const RunInfo& info = runs[r].info;
    text += fmt::format("from {}: {} of {} cells, {}, {}, commit {}, {}\n", folders[r], given[r],
                        runs[r].cells.size(), info.name, info.started,
                        fact(info.versions, "commit"), fact(info.machine, "cpu"));
  }
  return text;
}

}  // namespace sinkbench
