#include "reports/merge.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>

#include "tests/catch.h"

using namespace sinkbench;

namespace {

CellResult cell(const std::string& id, double nll, const std::string& error = "") {
  CellResult result;
  result.cell.id = id;
  result.error = error;
  if (error.empty()) {
    result.model_sha256 = "model";
    result.dataset_sha256 = "text";
    result.perplexity.emplace().nll_mean = nll;
  }
  return result;
}

Results run(const std::string& started, std::vector<CellResult> cells) {
  Results results;
  results.info.name = "grid";
  results.info.started = started;
  results.info.warnings = {"busy"};
  results.cells = std::move(cells);
  return results;
}

}  // namespace

TEST_CASE("merging keeps the newest of each cell, whatever the order of the folders") {
  std::vector<Results> runs = {
      run("2026-01-02T00:00:00Z", {cell("b", 2), cell("a", 1)}),
      run("2026-01-03T00:00:00Z", {cell("c", 3), cell("a", 4)}),
      run("2026-01-01T00:00:00Z", {cell("c", 5)}),
  };
  std::sort(runs.begin(), runs.end(),
            [](const auto& x, const auto& y) { return x.info.started < y.info.started; });
  do {
    const Results merged = merge(runs);
    REQUIRE(merged.cells.size() == 3);
    CHECK(merged.info.started == "2026-01-03T00:00:00Z");
    CHECK(merged.info.warnings == std::vector<std::string>{"busy"});
    const std::vector<std::pair<std::string, double>> expected = {{"a", 4}, {"b", 2}, {"c", 3}};
    for (size_t i = 0; i < expected.size(); ++i) {
      CHECK(merged.cells[i].cell.id == expected[i].first);
      CHECK(merged.cells[i].perplexity->nll_mean == expected[i].second);
    }
  } while (std::next_permutation(runs.begin(), runs.end(), [](const auto& x, const auto& y) {
    return x.info.started < y.info.started;
  }));
}

TEST_CASE("runs that started in the same second are merged alike in any order") {
  // As the tasks of a job array do; one was run twice with other numbers.
  std::vector<size_t> order = {0, 1, 2};
  std::set<std::string> merged, provenance;
  do {
    std::vector<Results> runs;
    std::vector<std::string> folders;
    for (const size_t i : order) {
      runs.push_back(run("2026-01-01T00:00:00Z", {cell("a", 1 + i % 2), cell("b", i)}));
      runs.back().info.machine["cpu"] = "cpu " + std::to_string(i);
      folders.push_back("shard-" + std::to_string(i));
    }
    merged.insert(to_json(merge(runs)).dump());
    provenance.insert(format_provenance(folders, runs));
  } while (std::next_permutation(order.begin(), order.end()));
  CHECK(merged.size() == 1);
  CHECK(provenance.size() == 1);
}

TEST_CASE("a cell that failed never takes the place of one that was measured") {
  const std::vector<Results> runs = {
      run("2026-01-01T00:00:00Z", {cell("a", 1), cell("b", 0, "no memory")}),
      run("2026-01-02T00:00:00Z", {cell("a", 0, "no memory")}),
  };
  const Results merged = merge(runs);
  REQUIRE(merged.cells.size() == 2);
  CHECK(merged.cells[0].perplexity->nll_mean == 1);
  CHECK(merged.cells[1].error == "no memory");
  const std::vector<std::string> folders = {"one", "two"};
  const std::string text = format_provenance(folders, runs);
  CHECK(text.find("from one: 2 of 2 cells") != std::string::npos);
  CHECK(text.find("from two: 0 of 1 cells") != std::string::npos);
}

TEST_CASE("what runs differ in is no fact of all of them") {
  std::vector<Results> runs = {run("2026-01-01T00:00:00Z", {cell("a", 1)}),
                               run("2026-01-02T00:00:00Z", {cell("b", 1)})};
  for (Results& results : runs) {
    results.info.machine = {{"cpu", "fast"}, {"cores", "2"}};
    results.info.versions = {{"commit", "abc"}};
  }
  CHECK(merge(runs).info.machine.at("cpu") == "fast");
  runs[0].info.machine["cpu"] = "slow";
  runs[0].info.versions.clear();
  CHECK(merge(runs).info.machine.at("cpu") == "several processors, which the lines below name");
  CHECK(merge(runs).info.machine.at("cores") == "2");
  CHECK(merge(runs).info.versions.at("commit") == "several");
}

TEST_CASE("what only the older run measured of a cell stays") {
  CellResult older = cell("a", 1);
  older.nll_file = "one/nll/a.f32";
  older.threads = 1;
  older.memory.emplace().cache_entries = 8;
  CellResult newer = cell("a", 0);
  newer.perplexity.reset();
  newer.threads = 2;
  newer.latency.emplace_back().p50_ms = 3;
  newer.memory.emplace().cache_entries = 9;
  std::vector<Results> runs = {run("2026-01-01T00:00:00Z", {older}),
                               run("2026-01-02T00:00:00Z", {newer})};
  const std::vector<std::string> folders = {"one", "two"};
  CellResult merged = merge(runs).cells.at(0);
  CHECK(merged.perplexity->nll_mean == 1);
  CHECK(merged.nll_file == "one/nll/a.f32");
  CHECK(merged.latency.at(0).p50_ms == 3);
  CHECK(merged.memory->cache_entries == 9);
  CHECK(merged.threads == 2);
  std::string text = format_provenance(folders, runs);
  CHECK(text.find("from one: 1 of 1 cells") != std::string::npos);
  CHECK(text.find("from two: 1 of 1 cells") != std::string::npos);

  // The other way round, latencies keep the threads that they were measured with.
  std::swap(runs[0].info.started, runs[1].info.started);
  merged = merge(runs).cells.at(0);
  CHECK(merged.latency.at(0).p50_ms == 3);
  CHECK(merged.threads == 2);
  CHECK(merged.memory->cache_entries == 8);

  // Nothing is left of an older one where the newer measured all of it.
  runs[1].cells[0].latency.clear();
  text = format_provenance(folders, runs);
  CHECK(text.find("from two: 0 of 1 cells") != std::string::npos);
}

TEST_CASE("cells of the same name on another text or model stay apart") {
  Results other = run("2026-01-02T00:00:00Z", {cell("a", 2)});
  other.cells[0].dataset_sha256 = "another text";
  const std::vector<Results> runs = {run("2026-01-01T00:00:00Z", {cell("a", 1)}), other};
  CHECK(merge(runs).cells.size() == 2);
}
