#include "reports/sink_report.h"

#include <cstdlib>

#include <nlohmann/json.hpp>

#include "base/file.h"
#include "policies/registry.h"
#include "reports/gnuplot.h"
#include "reports/published.h"
#include "tests/catch.h"
#include "tests/eval/experiment/example.h"
#include "tests/files.h"

using namespace sinkbench;
namespace fs = std::filesystem;

namespace {

/// Head h of layer l gives position 0 (l + h + 1) / (layers + heads), all samples alike.
SinkResults example(int64_t layers, int64_t heads, bool trained_sink = false) {
  SinkResults results;
  results.info.name = "sinks";
  results.cell.model.path = "/models/it's_{Symbol a}^2 <&> `date`";
  results.cell.dataset.texts = {"/texts/book.txt"};
  results.prefix = {7};
  results.context = 256;
  SinkStatistics& s = results.statistics;
  s = {.layers = layers,
       .heads = heads,
       .positions = 1,
       .samples = 3,
       .tokens = 512,
       .epsilon = 0.3,
       .trained_sink = trained_sink,
       .mapped = 6};
  double above = 0;
  for (int64_t layer = 0; layer < layers; ++layer) {
    for (int64_t head = 0; head < heads; ++head) {
      s.alpha.push_back(static_cast<double>(layer + head + 1) /
                        static_cast<double>(layers + heads));
      s.above.push_back(s.alpha.back() > 0.3 ? 100 : 0);
      above += s.above.back();
      s.value_norm_first.push_back(1);
      s.value_norm_others.push_back(2 + static_cast<double>(head));
      s.last_to_first.push_back(head == 0 ? 0.25 : 0.75);
      s.logit_mass.push_back(trained_sink ? 0.5 * s.alpha.back() : 0);
    }
    for (int64_t query = 0; query < s.mapped; ++query) {
      if (trained_sink) s.map_logit.push_back(0.25);
      for (int64_t key = 0; key < s.mapped; ++key) {
        s.map.push_back(key <= query ? 1.0 / static_cast<double>(query + 1) : 0);
      }
    }
  }
  s.sink_rate = {above / static_cast<double>(layers * heads)};
  return results;
}

}  // namespace

TEST_CASE("the table of sinks has a column for each head while they fit") {
  const std::string text = format_sinks(example(2, 3));
  CHECK_THAT(text,
             ContainsSubstring("book.txt, 3 samples of 512 tokens, token 7 before each, float32\n"
                               "Sink metric at epsilon 0.3, T 512: Sink_0 83.3 %\n"
                               "\n"
                               "alpha_0, the mean attention to position 0\n"
                               "  layer   mean    max  above epsilon  head 0  head 1  head 2\n"
                               "  -----  -----  -----  -------------  ------  ------  ------\n"
                               "      0  0.400  0.600         66.7 %   0.200   0.400   0.600\n"
                               "      1  0.600  0.800        100.0 %   0.400   0.600   0.800\n"
                               "\n"
                               "Norm of value vectors, mean over heads\n"
                               "  layer  position 0  others  ratio\n"
                               "  -----  ----------  ------  -----\n"
                               "      0       1.000   3.000  0.333\n"));
  CHECK_THAT(text, ContainsSubstring("Attention of the last query to position 0, over heads\n"
                                     "  layer   mean  deviation\n"
                                     "  -----  -----  ---------\n"
                                     "      0  0.583      0.236\n"));
  CHECK_THAT(text, ContainsSubstring("512 tokens are longer than the 256 trained on"));
  CHECK_THAT(text, !ContainsSubstring("trained sink"));
  CHECK_THAT(format_sinks(example(2, 3, true)),
             ContainsSubstring("Attention to the trained sink logits, over heads\n"
                               "  layer   mean    max\n"
                               "  -----  -----  -----\n"
                               "      0  0.200  0.300\n"));
}

TEST_CASE("with many heads the table of sinks has the strongest") {
  const std::string text = format_sinks(example(2, 32));
  CHECK_THAT(text, ContainsSubstring("31: 0.941, 30: 0.912, 29: 0.882, 28: 0.853, 27: 0.824\n"));
  CHECK_THAT(text, !ContainsSubstring("head 0"));
}

TEST_CASE("layers that are drawn: the first three, and evenly to the last") {
  CHECK(drawn_layers(3, 8) == std::vector<int64_t>{0, 1, 2});
  CHECK(drawn_layers(8, 8) == std::vector<int64_t>{0, 1, 2, 3, 4, 5, 6, 7});
  CHECK(drawn_layers(12, 5) == std::vector<int64_t>{0, 1, 2, 7, 11});
  for (int64_t layers = 9; layers < 130; ++layers) {
    const std::vector<int64_t> drawn = drawn_layers(layers, 8);
    REQUIRE(drawn.size() == 8);
    CHECK(drawn.back() == layers - 1);
    int64_t least = layers, most = 0;
    for (size_t i = 3; i < drawn.size(); ++i) {
      least = std::min(least, drawn[i] - drawn[i - 1]);
      most = std::max(most, drawn[i] - drawn[i - 1]);
    }
    CHECK(least >= 1);
    CHECK(most - least <= 1);
  }
}

TEST_CASE("sinks as JSON and CSV have what was measured, and on what") {
  const test::TemporaryFolder folder;
  const SinkResults results = example(2, 3, true);
  write_sinks(results, folder.path() / "new/folder");
  const auto json = nlohmann::json::parse(read_file(folder.path() / "new/folder/sinks.json"));
  CHECK(json["schema_version"] == 1);
  CHECK(json["bos"] == 7);
  CHECK(json["tokens"] == 512);
  CHECK(json["layers"][1]["heads"][2]["alpha"] == std::vector<double>{0.8});
  CHECK(json["layers"][1]["heads"][2]["trained_sink_mass"] == 0.4);
  CHECK(json["layers"][1]["alpha_0_max"] == 0.8);
  CHECK(read_file(folder.path() / "new/folder/sinks.csv")
            .starts_with(
                "layer,head,alpha_0,above_epsilon_percent_0,value_norm_first,"
                "value_norm_others,trained_sink_mass,last_to_first\n0,0,0.2,0,1,2,0.1,0.25\n"));
  CHECK(read_file(folder.path() / "new/folder/attention-maps.csv")
            .starts_with("layer,query,key,attention\n0,0,logit,0.25\n0,0,0,1\n0,0,1,0\n"));
}

TEST_CASE("sinks are drawn for few and for many layers and heads", "[plot]") {
  REQUIRE(!find_gnuplot().empty());
  for (const auto& [layers, heads] :
       {std::pair<int64_t, int64_t>{1, 1}, {4, 6}, {12, 12}, {80, 64}}) {
    const test::TemporaryFolder folder;
    draw_sinks(example(layers, heads), folder.path());
    for (const std::string name : {"sinks", "attention-maps"}) {
      INFO(layers << " " << heads << " " << name);
      const std::string svg = (folder.path() / (name + ".svg")).string();
      CHECK(std::system(("xmllint --noout '" + svg + "'").c_str()) == 0);
      CHECK_THAT(read_file(svg), ContainsSubstring("it's_{Symbol a}^2 &lt;&amp;> `date`"));
      CHECK(read_file(folder.path() / (name + ".png")).substr(1, 3) == "PNG");
      fs::remove(svg);
      CHECK(std::system(
                ("cd '" + folder.path().string() + "' && gnuplot " + name + ".gp").c_str()) == 0);
      CHECK(fs::exists(svg));
    }
  }
}

TEST_CASE("what sinks cost stands beside how much is parked, for the same model alone") {
  SinkResults measured = example(2, 3);
  measured.model_sha256 = "m";
  measured.parameters = 135'000'000;
  Results results;
  const auto add = [&](const std::string& policy, PolicyArguments arguments, double perplexity,
                       const std::string& model) {
    CellResult cell =
        test::example_cell(policy, {.name = policy, .arguments = std::move(arguments)}, policy);
    const auto made = make_policy(cell.cell.policy);
    cell.cache_label = made->cache();
    cell.cache_size = made->size();
    cell.model_sha256 = model;
    cell.dataset_sha256 = "d";
    cell.perplexity.emplace();
    cell.perplexity->token = perplexity;
    cell.perplexity->scored = 99;
    results.cells.push_back(cell);
  };
  add("dense", {}, 20, "m");
  add("window", {{"window", 128}}, 50, "m");
  add("window", {{"window", 64}}, 80, "m");
  add("sinks", {{"sinks", 4}, {"window", 124}}, 25, "m");
  add("sinks", {{"sinks", 4}, {"window", 252}}, 22, "m");  // no window of this size
  add("sinks", {{"sinks", 4}, {"window", 124}}, 30, "other");
  const Columns columns = sinks_beside_costs({&measured, 1}, {&results, 1});
  std::vector<std::string> row;
  for (const Column& column : columns) {
    REQUIRE(column.cells.size() == 1);
    row.push_back(column.name + " " + column.cells[0]);
  }
  CHECK(row == std::vector<std::string>{"model it's_{Symbol a}^2 <&> `date`", "parameters 135 M",
                                        "T 512", "Sink_0 83.3 %", "text book.txt", "bos stream",
                                        "tokens 99", "cache 4+124", "dense 20.00", "window 50.00",
                                        "sinks 25.00", "window / sinks 2.000"});
  measured.sampling.bos = false;
  CHECK(sinks_beside_costs({&measured, 1}, {&results, 1}).front().cells.empty());
  measured.sampling = {.input = SinkInput::random};
  CHECK(sinks_beside_costs({&measured, 1}, {&results, 1}).front().cells.empty());
}

TEST_CASE("published rates stand beside those of the same model and samples") {
  SinkResults measured = example(2, 3);
  measured.statistics.tokens = 64;
  measured.cell.model.path = "/models/Llama-2-7b-hf";
  const auto published = [&](SinkInput input) {
    measured.sampling.input = input;
    return published_sink_rate(measured);
  };
  CHECK(published(SinkInput::natural) == 92.47);
  CHECK(published(SinkInput::random) == 90.13);
  CHECK(published(SinkInput::repeated) == 0);
  const Columns columns = sink_summary({&measured, 1});
  CHECK(columns.back().name == "published");
  CHECK(columns.back().cells == std::vector<std::string>{"0.0 %"});
  CHECK_THAT(
      sink_summary_csv({&measured, 1}),
      ContainsSubstring("Llama-2-7b-hf,repeated,,7,64,3,0,float32,0.3,83.33333333333333,0\n"));
  measured.statistics.tokens = 128;
  CHECK(!published(SinkInput::natural));
  CHECK(sink_summary({&measured, 1}).back().name == "last to first");
  measured.statistics.tokens = 64;
  measured.cell.model.path = "/models/gpt2";
  CHECK(published(SinkInput::natural) == 73.6);
  CHECK(!published(SinkInput::random));
}
