// A set of experiments as one command.
#include <chrono>
#include <nlohmann/json.hpp>
#include <random>
#include <thread>

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

/// A set of two small experiments, and a file that is none.
struct Workplace : test::TemporaryFolder {
  Workplace() {
    fs::copy(test::data("families/llama_gqa"), path() / "model");
    std::mt19937 random(1);
    nlohmann::json ids;
    for (int i = 0; i < 1500; ++i) ids.push_back(random() % 300);
    write("ids.json", ids.dump());
    experiment("first", "sinks: {sinks: 4, window: 60}");
    experiment("second", "window: {window: [30, 60]}");
    write("configs/set/published.yaml", "first: {perplexity: 5.4}\n");
  }
  void experiment(const std::string& name, const std::string& policy) const {
    write("configs/set/" + name + ".yaml",
          "# What " + name +
              " is for.\nmodel: ../../model\ndataset: {tokens_file: ../../ids.json}\n"
              "policies:\n  - " +
              policy + "\nengine: stepwise\nmetrics: [perplexity]\n");
  }
  Outcome operator()(Strings arguments) const {
    arguments.insert(arguments.begin(), "reproduce");
    return test::Program(std::move(arguments), path()).wait();
  }
  nlohmann::json cells(const fs::path& folder) const {
    return nlohmann::json::parse(read_file(path() / folder / "results.json")).at("cells");
  }
};

}  // namespace

TEST_CASE("reproduce runs every experiment of a set, and none a second time") {
  const Workplace workplace;
  const Outcome outcome = workplace({"set"});
  INFO(outcome.err);
  REQUIRE(outcome.status == 0);
  CHECK_THAT(outcome.out, ContainsSubstring("\nreport: results/set/report.html\n"));
  const auto first = workplace.cells("results/set/first");
  const auto second = workplace.cells("results/set/second");
  CHECK(first.size() == 1);
  CHECK(second.size() == 2);
  CHECK_FALSE(fs::exists(workplace.path() / "results/set/published"));

  const Outcome again = workplace({"configs/set", "--out", "results/set"});  // the set by its path
  CHECK(again.status == 0);
  CHECK_THAT(again.err, ContainsSubstring("1 of 1 cell in results/set/first from before"));
  CHECK_THAT(again.err, ContainsSubstring("2 of 2 cells in results/set/second from before"));
  // Times included: nothing was measured again.
  CHECK(workplace.cells("results/set/first") == first);
  CHECK(workplace.cells("results/set/second") == second);
  CHECK(again.out == outcome.out);  // nor is there another warning of a busy machine
}

TEST_CASE("reproduce makes one report of all experiments, also of those run before") {
  const Workplace workplace;
  REQUIRE(workplace({"set", "second"}).status == 0);
  const fs::path report = workplace.path() / "results/set/report.html";
  CHECK_THAT(read_file(report), !ContainsSubstring("What first is for."));
  REQUIRE(workplace({"set", "first"}).status == 0);
  const std::string html = read_file(report);
  for (const char* part :
       {"<h1>set</h1>", "<a href=\"#part-1\">first</a>", "<h2 id=\"part-2\">second</h2>",
        "What first is for.", "What second is for.", "4+60", "0+30"}) {
    CHECK_THAT(html, ContainsSubstring(part));
  }
  CHECK_THAT(html, ContainsSubstring("aria-label=\"Perplexity by cache size: model, ids.json,"));
}

TEST_CASE("reproduce goes on after a kill as if there had been none") {
  const Workplace workplace;
  REQUIRE(workplace({"set", "--out", "undisturbed"}).status == 0);
  const test::Program program({"reproduce", "set", "--out", "killed"}, workplace.path());
  const fs::path done = workplace.path() / "killed/first/results.json";
  for (int i = 0; i < 6000 && !fs::exists(done); ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  program.send(SIGKILL);
  program.wait();
  const auto first = workplace.cells("killed/first");
  const Outcome rest = workplace({"set", "--out", "killed"});
  INFO(rest.err);
  CHECK(rest.status == 0);
  CHECK(workplace.cells("killed/first") == first);
  for (const char* name : {"first", "second"}) {
    CHECK(test::read_measured(workplace.path() / "killed" / name) ==
          test::read_measured(workplace.path() / "undisturbed" / name));
  }
}

TEST_CASE("reproduce runs those experiments that are named") {
  const Workplace workplace;
  REQUIRE(workplace({"set", "second", "--limit", "100"}).status == 0);
  CHECK_FALSE(fs::exists(workplace.path() / "results/set/first"));
  CHECK(workplace.cells("results/set/second").at(0).at("perplexity").at("scored") == 99);
  const Outcome unknown = workplace({"set", "secondd"});
  CHECK(unknown.status == 2);
  CHECK_THAT(unknown.err, ContainsSubstring("no experiment 'secondd' in this set; did you mean "
                                            "'second'?"));
}

TEST_CASE("a set that is not there is refused with those that are") {
  const Workplace workplace;
  workplace.write("configs/train/a.yaml", "steps: 3\n");  // no experiment
  const Outcome outcome = workplace({"tiny"});
  CHECK(outcome.status == 2);
  CHECK(outcome.err ==
        "sinkbench: no set 'tiny'; there are: set; or give a folder with experiments\n");
  CHECK(workplace({"configs/train"}).status == 2);
}

TEST_CASE("variables that are not set are all said at once") {
  const Workplace workplace;
  workplace.write("configs/set/third.yaml",
                  "# ${SINKBENCH_TEST_C} is in a comment\n"
                  "model: ${SINKBENCH_TEST_A}/m\ndataset: {text: '${SINKBENCH_TEST_B}/b.txt'}\n"
                  "policies: [dense]\n");
  const Outcome outcome = workplace({"set"});
  CHECK(outcome.status == 2);
  CHECK(outcome.err ==
        "sinkbench: third.yaml: needs the environment variable SINKBENCH_TEST_A, which is not set; "
        "expected a folder: export SINKBENCH_TEST_A=FOLDER (docs/reproduce.md says what belongs "
        "there)\n"
        "sinkbench: third.yaml: needs the environment variable SINKBENCH_TEST_B, which is not set; "
        "expected a folder: export SINKBENCH_TEST_B=FOLDER (docs/reproduce.md says what belongs "
        "there)\n");
  CHECK_FALSE(fs::exists(workplace.path() / "results"));
}

TEST_CASE("all that is missing is said before anything is run") {
  const Workplace workplace;
  workplace.write("configs/set/first.yaml",
                  "model: {path: ../../third, get: fetch third}\n"
                  "dataset: {text: book.txt, get: buy the book}\npolicies: [dense]\n");
  for (const char* name : {"third", "fourth"}) {
    workplace.write(fs::path("configs/set") / (std::string(name) + ".yaml"),
                    "model: {path: ../../" + std::string(name) + ", get: fetch " + name +
                        "}\ndataset: {tokens_file: ../../ids.json}\npolicies: [dense, {window: "
                        "{window: 9}}]\n");
  }
  const Outcome outcome = workplace({"set"});
  CHECK(outcome.status == 2);
  for (const char* name : {"third", "fourth"}) {
    CHECK_THAT(outcome.err,
               ContainsSubstring(std::string(name) + ": no such model folder; get it with: fetch " +
                                 name + "\n"));
  }
  CHECK_THAT(outcome.err, ContainsSubstring("book.txt: no such text; get it with: buy the book\n"));
  CHECK(std::count(outcome.err.begin(), outcome.err.end(), '\n') == 3);  // each once
  CHECK_FALSE(fs::exists(workplace.path() / "results"));
}

TEST_CASE("a cell that fails makes the whole incomplete, and the others run") {
  const Workplace workplace;
  // Dense steps for more tokens than any memory holds.
  workplace.write("configs/set/first.yaml",
                  "model: ../../model\ndataset: {tokens_file: ../../ids.json}\npolicies: [dense]\n"
                  "metrics: [latency]\nlatency: {lengths: 100000000000}\n");
  const Outcome outcome = workplace({"set"});
  CHECK(outcome.status == 4);
  CHECK(workplace.cells("results/set/second").size() == 2);
}

TEST_CASE("a set's report has its measurements of sinks beside what losing them costs") {
  const Workplace workplace;
  const std::string inputs = "model: ../../model\ndataset: {tokens_file: ../../ids.json}\n";
  workplace.write("configs/set/rates.yaml",
                  "# How much is parked.\n" + inputs + "sinks: {samples: 3, tokens: 16}\n");
  workplace.write("configs/set/costs.yaml",
                  inputs +
                      "policies: [dense, window: {window: 64}, sinks: {sinks: 4, window: 60}]\n"
                      "metrics: [perplexity]\n");
  const Outcome outcome = workplace({"set", "rates", "costs"});
  INFO(outcome.err);
  REQUIRE(outcome.status == 0);
  CHECK_THAT(outcome.out, ContainsSubstring("Sinks\n  model "));
  CHECK(fs::exists(workplace.path() /
                   "results/set/rates/model-ids-natural-T16-float32/plots/sinks.svg"));
  const std::string html = read_file(workplace.path() / "results/set/report.html");
  for (const char* part :
       {"<h2>Sinks beside what losing them costs</h2>", "window / sinks", "How much is parked.",
        "<caption><h3>Sinks</h3></caption>", "data:image/png;base64,iVBORw0KGgo",
        "alt=\"Mean attention to position 0 by layer and head. model-ids-natural-T16-float32: "
        "Sink_0 "}) {
    CHECK_THAT(html, ContainsSubstring(part));
  }
  const Outcome again = workplace({"set", "rates"});
  CHECK_THAT(again.err, ContainsSubstring("measured before"));
  // What is missing is said before anything runs.
  workplace.write("configs/set/rates.yaml",
                  "model: {path: ../../nothing, get: ask somebody}\ndataset: {tokens_file: "
                  "../../ids.json}\nsinks: {}\n");
  const Outcome missing = workplace({"set", "first", "rates"});
  CHECK(missing.status == 2);
  CHECK_THAT(missing.err, ContainsSubstring("ask somebody"));
  CHECK(!fs::exists(workplace.path() / "results/set/first"));
}
