// The pictures: at the end of a run, and by `plot`.
#include <filesystem>

#include "base/file.h"
#include "tests/catch.h"
#include "tests/cli/model_and_book.h"
#include "tests/cli/program.h"
#include "tests/environment.h"

using namespace sinkbench;
using test::Outcome;
namespace fs = std::filesystem;

namespace {

/// A folder with a model, a text and an experiment of two cache sizes.
struct Workplace : test::ModelAndBook {
  Workplace() {
    write("small.yaml", R"(name: small
model: model
dataset: {text: book.txt}
policies:
  - sinks: {sinks: 2, window: [6, 14]}
metrics: [memory]
)");
  }
  Outcome operator()(std::vector<std::string> arguments) const {
    return test::Program(std::move(arguments), path()).wait();
  }
  bool has(const fs::path& name) const { return fs::exists(path() / name); }
};

}  // namespace

TEST_CASE("a run ends with its pictures, and says where they are") {
  const Workplace place;
  const Outcome run = place({"run", "small.yaml", "--quiet"});
  REQUIRE(run.status == 0);
  CHECK_THAT(run.out,
             ContainsSubstring("\nresults: results/small\npictures: results/small/plots\n"));
  for (const char* extension : {".svg", ".png", ".gp", ".csv"}) {
    CHECK(place.has(std::string("results/small/plots/memory-by-cache") + extension));
  }
  SECTION("plot draws them again") {
    fs::remove_all(place.path() / "results/small/plots");
    const Outcome plot = place({"plot", "results/small"});
    CHECK(plot.status == 0);
    CHECK_THAT(plot.out, ContainsSubstring("results/small/plots/memory-by-cache.svg"));
    CHECK_THAT(plot.out, ContainsSubstring("left out: nll-over-position: "));
    CHECK(place.has("results/small/plots/memory-by-cache.svg"));
  }
}

TEST_CASE("a run draws nothing where it shall not or cannot, and succeeds all the same") {
  const Workplace place;
  SECTION("--no-plots") {
    const Outcome run = place({"run", "small.yaml", "--quiet", "--no-plots"});
    CHECK(run.status == 0);
    CHECK_THAT(run.out, !ContainsSubstring("pictures"));
  }
  SECTION("a shard, which is only a part") {
    const Outcome run = place({"run", "small.yaml", "--quiet", "--shard", "1/2"});
    CHECK(run.status == 0);
    CHECK_THAT(run.out, !ContainsSubstring("pictures"));
  }
  SECTION("no gnuplot") {
    const test::Variable nowhere("PATH", place.path().c_str());
    const Outcome run = place({"run", "small.yaml", "--quiet"});
    CHECK(run.status == 0);
    CHECK_THAT(run.out, ContainsSubstring("\npictures: none; gnuplot is not installed"));
    const Outcome plot = place({"plot", "results/small"});
    CHECK(plot.status == 2);
    CHECK_THAT(plot.err, ContainsSubstring("apt-get install gnuplot-nox"));
  }
  CHECK(!place.has("results/small/plots"));
}

TEST_CASE("plot names what it cannot read") {
  const Workplace place;
  const Outcome plot = place({"plot", "nowhere"});
  CHECK(plot.status == 2);
  CHECK(plot.out.empty());
  CHECK_THAT(plot.err, ContainsSubstring("nowhere"));
}
