// Runs that end early, and runs that go on: nothing is lost, nothing is mixed.
#include <sys/resource.h>

#include <chrono>
#include <cstdlib>
#include <nlohmann/json.hpp>
#include <random>
#include <thread>

#include "base/error.h"
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
using Clock = std::chrono::steady_clock;

/// A grid over random token ids, scored alone: every engine and policy.
struct Workplace : test::TemporaryFolder {
  Workplace() {
    ::setenv("SINKBENCH_CHECKPOINT_SECONDS", "0.01", 1);
    fs::copy(test::data("families/llama_gqa"), path() / "model");
    write_ids("ids.json", 1500, 1);
    write_ids("short.json", 60, 2);
    write("grid.yaml", R"(model: model
dataset: {tokens_file: ids.json}
policies:
  - dense
  - window: {window: 60}
  - sinks: {sinks: 4, window: 60}
  - recompute: {window: 64, stride: 25}
engine: [chunked, stepwise]
chunk: 40
dtype: [float32, bfloat16]
metrics: [perplexity, memory]
)");
    write("small.yaml", R"(model: model
dataset: {tokens_file: short.json}
policies: [dense, {sinks: {window: 20}}]
metrics: perplexity
)");
  }
  ~Workplace() { ::unsetenv("SINKBENCH_CHECKPOINT_SECONDS"); }

  void write_ids(const fs::path& name, size_t count, unsigned seed) const {
    std::mt19937 random(seed);
    nlohmann::json ids;
    for (size_t i = 0; i < count; ++i) ids.push_back(random() % 300);
    write(name, ids.dump());
  }

  Outcome operator()(Strings arguments) const {
    return test::Program(std::move(arguments), path()).wait();
  }
  Outcome run(const std::string& config, Strings more = {}) const {
    more.insert(more.begin(), {"run", config});
    return (*this)(more);
  }
  test::Measured measured(const fs::path& folder) const {
    return test::read_measured(path() / folder);
  }
};

/// How often the text stands in another.
size_t count(const std::string& text, const std::string& part) {
  size_t n = 0;
  for (size_t at = text.find(part); at != text.npos; at = text.find(part, at + 1)) ++n;
  return n;
}

}  // namespace

// SINKBENCH_KILLS=100 for a longer test.
TEST_CASE("runs that are killed at random moments and go on end as one that was left alone") {
  const char* wish = std::getenv("SINKBENCH_KILLS");
  const int kills = wish != nullptr ? std::atoi(wish) : 8;
  const Workplace workplace;
  // With all that is carried from one block to the next.
  const auto arguments = [](const std::string& out) {
    return Strings{"run",   "grid.yaml",
                   "--out", out,
                   "--set", "metrics=[perplexity, memory, divergence]",
                   "--set", "collapse={window: 32, margin: 0.01}"};
  };
  const auto begin = Clock::now();
  REQUIRE(workplace(arguments("undisturbed")).status == 0);
  const auto duration = Clock::now() - begin;
  const test::Measured expected = workplace.measured("undisturbed");
  REQUIRE(expected.nll.size() == 16);
  for (const auto& cell : expected.results.at("cells")) {
    INFO(cell.at("id"));
    const bool is_reference = cell.at("id") == cell.at("reference");
    CHECK((cell.at("divergence").at("kl_mean") == 0) == is_reference);
    CHECK(cell.at("collapse").is_null() == is_reference);
  }

  std::mt19937 random(std::random_device{}());
  std::uniform_real_distribution<double> share(0.0, 0.5);
  int killed = 0, finished = 0;
  size_t taken_up = 0, kept = 0;
  for (bool last = false; !last;) {
    // Until there were so many and some of them had hit a cell under way.
    last = killed >= kills && (taken_up > 0 || killed > 20 * kills);
    const test::Program program(arguments("killed"), workplace.path());
    if (!last) {
      std::this_thread::sleep_for(share(random) * duration);
      program.send(SIGKILL);
    }
    const Outcome outcome = program.wait();
    taken_up += count(outcome.err, ": goes on from token ");
    kept += count(outcome.err, " cells in killed from before");
    CHECK(count(outcome.err, "afresh") == 0);
    if (outcome.status == 128 + SIGKILL) {
      ++killed;
      continue;
    }
    INFO(outcome.err);
    REQUIRE(outcome.status == 0);
    ++finished;
    CHECK(workplace.measured("killed") == expected);
    if (!last) fs::remove_all(workplace.path() / "killed");
  }
  CHECK(killed >= kills);
  CHECK(finished > 0);
  CHECK(taken_up > 0);
  CHECK(kept > 0);
  for (const auto& entry : fs::directory_iterator(workplace.path() / "killed/nll")) {
    INFO(entry.path());
    CHECK(entry.path().extension() == ".f32");  // nothing half is left
  }
  WARN(killed << " SIGKILLs, " << taken_up << " cells taken up under way, " << finished
              << " runs to the end, each equal to the undisturbed one");
}

TEST_CASE("SIGINT and SIGTERM leave a checkpoint that the same command goes on from") {
  const Workplace workplace;
  REQUIRE(workplace.run("grid.yaml", {"--out", "undisturbed"}).status == 0);
  for (const int signal : {SIGINT, SIGTERM}) {
    const test::Program program({"run", "grid.yaml", "--out", "stopped"}, workplace.path());
    const fs::path nll = workplace.path() / "stopped/nll";
    const auto begun = [&] {
      return fs::exists(nll) && !fs::is_empty(nll) &&
             fs::exists(workplace.path() / "stopped/results.json");
    };
    for (int i = 0; i < 6000 && !begun(); ++i) {
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
    program.send(signal);
    const Outcome outcome = program.wait();
    CHECK(outcome.status == 130);
    CHECK_THAT(outcome.err, ContainsSubstring("sinkbench: interrupted "));
    CHECK_THAT(outcome.err, ContainsSubstring("the same command goes on from there"));
    const Outcome rest = workplace.run("grid.yaml", {"--out", "stopped"});
    CHECK(rest.status == 0);
    CHECK_THAT(rest.err, ContainsSubstring("of 16 cells in stopped from before"));
    CHECK(workplace.measured("stopped") == workplace.measured("undisturbed"));
    fs::remove_all(workplace.path() / "stopped");
  }
}

TEST_CASE("a finished run is not run again") {
  const Workplace workplace;
  REQUIRE(workplace.run("small.yaml").status == 0);
  const std::string before = read_file(workplace.path() / "results/small/results.json");
  const Outcome again = workplace.run("small.yaml");
  CHECK(again.status == 0);
  CHECK_THAT(again.err, ContainsSubstring("2 of 2 cells in results/small from before"));
  CHECK_THAT(again.out, ContainsSubstring("\nPerplexity\n"));
  // The times, too: nothing was measured again.
  const auto cells = [](const std::string& text) {
    return nlohmann::json::parse(text).at("cells");
  };
  CHECK(cells(read_file(workplace.path() / "results/small/results.json")) == cells(before));

  const Outcome fresh = workplace.run("small.yaml", {"--fresh"});
  CHECK(fresh.status == 0);
  CHECK(count(fresh.err, "from before") == 0);
  CHECK(cells(read_file(workplace.path() / "results/small/results.json")) != cells(before));
  CHECK(cells(read_file(workplace.path() / "results/small/results.previous.json")) ==
        cells(before));
}

TEST_CASE("what has changed is noticed and never mixed in") {
  const Workplace workplace;
  const auto run = [&] {
    const Outcome outcome = workplace.run("small.yaml");
    REQUIRE(outcome.status == 0);
    return outcome.err;
  };
  const auto means = [&] {
    std::vector<double> result;
    const test::Measured measured = workplace.measured("results/small");
    for (const auto& cell : measured.results.at("cells")) {
      result.push_back(cell.at("perplexity").at("nll_mean"));
    }
    return result;
  };
  run();
  const std::vector<double> before = means();
  SECTION("the text") {
    workplace.write_ids("short.json", 60, 7);
    const std::string err = run();
    CHECK(count(err, "there are results, but not the same: text; the cell is run afresh") == 2);
    CHECK(means()[0] != before[0]);
    CHECK(means()[1] != before[1]);
    CHECK(fs::exists(workplace.path() / "results/small/results.previous.json"));
  }
  SECTION("the model") {
    const fs::path file = workplace.path() / "model/model-00001-of-00002.safetensors";
    std::string weights = read_file(file);
    weights[weights.size() - 2] ^= 1;
    write_file_atomically(file, weights);
    CHECK(count(run(), "not the same: model; the cell is run afresh") == 2);
  }
  SECTION("the settings of a cell with the same id") {
    const Outcome outcome = workplace.run("small.yaml", {"--set", "metrics=[perplexity, memory]"});
    CHECK(count(outcome.err, "not the same: settings; the cell is run afresh") == 2);
  }
  SECTION("the reference of divergence") {
    const Strings metrics = {"--set", "metrics=[perplexity, divergence]"};
    REQUIRE(workplace.run("small.yaml", metrics).status == 0);
    const Outcome outcome =
        workplace.run("small.yaml", {metrics[0], metrics[1], "--set", "reference=sinks-4+20"});
    CHECK(count(outcome.err, "not the same: settings; the cell is run afresh") == 2);
    // How a collapse is looked for is no part of the measurement.
    const Outcome again = workplace.run(
        "small.yaml",
        {metrics[0], metrics[1], "--set", "reference=sinks-4+20", "--set", "collapse.window=8"});
    CHECK_THAT(again.err, ContainsSubstring("2 of 2 cells in results/small from before"));
    const auto cells = workplace.measured("results/small").results["cells"];
    CHECK(cells[0].at("collapse").at("window") == 8);
    CHECK(cells[0].at("divergence").at("reference") == cells[1].at("id"));
  }
  SECTION("the threads") {
    const std::string threads =
        workplace.measured("results/small").results["cells"][0]["threads"] == 1 ? "2" : "1";
    const Outcome outcome = workplace.run("small.yaml", {"--threads", threads});
    CHECK(count(outcome.err, "not the same: threads; the cell is run afresh") == 2);
  }
  SECTION("the program: its sources, not the commit or version that it was built at") {
    const fs::path file = workplace.path() / "results/small/results.json";
    nlohmann::json results = nlohmann::json::parse(read_file(file));
    const auto rewrite = [&](const std::string& name, const std::string& value) {
      results.at("versions").at(name) = value;
      write_file_atomically(file, results.dump());
    };
    CHECK(results.at("versions").at("sources").get<std::string>().size() == 64);
    rewrite("commit", "0123456789ab-dirty");
    rewrite("sinkbench", "0.0.1");
    CHECK_THAT(run(), ContainsSubstring("2 of 2 cells in results/small from before"));
    results = nlohmann::json::parse(read_file(file));
    rewrite("sources", std::string(64, '0'));
    CHECK(count(run(), "not the same: sources; the cell is run afresh") == 2);
  }
  SECTION("the grid: what is still in it is kept") {
    const Outcome outcome =
        workplace.run("small.yaml", {"--set", "policies.0=window: {window: 8}"});
    CHECK(outcome.status == 0);
    CHECK_THAT(outcome.err, ContainsSubstring("1 of 2 cells in results/small from before"));
    CHECK(means()[1] == before[1]);
    CHECK_THAT(outcome.err, ContainsSubstring("results.previous.json"));
  }
  SECTION("an NLL file that is gone or another") {
    fs::remove(workplace.path() / "results/small/nll/model-short-dense-float32.f32");
    CHECK(count(run(), "not the same: the NLL file; the cell is run afresh") == 1);
    CHECK(means() == before);
    workplace.write("results/small/nll/model-short-dense-float32.f32", std::string(59 * 4, '\1'));
    CHECK(count(run(), "not the same: the NLL file; the cell is run afresh") == 1);
    CHECK(means() == before);
  }
  SECTION("results that can't be read") {
    workplace.write("results/small/results.json", "{");
    CHECK_THAT(run(), ContainsSubstring("nothing of it is used"));
    CHECK(means() == before);
    CHECK(read_file(workplace.path() / "results/small/results.previous.json") == "{");
  }
}

TEST_CASE("a checkpoint of something else, or a damaged one, is not gone on from") {
  const Workplace workplace;
  REQUIRE(workplace.run("grid.yaml", {"--out", "undisturbed", "--limit", "1200"}).status == 0);
  // Until a checkpoint of the first cell is there.
  const Strings arguments = {"run", "grid.yaml", "--out", "out", "--limit", "1200"};
  const fs::path checkpoint =
      workplace.path() / "out/nll/model-ids-1200-dense-float32-chunk40.checkpoint";
  const auto begin = [&] {
    fs::remove_all(workplace.path() / "out");
    const test::Program program(arguments, workplace.path());
    for (int i = 0; i < 30000 && !fs::exists(checkpoint); ++i) {
      std::this_thread::sleep_for(std::chrono::microseconds(200));
    }
    program.send(SIGKILL);
    program.wait();
    return fs::exists(checkpoint);
  };
  // The kill may come after the cell's end.
  bool begun = false;
  for (int i = 0; i < 50 && !begun; ++i) begun = begin();
  REQUIRE(begun);
  std::string reason;
  SECTION("a changed text") {
    workplace.write_ids("ids.json", 1500, 8);
    fs::remove_all(workplace.path() / "undisturbed");
    REQUIRE(workplace.run("grid.yaml", {"--out", "undisturbed", "--limit", "1200"}).status == 0);
    reason = "its checkpoint was made with other values of: text; the cell is run afresh";
  }
  SECTION("a damaged checkpoint") {
    std::string bytes = read_file(checkpoint);
    bytes[bytes.size() / 2] ^= 1;
    write_file_atomically(checkpoint, bytes);
    reason = "the checkpoint is damaged; the cell is run afresh";
  }
  SECTION("a checkpoint that was cut off") {
    fs::resize_file(checkpoint, 40);
    reason = "the checkpoint is damaged; the cell is run afresh";
  }
  SECTION("NLLs that are gone") {
    fs::remove(fs::path(checkpoint).replace_extension(".f32.part"));
    fs::remove(fs::path(checkpoint).replace_extension(".f32"));
    reason = "values or more; the cell is run afresh";
  }
  SECTION("NLLs of another run") {
    const fs::path part = fs::path(checkpoint).replace_extension(".f32.part");
    write_file_atomically(part, std::string(1200 * 4, '\1'));
    reason = "its NLLs are not those that the checkpoint was made with; the cell is run afresh";
  }
  const Outcome outcome = workplace(arguments);
  CHECK(outcome.status == 0);
  CHECK_THAT(outcome.err, ContainsSubstring(reason));
  CHECK(workplace.measured("out") == workplace.measured("undisturbed"));
}

TEST_CASE("of two runs into one folder the second is refused, and a killed one keeps no lock") {
  const Workplace workplace;
  const test::Program first({"run", "grid.yaml", "--out", "out"}, workplace.path());
  const fs::path nll = workplace.path() / "out/nll";
  for (int i = 0; i < 6000 && (!fs::exists(nll) || fs::is_empty(nll)); ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  // Elsewhere, since both write their output into files of the current folder.
  const test::TemporaryFolder elsewhere;
  const auto second = [&](const std::string& config) {
    return test::Program({"run", (workplace.path() / config).string(), "--out",
                          (workplace.path() / "out").string()},
                         elsewhere.path())
        .wait();
  };
  const Outcome refused = second("small.yaml");
  CHECK(refused.status == 2);
  CHECK_THAT(refused.err, ContainsSubstring("out: another run (process "));
  CHECK_THAT(refused.err, ContainsSubstring("is writing here"));
  first.send(SIGKILL);
  CHECK(first.wait().status == 128 + SIGKILL);
  CHECK(second("small.yaml").status == 0);
}

TEST_CASE("a disk that fills up is said, and what was there stays whole") {
  const Workplace workplace;
  REQUIRE(workplace.run("grid.yaml", {"--out", "undisturbed"}).status == 0);
  // Files may not grow beyond this: room for the results of some cells, not for those of all.
  const auto size = fs::file_size(workplace.path() / "undisturbed/results.json");
  const rlimit whole = [] {
    rlimit limit{};
    ::getrlimit(RLIMIT_FSIZE, &limit);
    return limit;
  }();
  const rlimit small = {.rlim_cur = size / 2, .rlim_max = whole.rlim_max};
  ::setrlimit(RLIMIT_FSIZE, &small);
  const Outcome full = workplace.run("grid.yaml", {"--out", "out"});
  ::setrlimit(RLIMIT_FSIZE, &whole);
  CHECK(full.status == 4);
  CHECK_THAT(full.err, ContainsSubstring("cannot be written: File too large; "));
  CHECK_THAT(full.err, ContainsSubstring("16 cells done, and the same command goes on from there"));
  const Results left = read_results(workplace.path() / "out");
  CHECK(!left.cells.empty());
  CHECK(left.cells.size() < 16);
  const Outcome rest = workplace.run("grid.yaml", {"--out", "out"});
  CHECK(rest.status == 0);
  CHECK_THAT(rest.err, ContainsSubstring("of 16 cells in out from before"));
  CHECK(workplace.measured("out") == workplace.measured("undisturbed"));
}

TEST_CASE("a folder that can't be written is refused before anything is run") {
  const Workplace workplace;
  const Outcome outcome = workplace.run("small.yaml", {"--out", "/proc/sinkbench"});
  CHECK(outcome.status == 2);
  CHECK_THAT(outcome.err, ContainsSubstring("/proc/sinkbench"));
  if (::geteuid() == 0) {
    WARN("not tested with a folder without write permission: root may write anywhere");
    return;
  }
  fs::create_directories(workplace.path() / "out/nll");
  fs::permissions(workplace.path() / "out", fs::perms::owner_read | fs::perms::owner_exec);
  const Outcome forbidden = workplace.run("small.yaml", {"--out", "out"});
  fs::permissions(workplace.path() / "out", fs::perms::owner_all);
  CHECK(forbidden.status == 2);
  CHECK_THAT(forbidden.err, ContainsSubstring("out/.lock: cannot be created: Permission denied"));
}
