// sinkbench history, and compare with a run of it.
#include <algorithm>
#include <cstdlib>
#include <nlohmann/json.hpp>

#include "tests/catch.h"
#include "tests/cli/model_and_book.h"
#include "tests/cli/program.h"
#include "tests/environment.h"
#include "tests/files.h"

using namespace sinkbench;
namespace fs = std::filesystem;

namespace {

/// A run in results/a, and the same with another started in results/b.
struct Workplace : test::ModelAndBook {
  Workplace() {
    write("small.yaml", R"(model: model
dataset: {text: book.txt}
policies: [dense, {sinks: {sinks: 2, window: 10}}]
metrics: [perplexity, memory]
)");
    REQUIRE((*this)({"run", "small.yaml", "--quiet", "--no-plots", "--out", "results/a"}).status ==
            0);
    fs::copy(path() / "results/a", path() / "results/b", fs::copy_options::recursive);
    change([](auto& results) { results["started"] = "2099-01-02T03:04:05Z"; });
  }
  test::Outcome operator()(std::vector<std::string> arguments) const {
    return test::Program(std::move(arguments), path()).wait();
  }
  /// Changes results/b/results.json.
  template <typename Change>
  void change(Change what) const {
    const fs::path file = path() / "results/b/results.json";
    nlohmann::json results = nlohmann::json::parse(read_file(file));
    what(results);
    write(file, results.dump());
  }
};

}  // namespace

TEST_CASE("history add says what it has done, show and plot what there is") {
  const Workplace place;
  const test::Outcome added =
      place({"history", "add", "h.db", "results/a", "--branch", "main", "--commit", "abc"});
  INFO(added.err);
  CHECK(added.status == 0);
  CHECK(added.out == "run 1: added; branch main, commit abc\n");
  const test::Outcome again = place({"history", "add", "h.db", "results/a"});
  CHECK(again.status == 0);
  CHECK_THAT(again.out, ContainsSubstring("run 1: was there already, nothing is added"));
  CHECK(place({"history", "add", "h.db", "results/b", "--branch", "main"}).status == 0);

  const test::Outcome shown = place({"history", "show", "h.db", "--cell", "*-dense-*"});
  CHECK(shown.status == 0);
  CHECK_THAT(shown.out, ContainsSubstring("2099-01-02T03:04:05Z"));
  CHECK_THAT(shown.out, !ContainsSubstring("-sinks-"));
  CHECK(nlohmann::json::parse(place({"history", "show", "h.db", "--format", "json"}).out).size() ==
        2);
  const test::Outcome drawn = place({"history", "plot", "h.db", "--out", "trends"});
  if (drawn.status == 0) {  // gnuplot is there
    CHECK_THAT(drawn.out, ContainsSubstring("trends/perplexity-trend.svg\n"));
    CHECK(fs::exists(place.path() / "trends/memory-trend.png"));
  } else {
    CHECK_THAT(drawn.err, ContainsSubstring("gnuplot is not installed"));
  }
}

TEST_CASE("history add takes branch and commit from git") {
  const Workplace place;
  const std::string git = "cd " + place.path().string() +
                          " && git -c init.defaultBranch=topic init "
                          "-q && git -c user.name=a -c user.email=a@b commit -q --allow-empty -m x";
  if (std::system(git.c_str()) != 0) {
    WARN("git is not installed; not tested");
    return;
  }
  const test::Outcome added = place({"history", "add", "h.db", "results/a"});
  CHECK_THAT(added.out, ContainsSubstring("run 1: added; branch topic, commit "));
  CHECK(added.out.size() == std::string("run 1: added; branch topic, commit \n").size() + 40);
  // A service checks out a commit, and says of which branch.
  const std::string detach = "cd " + place.path().string() + " && git checkout -q --detach";
  REQUIRE(std::system(detach.c_str()) == 0);
  std::vector<std::unique_ptr<test::Variable>> unset;
  for (const char* name : {"GITHUB_HEAD_REF", "GITHUB_REF_NAME", "CI_COMMIT_REF_NAME",
                           "BUILDKITE_BRANCH", "CIRCLE_BRANCH", "BRANCH_NAME"}) {
    unset.push_back(std::make_unique<test::Variable>(name, nullptr));
  }
  const test::Outcome unknown = place({"history", "add", "h.db", "results/b"});
  CHECK_THAT(unknown.out, ContainsSubstring("branch not known"));
  CHECK_THAT(unknown.err, ContainsSubstring("--branch NAME says which one was measured"));
  const test::Variable service("CI_COMMIT_REF_NAME", "feature");
  CHECK_THAT(place({"history", "add", "other.db", "results/b"}).out,
             ContainsSubstring("branch feature"));
}

TEST_CASE("compare takes its baseline from a history") {
  const Workplace place;
  REQUIRE(place({"history", "add", "h.db", "results/a", "--branch", "main"}).status == 0);
  const auto compare = [&](std::vector<std::string> more) {
    more.insert(more.begin(), {"compare", "results/b", "--baseline-from", "h.db"});
    return place(more);
  };
  const test::Outcome fine = compare({"--branch", "main"});
  INFO(fine.err);
  CHECK(fine.status == 0);
  CHECK_THAT(fine.out, ContainsSubstring("baseline:  run 1 of h.db, main ("));
  place.change([](auto& results) { results["cells"][1]["memory"]["kv_bytes_held"] = 1 << 20; });
  CHECK(compare({}).status == 1);
  place.change([](auto& results) {
    for (auto& cell : results["cells"]) cell["model"]["sha256"] = "another";
  });
  const test::Outcome nothing = compare({});
  CHECK(nothing.status == 3);
  CHECK_THAT(nothing.out,
             ContainsSubstring("NOTHING COMPARABLE: no other run of branch 'main' in h.db"));

  const auto refused = [&](const test::Outcome& outcome, const std::string& message) {
    CHECK(outcome.status == 2);
    CHECK(outcome.out.empty());
    CHECK_THAT(outcome.err, ContainsSubstring(message));
    CHECK(std::count(outcome.err.begin(), outcome.err.end(), '\n') == 1);
  };
  // The first run of a branch, or of all, is no bad input.
  const test::Outcome first = compare({"--branch", "mian"});
  CHECK(first.status == 3);
  CHECK_THAT(first.out, ContainsSubstring("(branches there: main)"));
  CHECK(place({"compare", "results/b", "--baseline-from", "none.db"}).status == 3);
  refused(compare({"results/a"}), "2 folders; expected the candidate's alone");
  refused(place({"compare", "results/a"}), "1 folders; expected two");
  refused(place({"history", "show", "small.yaml"}), "small.yaml: file is not a database");
}
