// sinkbench compare, from two runs to its exit status and the files it writes.
#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "tests/catch.h"
#include "tests/cli/model_and_book.h"
#include "tests/cli/program.h"
#include "tests/files.h"

using namespace sinkbench;
namespace fs = std::filesystem;

namespace {

using Strings = std::vector<std::string>;

/// Two runs of one small experiment, in results/a and results/b.
struct TwoRuns : test::ModelAndBook {
  TwoRuns() {
    write("small.yaml", R"(model: model
dataset: {text: book.txt}
policies:
  - dense
  - sinks: {sinks: 2, window: 10}
metrics: [perplexity, memory]
)");
    for (const char* folder : {"results/a", "results/b"}) {
      REQUIRE((*this)({"run", "small.yaml", "--quiet", "--out", folder}).status == 0);
    }
  }

  test::Outcome operator()(Strings arguments) const {
    return test::Program(std::move(arguments), path()).wait();
  }

  /// Changes results/b/results.json.
  template <typename Change>
  void change(Change what) const {
    const fs::path file = path() / "results/b/results.json";
    nlohmann::json results = nlohmann::json::parse(read_file(file));
    what(results["cells"]);
    write(file, results.dump());
  }
};

}  // namespace

TEST_CASE("compare says by its exit status what it has found") {
  const TwoRuns runs;
  const auto check = [&](int status, const std::string& last_line) {
    const test::Outcome outcome = runs({"compare", "results/a", "results/b"});
    INFO(outcome.out << outcome.err);
    CHECK(outcome.status == status);
    CHECK(outcome.err.empty());
    CHECK_THAT(outcome.out, ContainsSubstring("\n" + last_line));
  };
  SECTION("nothing is worse") {
    check(0, "no regression: ");
  }
  SECTION("something is worse") {
    runs.change([](auto& cells) { cells[1]["memory"]["kv_bytes_held"] = 1 << 20; });
    check(1, "REGRESSION: 1 worse, ");
  }
  SECTION("nothing can be compared") {
    runs.change([](auto& cells) {
      for (auto& cell : cells) cell["dataset"]["sha256"] = "another";
    });
    check(3, "NOTHING COMPARABLE");
  }
  SECTION("a cell failed") {
    runs.change([](auto& cells) { cells[0]["error"] = "out of memory"; });
    check(4, "INCOMPLETE: ");
  }
  SECTION("a cell is missing") {
    runs.change([](auto& cells) { cells.erase(0); });
    check(4, "INCOMPLETE: ");
  }
}

TEST_CASE("compare takes thresholds from a file and from flags") {
  const TwoRuns runs;
  runs.change([](auto& cells) { cells[1]["memory"]["kv_bytes_held"] = 1 << 20; });
  runs.write("thresholds.yaml", "cells:\n  '*-sinks-*': {kv_bytes_held: off}\n");
  const Strings compare = {"compare", "results/a", "results/b"};
  const auto status = [&](Strings more) {
    more.insert(more.begin(), compare.begin(), compare.end());
    return runs(more).status;
  };
  CHECK(status({}) == 1);
  CHECK(status({"--thresholds", "thresholds.yaml"}) == 0);
  CHECK(status({"--threshold", "*-sinks-*:kv_bytes_held=1000000"}) == 0);
  CHECK(status({"--threshold", "*-dense-*:kv_bytes_held=off"}) == 1);
  CHECK(status({"--thresholds", "thresholds.yaml", "--threshold", "kv_bytes_held=0"}) == 1);
}

TEST_CASE("compare writes exports, whatever it has found") {
  const TwoRuns runs;
  runs.change([](auto& cells) { cells[1]["memory"]["kv_bytes_held"] = 1 << 20; });
  const test::Outcome outcome =
      runs({"compare", "results/a", "results/b", "--export", "junit=a.xml", "--export",
            "markdown=a.md", "--export", "bencher=b.json", "--export", "github-benchmark=c.json",
            "--export", "google-benchmark=d.json"});
  CHECK(outcome.status == 1);
  CHECK_THAT(read_file(runs.path() / "a.xml"), ContainsSubstring("failures=\"1\""));
  CHECK_THAT(read_file(runs.path() / "a.md"), ContainsSubstring("# REGRESSION: 1 worse"));
  for (const char* file : {"b.json", "c.json", "d.json"}) {
    CHECK_NOTHROW(nlohmann::json::parse(read_file(runs.path() / file)));
  }
  CHECK(nlohmann::json::parse(read_file(runs.path() / "b.json")).size() == 2);
}

TEST_CASE("compare refuses bad input in one line, with status 2") {
  const TwoRuns runs;
  const test::Outcome itself = runs({"compare", "results/a", "results/../results/a"});
  CHECK(itself.status == 0);
  CHECK_THAT(itself.err, ContainsSubstring("note: results/a is compared with itself"));
  const auto refused = [&](Strings arguments, const std::string& message) {
    arguments.insert(arguments.begin(), "compare");
    const test::Outcome outcome = runs(arguments);
    INFO(outcome.err);
    CHECK(outcome.status == 2);
    CHECK(outcome.out.empty());
    CHECK_THAT(outcome.err, ContainsSubstring(message));
    CHECK(std::count(outcome.err.begin(), outcome.err.end(), '\n') == 1);
  };
  refused({"results/a", "results/c"}, "results/c/results.json: ");
  refused({"results/a", "results/b", "--thresholds", "none.yaml"}, "none.yaml: no such file");
  refused({"results/a", "results/b", "--threshold", "latencie=1"}, "did you mean 'latency'?");
  refused({"results/a", "results/b", "--export", "junt=x"}, "did you mean 'junit'?");
  refused({"results/a", "results/b", "--export", "junit=x", "--export", "markdown=x"},
          "another one goes to that file");
  for (const auto& file : fs::directory_iterator(runs.path() / "results/b/nll")) {
    fs::resize_file(file.path(), 8);
  }
  refused({"results/a", "results/b"}, ": 2 numbers; expected ");
  fs::remove_all(runs.path() / "results/b/nll");
  refused({"results/a", "results/b"}, ".f32: ");
}
