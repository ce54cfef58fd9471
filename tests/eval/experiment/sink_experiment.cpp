// Experiments that measure sinks, as files.
#include "eval/experiment/sink_experiment.h"

#include "base/error.h"
#include "tests/catch.h"
#include "tests/files.h"

using namespace sinkbench;

namespace {

std::string refusal(const test::TemporaryFolder& folder, const std::string& yaml) {
  try {
    load_sink_experiment(folder.write("set/sinks.yaml", yaml), {});
  } catch (const InputError& error) {
    const std::string text = error.what();
    return text.substr(text.find("sinks.yaml"));
  }
  return "loaded";
}

}  // namespace

TEST_CASE("an experiment that measures sinks unfolds into its grid") {
  const test::TemporaryFolder folder;
  const auto file = folder.write(
      "set/sinks.yaml",
      "name: mine\nmodel: [../a, ../b.gguf]\ndataset: {text: book.txt}\ndtype: [float32, "
      "bfloat16]\n"
      "sinks:\n  input: [natural, random]\n  tokens: [64, 128]\n  samples: 7\n  epsilon: 0.2\n"
      "  positions: 2\n  logits: {layers: [0, 3], heads: 1}\n");
  CHECK(is_sink_experiment(file));
  CHECK(!is_experiment(file));
  const SinkExperiment experiment = load_sink_experiment(file, {.limit = 5, .threads = 2});
  CHECK(experiment.name == "mine");
  REQUIRE(experiment.cells.size() == 16);
  const SinkCell& first = experiment.cells.front();
  CHECK(first.id == "a-book-natural-float32");
  CHECK(experiment.cells[1].id == "a-book-natural-T128-float32");
  CHECK(experiment.cells.back().id == "b.gguf-book-random-T128-bos.none-bfloat16");
  CHECK(first.cell.model.path == folder.path() / "a");
  CHECK(first.cell.dataset.texts.front() == folder.path() / "set/book.txt");
  CHECK(first.cell.threads == 2);
  CHECK(first.sampling.samples == 5);
  CHECK(first.sampling.bos);
  CHECK(!experiment.cells.back().sampling.bos);  // drawn samples have none by default
  CHECK(first.options.epsilon == 0.2);
  CHECK(first.options.positions == 2);
  CHECK(first.options.logit_layers == std::vector<int64_t>{0, 3});
  CHECK(first.options.logit_heads == std::vector<int64_t>{1});
  const SinkExperiment changed =
      load_sink_experiment(file, {.set = {"sinks.samples=3", "model=/m"}});
  CHECK(changed.cells.size() == 8);
  CHECK(changed.cells[0].sampling.samples == 3);
  CHECK(changed.cells[0].cell.model.path == "/m");
  CHECK(!is_sink_experiment(folder.write("x.yaml", "policies: [dense]\nsinks: {}\n")));
}

TEST_CASE("what is wrong with an experiment that measures sinks is named") {
  const test::TemporaryFolder folder;
  const std::string base = "model: m\ndataset: {text: t}\n";
  const auto refused = [&](const std::string& sinks) { return refusal(folder, base + sinks); };
  CHECK(refused("sinks: {input: naturl}\n") ==
        "sinks.yaml:3: sinks.input: is 'naturl'; did you mean 'natural'?");
  CHECK(refused("sinks: {token: 64}\n") ==
        "sinks.yaml:3: sinks.token: unknown key 'token'; did you mean 'tokens'?");
  CHECK(refused("sinks: {tokens: 1}\n") ==
        "sinks.yaml:3: sinks.tokens: is '1'; expected an integer of 2 or more");
  CHECK(refused("sinks: {epsilon: 2}\n") ==
        "sinks.yaml:3: sinks.epsilon: is '2'; expected a number from 0 to 1");
  CHECK(refused("sinks: {logits: {layers: [0]}}\n") ==
        "sinks.yaml:3: sinks.logits: key 'heads' is missing");
  CHECK(refused("sinks: {bos: stream}\n") ==
        "sinks.yaml:3: sinks.bos: is 'stream'; expected one of: sample, none");
  CHECK(refused("sinks: {tokens: [64, 64]}\n") ==
        "sinks.yaml:3: sinks: measurement m-t-natural-float32 stands twice in the grid");
  CHECK(refused("sinks: {}\npolicy: dense\n").starts_with("sinks.yaml:4: policy: unknown key"));
  CHECK(refusal(folder, base + "policies: [dense]\n") ==
        "sinks.yaml:3: policies: runs policies and measures no sinks; expected `sinkbench run`");
  try {
    load_experiment(folder.write("set/sinks.yaml", base + "sinks: {samples: 2}\n"), {});
    FAIL("loaded");
  } catch (const InputError& error) {
    CHECK_THAT(
        error.what(),
        ContainsSubstring("sinks.yaml:3: sinks: measures sinks and runs no policies; expected "
                          "`sinkbench sinks`"));
  }
  CHECK(refusal(folder, "model: m\nsinks: {samples: 1}\n") ==
        "sinks.yaml:1: key 'dataset' is missing: natural samples are its pieces, and a BOS is its "
        "tokenizer's");
  CHECK(refusal(folder, "model: m\nsinks: {input: random}\n") == "loaded");
  CHECK(refusal(folder, "model: m\nsinks: {input: random, bos: sample}\n")
            .starts_with("sinks.yaml:1: key 'dataset' is missing"));
  CHECK(refusal(folder, "model: m\ndataset: {text: t, tokens: 20}\nsinks: {samples: 1}\n")
            .starts_with("sinks.yaml:2: dataset.tokens: has no meaning where sinks are measured"));
}

TEST_CASE("seeds are of drawn samples alone") {
  const test::TemporaryFolder folder;
  const SinkExperiment experiment = load_sink_experiment(
      folder.write("sinks.yaml",
                   "model: m\ndataset: {text: t}\nsinks: {input: [natural, random], "
                   "seed: [0, 1]}\n"),
      {});
  REQUIRE(experiment.cells.size() == 3);
  CHECK(experiment.cells[0].id == "m-t-natural-float32");
  CHECK(experiment.cells[2].id == "m-t-random-bos.none-seed1-float32");
}
