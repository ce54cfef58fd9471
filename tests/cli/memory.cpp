// Cells that can't fit into memory are known before they start.
#include <sys/resource.h>

#include <cstdlib>

#include "eval/results/results.h"
#include "tests/catch.h"
#include "tests/cli/program.h"
#include "tests/data.h"
#include "tests/environment.h"
#include "tests/files.h"

using namespace sinkbench;
namespace fs = std::filesystem;

namespace {

/// A grid whose dense cell asks for a cache of gigabytes.
struct Workplace : test::TemporaryFolder {
  Workplace() {
    fs::copy(test::data("families/llama_mha"), path() / "model");
    write("ids.json", "[1, 2, 3, 4, 5, 6, 7, 8, 9]");
    write("grid.yaml", R"(model: model
dataset: {tokens_file: ids.json}
policies: [window: {window: 4}, dense, sinks: {window: 4}]
latency: {warmup: 1, samples: 3, seconds: 0, lengths: 8000000}
)");
  }
  test::Outcome run() const { return test::Program({"run", "grid.yaml"}, path()).wait(); }

  void check_dense_alone_failed(const test::Outcome& outcome) const {
    INFO(outcome.err);
    CHECK(outcome.status == 4);
    CHECK_THAT(outcome.out, ContainsSubstring("\nFailed\n  model-ids-dense-float32: needs "));
    CHECK_THAT(outcome.out, ContainsSubstring(" MiB of memory (weights "));
    CHECK_THAT(outcome.out, ContainsSubstring(" MiB are available"));
    const Results results = read_results(path() / "results/grid");
    REQUIRE(results.cells.size() == 3);
    CHECK(results.cells[0].error.empty());
    CHECK(!results.cells[1].error.empty());
    CHECK(results.cells[2].error.empty());
  }
};

}  // namespace

TEST_CASE("a cell that can't fit into memory fails with numbers before it starts, others run") {
  const Workplace workplace;
  SECTION("a limit that is set for the program") {
    const test::Variable memory("SINKBENCH_MEMORY_MIB", "400");
    const test::Outcome outcome = workplace.run();
    workplace.check_dense_alone_failed(outcome);
    CHECK_THAT(outcome.out, ContainsSubstring("and 400 MiB are available"));
  }
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)  // they take terabytes of it
  SECTION("a limit on the address space") {
    rlimit whole{};
    ::getrlimit(RLIMIT_AS, &whole);
    const rlimit small = {.rlim_cur = rlim_t{4} << 30, .rlim_max = whole.rlim_max};
    ::setrlimit(RLIMIT_AS, &small);
    const test::Outcome outcome = workplace.run();
    ::setrlimit(RLIMIT_AS, &whole);
    workplace.check_dense_alone_failed(outcome);
  }
#endif
}
