// What caches recall, from a run's results.
#include <nlohmann/json.hpp>

#include "base/file.h"
#include "tests/catch.h"
#include "tests/cli/program.h"
#include "tests/data.h"
#include "tests/files.h"

using namespace sinkbench;
namespace fs = std::filesystem;

TEST_CASE("recall splits a run's NLLs, and refuses a text that has changed") {
  const test::TemporaryFolder folder;
  const auto program = [&](std::vector<std::string> arguments) {
    return test::Program(std::move(arguments), folder.path()).wait();
  };
  fs::copy(test::data("families/llama_gqa"), folder.path() / "model");
  nlohmann::json ids;
  for (int i = 0; i < 200; ++i) ids.push_back((i * i + i / 7) % 97);
  folder.write("ids.json", ids.dump());
  folder.write("e.yaml", R"(model: model
dataset: {tokens_file: ids.json}
policies: [dense, {window: {window: 16}}, {recompute: {window: 16, stride: 8}}]
metrics: perplexity
)");
  REQUIRE(program({"run", "e.yaml", "--out", "out", "--no-plots", "--quiet"}).status == 0);
  const test::Outcome outcome = program({"recall", "out", "--no-plots"});
  INFO(outcome.out << outcome.err);
  CHECK(outcome.status == 0);
  CHECK_THAT(outcome.out, ContainsSubstring("window 0+16"));
  CHECK_THAT(outcome.out, ContainsSubstring("      others  "));
  CHECK_THAT(outcome.out, ContainsSubstring("recompute-16-8-float32: one token in 8 was scored") ||
                              ContainsSubstring("one token in 8 was scored"));
  // The tokens of all rows are those that were scored.
  const test::Outcome csv = program({"recall", "out", "--format", "csv", "--only", "*dense*"});
  std::istringstream rows(csv.out);
  std::string row;
  std::getline(rows, row);
  int64_t tokens = 0;
  double sum = 0;
  while (std::getline(rows, row)) {
    std::vector<std::string> fields;
    std::istringstream line(row);
    for (std::string field; std::getline(line, field, ',');) fields.push_back(field);
    tokens += std::stoll(fields.at(6));
    sum += std::stod(fields.at(7)) * static_cast<double>(std::stoll(fields.at(6)));
  }
  CHECK(tokens == 199);
  const auto results = nlohmann::json::parse(read_file(folder.path() / "out/results.json"));
  CHECK(sum / 199 == Approx(results["cells"][0]["perplexity"]["nll_mean"].get<double>()));
  ids[3] = 5;
  folder.write("ids.json", ids.dump());
  const test::Outcome changed = program({"recall", "out"});
  CHECK(changed.status == 2);
  CHECK_THAT(changed.err, ContainsSubstring("its text or tokenizer is no longer what was fed"));
  CHECK(program({"recall", "nowhere"}).status == 2);
}

TEST_CASE("recall shows tasks by distance, and compare gates them") {
  const test::TemporaryFolder folder;
  const auto program = [&](std::vector<std::string> arguments) {
    return test::Program(std::move(arguments), folder.path()).wait();
  };
  const std::string model = test::data("../../models/tiny").lexically_normal().string();
  folder.write("e.yaml", "model: " + model + R"(
tasks:
  - copy: {tokens: 16, gap: [0, 80], samples: 12}
policies: [dense, {sinks: {sinks: 4, window: 60}}]
metrics: perplexity
)");
  const test::Outcome ran = program({"run", "e.yaml", "--out", "out", "--no-plots"});
  INFO(ran.out << ran.err);
  REQUIRE(ran.status == 0);
  CHECK_THAT(ran.out, ContainsSubstring("Recall (of all questions"));
  CHECK_THAT(ran.out, !ContainsSubstring("Perplexity"));
  CHECK_THAT(ran.err, ContainsSubstring("of 360 answers right, log-probability "));
  // Samples of 2 + 16 + 80 + 16 tokens are within the 256 that the model was trained on.
  CHECK_THAT(ran.out, !ContainsSubstring("was trained on"));
  const test::Outcome longer = program({"run", "e.yaml", "--out", "longer", "--no-plots", "--set",
                                        "tasks.0.copy.gap=300", "--set", "tasks.0.copy.samples=1"});
  CHECK_THAT(longer.out, ContainsSubstring("was trained on 256: what 'dense' answers says more "
                                           "about that than about its cache"));
  CHECK_THAT(longer.out, !ContainsSubstring("what '4+60' answers"));
  const test::Outcome recall = program({"recall", "out"});
  INFO(recall.out << recall.err);
  CHECK(recall.status == 0);
  CHECK_THAT(recall.out, ContainsSubstring("tiny: copy gap 0+80 samples 12 tokens 16, float32"));
  CHECK_THAT(recall.out, ContainsSubstring("sinks 4+60 against dense: 1"));
  CHECK_THAT(recall.out, ContainsSubstring("Layers and heads that still had"));
  CHECK(fs::exists(folder.path() / "out/recall.csv"));
  const test::Outcome csv = program({"recall", "out", "--format", "csv"});
  CHECK(std::count(csv.out.begin(), csv.out.end(), '\n') == 1 + 2 * 3);
  CHECK(program({"compare", "out", "out"}).status == 0);
  // An answers file that is gone is made again.
  for (const auto& file : fs::directory_iterator(folder.path() / "out/nll")) {
    if (file.path().string().ends_with(".answers.jsonl")) fs::remove(file);
  }
  CHECK(program({"recall", "out"}).status == 2);
  CHECK(program({"run", "e.yaml", "--out", "out", "--no-plots", "--quiet"}).status == 0);
  CHECK(program({"recall", "out", "--no-plots"}).out ==
        recall.out.substr(0, recall.out.find("picture")));
}
