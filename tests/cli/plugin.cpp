// Plug-ins in runs: their numbers, what is recorded, and who loads them.
#include <filesystem>
#include <nlohmann/json.hpp>
#include <random>

#include "base/sha256.h"
#include "tests/catch.h"
#include "tests/cli/program.h"
#include "tests/data.h"
#include "tests/environment.h"
#include "tests/files.h"

using namespace sinkbench;
using test::Outcome;
namespace fs = std::filesystem;
using Json = nlohmann::json;

namespace {

using Strings = std::vector<std::string>;
const fs::path plugins = SINKBENCH_TEST_PLUGINS;

struct Workplace : test::TemporaryFolder {
  Workplace() {
    fs::copy(test::data("families/llama_gqa"), path() / "model");
    fs::copy_file(plugins / "my_h2o.so", path() / "mine.so");
    fs::copy_file(plugins / "faulty.so", path() / "faulty.so");
    std::mt19937 random(1);
    Json ids;
    for (int i = 0; i < 300; ++i) ids.push_back(random() % 200);
    write("ids.json", ids.dump());
    write("mine.yaml", R"(model: model
dataset: {tokens_file: ids.json}
plugins: mine.so
policies:
  - my_h2o: {capacity: 40}
  - h2o: {capacity: 40}
  - my_h2o: {capacity: 40, every: 3, reduce: max, values: caote}
  - h2o: {capacity: 40, every: 3, reduce: max, values: caote}
metrics: perplexity
decisions: true
)");
  }
  Outcome operator()(Strings arguments) const {
    return test::Program(std::move(arguments), path()).wait();
  }
  Json cells(const std::string& out) const {
    return Json::parse(read_file(path() / out / "results.json")).at("cells");
  }
};

}  // namespace

TEST_CASE("a plug-in's H2O gives the built-in's NLLs and evictions to the bit") {
  const Workplace workplace;
  const Outcome run = workplace({"run", "mine.yaml", "--out", "out", "--no-plots"});
  INFO(run.err);
  REQUIRE(run.status == 0);
  const Json cells = workplace.cells("out");
  REQUIRE(cells.size() == 4);
  const std::string sha256 = sha256_hex(read_file(workplace.path() / "mine.so"));
  for (size_t i = 0; i < 4; i += 2) {
    for (const char* file : {"nll_file", "decisions_file"}) {
      const fs::path mine = workplace.path() / "out" / cells[i][file].get<std::string>();
      const fs::path built_in = workplace.path() / "out" / cells[i + 1][file].get<std::string>();
      CHECK(mine != built_in);
      CHECK(read_file(mine) == read_file(built_in));
    }
    const Json& plugin = cells[i]["policy"]["plugin"];
    CHECK(fs::path(plugin["file"].get<std::string>()).filename() == "mine.so");
    CHECK(plugin["version"] == "1.0");
    CHECK(plugin["sha256"] == sha256);
    CHECK(cells[i + 1]["policy"]["plugin"].is_null());
  }
  // Once more: everything is there. With another plug-in it isn't.
  CHECK_THAT(workplace({"run", "mine.yaml", "--out", "out", "--no-plots"}).err,
             ContainsSubstring("4 of 4 cells in out from before"));
  std::string other = read_file(workplace.path() / "mine.so");
  other += '\n';
  fs::remove(workplace.path() / "mine.so");
  workplace.write("mine.so", other);
  const Outcome again = workplace({"run", "mine.yaml", "--out", "out", "--no-plots"});
  CHECK(again.status == 0);
  CHECK_THAT(again.err,
             ContainsSubstring("there are results, but not the same: plug-in; the cell is run "
                               "afresh"));
  CHECK_THAT(again.err, ContainsSubstring("2 of 4 cells in out from before"));
  // Reading results takes no plug-in.
  fs::remove(workplace.path() / "mine.so");
  const Outcome report = workplace({"report", "out"});
  CHECK(report.status == 0);
  CHECK_THAT(report.out, ContainsSubstring("my_h2o"));
  CHECK(workplace({"compare", "out", "out"}).status == 0);
  const Outcome held = workplace({"decisions", "out"});
  INFO(held.err);
  CHECK(held.status == 0);
  CHECK_THAT(held.out, ContainsSubstring("my_h2o 40"));
  const Outcome missing = workplace({"run", "mine.yaml", "--out", "out"});
  CHECK(missing.status == 2);
  CHECK_THAT(missing.err, ContainsSubstring("mine.yaml:3: plugins: "));
  CHECK_THAT(missing.err, ContainsSubstring("mine.so: there is no such file"));
}

TEST_CASE("a set of experiments may name plug-ins") {
  const Workplace workplace;
  fs::create_directory(workplace.path() / "set");
  workplace.write("set/mine.yaml", R"(model: ../model
dataset: {tokens_file: ../ids.json}
plugins: ../mine.so
policies: [{my_h2o: {capacity: 40}}]
metrics: perplexity
)");
  const Outcome run = workplace({"reproduce", "set", "--out", "out", "--quiet"});
  INFO(run.err);
  CHECK(run.status == 0);
  CHECK(workplace.cells("out/mine").at(0).at("policy").at("name") == "my_h2o");
  CHECK_THAT(read_file(workplace.path() / "out/report.html"), ContainsSubstring("my_h2o 40"));
}

TEST_CASE("who doesn't run anything loads no plug-in") {
  const Workplace workplace;
  const test::Variable crash("SINKBENCH_TEST_FAULT", "crash at load");
  workplace.write("crash.yaml", R"(model: model
dataset: {tokens_file: ids.json}
plugins: [faulty.so]
policies: [dense, {faulty: {capacity: [40, 50], strength: 2}}]
metrics: perplexity
)");
  const Outcome plan = workplace({"run", "crash.yaml", "--dry-run"});
  CHECK(plan.status == 0);
  CHECK_THAT(plan.out, ContainsSubstring("faulty-capacity-50-strength-2"));
  CHECK_THAT(plan.out, ContainsSubstring("faulty.so are not checked: --dry-run loads no plug-ins"));
  const Outcome nowhere = workplace({"run", "crash.yaml", "--dry-run", "--plugin", "nowhere.so"});
  CHECK(nowhere.status == 2);
  CHECK_THAT(nowhere.err, ContainsSubstring("nowhere.so: there is no such file"));
  const Outcome slurm = workplace({"slurm", "crash.yaml"});
  CHECK(slurm.status == 0);
  CHECK_THAT(slurm.out, ContainsSubstring("--array=1-3"));
  for (const Strings& command : {Strings{"run", "crash.yaml"}, Strings{"verify", "crash.yaml"},
                                 Strings{"verify", "--plugin", "faulty.so"},
                                 Strings{"list", "policies", "--plugin", "faulty.so"},
                                 Strings{"inspect", "model", "--plugin", "faulty.so"},
                                 Strings{"eval", "model", "ids.json", "--plugin", "faulty.so"}}) {
    const Outcome refused = workplace(command);
    CHECK(refused.status == 2);
    CHECK_THAT(refused.err, ContainsSubstring("the plug-in crashes as it is loaded (SIGABRT)"));
  }
  CHECK(!fs::exists(workplace.path() / "results"));
}

TEST_CASE("verify --plugin tries a plug-in's policies, and finds what is broken") {
  const Workplace workplace;
  const Outcome good = workplace({"verify", "--plugin", "mine.so"});
  INFO(good.out << good.err);
  CHECK(good.status == 0);
  CHECK_THAT(good.out, ContainsSubstring("ok     a cache that holds everything is dense"));
  const test::Variable fault("SINKBENCH_TEST_FAULT", "not pure");
  const Outcome broken = workplace({"verify", "--plugin", "faulty.so"});
  CHECK(broken.status == 1);
  CHECK_THAT(broken.out, ContainsSubstring("BROKEN scores are numbers"));
  CHECK_THAT(broken.out, ContainsSubstring("score gives other scores when it is asked again"));
  CHECK(workplace({"verify"}).status == 2);
  // A policy that fails in one cell leaves the others.
  const test::Variable nan("SINKBENCH_TEST_FAULT", "not a number");
  workplace.write("nan.yaml", R"(model: model
dataset: {tokens_file: ids.json}
plugins: faulty.so
policies: [{faulty: {capacity: 40}}, {window: {window: 40}}]
metrics: perplexity
)");
  const Outcome run = workplace({"run", "nan.yaml", "--out", "nan", "--no-plots"});
  CHECK(run.status == 4);
  const Json cells = workplace.cells("nan");
  CHECK_THAT(cells[0]["error"].get<std::string>(),
             ContainsSubstring("policy faulty: the score of token 2 in layer"));
  CHECK(cells[1]["error"].is_null());
}
