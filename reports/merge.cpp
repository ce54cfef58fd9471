#include "reports/merge.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <numeric>
#include <set>
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

struct Merged {
  CellResult cell;
  std::set<size_t> runs;  ///< that it has something of
};

/// What the newer run of a cell didn't measure stays the older's. Returns whether anything does.
bool keep_unmeasured(CellResult& newer, const CellResult& older) {
  bool kept = false;
  const auto keep = [&](bool measured, bool was_measured, const auto& take) {
    if (measured || !was_measured) return;
    take();
    kept = true;
  };
  keep(newer.perplexity.has_value(), older.perplexity.has_value(), [&] {
    newer.perplexity = older.perplexity;
    newer.nll_file = older.nll_file;
    newer.scoring_seconds = older.scoring_seconds;
    // Both are of these NLLs.
    newer.divergence = older.divergence;
    newer.collapse = older.collapse;
  });
  keep(!newer.latency.empty(), !older.latency.empty(), [&] {
    newer.latency = older.latency;
    newer.threads = older.threads;  // which tell of times alone
  });
  keep(newer.memory.has_value(), older.memory.has_value(), [&] { newer.memory = older.memory; });
  keep(newer.divergence.has_value(), older.divergence.has_value(),
       [&] { newer.divergence = older.divergence; });
  keep(newer.evicted_mass.has_value(), older.evicted_mass.has_value(),
       [&] { newer.evicted_mass = older.evicted_mass; });
  keep(!newer.answers.empty(), !older.answers.empty(), [&] {
    newer.answers = older.answers;
    newer.answers_file = older.answers_file;
  });
  keep(!newer.decisions_file.empty(), !older.decisions_file.empty(),
       [&] { newer.decisions_file = older.decisions_file; });
  return kept;
}

/// The merged cells, each with the runs that it comes from.
std::map<Key, Merged> choose(std::span<const Results> runs) {
  std::map<Key, Merged> chosen;
  const std::vector<size_t> order = by_age(runs);
  for (auto r = order.rbegin(); r != order.rend(); ++r) {  // the newest first
    for (const CellResult& cell : runs[*r].cells) {
      const auto [place, added] = chosen.try_emplace(
          {cell.cell.id, cell.model_sha256, cell.dataset_sha256}, Merged{cell, {*r}});
      if (added || !cell.error.empty()) continue;
      Merged& merged = place->second;
      if (!merged.cell.error.empty()) {
        merged = {cell, {*r}};
      } else if (keep_unmeasured(merged.cell, cell)) {
        merged.runs.insert(*r);
      }
    }
  }
  // A cell that failed before its model was read has no hashes; any measured cell of its id
  // answers for it.
  std::erase_if(chosen, [&](const auto& entry) {
    const std::string& id = std::get<0>(entry.first);
    return !entry.second.cell.error.empty() &&
           std::any_of(chosen.begin(), chosen.end(), [&](const auto& other) {
             return std::get<0>(other.first) == id && other.second.cell.error.empty();
           });
  });
  return chosen;
}

const std::string several = "several";

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
    // What runs differ in is no fact of all.
    for (const auto facts : {&RunInfo::machine, &RunInfo::versions}) {
      for (auto& [name, value] : merged.info.*facts) {
        if (fact(run.info.*facts, name) != value) value = several;
      }
    }
  }
  if (fact(merged.info.machine, "cpu") == several) {
    merged.info.machine["cpu"] = "several processors, which the lines below name";
  }
  auto& warnings = merged.info.warnings;
  std::sort(warnings.begin(), warnings.end());
  warnings.erase(std::unique(warnings.begin(), warnings.end()), warnings.end());
  for (auto& [key, cell] : choose(runs)) merged.cells.push_back(std::move(cell.cell));
  return merged;
}

std::string format_provenance(std::span<const std::string> folders, std::span<const Results> runs) {
  std::vector<int64_t> given(runs.size());
  for (const auto& [key, cell] : choose(runs)) {
    for (const size_t run : cell.runs) ++given[run];
  }
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
