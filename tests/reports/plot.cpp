#include "reports/plot.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <numeric>
#include <regex>
#include <set>
#include <sstream>

#include "base/error.h"
#include "base/file.h"
#include "reports/gnuplot.h"
#include "reports/picture.h"
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

/// And says so in the results.
void write_nll(const test::TemporaryFolder& folder, Results& results) {
  for (CellResult& cell : results.cells) {
    if (!cell.perplexity) continue;
    const std::vector<float> nll = example_nll(cell.perplexity->scored);
    folder.write(cell.nll_file, {reinterpret_cast<const char*>(nll.data()), nll.size() * 4});
    cell.perplexity->nll_mean =
        std::accumulate(nll.begin(), nll.end(), 0.0) / static_cast<double>(nll.size());
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

TEST_CASE("each line has all of its points and no others, whatever its name", "[plot]") {
  REQUIRE(!find_gnuplot().empty());
  Results results = test::example_results();
  const CellResult cell = results.cells[1];
  results.cells.clear();
  // A quoted name in CSV whose beginning, up to a comma, is another's.
  for (const char* label : {"64", "64, mean", "64, \"mean\"", "64, mean, recent 8"}) {
    results.cells.push_back(cell);
    results.cells.back().policy_label = results.cells.back().cache_label = label;
  }
  const test::TemporaryFolder folder;
  write_nll(folder, results);
  const fs::path plots = folder.path() / "plots";
  draw_pictures(results, folder.path(), plots);
  std::istringstream rows(read_file(plots / "nll-over-position.csv"));
  int64_t points = 0;
  for (std::string row; std::getline(rows, row);) ++points;
  points = (points - 1) / 4;  // all four have the same
  REQUIRE(points > 10);
  const std::string svg = read_file(plots / "nll-over-position.svg");
  int64_t lines = 0;
  for (size_t at = svg.find("<g id=\"sinkbench_plot_"); at != svg.npos;) {
    const size_t next = svg.find("<g id=\"sinkbench_plot_", at + 1), path = svg.find(" d='", at);
    at = next;
    if (path > next || path == svg.npos) continue;  // a band
    const std::string line = svg.substr(path, svg.find('\'', path + 4) - path);
    CHECK(std::count(line.begin(), line.end(), ',') == points);
    ++lines;
  }
  CHECK(lines == 4);
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

namespace {

/// So many cells under sinks, of caches of their own.
Results many_cells(int64_t count) {
  Results results = test::example_results();
  const CellResult dense = results.cells[0], cell = results.cells[1];
  results.cells = {dense};
  for (int64_t i = 0; i < count; ++i) {
    results.cells.push_back(cell);
    CellResult& result = results.cells.back();
    result.cell.id = fmt::format("cell-{}", i);
    result.cell.policy.arguments["window"] = 10 + i;
    result.policy_label = fmt::format("4+{}", 10 + i);
    result.cache_size = 14 + i;
  }
  return results;
}

}  // namespace

TEST_CASE("of many lines each has its name within a picture, and none is lost unsaid", "[plot]") {
  const test::TemporaryFolder folder;
  for (const int64_t count : {11, 12, 50, 100}) {
    Results results = many_cells(count);
    write_nll(folder, results);
    const Drawable chosen = drawable(result_pictures(results, folder.path()));
    std::multiset<std::string> names;
    size_t pictures = 0;
    for (const Picture& picture : chosen.pictures) {
      if (!picture.name.starts_with("nll-over-position")) continue;
      ++pictures;
      CHECK(picture.series.size() <= 12);
      CHECK(picture.series[0].name == "dense");  // in each
      for (const Series& series : picture.series) names.insert(series.name);
      const Layout layout = layout_of(picture);
      std::set<double> places;
      std::set<std::pair<size_t, bool>> looks;
      for (const Look& look : layout.looks) {
        CHECK((look.label >= 0 && look.label <= 1));
        places.insert(look.label);
        looks.emplace(look.colour, look.dotted);
      }
      CHECK(places.size() == picture.series.size());
      for (auto it = places.begin(); std::next(it) != places.end(); ++it)
        CHECK(*std::next(it) - *it > 0.05);
      size_t marks = 0;
      for (const Mark& mark : layout.marks) marks += mark.text.starts_with("cache");
      CHECK(marks == 0);
    }
    const size_t drawn = std::min<size_t>(count, 8 * 11);
    CHECK(pictures == (drawn + 10) / 11);
    CHECK(names.count("dense") == pictures);
    CHECK(names.size() == drawn + pictures);
    CHECK(std::set(names.begin(), names.end()).size() == drawn + 1);
    const bool said =
        std::any_of(chosen.left_out.begin(), chosen.left_out.end(), [](const std::string& line) {
          return line.starts_with("nll-over-position: too many lines: sinks 4+98, ");
        });
    CHECK(said == (count > 88));
  }
}

TEST_CASE("a line's long name is shortened in its middle") {
  Series series{.name = "sinks 4+252", .policy = "sinks"};
  CHECK(label_of(series) == "sinks 4+252");
  series.name = "ä" + std::string(50, 'x') + "end";
  CHECK(label_of(series) == "ä" + std::string(19, 'x') + "…" + std::string(16, 'x') + "end");
}

TEST_CASE("what a picture leaves out is named with the reason") {
  const test::TemporaryFolder folder;
  Results results = test::example_results();
  results.cells[2].perplexity->scored = 38;
  results.cells[1].perplexity->token = INFINITY;
  write_nll(folder, results);
  CHECK(drawable(result_pictures(results, folder.path())).left_out ==
        std::vector<std::string>{
            "nll-over-position: fewer than 64 scored tokens: recompute 256 (1 in 8)",
            "perplexity-by-cache: the perplexity overflows: sinks 4+252",
            "perplexity-by-cache: no policy was measured at two cache sizes",
            "memory-by-cache: no policy was measured at two cache sizes"});
}

TEST_CASE("pictures of models and texts of one name have titles of their own") {
  const test::TemporaryFolder folder;
  Results results = test::example_results();
  results.cells.resize(2);
  results.cells[1].cell.model.path = "/other/tiny";
  const auto titles = [&] {
    write_nll(folder, results);
    std::vector<std::string> found;
    for (const Picture& picture : result_pictures(results, folder.path())) {
      if (picture.name.starts_with("nll")) found.push_back(picture.title);
    }
    return found;
  };
  CHECK(titles() ==
        std::vector<std::string>{"NLL over position: models/tiny, book.txt, 8192 tokens, float32",
                                 "NLL over position: other/tiny, book.txt, 8192 tokens, float32"});
  results.cells[1].cell.model = results.cells[0].cell.model;
  results.cells[1].cell.engine = "stepwise";
  CHECK(titles()[1] == "NLL over position: tiny, book.txt, 8192 tokens, float32, stepwise");
  results.cells[1].cell.engine = results.cells[0].cell.engine;
  results.cells[1].dataset_sha256 = "another text";
  CHECK(titles()[1] == "NLL over position: tiny, book.txt, 8192 tokens, float32 (2)");
}

TEST_CASE("panels whose titles have no letter of ASCII have files of their own", "[plot]") {
  const test::TemporaryFolder folder;
  Results results = test::example_results();
  results.cells.resize(2);
  results.cells[0].cell.dataset.texts = {"/книга.txt"};
  results.cells[1].cell.dataset.texts = {"/本.txt"};
  const std::vector<TrendRun> runs = {{.label = "one", .results = &results},
                                      {.label = "two", .results = &results}};
  std::set<std::string> names;
  for (const Picture& picture : trend_pictures(runs)) names.insert(picture.name);
  CHECK(names.size() == 6);
}

TEST_CASE("an axis has round numbers, more than one of them") {
  const auto ticks = [](double low, double high) {
    Picture picture{.name = "a", .title = "a", .y_label = "y", .log_y_spans = true};
    picture.series = {
        {.name = "a", .policy = "dense", .points = {{1, low, low, low}, {2, high, high, high}}}};
    const Axis axis = layout_of(picture).y;
    std::vector<std::string> names;
    for (const auto& [place, name] : axis.ticks) {
      CHECK((place >= axis.low && place <= axis.high));
      names.push_back(name);
    }
    return names;
  };
  CHECK(ticks(0.2, 1) == std::vector<std::string>{"0.2", "0.4", "0.6", "0.8", "1"});
  CHECK(ticks(24, 300) == std::vector<std::string>{"20", "50", "100", "200"});  // by logarithm
  CHECK(ticks(5, 5) == std::vector<std::string>{"4.8", "5", "5.2"});
  CHECK(ticks(3, 1e12).size() > 3);
}

TEST_CASE("words in colour can be read on white") {
  // Contrast by WCAG 2.1: (1 + 0.05) / (relative luminance + 0.05).
  const auto contrast = [](const std::string& colour) {
    double luminance = 0;
    const std::array share = {0.2126, 0.7152, 0.0722};
    for (size_t i = 0; i < share.size(); ++i) {
      const double value = std::stoi(colour.substr(1 + 2 * i, 2), nullptr, 16) / 255.0;
      luminance +=
          share[i] * (value <= 0.03928 ? value / 12.92 : std::pow((value + 0.055) / 1.055, 2.4));
    }
    return 1.05 / (luminance + 0.05);
  };
  CHECK(contrast("#000000") == Approx(21));
  CHECK(contrast("#777777") == Approx(4.48).margin(0.01));
  for (const char* colour : label_colours) CHECK(contrast(colour) >= 4.5);
  CHECK(label_colours.size() == line_colours.size());
}

TEST_CASE("a picture in words has its main numbers") {
  const test::TemporaryFolder folder;
  Results results = many_cells(2);
  write_nll(folder, results);
  const std::vector<Picture> pictures = result_pictures(results, folder.path());
  REQUIRE(pictures.size() == 4);
  CHECK(finding(pictures[0]) ==
        "dense perplexity 1235; sinks 4+10 perplexity 45.68; sinks 4+11 perplexity 45.68");
  CHECK(finding(pictures[1]) == "dense 1235; sinks 4+ 45.68 at 14 to 45.68 at 15");
  CHECK(finding(pictures[2]) ==
        "dense 1.500 ms at 256 to 10.12 ms at 8191; sinks 4+ 1.500 ms at 14 to 1.500 ms at 15");
}

TEST_CASE("without gnuplot the error says what to install", "[plot]") {
  const std::string path = std::getenv("PATH");
  ::setenv("PATH", "/nowhere", 1);
  CHECK_THROWS_WITH(draw_pictures(test::example_results(), "/nowhere", "/nowhere"),
                    ContainsSubstring("apt-get install gnuplot-nox"));
  ::setenv("PATH", path.c_str(), 1);
}
