// sinkbench ab: two programs in turn.
#include <chrono>
#include <set>
#include <thread>

#include "eval/results/results.h"
#include "tests/catch.h"
#include "tests/cli/model_and_book.h"
#include "tests/cli/program.h"
#include "tests/files.h"

using namespace sinkbench;
using test::Outcome;
namespace fs = std::filesystem;

namespace {

using Strings = std::vector<std::string>;

struct Workplace : test::ModelAndBook {
  Workplace() {
    write("small.yaml", R"(model: model
dataset: {text: book.txt}
policies:
  - dense
  - sinks: {sinks: 2, window: 10}
metrics: [perplexity, latency, memory]
latency: {warmup: 2, samples: 40, seconds: 0}
threads: 1
)");
  }

  Outcome ab(const std::string& baseline, Strings more = {}) const {
    more.insert(more.begin(), {"ab", baseline, "small.yaml", "--out", "out"});
    return test::Program(std::move(more), path()).wait();
  }

  /// A program in sinkbench's place.
  std::string script(const std::string& text) const {
    const fs::path file = path() / "baseline.sh";
    write("baseline.sh", "#!/bin/sh\n" + text + "\n");
    fs::permissions(file, fs::perms::owner_all);
    return file.string();
  }
};

}  // namespace

TEST_CASE("two programs take turns, and are compared by pairs of rounds") {
  const Workplace place;
  const Outcome outcome = place.ab(
      SINKBENCH_PROGRAM, {"--threshold", "latency=off", "--quiet", "--export", "junit=report.xml"});
  INFO(outcome.out << outcome.err);
  CHECK(outcome.status == 0);
  CHECK(outcome.err.empty());
  CHECK_THAT(outcome.out, ContainsSubstring("-: in turn"));
  CHECK_THAT(outcome.out, ContainsSubstring("\nno regression: "));
  CHECK_THAT(outcome.out, ContainsSubstring("\nresults: out\n"));
  CHECK(fs::exists(place.path() / "report.xml"));
  const Results before = read_results(place.path() / "out/baseline");
  const Results after = read_results(place.path() / "out/candidate");
  REQUIRE(before.cells.size() == 2);
  REQUIRE(after.cells.size() == 2);
  std::set<int64_t> taken;
  std::set<std::string> sessions;
  for (size_t cell = 0; cell < 2; ++cell) {
    const LatencyResult& a = before.cells[cell].latency.at(0);
    const LatencyResult& b = after.cells[cell].latency.at(0);
    sessions.insert({a.session, b.session});
    std::set<int64_t> turns;
    for (const TimingRound& round : a.rounds) turns.insert(round.turn);
    size_t paired = 0;
    for (const TimingRound& round : b.rounds) {
      paired += turns.contains(round.turn - 1) || turns.contains(round.turn + 1);
    }
    CHECK(b.rounds.size() >= 5);
    CHECK(paired >= 5);
    for (const LatencyResult* timing : {&a, &b}) {
      for (const TimingRound& round : timing->rounds) CHECK(taken.insert(round.turn).second);
    }
  }
  CHECK(sessions.size() == 1);
  CHECK_FALSE(sessions.contains(""));
  CHECK_FALSE(taken.contains(0));

  // Another session, and the earlier results are kept beside.
  const Outcome again = place.ab(SINKBENCH_PROGRAM, {"--threshold", "latency=off"});
  CHECK(again.status == 0);
  CHECK_THAT(again.err, ContainsSubstring("results.previous.json"));
  CHECK(sessions.insert(read_results(place.path() / "out/baseline").cells[0].latency[0].session)
            .second);
}

TEST_CASE("what was run without another program has no turns") {
  const Workplace place;
  REQUIRE(test::Program({"run", "small.yaml", "--out", "alone", "--quiet"}, place.path())
              .wait()
              .status == 0);
  const Results alone = read_results(place.path() / "alone");
  const LatencyResult& timing = alone.cells.at(0).latency.at(0);
  CHECK(timing.session.empty());
  CHECK(timing.rounds.at(0).turn == 0);
  // 40 steps in five rounds or more, none of them a remainder of a few.
  for (const TimingRound& round : timing.rounds) CHECK(round.samples >= 4);
  CHECK(timing.rounds.size() >= 5);
}

TEST_CASE("ab's settings go to both programs, and what differs is said") {
  const Workplace place;
  const std::string program = SINKBENCH_PROGRAM;
  const Outcome chosen =
      place.ab(program, {"--only", "*-sinks-*", "--limit", "30", "--set", "metrics=[perplexity]"});
  INFO(chosen.out << chosen.err);
  CHECK(chosen.status == 0);
  for (const char* folder : {"out/baseline", "out/candidate"}) {
    const Results results = read_results(place.path() / folder);
    REQUIRE(results.cells.size() == 1);
    CHECK(results.cells[0].perplexity->scored == 29);
  }
  const Outcome other = place.ab(place.script("exec '" + program + "' \"$@\" --limit 20"));
  CHECK(other.status == 3);
  CHECK_THAT(other.out, ContainsSubstring("NOTHING COMPARABLE"));
}

TEST_CASE("a program that can't take turns is refused, and nothing is left running") {
  const Workplace place;
  const auto refused = [&](const std::string& baseline, int status, const std::string& reason) {
    const Outcome outcome = place.ab(baseline, {"--quiet"});
    INFO(outcome.out << outcome.err);
    CHECK(outcome.status == status);
    CHECK(outcome.out.empty());
    CHECK_THAT(outcome.err, ContainsSubstring(reason));
    CHECK_THAT(outcome.err, !ContainsSubstring("interrupted"));
  };
  refused("./nowhere", 2, "sinkbench: ./nowhere: cannot be run: No such file");
  refused(place.script("exit 0"), 2, "takes no turns");
  refused(place.script("exit 7"), 4, "baseline.sh: ended with status 7");
  refused(place.script("kill -9 $$"), 4, "baseline.sh: ended with status 137");
  place.write("small.yaml", "model: nowhere\n");
  refused(SINKBENCH_PROGRAM, 2, "small.yaml");
  const Outcome piped =
      test::Program({"ab", SINKBENCH_PROGRAM, "-", "--out", "out"}, place.path()).wait();
  CHECK(piped.status == 2);
  CHECK_THAT(piped.err, ContainsSubstring("standard input can be read only once"));
}

TEST_CASE("a program that dies in between leaves the other's results, and a status") {
  const Workplace place;
  // The shell's child takes turns; it is killed while the other one goes on.
  const Outcome outcome =
      place.ab(place.script("'" + std::string(SINKBENCH_PROGRAM) +
                            "' \"$@\" --set latency.seconds=20 & child=$!\n"
                            "while [ ! -e out/baseline/nll ]; do sleep 0.05; done; sleep 0.5\n"
                            "kill -9 $child; wait $child"),
               {"--quiet"});
  INFO(outcome.out << outcome.err);
  CHECK(outcome.status == 4);
  CHECK_THAT(outcome.err, ContainsSubstring("ended with status 137"));
  CHECK(read_results(place.path() / "out/candidate").cells.size() == 2);
}

TEST_CASE("ab that is interrupted ends both programs in order") {
  const Workplace place;
  test::Program program({"ab", SINKBENCH_PROGRAM, "small.yaml", "--out", "out", "--set",
                         "latency.seconds=20", "--quiet"},
                        place.path());
  for (int i = 0; i < 600 && !fs::exists(place.path() / "out/candidate/nll"); ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
  }
  std::this_thread::sleep_for(std::chrono::milliseconds(500));
  program.send(SIGINT);
  const Outcome outcome = program.wait();
  INFO(outcome.out << outcome.err);
  CHECK(outcome.status == 130);
  CHECK(outcome.out.empty());
  CHECK_THAT(outcome.err, ContainsSubstring("sinkbench: interrupted "));
  CHECK_THAT(outcome.err, !ContainsSubstring("goes on from there"));
  // Nobody holds the folders any more.
  for (const char* folder : {"out/baseline", "out/candidate"}) {
    CHECK(test::Program({"run", "small.yaml", "--out", folder, "--quiet"}, place.path())
              .wait()
              .status == 0);
  }
}

TEST_CASE("turns that nobody hands out are refused") {
  const Workplace place;
  for (const char* value : {"x", "3", ":s", "-1:s", "3:"}) {
    ::setenv("SINKBENCH_TURNS", value, 1);
    const Outcome outcome =
        test::Program({"run", "small.yaml", "--out", "out"}, place.path()).wait();
    ::unsetenv("SINKBENCH_TURNS");
    INFO(value << outcome.err);
    CHECK(outcome.status == 2);
    CHECK_THAT(outcome.err, ContainsSubstring("DESCRIPTOR:SESSION"));
    CHECK_FALSE(fs::exists(place.path() / "out"));
  }
}
