// What becomes of output that can't be written, and of words that the program doesn't know.
#include <fmt/format.h>

#include "tests/catch.h"
#include "tests/cli/model_and_book.h"
#include "tests/cli/program.h"
#include "tests/environment.h"

using namespace sinkbench;
using test::Outcome;
namespace fs = std::filesystem;

namespace {

/// A folder with a model, a text and an experiment that takes a moment, in which bash runs scripts
/// that know the program as $S, and what makes file systems fail as $FAULTS.
struct Workplace : test::ModelAndBook {
  Workplace() {
    write("small.yaml",
          "name: small\nmodel: model\ndataset: {text: book.txt, tokens: 20}\n"
          "policies: [dense, window: {window: 4}]\nthreads: 1\nmetrics: [perplexity]\n");
  }
  Outcome bash(const std::string& script) const {
    const test::Variable program("S", SINKBENCH_PROGRAM), faults("FAULTS", SINKBENCH_FAULTS);
    return test::Process({"bash", "-c", script}, path()).wait();
  }
};

}  // namespace

TEST_CASE("a file that may not grow so large is an error, and nothing is left of it") {
  const Workplace workplace;
  REQUIRE(workplace.bash("$S run small.yaml --quiet --no-plots").status == 0);
  const Outcome outcome =
      workplace.bash("ulimit -f 1; $S report results/small --format html --out page.html");
  CHECK((outcome.status == 2 || outcome.status == 4));
  CHECK_THAT(outcome.err, ContainsSubstring("page.html"));
  CHECK_THAT(outcome.err, ContainsSubstring("File too large"));
  CHECK(workplace.bash("ls page.html*").status != 0);
}

TEST_CASE("output that standard output doesn't take is an error") {
  if (::access("/dev/full", W_OK) != 0) return;
  const Workplace workplace;
  REQUIRE(workplace.bash("$S run small.yaml --quiet --no-plots").status == 0);
  for (const char* command :
       {"--help", "--version", "run --help", "list policies", "report results/small",
        "report results/small --format csv", "compare results/small results/small",
        "tokenize model book.txt", "slurm small.yaml", "run small.yaml --quiet --no-plots",
        "inspect model"}) {
    INFO(command);
    const Outcome outcome = workplace.bash(fmt::format("$S {} >/dev/full", command));
    CHECK(outcome.status == 4);
    CHECK_THAT(outcome.err, ContainsSubstring("standard output: cannot be written"));
    const Outcome closed = workplace.bash(fmt::format("$S {} >&-", command));
    CHECK(closed.status == 4);
  }
}

TEST_CASE("remarks that can't be written are nobody's loss") {
  if (::access("/dev/full", W_OK) != 0) return;
  const Workplace workplace;
  const Outcome full = workplace.bash("$S run small.yaml --no-plots 2>/dev/full");
  CHECK(full.status == 0);
  CHECK_THAT(full.out, ContainsSubstring("Perplexity"));
  // Results from before are remarked upon, too.
  CHECK(workplace.bash("$S run small.yaml --no-plots 2>/dev/full").status == 0);
  const Outcome closed = workplace.bash("$S run small.yaml --fresh --no-plots 2>&-");
  CHECK(closed.status == 0);
  CHECK(closed.out.find("cell 1 of 2") == std::string::npos);
  // No file has taken the place of a stream that was closed.
  CHECK(workplace.bash("$S run small.yaml --fresh --no-plots >&- 2>&- <&-").status == 4);
  CHECK(workplace.bash("$S report results/small").status == 0);
}

TEST_CASE("signals that were ignored stay so") {
  const Workplace workplace;
  // As `sh -c 'sinkbench ... &'` starts it; SIGINT comes once it is at work.
  const Outcome outcome = workplace.bash(R"(
    trap '' INT HUP
    $S run small.yaml --no-plots --set dataset.text=long.txt --set dataset.tokens=4000 \
      --set engine=stepwise >/dev/null & child=$!
    while [[ ! -e results/small/.lock ]] && kill -0 $child; do sleep 0.02; done
    for i in 1 2 3; do kill -INT $child; kill -HUP $child; sleep 0.05; done 2>/dev/null
    wait $child)");
  // There is no such text: it is refused, and no signal has ended it.
  CHECK(outcome.status == 2);
  std::string text;
  for (int i = 0; i < 400; ++i) text += "It was a bright cold day, and the clocks were wrong.\n";
  workplace.write("long.txt", text);
  CHECK(workplace
            .bash(R"(
    trap '' INT HUP
    $S run small.yaml --no-plots --set dataset.text=long.txt --set dataset.tokens=4000 \
      --set engine=stepwise >/dev/null & child=$!
    while [[ ! -e results/small/.lock ]] && kill -0 $child; do sleep 0.02; done
    for i in 1 2 3; do kill -INT $child; kill -HUP $child; sleep 0.05; done 2>/dev/null
    wait $child)")
            .status == 0);
}

TEST_CASE("words that the program doesn't know are named, with what was meant") {
  const Workplace workplace;
  const auto refused = [&](const std::string& arguments, const std::string& line) {
    const Outcome outcome = workplace.bash("$S " + arguments);
    INFO(arguments);
    CHECK(outcome.status == 2);
    CHECK(outcome.out.empty());
    CHECK(outcome.err == "sinkbench: " + line + "\n");
  };
  refused("rn small.yaml", "unknown command 'rn'; did you mean 'run'? (see sinkbench --help)");
  refused("run small.yaml --otu x",
          "unknown option '--otu'; did you mean '--out'? (see sinkbench run --help)");
  refused("history shw",
          "unknown command 'history shw'; did you mean 'show'? (see sinkbench history --help)");
  refused("run small.yaml --limit 4k",
          "--limit: '4k'; expected an integer from 2 to 1099511627776 (see sinkbench run --help)");
  refused("run", "config is required (see sinkbench run --help)");
  CHECK(workplace.bash("$S help run").out == workplace.bash("$S run --help").out);
  CHECK(workplace.bash("$S help").out == workplace.bash("$S --help").out);
  CHECK(workplace.bash("$S -V").out == workplace.bash("$S --version").out);
}

TEST_CASE("numbers are decimal, zeros before them or not") {
  const Workplace workplace;
  const Outcome outcome = workplace.bash("$S run small.yaml --quiet --no-plots --limit 0012");
  CHECK(outcome.status == 0);
  CHECK_THAT(workplace.bash("cat results/small/results.json").out,
             ContainsSubstring("\"scored\": 11"));
}

TEST_CASE("an experiment may come through a pipe") {
  const Workplace workplace;
  for (const char* script :
       {"$S run - --quiet --no-plots <small.yaml",
        "$S run <(cat small.yaml) --quiet --no-plots --out results/pipe",
        "cat small.yaml | $S run /dev/stdin --quiet --no-plots --out results/in"}) {
    INFO(script);
    const Outcome outcome = workplace.bash(script);
    CHECK(outcome.err.empty());
    CHECK(outcome.status == 0);
  }
  // A job's tasks would read it again, each.
  const Outcome slurm = workplace.bash("$S slurm - <small.yaml");
  CHECK(slurm.status == 2);
  CHECK(slurm.err == "sinkbench: -: expected a file, which the job's tasks can read again\n");
}

TEST_CASE("eval needs no file, and is an experiment like others") {
  const Workplace workplace;
  const Outcome outcome = workplace.bash(
      "$S eval model book.txt --policy dense --policy 'sinks:sinks=[1,2],window=4' --tokens 20 "
      "--metrics perplexity --threads 1 --no-plots");
  CHECK(outcome.status == 0);
  for (const char* text : {"1+4", "2+4", "dense"}) {
    CHECK_THAT(outcome.out, ContainsSubstring(text));
  }
  // A line for each cell as it ends.
  CHECK_THAT(outcome.err,
             ContainsSubstring("cell 1 of 3: model-book-20-dense-float32: perplexity"));
  CHECK_THAT(outcome.err, ContainsSubstring("cell 3 of 3: "));
  CHECK(fs::exists(workplace.path() / "results/eval-model-book/results.json"));
  CHECK_THAT(workplace.bash("$S eval model book.txt --policy sinks:window").err,
             ContainsSubstring("--policy sinks:window: 'window'; expected NAME:KEY=VALUE"));
  CHECK_THAT(workplace.bash("$S eval model book.txt --policy sink:window=4").err,
             ContainsSubstring("unknown policy 'sink'; did you mean 'sinks'?"));
}

TEST_CASE("cells are chosen by their ids, and the others stay as they are") {
  const Workplace workplace;
  REQUIRE(workplace.bash("$S run small.yaml --quiet --no-plots").status == 0);
  const Outcome again =
      workplace.bash("$S run small.yaml --quiet --no-plots --fresh --only '*-window-*'");
  CHECK(again.status == 0);
  CHECK_THAT(again.out, ContainsSubstring("dense"));
  CHECK_THAT(workplace.bash("$S run small.yaml --only '*-windw-*'").err,
             ContainsSubstring("--only '*-windw-*': no cell has such an id"));
}

TEST_CASE("a file system without locks is warned of") {
  const Workplace workplace;
  const Outcome outcome =
      workplace.bash("FAULT_FLOCK=1 LD_PRELOAD=$FAULTS $S run small.yaml --quiet --no-plots");
  CHECK(outcome.status == 0);
  CHECK_THAT(outcome.err, ContainsSubstring("results/small: this file system has no locks"));
}

TEST_CASE("a file server that goes away in the middle leaves what was measured, and a way on") {
  const Workplace workplace;
  Outcome outcome;
  int calls = 1;
  // The first calls are of files that are written before anything is measured.
  do {
    outcome = workplace.bash(fmt::format(
        "rm -rf results; FAULT_FSYNC={} LD_PRELOAD=$FAULTS $S run small.yaml --no-plots", calls++));
    REQUIRE(outcome.status != 70);
    REQUIRE(calls < 60);
  } while (outcome.out.find("Perplexity") == std::string::npos);
  CHECK(outcome.status == 4);
  CHECK_THAT(outcome.err, ContainsSubstring("Stale file handle"));
  CHECK_THAT(outcome.err, ContainsSubstring("the same command goes on from there"));
  CHECK_THAT(outcome.out, ContainsSubstring("Perplexity"));
  CHECK(workplace.bash("$S run small.yaml --no-plots").status == 0);
}
