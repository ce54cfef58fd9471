// A grid in parts: --shard, and a Slurm job array of them.
#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>
#include <nlohmann/json.hpp>
#include <sstream>

#include "tests/catch.h"
#include "tests/cli/program.h"
#include "tests/cli/results.h"
#include "tests/data.h"
#include "tests/files.h"

using namespace sinkbench;
using test::Outcome;
namespace fs = std::filesystem;

namespace {

using Strings = std::vector<std::string>;

std::string shard_name(int i, int count) {
  return "shard-" + std::to_string(i) + "-of-" + std::to_string(count);
}

struct Workplace : test::TemporaryFolder {
  Workplace() {
    fs::copy(test::data("families/llama_mha"), path() / "model");
    write("ids.json", "[1, 2, 3, 4, 5, 6, 7, 8, 9]");
    write("grid.yaml", R"(name: grid
model: model
dataset: {tokens_file: ids.json}
policies: [dense, window: {window: [2, 3, 4, 5, 6]}, sinks: {sinks: 1, window: [3, 4, 5]}]
metrics: [perplexity, memory]
)");
  }
  Outcome operator()(Strings arguments) const {
    return test::Program(std::move(arguments), path()).wait();
  }
  /// The cells of a folder's results by id, without times.
  std::map<std::string, nlohmann::json> cells(const fs::path& folder) const {
    std::map<std::string, nlohmann::json> result;
    const test::Measured measured = test::read_measured(path() / folder);
    for (const auto& cell : measured.results.at("cells")) result[cell.at("id")] = cell;
    return result;
  }
  /// Those of all shards together, each of which must have its own.
  std::map<std::string, nlohmann::json> cells_of_shards(const fs::path& out, int count) const {
    std::map<std::string, nlohmann::json> all;
    for (int i = 1; i <= count; ++i) {
      const auto part = cells(out / shard_name(i, count));
      CHECK(!part.empty());
      for (const auto& [id, cell] : part) CHECK(all.emplace(id, cell).second);
    }
    return all;
  }
};

/// The rows of a report's table of perplexity.
Strings perplexity_rows(const std::string& report) {
  Strings rows;
  std::istringstream lines(report.substr(report.find("\nPerplexity\n") + 1));
  std::string line;
  for (int i = 0; i < 3; ++i) std::getline(lines, line);  // title, names, rule
  while (std::getline(lines, line) && !line.empty()) rows.push_back(line);
  return rows;
}

}  // namespace

TEST_CASE("shards run a grid between them, each cell once") {
  const Workplace workplace;
  REQUIRE(workplace({"run", "grid.yaml", "--out", "whole"}).status == 0);
  REQUIRE(workplace.cells("whole").size() == 9);
  for (const int count : {2, 4}) {
    for (int i = count; i >= 1; --i) {
      const std::string shard = std::to_string(i) + "/" + std::to_string(count);
      REQUIRE(workplace({"run", "grid.yaml", "--shard", shard, "--out", "out"}).status == 0);
    }
    CHECK(workplace.cells_of_shards("out", count) == workplace.cells("whole"));
    // One report of them, in whatever order they are given.
    Strings folders = {"report"};
    for (int i = 1; i <= count; ++i) folders.push_back("out/" + shard_name(i, count));
    for (const char* format : {"table", "csv", "html"}) {
      Strings arguments = folders;
      const auto report = [&] {
        Strings all = arguments;
        all.insert(all.end(), {"--format", format});
        const Outcome outcome = workplace(all);
        CHECK(outcome.status == 0);
        return outcome.out;
      };
      const std::string in_order = report();
      if (std::string(format) == "table") CHECK(perplexity_rows(in_order).size() == 9);
      std::reverse(arguments.begin() + 1, arguments.end());
      CHECK(report() == in_order);
      std::rotate(arguments.begin() + 1, arguments.begin() + 2, arguments.end());
      CHECK(report() == in_order);
    }
  }
  const Outcome dry = workplace({"run", "grid.yaml", "--shard", "2/4", "--dry-run"});
  CHECK_THAT(dry.out, ContainsSubstring("model-ids-window-0+2-float32"));
  CHECK_THAT(dry.out, ContainsSubstring("model-ids-window-0+6-float32"));
  CHECK_THAT(dry.out, ContainsSubstring("\n2 cells: "));
}

TEST_CASE("a shard that is none is refused") {
  const Workplace workplace;
  for (const char* shard : {"0/4", "5/4", "1", "1/0", "a/b", "1/2/3", "-1/2", "1/4 ",
                            "1/99999999999999999999", "", "1/"}) {
    const Outcome outcome = workplace({"run", "grid.yaml", "--shard", shard});
    CHECK(outcome.status == 2);
    CHECK_THAT(outcome.err, ContainsSubstring("expected I/N with I from 1 to N, such as 2/4"));
  }
  CHECK(!fs::exists(workplace.path() / "results"));
}

TEST_CASE("the Slurm script is checked before it is printed") {
  const Workplace workplace;
  const Outcome script = workplace({"slurm", "grid.yaml", "--set", "dtype='bfloat16'", "--threads",
                                    "2", "--sbatch=--time=8:00:00"});
  CHECK(script.status == 0);
  CHECK_THAT(script.out, Catch::Matchers::StartsWith("#!/bin/bash\n#SBATCH "));
  for (const char* part :
       {"\n#SBATCH --array=1-9\n", "\n#SBATCH --cpus-per-task=2\n", "\n#SBATCH --time=8:00:00\n",
        " --set 'dtype='\\''bfloat16'\\'''", " --shard \"$SLURM_ARRAY_TASK_ID/9\"\n"}) {
    CHECK_THAT(script.out, ContainsSubstring(part));
  }
  CHECK_THAT(script.out, !ContainsSubstring("gres"));
  // Where cells run on a card, each task has one of its own, unless something else is asked for.
  CHECK_THAT(workplace({"slurm", "grid.yaml", "--device", "cuda"}).out,
             ContainsSubstring("\n#SBATCH --gres=gpu:1\n"));
  CHECK_THAT(
      workplace({"slurm", "grid.yaml", "--device", "cuda", "--sbatch=--gpus-per-task=h100:1"}).out,
      !ContainsSubstring("gres"));
  CHECK_THAT(workplace({"slurm", "none.yaml"}).err, ContainsSubstring("none.yaml"));
  CHECK_THAT(workplace({"slurm", "grid.yaml", "--shards", "10"}).err,
             ContainsSubstring("expected no more than the 9 cells of the grid"));
  CHECK_THAT(workplace({"slurm", "grid.yaml", "--sbatch", "time"}).err,
             ContainsSubstring("expected an option of sbatch"));
}

TEST_CASE("a Slurm job array of four tasks runs a grid and reports it in one") {
  const Workplace workplace;
  REQUIRE(workplace({"run", "grid.yaml", "--out", "whole", "--threads", "1"}).status == 0);
  const Outcome script = workplace({"slurm", "grid.yaml", "--shards", "4", "--threads", "1"});
  REQUIRE(script.status == 0);
  workplace.write("job.sbatch", script.out);
  const fs::path cluster = fs::path(SINKBENCH_TESTS) / "cli/cluster.sh";
  const std::string command =
      "cd '" + workplace.path().string() + "' && '" + cluster.string() +
      "' \"$PWD/slurm\" bash -c 'sbatch --wait job.sbatch && while [ -n \"$(squeue -h)\" ]; do "
      "sleep 0.2; done' >cluster.log 2>&1";
  const int status = std::system(command.c_str());
  const std::string log = read_file(workplace.path() / "cluster.log");
  if (WIFEXITED(status) && WEXITSTATUS(status) == 77) {
    WARN("skipped: " << log);
    return;
  }
  INFO(log);
  REQUIRE(status == 0);
  CHECK(workplace.cells_of_shards("results/grid", 4) == workplace.cells("whole"));
  // The dependent job's report: one, with every cell's figures.
  const Strings rows = perplexity_rows(read_file(workplace.path() / "results/grid/report.txt"));
  const auto whole = workplace.cells("whole");
  CHECK(rows.size() == whole.size());
  for (const auto& [id, cell] : whole) {
    const auto policy = "  " + cell.at("policy").at("name").get<std::string>() + " ";
    const std::string nll =
        fmt::format(" {:.4f} ", cell.at("perplexity").at("nll_mean").get<double>());
    INFO(id << nll);
    CHECK(std::any_of(rows.begin(), rows.end(), [&](const std::string& row) {
      return row.starts_with(policy) && row.find(nll) != row.npos;
    }));
  }
}
