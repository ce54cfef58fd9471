#include "reports/plot.h"

#include <cmath>
#include <cstdlib>
#include <regex>
#include <set>
#include <sstream>

#include "base/error.h"
#include "base/file.h"
#include "reports/gnuplot.h"
#include "tests/catch.h"
#include "tests/eval/experiment/example.h"
#include "tests/files.h"

using namespace sinkbench;
namespace fs = std::filesystem;

namespace {

/// The example's NLL of dense: what falls and never repeats.
std::vector<float> example_nll(int64_t count) {
  std::vector<float> nll;
  for (int64_t i = 0; i < count; ++i) {
    nll.push_back(3 + std::sin(static_cast<float>(i)) + 100 / static_cast<float>(i + 10));
  }
  return nll;
}

void write_nll(const test::TemporaryFolder& folder, const Results& results) {
  for (const CellResult& cell : results.cells) {
    if (!cell.perplexity) continue;
    const std::vector<float> nll = example_nll(cell.perplexity->scored);
    folder.write(cell.nll_file, {reinterpret_cast<const char*>(nll.data()), nll.size() * 4});
  }
}

}  // namespace

TEST_CASE("the running mean of a stream, by hand") {
  // The first block's eight parts of four have the means 0, 1, ..., 7: 3.5 on average, their
  // variance is 6, and that of the mean 6 / 8. The second block is constant, the rest too short.
  std::vector<double> nll;
  for (int i = 0; i < 32; ++i) nll.push_back(static_cast<float>(i / 4));
  nll.insert(nll.end(), 32 + 31, 2.5F);
  const std::vector<NllBlock> blocks = nll_blocks(nll, 1);
  REQUIRE(blocks.size() == 2);
  CHECK(blocks[0].position == 16.5);  // of the tokens 1 to 32
  CHECK(blocks[0].mean == 3.5);
  CHECK(blocks[0].error == Approx(std::sqrt(0.75)));
  CHECK(blocks[1].position == 48.5);
  CHECK(blocks[1].mean == 2.5);
  CHECK(blocks[1].error == 0);
  // One token in 8 was scored: values 0 to 31 are of the tokens 1, 9, ..., 249.
  CHECK(nll_blocks(nll, 8)[0].position == 125);
}

TEST_CASE("blocks grow with the position, and means are those of the values") {
  const std::vector<float> values = example_nll(1'000'000);
  const std::vector<double> nll(values.begin(), values.end());
  const std::vector<NllBlock> blocks = nll_blocks(nll, 1);
  CHECK(blocks.size() < 300);
  size_t begin = 0;
  for (const NllBlock& block : blocks) {
    // The middle of what begins at `begin` gives its end away.
    const auto end = static_cast<size_t>(2 * (block.position - 1) + 1) - begin;
    REQUIRE(end > begin);
    CHECK(static_cast<double>(end - begin) <= std::max(32.0, 0.05 * static_cast<double>(begin)));
    double sum = 0;
    for (size_t i = begin; i < end; ++i) sum += nll[i];
    CHECK(block.mean == Approx(sum / static_cast<double>(end - begin)).epsilon(1e-9));
    begin = end;
  }
  CHECK(begin > 940'000);
}

TEST_CASE("pictures are drawn, are well-formed and can be drawn again", "[plot]") {
  REQUIRE(!find_gnuplot().empty());
  const test::TemporaryFolder folder;
  Results results = test::example_results();
  // What gnuplot, a shell or XML might take for their own.
  results.cells[0].cell.model.path = results.cells[1].cell.model.path =
      "/models/it's_{Symbol a}^2 <&> `date` $(date) \"q\" %d";
  results.cells[2].cell.model = results.cells[0].cell.model;
  write_nll(folder, results);
  const fs::path plots = folder.path() / "plots";
  folder.write("plots/memory-by-cache-old.svg", "of an earlier call");
  folder.write("plots/mine.svg", "a person's");
  const Pictures pictures = draw_pictures(results, folder.path(), plots);
  // Dense is timed at two lengths; nothing else has two sizes.
  CHECK(pictures.drawn == std::vector<std::string>{"nll-over-position", "latency-by-cache"});
  CHECK(pictures.left_out ==
        std::vector<std::string>{"perplexity-by-cache: no policy was measured at two cache sizes",
                                 "memory-by-cache: no policy was measured at two cache sizes"});
  CHECK(!fs::exists(plots / "memory-by-cache-old.svg"));
  CHECK(fs::exists(plots / "mine.svg"));
  for (const std::string& name : pictures.drawn) {
    INFO(name);
    const std::string svg = (plots / (name + ".svg")).string();
    CHECK(std::system(("xmllint --noout '" + svg + "'").c_str()) == 0);
    CHECK_THAT(read_file(svg), ContainsSubstring("it's_{Symbol a}^2 &lt;&amp;> `date`"));
    CHECK(read_file(plots / (name + ".png")).substr(1, 3) == "PNG");
    fs::remove(svg);
    CHECK(std::system(("cd '" + plots.string() + "' && gnuplot " + name + ".gp").c_str()) == 0);
    CHECK(fs::exists(svg));
  }
  CHECK(read_file(plots / "latency-by-cache.csv") ==
        "series,x,y,low,high\ndense,256,1.5,1.5,1.75\ndense,8191,10.125,10.125,11\n"
        "sinks 4+,256,1.5,1.5,1.6\n");
  // Dense and sinks have the same NLLs here: the upper line has gaps in which the lower one is
  // seen.
  CHECK_THAT(read_file(plots / "nll-over-position.gp"),
             ContainsSubstring("dashtype (9,9) linecolor '#0072B2'"));
  // Dense, sinks and recomputation, of which the first block is the same but for the stride.
  std::istringstream lines(read_file(plots / "nll-over-position.csv"));
  std::string line;
  std::getline(lines, line);
  std::getline(lines, line);
  double mean = 0;
  for (const float value : example_nll(32)) mean += value / 32;
  REQUIRE(line.starts_with("dense,16.5,"));
  CHECK(std::stod(line.substr(11)) == Approx(mean));
}

TEST_CASE("a line over cache sizes is of one policy with one stride and number kept", "[plot]") {
  REQUIRE(!find_gnuplot().empty());
  Results results = test::example_results();
  const CellResult cell = results.cells[1];
  results.cells.clear();
  for (const int64_t stride : {4, 8}) {  // 8 is the default
    for (const int64_t kept : {0, 16}) {
      for (const int64_t window : {64, 128}) {
        results.cells.push_back(cell);
        CellResult& result = results.cells.back();
        result.cell.policy = {
            .name = "strided",
            .arguments = {{"sinks", 4}, {"window", window}, {"stride", stride}, {"kept", kept}}};
        result.cache_size = window + kept;
        result.nll_file.clear();
        result.memory->cache_entries = window;
      }
    }
  }
  const test::TemporaryFolder folder;
  draw_pictures(results, folder.path(), folder.path() / "plots");
  std::istringstream lines(read_file(folder.path() / "plots/perplexity-by-cache.csv"));
  std::set<std::string> names;
  for (std::string line; std::getline(lines, line);) names.insert(line.substr(0, line.find(',')));
  CHECK(names == std::set<std::string>{"series", "strided 4+", "strided 4+ kept=16",
                                       "strided 4+ stride=4", "strided 4+ stride=4 kept=16"});
}

TEST_CASE("lines that are more than there are colours can be told apart", "[plot]") {
  REQUIRE(!find_gnuplot().empty());
  Results results = test::example_results();
  const CellResult cell = results.cells[1];
  results.cells.clear();
  for (int64_t window = 16; window <= 2048; window *= 2) {  // eight
    results.cells.push_back(cell);
    results.cells.back().cell.policy.arguments["window"] = window;
    results.cells.back().policy_label = fmt::format("4+{}", window);
    results.cells.back().memory->kv_bytes_held = window << 20;
  }
  const test::TemporaryFolder folder;
  const std::vector<TrendRun> runs = {{.label = "one", .results = &results},
                                      {.label = "two", .results = &results}};
  draw_trends(runs, folder.path());
  const std::string script = read_file(folder.path() / "memory-trend.gp");
  const std::regex style("with yerrorlines linewidth 2( dashtype \\d+)? .*linecolor '(#\\w+)'");
  std::set<std::string> looks;
  for (std::sregex_iterator it(script.begin(), script.end(), style), end; it != end; ++it) {
    looks.insert((*it)[1].str() + (*it)[2].str());
  }
  CHECK(looks.size() == 8);
}

TEST_CASE("without gnuplot the error says what to install", "[plot]") {
  const std::string path = std::getenv("PATH");
  ::setenv("PATH", "/nowhere", 1);
  CHECK_THROWS_WITH(draw_pictures(test::example_results(), "/nowhere", "/nowhere"),
                    ContainsSubstring("apt-get install gnuplot-nox"));
  ::setenv("PATH", path.c_str(), 1);
}
