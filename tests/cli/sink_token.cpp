// A model whose config.json names the token that starts every stream.
#include <nlohmann/json.hpp>

#include "tests/catch.h"
#include "tests/cli/program.h"
#include "tests/data.h"
#include "tests/files.h"

using namespace sinkbench;
using nlohmann::json;
namespace fs = std::filesystem;

TEST_CASE("a stream begins with the model's sink token, and only that") {
  const test::TemporaryFolder folder;
  fs::copy(test::data("families/llama_mha"), folder.path() / "model");
  fs::copy(test::data("tokenizers/byte_level.json"), folder.path() / "model/tokenizer.json");
  json config = json::parse(read_file(folder.path() / "model/config.json"));
  config["sink_token_id"] = 319;  // no text has it
  folder.write("model/config.json", config.dump());
  folder.write("book.txt", "It was a bright cold day.\n");
  const auto run = [&](const std::vector<std::string>& arguments) {
    return test::Program(arguments, folder.path()).wait();
  };
  const test::Outcome ids = run({"tokenize", "model", "book.txt", "--no-special"});
  REQUIRE(ids.status == 0);
  folder.write("with.json", "[319," + ids.out.substr(1));
  folder.write("small.yaml", R"(
model: model
dataset: {text: book.txt}
policies: [sinks: {sinks: 1, window: 4}]
metrics: [perplexity]
)");
  REQUIRE(run({"run", "small.yaml", "--out", "a"}).status == 0);
  REQUIRE(run({"run", "small.yaml", "--out", "b", "--set", "dataset={tokens_file: with.json}"})
              .status == 0);
  const auto nll = [&](const std::string& name) {
    const json results = json::parse(read_file(folder.path() / name / "results.json"));
    const json& cell = results["cells"][0];
    return read_file(folder.path() / name / cell["nll_file"].get<std::string>());
  };
  CHECK(nll("a").size() == 4 * (json::parse(ids.out).size()));
  CHECK(nll("a") == nll("b"));
}
