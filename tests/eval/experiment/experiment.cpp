#include "eval/experiment/experiment.h"
#include "eval/experiment/sink_experiment.h"

#include <fstream>
#include <random>

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "eval/results/results.h"
#include "tests/catch.h"
#include "tests/data.h"
#include "tests/environment.h"
#include "tests/eval/experiment/example.h"
#include "tests/files.h"

using namespace sinkbench;
namespace fs = std::filesystem;

namespace {

Experiment load(const std::string& yaml, const Overrides& overrides = {}) {
  const test::TemporaryFolder folder;
  return load_experiment(folder.write("grid.yaml", yaml), overrides);
}

Experiment set(const std::string& yaml, const std::vector<std::string>& assignments) {
  return load(yaml, {.set = assignments});
}

/// The message with which it is refused, the file's folder left out.
std::string refusal(const std::string& yaml, const Overrides& overrides = {}) {
  const test::TemporaryFolder folder;
  const fs::path file = folder.write("grid.yaml", yaml);
  try {
    load_experiment(file, overrides);
  } catch (const InputError& error) {
    std::string message = error.what();
    const std::string prefix = folder.path().string() + "/";
    if (message.starts_with(prefix)) message.erase(0, prefix.size());
    return message;
  }
  return "it was accepted";
}

std::vector<std::string> ids(const Experiment& experiment) {
  std::vector<std::string> result;
  for (const Cell& cell : experiment.cells) result.push_back(cell.id);
  return result;
}

using Strings = std::vector<std::string>;

const std::string one_cell =
    "model: m\n"
    "dataset: {text: book.txt}\n"
    "policies: [dense]\n";

}  // namespace

TEST_CASE("a full experiment is read as it is written") {
  const test::TemporaryFolder folder;
  const fs::path file = folder.write("configs/full.yaml", R"(name: full-1.0
model: ../models/tiny
dataset:
  text: [one.jsonl, /books/two]
  field: body
  bos: document
  tokens: 4096
policies:
  - sinks: {sinks: 2, window: 62, positions: original}
engine: stepwise
dtype: bfloat16
device: cuda
threads: 3
chunk: 128
metrics: [latency, memory]
latency: {warmup: 5, samples: 50, seconds: 0.25, lengths: [256, 1024]}
)");
  const Experiment experiment = load_experiment(file, {});
  CHECK(experiment.name == "full-1.0");
  CHECK(experiment.sha256.size() == 64);
  REQUIRE(experiment.cells.size() == 1);
  const Cell& cell = experiment.cells.front();
  CHECK(cell.model == ModelSpec{.path = folder.path() / "models/tiny"});
  CHECK(cell.dataset == DatasetSpec{.texts = {folder.path() / "configs/one.jsonl", "/books/two"},
                                    .tokens_file = {},
                                    .documents = {.field = "body"},
                                    .bos = BosPlacement::document,
                                    .tokens = 4096});
  CHECK(cell.policy == PolicySpec{.name = "sinks",
                                  .arguments = {{"sinks", 2}, {"window", 62}},
                                  .positions = Positions::original});
  CHECK(cell.engine == "stepwise");
  CHECK(cell.dtype == "bfloat16");
  CHECK(cell.device == "cuda");
  CHECK(cell.threads == 3);
  CHECK(cell.chunk == 128);
  CHECK(cell.metrics == std::set{Metric::latency, Metric::memory});
  CHECK(cell.latency ==
        LatencySpec{.warmup = 5, .samples = 50, .seconds = 0.25, .lengths = {256, 1024}});
  CHECK(cell.id ==
        "tiny-one+1-4096-bos.document-sinks-2+62-original-bfloat16-stepwise-chunk128-cuda");
}

TEST_CASE("policies that evict by content, budgets, presets and positions are read") {
  const test::TemporaryFolder folder;
  const fs::path file = folder.write("x.yaml", R"(model: m
dataset: {text: a}
decisions: true
policies:
  - h2o: {capacity: 512, sinks: 4, recent: 64, every: 16, score: sum, positions: cache}
  - h2o: {budget: {by_layer: [48, 32, 24]}, score: ema, half_life: 32}
  - tova: {capacity: [64, 128], preset: paper}
  - keydiff: {capacity: 64, preset: paper, every: 2, positions: cache}
  - random: {capacity: 64, score: fresh, seed: 7, positions: frozen}
  - sinks: {window: 60, preset: lm-infinite}
  - h2o: {capacity: 64, positions: capped, cap: 100}
  - openvino: {budget: {by_head: [[640, 672]]}, scope: head, preset: genai}
)");
  const Experiment experiment = load_experiment(file, {});
  REQUIRE(experiment.cells.size() == 9);
  const auto policy = [&](size_t i) { return experiment.cells[i].policy; };
  CHECK(experiment.cells[0].decisions);
  CHECK(policy(0).arguments == PolicyArguments{{"capacity", 512},
                                               {"sinks", 4},
                                               {"recent", 64},
                                               {"every", 16},
                                               {"scope", "head"},
                                               {"reduce", "mean"},
                                               {"values", "none"},
                                               {"seed", 0},
                                               {"score", "sum"}});
  CHECK(policy(1).arguments.at("budget.by_layer") == PolicyValue(std::vector<int64_t>{48, 32, 24}));
  CHECK(!policy(1).arguments.contains("capacity"));
  CHECK(policy(1).arguments.at("half_life") == PolicyValue(32));
  CHECK(policy(3).arguments.at("capacity") == PolicyValue(128));
  CHECK(policy(3).arguments.at("recent") == PolicyValue(0));
  CHECK(policy(3).arguments.at("scope") == PolicyValue("layer"));
  CHECK(!policy(3).arguments.contains("reduce"));
  CHECK(policy(3).positions == Positions::original);
  CHECK(policy(4).arguments.at("every") == PolicyValue(2));  // what is given stays
  CHECK(policy(4).positions == Positions::cache);
  CHECK(policy(6).arguments.at("sinks") == PolicyValue(10));
  CHECK(policy(6).positions == Positions::capped);
  CHECK(policy(6).cap == 61);
  CHECK(policy(8).arguments.at("recent") == PolicyValue(128));
  CHECK(!policy(8).arguments.contains("capacity"));
  std::vector<std::string> ids;
  for (const Cell& cell : experiment.cells) ids.push_back(cell.id);
  CHECK(ids[0] == "m-a-h2o-512-recent-64-every-16-float32");
  CHECK(ids[1].starts_with("m-a-h2o-48-32-24-ema-half_life-32-"));
  CHECK(ids[3] == "m-a-tova-128-sinks-0-recent-0-original-float32");
  CHECK(ids[5] == "m-a-random-64-seed-7-fresh-frozen-float32");
  CHECK(ids[6] == "m-a-sinks-10+60-capped-61-float32");
  CHECK(ids[7] == "m-a-h2o-64-capped-100-float32");
  // The same again from a results.json.
  Results results = test::example_results();
  results.cells.resize(1);
  for (const Cell& cell : experiment.cells) {
    results.cells[0].cell.policy = cell.policy;
    results.cells[0].cell.decisions = true;
    results.cells[0].decisions_file = "nll/x.decisions.jsonl.zst";
    folder.write("results.json", to_json(results).dump());
    const Results read = read_results(folder.path());
    CHECK(read.cells.at(0).cell.policy == cell.policy);
    CHECK(to_json(read) == to_json(results));
  }
}

TEST_CASE("the reference is the cell that differs in its policy alone") {
  const std::string grid = R"(
model: [a, b]
dataset: {text: book.txt, tokens: 10}
policies:
  - window: {window: 8}
  - dense
  - sinks: {sinks: 4, window: [8, 12], positions: [cache, original]}
)";
  const auto references = [&](Strings assignments) {
    Strings result;
    for (const Cell& cell : set(grid, assignments).cells) result.push_back(cell.reference);
    return result;
  };
  CHECK(references({}) == Strings(12, ""));
  const Strings metrics = {"metrics=[perplexity, divergence]"};
  Strings expected(6, "a-book-10-dense-float32");
  expected.resize(12, "b-book-10-dense-float32");
  CHECK(references(metrics) == expected);
  CHECK(set(grid, metrics).cells[7].reference_policy.name == "dense");
  CHECK(references({"reference=0+8"})[11] == "b-book-10-window-0+8-float32");
  CHECK(references({"reference=sinks-4+12-original"})[0] ==
        "a-book-10-sinks-4+12-original-float32");
  // A cell's id where it can mean one thing only.
  CHECK(references({"model=a", "reference=a-book-10-window-0+8-float32"})[3] ==
        "a-book-10-window-0+8-float32");

  const auto refused = [&](const Strings& assignments) {
    return refusal(grid, {.set = assignments});
  };
  CHECK_THAT(refused({"reference=denze"}),
             ContainsSubstring("--set reference: 'denze' is no policy of the grid"));
  CHECK_THAT(refused({"reference=denze"}), ContainsSubstring("dense"));
  CHECK_THAT(refused({"reference=4+8"}),
             ContainsSubstring("'4+8' is the label of 2 policies of the grid"));
  CHECK_THAT(refused({"reference=a-book-10-dense-float32"}),
             ContainsSubstring("is one of several cells of its policy"));
  CHECK_THAT(refused({"metrics=[divergence]"}),
             ContainsSubstring("divergence is measured with perplexity; expected both"));
  CHECK_THAT(refused({metrics[0], "policies=[{window: {window: 8}}]"}),
             ContainsSubstring("against dense, which is not among the policies"));
}

TEST_CASE("collapse is looked for where it is asked for, or a reference is named") {
  CHECK(!load(one_cell).collapse);
  const auto with = [&](const Strings& assignments) {
    const auto collapse = set(one_cell, assignments).collapse;
    REQUIRE(collapse);
    return std::pair(collapse->window, collapse->margin);
  };
  CHECK(with({"collapse="}) == std::pair(int64_t{256}, 0.5));
  CHECK(with({"reference=dense"}) == std::pair(int64_t{256}, 0.5));
  CHECK(with({"collapse={window: 64, margin: 0.25}"}) == std::pair(int64_t{64}, 0.25));
  const auto refused = [&](const std::string& assignment) {
    return refusal(one_cell, {.set = {assignment}});
  };
  CHECK_THAT(refused("collapse.window=0"),
             ContainsSubstring("collapse.window: is '0'; expected an integer of 1 or more"));
  for (const char* value : {"0", "-1", "much", ".inf", ".nan", "[1]"}) {
    CHECK_THAT(refused(std::string("collapse.margin=") + value),
               ContainsSubstring("expected a number above 0"));
  }
  CHECK_THAT(refused("collapse.marign=1"), ContainsSubstring("unknown key 'marign'"));
}

TEST_CASE("evicted mass has its own bound on the stream's length") {
  const Strings metrics = {"metrics=[evicted_mass]"};
  CHECK(set(one_cell, metrics).cells.at(0).metrics == std::set{Metric::evicted_mass});
  CHECK(set(one_cell, metrics).cells.at(0).evicted_mass_tokens == 4096);
  CHECK(set(one_cell, {metrics[0], "evicted_mass.tokens=99"}).cells.at(0).evicted_mass_tokens ==
        99);
  CHECK_THAT(refusal(one_cell, {.set = {"evicted_mass.tokens=0"}}),
             ContainsSubstring("evicted_mass.tokens: is '0'; expected an integer of 1 or more"));
}

TEST_CASE("what is left out has its default") {
  const Experiment experiment = load(one_cell);
  CHECK(experiment.name == "grid");  // the file's
  REQUIRE(experiment.cells.size() == 1);
  const Cell& cell = experiment.cells.front();
  CHECK(cell.dataset.documents == DocumentOptions{});
  CHECK(cell.dataset.bos == BosPlacement::stream);
  CHECK(!cell.dataset.tokens);
  CHECK(cell.engine == "chunked");
  CHECK(cell.dtype == "float32");
  CHECK(cell.device == "cpu");
  CHECK(cell.threads == 0);
  CHECK(cell.chunk == 0);
  CHECK(cell.metrics == std::set{Metric::perplexity, Metric::latency, Metric::memory});
  CHECK(cell.id == "m-book-dense-float32");
  const Experiment sinks = set(one_cell, {"policies=[{sinks: {window: 8}}]"});
  CHECK(sinks.cells.at(0).policy.arguments == PolicyArguments{{"sinks", 4}, {"window", 8}});
}

TEST_CASE("lists unfold into the product, neighbours sharing model and dataset") {
  const Experiment experiment = load(R"(
model: [a, b]
dataset: {text: book.txt, tokens: [10, 20]}
policies:
  - dense
  - sinks: {sinks: [0, 4], window: [12, 28]}
dtype: [float32, bfloat16]
)");
  CHECK(experiment.cells.size() == 2 * 2 * 2 * 5);
  const Strings all = ids(experiment);
  CHECK(Strings(all.begin(), all.begin() + 12) ==
        Strings{"a-book-10-dense-float32", "a-book-10-sinks-0+12-float32",
                "a-book-10-sinks-0+28-float32", "a-book-10-sinks-4+12-float32",
                "a-book-10-sinks-4+28-float32", "a-book-10-dense-bfloat16",
                "a-book-10-sinks-0+12-bfloat16", "a-book-10-sinks-0+28-bfloat16",
                "a-book-10-sinks-4+12-bfloat16", "a-book-10-sinks-4+28-bfloat16",
                "a-book-20-dense-float32", "a-book-20-sinks-0+12-float32"});
  CHECK(all.back() == "b-book-20-sinks-4+28-bfloat16");
  CHECK(std::set(all.begin(), all.end()).size() == all.size());
}

TEST_CASE("several models and datasets, of every kind") {
  const Experiment experiment = load(R"(
model:
  - x/pythia-1.4b
  - {path: [x/one, x/two/]}
  - {config: shapes/config.json, weights: random}
  - {config: shapes/llama-10m.json, weights: random, seed: [1, 2]}
dataset:
  - {text: [a.txt, b.txt]}
  - {tokens_file: ids.json}
policies: [dense]
)");
  CHECK(ids(experiment) ==
        Strings{"pythia-1.4b-a+1-dense-float32", "pythia-1.4b-ids-dense-float32",
                "one-a+1-dense-float32", "one-ids-dense-float32", "two-a+1-dense-float32",
                "two-ids-dense-float32", "shapes-random0-a+1-dense-float32",
                "shapes-random0-ids-dense-float32", "llama-10m-random1-a+1-dense-float32",
                "llama-10m-random1-ids-dense-float32", "llama-10m-random2-a+1-dense-float32",
                "llama-10m-random2-ids-dense-float32"});
  CHECK(experiment.cells[10].model.random);
  CHECK(experiment.cells[10].model.seed == 2);
  CHECK(experiment.cells[1].dataset.texts.empty());
  CHECK(experiment.cells[1].dataset.tokens_file.filename() == "ids.json");
}

TEST_CASE("an id says what the policy is, in characters fit for a file's name") {
  const Experiment experiment = load(R"yaml(
model: "models/my model (new)"
dataset: {text: "/books/Don Quixote é.txt"}
policies:
  - window: {window: 16}
  - recompute: {window: 16, stride: [1, 8]}
)yaml");
  CHECK(ids(experiment) == Strings{"my-model-new-Don-Quixote-é-window-0+16-float32",
                                   "my-model-new-Don-Quixote-é-recompute-16-float32",
                                   "my-model-new-Don-Quixote-é-recompute-16-1-in-8-float32"});
}

TEST_CASE("an id is no longer than a file's name may be") {
  const std::string name(240, 'x');
  const Experiment experiment =
      set(one_cell, {"model=[" + name + "1, " + name + "2]", "dataset.text=" + name});
  REQUIRE(experiment.cells.size() == 2);
  for (const Cell& cell : experiment.cells) CHECK(cell.id.size() <= 200);
  CHECK(experiment.cells[0].id != experiment.cells[1].id);
}

TEST_CASE("cells of one name are told apart by what is behind the name") {
  const Strings found = ids(load(R"(
model: [a/tiny, b/tiny, c/tiny]
dataset:
  - {text: [book.txt, one.txt]}
  - {text: [book.txt, two.txt]}
  - {text: [book.txt, two.txt], field: body}
policies: [dense]
)"));
  CHECK(found.size() == 9);
  CHECK(std::set(found.begin(), found.end()).size() == 9);
  CHECK(found[0] == "tiny-book+1-dense-float32");
  for (const std::string& id : found) CHECK(id.starts_with("tiny-book+1-dense-float32"));
}

TEST_CASE("set replaces values, and paths in it are relative to the current folder") {
  const Experiment experiment = set(one_cell, {"dataset.text=other.txt", "dataset.tokens=[8, 9]",
                                               "name=quick", "latency.samples=7"});
  CHECK(experiment.name == "quick");
  REQUIRE(experiment.cells.size() == 2);
  CHECK(experiment.cells[0].dataset.texts == std::vector{fs::current_path() / "other.txt"});
  CHECK(experiment.cells[1].dataset.tokens == 9);
  CHECK(experiment.cells[0].latency.samples == 7);
  CHECK(experiment.cells[0].model.path.parent_path() != fs::current_path());

  const std::string listed =
      "model: m\ndataset: {text: [a.txt, b.txt]}\npolicies: [dense, window: {window: 4}]\n";
  const Experiment one = set(listed, {"dataset.text.1=c.txt", "policies.1.window.window=6"});
  CHECK(one.cells[1].policy.arguments.at("window") == 6);
  CHECK(one.cells[1].dataset.texts[1] == fs::current_path() / "c.txt");
  CHECK(one.cells[1].dataset.texts[0] != fs::current_path() / "a.txt");
  // A list that replaces a list, and an empty value that takes a key away.
  CHECK(set(listed, {"policies=[dense]"}).cells.size() == 1);
  CHECK(!set("dataset: {text: a, tokens: 5}\nmodel: m\npolicies: [dense]\n", {"dataset.tokens="})
             .cells[0]
             .dataset.tokens);
}

TEST_CASE("limit, threads and device of the command line come last") {
  const std::string yaml =
      "model: m\ndataset: {text: a, tokens: [10, 1000, 2000]}\npolicies: [dense]\nthreads: 3\n"
      "device: [cpu, cuda]\n";
  const Experiment experiment = load(yaml, {.limit = 100, .threads = 2, .device = "cpu"});
  // The two larger ones are the same now, and so are the two devices.
  CHECK(ids(experiment) == Strings{"m-a-10-dense-float32", "m-a-100-dense-float32"});
  CHECK(experiment.cells[0].threads == 2);
  CHECK(load(one_cell, {.limit = 100}).cells[0].dataset.tokens == 100);
}

TEST_CASE("the hash follows the content and what is set") {
  CHECK(load(one_cell).sha256 == load(one_cell).sha256);
  CHECK(load(one_cell).sha256 == load("# a remark\n" + one_cell).sha256);
  CHECK(load(one_cell).sha256 != set(one_cell, {"dtype=bfloat16"}).sha256);
}

TEST_CASE("refused: keys") {
  CHECK(refusal(one_cell + "dtpye: float32\n") ==
        "grid.yaml:4: dtpye: unknown key 'dtpye'; did you mean 'dtype'?");
  CHECK(refusal("model: m\ndataset: {txt: a}\npolicies: [dense]\n") ==
        "grid.yaml:2: dataset.txt: unknown key 'txt'; did you mean 'text'?");
  CHECK_THAT(refusal(one_cell + "zebra: 1\n"),
             ContainsSubstring("grid.yaml:4: zebra: unknown key 'zebra'; expected one of: name, "));
  CHECK(refusal(one_cell + "model: other\n") == "grid.yaml:4: model: key 'model' stands twice");
  CHECK(refusal("model: m\ndataset:\n  text: a\n  text: b\npolicies: [dense]\n") ==
        "grid.yaml:4: dataset.text: key 'text' stands twice");
  CHECK(refusal("dataset: {text: a}\npolicies: [dense]\n") ==
        "grid.yaml:1: key 'model' is missing");
  CHECK(refusal("model: m\npolicies: [dense]\n") ==
        "grid.yaml:1: key 'dataset' is missing, or 'tasks'");
  CHECK(refusal("model: m\ndataset: {text: a}\n") == "grid.yaml:1: key 'policies' is missing");
  CHECK(refusal("model: m\ndataset: {text: a}\npolicies:\n") ==
        "grid.yaml:1: key 'policies' is missing");
  CHECK(refusal(one_cell + "[a]: 1\n") == "grid.yaml:1: has a key that is no word");
  CHECK(refusal(one_cell + "latency: {sample: 3}\n") ==
        "grid.yaml:4: latency.sample: unknown key 'sample'; did you mean 'samples'?");
}

TEST_CASE("refused: values") {
  CHECK(refusal(one_cell + "dtype: float23\n") ==
        "grid.yaml:4: dtype: is 'float23'; did you mean 'float32'?");
  CHECK(refusal(one_cell + "dtype:\n  - float32\n  - int\n") ==
        "grid.yaml:6: dtype.1: is 'int'; expected one of: float32, bfloat16, float16, float64");
  CHECK(refusal(one_cell + "dtype: {a: b}\n") ==
        "grid.yaml:4: dtype: is a mapping; expected a word");
  CHECK(refusal(one_cell + "engine: chunky\n") ==
        "grid.yaml:4: engine: is 'chunky'; did you mean 'chunked'?");
  CHECK(refusal(one_cell + "device: metal\n") ==
        "grid.yaml:4: device: is 'metal'; expected cpu, cuda or cuda:N");
  CHECK(refusal(one_cell + "device: 'cuda:01'\n") ==
        "grid.yaml:4: device: is 'cuda:01'; expected cpu, cuda or cuda:N");
  CHECK(load(one_cell + "device: 'cuda:1'\n").cells.front().id == "m-book-dense-float32-cuda-1");
  CHECK(refusal(one_cell + "metrics: [perplexity, speed]\n") ==
        "grid.yaml:4: metrics.1: is 'speed'; expected one of: perplexity, latency, memory, "
        "divergence, evicted_mass");
  CHECK(refusal(one_cell + "metrics: []\n") ==
        "grid.yaml:4: metrics: is an empty list; expected at least one value");
  CHECK(refusal(one_cell + "threads: -1\n") ==
        "grid.yaml:4: threads: is '-1'; expected an integer of 0 or more");
  CHECK(refusal(one_cell + "threads: [1, 2]\n") ==
        "grid.yaml:4: threads: is a list; expected an integer of 0 or more");
  CHECK(refusal(one_cell + "chunk: 1.5\n") ==
        "grid.yaml:4: chunk: is '1.5'; expected an integer of 1 or more");
  CHECK(refusal(one_cell + "latency:\n  samples: 0\n") ==
        "grid.yaml:5: latency.samples: is '0'; expected an integer of 1 or more");
  CHECK(refusal(one_cell + "latency: 5\n") == "grid.yaml:4: latency: is '5'; expected a mapping");
  CHECK(refusal(one_cell + "threads: 5000\n") ==
        "grid.yaml:4: threads: is '5000'; expected an integer of 4096 or less");
  CHECK(refusal(one_cell + "latency: {warmup: 10000000}\n") ==
        "grid.yaml:4: latency.warmup: is '10000000'; expected an integer of 1000000 or less");
  CHECK(refusal(one_cell + "latency: {seconds: -1}\n") ==
        "grid.yaml:4: latency.seconds: is '-1'; expected a number of seconds from 0 to 30");
  CHECK_THAT(refusal(one_cell + "name: a/b\n"),
             ContainsSubstring("grid.yaml:4: name: is 'a/b'; expected letters, digits"));
  CHECK_THAT(refusal(one_cell + "name: ..\n"), ContainsSubstring("grid.yaml:4: name: is '..'"));
}

TEST_CASE("refused: models and datasets") {
  const auto with = [](const std::string& model, const std::string& dataset) {
    return refusal("model: " + model + "\ndataset: " + dataset + "\npolicies: [dense]\n");
  };
  CHECK(with("{path: a, config: b}", "{text: a}") ==
        "grid.yaml:1: model: has both 'path' and 'config'; expected one");
  CHECK_THAT(with("{weights: random}", "{text: a}"),
             ContainsSubstring("grid.yaml:1: model: expected 'path'"));
  CHECK(with("{config: a}", "{text: a}") ==
        "grid.yaml:1: model: expected 'weights: random' beside 'config'");
  CHECK(with("{config: a, weights: zero}", "{text: a}") ==
        "grid.yaml:1: model.weights: is 'zero'; expected one of: random");
  CHECK(with("{config: a, weights: random, seed: -3}", "{text: a}") ==
        "grid.yaml:1: model.seed: is '-3'; expected an integer of 0 or more");
  CHECK(with("{path: a, seed: 3}", "{text: a}") ==
        "grid.yaml:1: model.seed: has no meaning beside 'path'; leave it out");
  CHECK(with("{path: a, weights: random}", "{text: a}") ==
        "grid.yaml:1: model.weights: is 'random'; expected one of: decoded, as-stored");
  CHECK(
      with("{path: a, decoded_mib: 5}", "{text: a}") ==
      "grid.yaml:1: model.decoded_mib: has no meaning without 'weights: as-stored'; leave it out");
  CHECK(with("{config: a, weights: random, decoded_mib: 5}", "{text: a}") ==
        "grid.yaml:1: model.decoded_mib: has no meaning without 'path'; leave it out");
  CHECK(with("{path: a, weights: as-stored, decoded_mib: -5}", "{text: a}") ==
        "grid.yaml:1: model.decoded_mib: is '-5'; expected an integer of 0 or more");
  CHECK(with("[a, [b]]", "{text: a}") == "grid.yaml:1: model.1: is a list; expected a word");
  CHECK(with("[a, '']", "{text: a}") == "grid.yaml:1: model.1: is ''; expected a word");
  CHECK(with("m", "book.txt") == "grid.yaml:2: dataset: is 'book.txt'; expected a mapping");
  CHECK_THAT(with("m", "{tokens: 5}"), ContainsSubstring("grid.yaml:2: dataset: expected either"));
  CHECK_THAT(with("m", "{text: a, tokens_file: b}"),
             ContainsSubstring("grid.yaml:2: dataset: expected either"));
  CHECK(with("m", "{tokens_file: a, bos: none}") ==
        "grid.yaml:2: dataset.bos: has no meaning beside 'tokens_file'; leave it out");
  CHECK(with("m", "{text: a, bos: everywhere}") ==
        "grid.yaml:2: dataset.bos: is 'everywhere'; expected one of: stream, document, none");
  CHECK(with("m", "{text: a, tokens: 1}") ==
        "grid.yaml:2: dataset.tokens: is '1'; expected an integer of 2 or more");
  CHECK(with("m", "{text: a, tokens: many}") ==
        "grid.yaml:2: dataset.tokens: is 'many'; expected an integer of 2 or more");
  CHECK(with("m", "{text: a, tokens: 99999999999999999999}") ==
        "grid.yaml:2: dataset.tokens: is '99999999999999999999'; expected an integer of 2 or more");
}

TEST_CASE("refused: policies") {
  const auto with = [](const std::string& policies) {
    return refusal("model: m\ndataset: {text: a}\npolicies:\n" + policies);
  };
  CHECK(with("  - dense\n  - sink: {window: 3}\n") ==
        "grid.yaml:5: policies.1: unknown policy 'sink'; did you mean 'sinks'?");
  CHECK(with("  - windw\n") == "grid.yaml:4: policies.0: is 'windw'; did you mean 'window'?");
  CHECK(with("  - window: {window: 0}\n") ==
        "grid.yaml:4: policies.0.window.window: is '0'; expected an integer of 1 or more");
  // The line is the parameter's own.
  CHECK(with("  - dense\n  - sinks:\n      sinks: -1\n      window: 8\n") ==
        "grid.yaml:6: policies.1.sinks.sinks: is '-1'; expected an integer of 0 or more");
  CHECK(with("  - sinks: {window: [8, x]}\n") ==
        "grid.yaml:4: policies.0.sinks.window.1: is 'x'; expected an integer of 1 or more");
  CHECK(with("  - window: {window: 9223372036854775807}\n") ==
        "grid.yaml:4: policies.0.window.window: is '9223372036854775807'; "
        "expected an integer of 1099511627776 or less");
  CHECK_THAT(
      with("  - window:\n"),
      ContainsSubstring("grid.yaml:4: policies.0: policy window: parameter 'window' is missing"));
  CHECK_THAT(
      with("  - window\n"),
      ContainsSubstring("grid.yaml:4: policies.0: policy window: parameter 'window' is missing"));
  CHECK(with("  - window: 8\n") == "grid.yaml:4: policies.0.window: is '8'; expected a mapping");
  CHECK(with("  - window: {size: 8}\n") ==
        "grid.yaml:4: policies.0.window.size: unknown key 'size'; expected one of: window, "
        "prompt, positions, cap");
  CHECK_THAT(with("  - window: {window: 8}\n    sinks: {window: 8}\n"),
             ContainsSubstring("grid.yaml:4: policies.0: expected one policy"));
  CHECK(with("  - sinks: {window: 8, positions: stream}\n") ==
        "grid.yaml:4: policies.0.sinks.positions: is 'stream'; expected one of: cache, original, "
        "frozen, "
        "capped");
  CHECK_THAT(
      with("  - dense: {positions: original}\n"),
      ContainsSubstring("grid.yaml:4: policies.0: policy dense: 'positions: original' makes no "));
  CHECK_THAT(with("  - h2o: {capacity: 64, budget: {by_layer: [64, 32]}}\n"),
             ContainsSubstring("capacity and budget.by_layer are both given"));
  CHECK_THAT(with("  - h2o: {budget: 64}\n"),
             ContainsSubstring("budget: expected uniform, {pyramid: {beta: 20}}, "));
  CHECK_THAT(with("  - h2o: {budget: {by_layer: [64, 0]}}\n"),
             ContainsSubstring("budget.by_layer.1: is '0'; expected an integer of 1 or more"));
  CHECK_THAT(with("  - h2o: {capacity: 64, score: median}\n"),
             ContainsSubstring("score: is 'median'; did you mean 'mean'?"));
  CHECK_THAT(with("  - h2o: {capacity: 64, preset: best}\n"),
             ContainsSubstring("preset: is 'best'; expected one of: paper"));
  CHECK_THAT(with("  - h2o: {capacity: 64, positions: capped}\n"),
             ContainsSubstring("expected 'cap: D' beside 'positions: capped'"));
  CHECK_THAT(with("  - knorm: {capacity: 64, scope: layer}\n"),
             ContainsSubstring("unknown key 'scope'"));
  CHECK(with("  - dense\n  - dense\n") ==
        "grid.yaml:4: policies: cell m-a-dense-float32 stands twice in the grid");
  CHECK(with("  - sinks: {window: 8}\n  - sinks: {sinks: 4, window: 8}\n") ==
        "grid.yaml:4: policies: cell m-a-sinks-4+8-float32 stands twice in the grid");
}

TEST_CASE("refused: --set") {
  const auto with = [](const std::string& assignment) {
    return refusal(one_cell, {.set = {assignment}});
  };
  CHECK(with("dtype") == "--set dtype: expected key=value, such as dataset.tokens=4096");
  CHECK(with("=3") == "--set =3: expected key=value, such as dataset.tokens=4096");
  CHECK(with("dataset..text=3") == "--set dataset..text=3: the key has an empty part");
  CHECK(with("dataset.=3") == "--set dataset.=3: the key has an empty part");
  CHECK(with("dtpye=float32") == "--set dtpye: unknown key 'dtpye'; did you mean 'dtype'?");
  CHECK(with("dataset.txt=a") == "--set dataset.txt: unknown key 'txt'; did you mean 'text'?");
  CHECK(with("dtype=float23") == "--set dtype: is 'float23'; did you mean 'float32'?");
  CHECK(with("dtype=[float32, int]") ==
        "--set dtype.1: is 'int'; expected one of: float32, bfloat16, float16, float64");
  CHECK(with("model.path.x=3") ==
        "--set model.path.x=3: 'path' stands below a value that is no mapping");
  CHECK(with("policies.1=dense") ==
        "--set policies.1=dense: '1' is no index into a list of 1 elements");
  CHECK(with("policies.first=dense") ==
        "--set policies.first=dense: 'first' is no index into a list of 1 elements");
  CHECK_THAT(with("dtype=[float32"),
             ContainsSubstring("--set dtype=[float32: the value is not valid YAML"));
  CHECK(with("policies.0={window: {window: 0}}") ==
        "--set policies.0.window.window: is '0'; expected an integer of 1 or more");
  CHECK(refusal("model: m\ndataset: {text: a}\npolicies: [window: {window: 8}]\n",
                {.set = {"policies.0.window.window=0"}}) ==
        "--set policies.0.window.window: is '0'; expected an integer of 1 or more");
}

TEST_CASE("refused: what is no experiment at all") {
  CHECK_THAT(refusal(""), ContainsSubstring("grid.yaml: expected a mapping"));
  CHECK_THAT(refusal("just words"), ContainsSubstring("grid.yaml: expected a mapping"));
  CHECK_THAT(refusal("model: [a\ndataset: b\n"), ContainsSubstring("grid.yaml:2: not valid YAML"));
  CHECK_THAT(refusal("model: m\n\tdataset: b\n"), ContainsSubstring("not valid YAML"));
  CHECK_THAT(refusal("model: *nowhere\n"), ContainsSubstring("grid.yaml:1: not valid YAML"));
  CHECK(refusal(one_cell + "---\n" + one_cell) ==
        "grid.yaml: has several YAML documents; expected one");
  // Found by fuzzing: yaml-cpp sees documents without end here.
  CHECK(!refusal(", {t&m ").empty());
  CHECK_THROWS_WITH(load_experiment("no/such.yaml", {}), ContainsSubstring("no/such.yaml"));
  CHECK_THROWS_WITH(load_experiment(fs::temp_directory_path(), {}),
                    ContainsSubstring(fs::temp_directory_path().string()));
}

TEST_CASE("anchors and depth cost no more than they should") {
  std::string bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n";
  for (int i = 1; i < 40; ++i) {
    bomb += fmt::format("a{}: &a{} [", i, i);
    for (int j = 0; j < 9; ++j) bomb += fmt::format("{}*a{}", j > 0 ? ", " : "", i - 1);
    bomb += "]\n";
  }
  CHECK_THAT(refusal(bomb + one_cell), ContainsSubstring("unknown key 'a0'"));
  CHECK_THAT(refusal("model: &m [*m]\ndataset: {text: a}\npolicies: [dense]\n"),
             ContainsSubstring("model"));
  CHECK_THAT(refusal("model: " + std::string(200'000, '[')), ContainsSubstring("not valid YAML"));
  std::string grid = "model: m\ndataset: {text: a}\npolicies:\n  - sinks:\n      sinks: [";
  for (int i = 0; i < 1000; ++i) grid += std::to_string(i) + ", ";
  grid += "1000]\n      window: [";
  for (int i = 1; i < 1000; ++i) grid += std::to_string(i) + ", ";
  CHECK_THAT(refusal(grid + "1000]\n"),
             ContainsSubstring("grid.yaml:6: policies.0.sinks.window: makes too large a grid; "
                               "expected no more than 10000 cells"));
  // Each list is small, what they make is not; known before any of it is made.
  const auto list = [](int count, const std::string& value) {
    std::string text = "[";
    for (int i = 0; i < count; ++i) text += (i > 0 ? ", " : "") + value;
    return text + "]";
  };
  const std::string policy = "sinks: {sinks: " + list(99, "4") + ", window: " + list(99, "5") + "}";
  for (const std::string& large :
       {"model: m\ndataset: {text: a}\npolicies: [&p {" + policy + "}, " +
            list(2000, "*p").substr(1),
        "model: m\ndataset: [&d {text: a, bos: " + list(99, "none") + ", tokens: " + list(99, "5") +
            "}, " + list(2000, "*d").substr(1) + "\npolicies: [dense]",
        "model: [&m {config: " + list(99, "c") + ", weights: random, seed: " + list(99, "5") +
            "}, " + list(2000, "*m").substr(1) + "\ndataset: {text: a}\npolicies: [dense]",
        "model: " + list(500, "m") + "\ndataset: " + list(500, "{text: a}") +
            "\npolicies: " + list(500, "{window: {window: 2}}")}) {
    CHECK_THAT(refusal(large + "\n"), ContainsSubstring("makes too large a grid"));
  }
  CHECK_THAT(refusal("model: m\ndataset: {text: " + list(2000, "a") +
                     ", tokens: " + list(2000, "5") + "}\npolicies: [dense]\n"),
             ContainsSubstring("grid.yaml:2: dataset: names too many texts; expected no more than "
                               "100000 in all cells together"));
  // An anchor is fine where it saves writing.
  CHECK(load("model: &m m\ndataset: {text: *m}\npolicies: [dense]\n").cells[0].id ==
        "m-m-dense-float32");
}

TEST_CASE("the BOS and special tokens in texts may be chosen, and are part of what a cell is") {
  const test::TemporaryFolder folder;
  const auto load = [&](const std::string& dataset) {
    return load_experiment(
               folder.write("grid.yaml", "model: m\ndataset: " + dataset + "\npolicies: [dense]\n"),
               {})
        .cells;
  };
  auto cells = load("{text: a, bos_token: [\"<s>\", 7], special_tokens: [parse, text]}");
  REQUIRE(cells.size() == 4);
  CHECK(cells[0].dataset.bos_token == "<s>");
  CHECK(cells[1].dataset.special_tokens == SpecialTokens::text);
  CHECK(cells[3].dataset.bos_token == "7");
  CHECK(cells[3].id == "m-a-bos.7-special.text-dense-float32");
  std::set<std::string> ids;
  for (const Cell& cell : cells) ids.insert(cell.id);
  CHECK(ids.size() == 4);

  // Where there is no BOS it doesn't matter which.
  cells = load("{text: a, bos: [stream, none], bos_token: [5, 6]}");
  REQUIRE(cells.size() == 3);
  CHECK(cells[2].dataset.bos == BosPlacement::none);
  CHECK(cells[2].dataset.bos_token.empty());

  CHECK_THROWS_WITH(load("{text: a, bos_token: \"\"}"),
                    ContainsSubstring("grid.yaml:2: dataset.bos_token: is ''"));
  CHECK_THROWS_WITH(
      load("{text: a, special_tokens: maybe}"),
      ContainsSubstring("dataset.special_tokens: is 'maybe'; expected one of: parse, text"));
  CHECK_THROWS_WITH(load("{tokens_file: a, bos_token: 1}"),
                    ContainsSubstring("dataset.bos_token: has no meaning beside 'tokens_file'"));
}

TEST_CASE("no damage to a file makes anything but one line of complaint") {
  const std::string whole = R"(name: full
model: [../models/tiny, {config: a/config.json, weights: random, seed: [1, 2]}]
dataset: {text: [one.jsonl, /books/two], field: body, bos: document, tokens: [40, 50]}
policies:
  - dense
  - sinks: {sinks: 2, window: 62, positions: original}
  - recompute: {window: &w 16, stride: 8}
  - window: {window: *w}
metrics: [latency, memory]
latency: {warmup: 5, samples: 50, lengths: [256, 1024]}
)";
  const std::string spice = "{}[]:,-&*#?|>!%@'\"\\ \n\t~.0a\xff";
  std::mt19937 random(1);
  const auto below = [&](size_t n) { return random() % n; };
  const test::TemporaryFolder folder;
  const fs::path file = folder.path() / "damaged.yaml";
  int refused = 0;
  for (int i = 0; i < 3000; ++i) {
    std::string text = whole;
    for (size_t edits = 1 + below(3); edits > 0; --edits) {
      const size_t place = below(text.size());
      switch (below(3)) {
        case 0:
          text[place] = spice[below(spice.size())];
          break;
        case 1:
          text.insert(place, 1, spice[below(spice.size())]);
          break;
        case 2:
          text.erase(place, 1 + below(12));
          break;
      }
    }
    std::ofstream(file) << text;
    INFO(text);
    try {
      load_experiment(file, {});
    } catch (const InputError& error) {
      ++refused;
      REQUIRE(std::string(error.what()).find('\n') == std::string::npos);
    }
  }
  CHECK(refused > 1000);
}

TEST_CASE("the experiments that are shipped, and those of the documentation, are valid") {
  const fs::path root = test::data("../..");
  size_t shipped = 0;
  for (const auto& file : fs::directory_iterator(root / "configs")) {
    if (file.path().extension() != ".yaml") continue;
    INFO(file.path());
    ++shipped;
    CHECK(!load_experiment(file.path(), {}).cells.empty());
  }
  CHECK(shipped > 0);
  for (const char* name : {"README.md", "configs/README.md"}) {
    const std::string text = read_file(root / name);
    const std::string fence = "```yaml\n";
    size_t examples = 0;
    for (size_t begin = 0; (begin = text.find(fence, begin)) != std::string::npos; ++examples) {
      begin += fence.size();
      const std::string example = text.substr(begin, text.find("```", begin) - begin);
      INFO(name << ":\n" << example);
      const size_t cells = load(example).cells.size();
      CHECK(cells > 0);
      if (example.find("name: caches\n") == 0) CHECK(cells == 40);
    }
    CHECK(examples > 0);
  }
}

TEST_CASE("paths may hold environment variables") {
  const std::string yaml =
      "model: {path: '${SINKBENCH_TEST_FOLDER}/m', get: 'copy it to ${SINKBENCH_TEST_FOLDER}/m'}\n"
      "dataset: {text: '${SINKBENCH_TEST_FOLDER}/${SINKBENCH_TEST_FOLDER}/b.txt', get: buy it}\n"
      "policies: [dense]\n";
  ::setenv("SINKBENCH_TEST_FOLDER", "/some where", 1);
  const Cell cell = load(yaml).cells.at(0);
  CHECK(cell.model ==
        ModelSpec{.path = "/some where/m", .random = false, .get = "copy it to /some where/m"});
  CHECK(cell.dataset.texts == std::vector<fs::path>{"/some where/some where/b.txt"});
  CHECK(cell.dataset.get == "buy it");
  CHECK(set(yaml, {"model=${SINKBENCH_TEST_FOLDER}/n"}).cells.at(0).model.path == "/some where/n");

  for (const char* nothing : {"", static_cast<const char*>(nullptr)}) {
    nothing != nullptr ? ::setenv("SINKBENCH_TEST_FOLDER", nothing, 1)
                       : ::unsetenv("SINKBENCH_TEST_FOLDER");
    CHECK(refusal("policies: [dense]\ndataset: {text: b.txt}\n"
                  "model: '${SINKBENCH_TEST_FOLDER}/m'\n") ==
          "grid.yaml:3: model: is '${SINKBENCH_TEST_FOLDER}/m', but the environment variable "
          "SINKBENCH_TEST_FOLDER is not set; expected a folder: "
          "export SINKBENCH_TEST_FOLDER=FOLDER");
  }
  CHECK(refusal("policies: [dense]\ndataset: {text: b.txt}\nmodel: '${HOME'\n") ==
        "grid.yaml:3: model: is '${HOME'; expected '}' after '${'");
}

TEST_CASE("integers are decimal, whatever they begin with") {
  const auto window = [](const std::string& text) {
    return load("model: m\ndataset: {text: book.txt}\npolicies: [window: {window: " + text + "}]\n")
        .cells.at(0)
        .policy.arguments.at("window")
        .integer();
  };
  CHECK(window("010") == 10);
  CHECK(window("+7") == 7);
  for (const char* text : {"0x10", "0o10", "1_000", "1e3", "64.0", ".inf", "+-3"}) {
    CHECK_THAT(refusal("model: m\ndataset: {text: book.txt}\npolicies: [window: {window: " +
                       std::string(text) + "}]\n"),
               ContainsSubstring("window: is '" + std::string(text) + "'; expected an integer"));
  }
}

TEST_CASE("set changes the value that it names, not what an alias shares with it") {
  const std::string yaml =
      "model: m\ndataset: {text: book.txt}\npolicies: [window: &w {window: 64}, sinks: *w]\n";
  CHECK(ids(set(yaml, {"policies.0.window.window=99"})) ==
        Strings{"m-book-window-0+99-float32", "m-book-sinks-4+64-float32"});
  CHECK_THAT(refusal(one_cell, {.set = {"metrics.0=memory"}}),
             ContainsSubstring("--set metrics.0=memory: there is no list to have an element 0; "
                               "expected metrics=[...]"));
}

TEST_CASE("anchors have a place, merge keys have none") {
  CHECK(load("x-common: &w {window: 64}\n" + std::string(one_cell)).cells.size() == 1);
  CHECK_THAT(refusal("model: m\ndataset: {text: book.txt}\n"
                     "policies: [window: &w {window: 64}, sinks: {<<: *w, sinks: 2}]\n"),
             ContainsSubstring("merge keys are not supported"));
}

TEST_CASE("names in any script are names") {
  const test::TemporaryFolder folder;
  const fs::path file = folder.write("\u0438\u043c\u044f.yaml", R"(model: m
dataset: [{text: "\u043a\u043d\u0438\u0433\u0430.txt"}, {text: "\u672c.txt"}, {text: "\u2028.txt"}]
policies: [dense]
)");
  const Experiment experiment = load_experiment(file, {});
  CHECK(experiment.name == "\u0438\u043c\u044f");
  CHECK(experiment.cells.at(0).id == "m-\u043a\u043d\u0438\u0433\u0430-dense-float32");
  CHECK(experiment.cells.at(1).id == "m-\u672c-dense-float32");
  CHECK_THAT(experiment.cells.at(2).id, Catch::Matchers::StartsWith("m-unnamed."));
}

TEST_CASE("paths are the system's: above a link is where it leads, and ~ is the home folder") {
  const test::TemporaryFolder folder;
  fs::create_directories(folder.path() / "far/configs");
  fs::create_directory_symlink("far/configs", folder.path() / "link");
  folder.write("far/configs/grid.yaml",
               "model: ../models/m\ndataset: {text: ~/book.txt}\npolicies: [dense]\n");
  const test::Variable home("HOME", "/home/reader");
  const Cell cell = load_experiment(folder.path() / "link/grid.yaml", {}).cells.at(0);
  CHECK(cell.model.path == fs::canonical(folder.path() / "far") / "models/m");
  CHECK(cell.dataset.texts.at(0) == "/home/reader/book.txt");
}

TEST_CASE("weights are decoded or stay as they are stored, or both side by side") {
  const test::TemporaryFolder folder;
  const fs::path file =
      folder.write("grid.yaml",
                   "model: {path: m.gguf, weights: [decoded, as-stored], decoded_mib: 0}\n"
                   "dataset: {text: b.txt}\npolicies: [dense]\n");
  CHECK_THROWS_WITH(load_experiment(file, {}), ContainsSubstring("decoded_mib: has no meaning"));
  folder.write(
      "grid.yaml",
      "model: [{path: m.gguf, weights: [decoded, as-stored]}, {path: n, weights: as-stored, "
      "decoded_mib: 7}]\ndataset: {text: b.txt}\npolicies: [dense]\n");
  const Experiment experiment = load_experiment(file, {});
  REQUIRE(experiment.cells.size() == 3);
  CHECK_FALSE(experiment.cells[0].model.as_stored);
  CHECK(experiment.cells[1].model.as_stored);
  CHECK(experiment.cells[0].id != experiment.cells[1].id);
  CHECK_THAT(experiment.cells[1].id, ContainsSubstring("m.gguf-as-stored-"));
  CHECK(experiment.cells[2].model.decoded_mib == 7);
}

TEST_CASE("how to get what is missing stands beside a path") {
  CHECK_THAT(refusal("model: {config: c.json, weights: random, get: it}\n"
                     "dataset: {text: b.txt}\npolicies: [dense]\n"),
             ContainsSubstring("model.get: has no meaning without 'path'; leave it out"));
  CHECK_THAT(refusal("model: m\ndataset: {tokens_file: t.json, get: it}\npolicies: [dense]\n"),
             ContainsSubstring("dataset.get: has no meaning beside 'tokens_file'; leave it out"));
}

TEST_CASE("an experiment has policies") {
  const test::TemporaryFolder folder;
  CHECK(is_experiment(folder.write("a.yaml", one_cell)));
  CHECK_FALSE(is_experiment(folder.write("b.yaml", "table2: {model: m}\n")));
  CHECK_THROWS_AS(is_experiment(folder.write("c.yaml", "a: [")), InputError);
}

TEST_CASE("every committed experiment is valid, and every set's files have names of their own") {
  ::setenv("SINKBENCH_MODELS", "/models", 1);
  ::setenv("SINKBENCH_PG19", "/pg19", 1);
  const fs::path configs = test::data("../../configs");
  size_t experiments = 0, sink_experiments = 0;
  for (const auto& entry : fs::recursive_directory_iterator(configs)) {
    if (entry.path().extension() != ".yaml") continue;
    INFO(entry.path());
    if (is_sink_experiment(entry.path())) {
      ++sink_experiments;
      const SinkExperiment experiment = load_sink_experiment(entry.path(), {});
      CHECK(experiment.name == entry.path().stem());
      for (const SinkCell& cell : experiment.cells) {
        CHECK(cell.cell.model.get.empty() == (cell.cell.model.path.filename() == "tiny"));
      }
    }
    if (!is_experiment(entry.path())) continue;
    ++experiments;
    const Experiment experiment = load_experiment(entry.path(), {});
    CHECK(!experiment.cells.empty());
    const fs::path set = entry.path().parent_path().filename();
    if (set == "configs" || set == "kits") continue;
    CHECK(experiment.name == entry.path().stem());
    for (const Cell& cell : experiment.cells) {
      // What a user has to get is said.
      const bool bundled = cell.model.path.filename() == "tiny";
      if (!cell.model.random && !bundled) CHECK(!cell.model.get.empty());
      if (!cell.model.random && set == "streamingllm") {
        CHECK((cell.dataset.is_task() || !cell.dataset.get.empty()));
      }
      if (set == "tiny") CHECK(bundled);
    }
  }
  ::unsetenv("SINKBENCH_MODELS");
  ::unsetenv("SINKBENCH_PG19");
  CHECK(experiments > 30);
  CHECK(sink_experiments > 5);
}

TEST_CASE("policies in words: lists, budgets, and what can't be read") {
  const auto read = [](const std::string& words) {
    QuickExperiment quick = {.model = "model", .text = "text", .policies = {words}, .tokens = 64};
    return quick_experiment(quick, {}).cells;
  };
  CHECK(read("dense").size() == 1);
  const auto cells = read("h2o:capacity=[64,128],budget.adaptive.floor=0.25,recent=8");
  REQUIRE(cells.size() == 2);
  CHECK(cells[1].policy.arguments.at("capacity") == PolicyValue(128));
  CHECK(cells[1].policy.arguments.at("budget.adaptive.floor") == PolicyValue(0.25));
  const auto heads = read("latest:budget.by_head=[[30,40],[50,60]]");
  CHECK(heads[0].policy.arguments.at("budget.by_head") ==
        PolicyValue(std::vector<int64_t>{30, 40, 50, 60}));
  CHECK_THROWS_WITH(read("latest:budget.by_head=[[30,40],[50]]"),
                    ContainsSubstring("has 1 capacities, the first layer 2; expected as many"));
  CHECK_THROWS_WITH(
      read("h2o:budget=5,budget.x=6"),
      "--policy h2o:budget=5,budget.x=6: 'budget.x=6' stands below a value that is no "
      "mapping");
  CHECK_THROWS_WITH(read("h2o:capacity"), ContainsSubstring("expected NAME:KEY=VALUE"));
  CHECK_THROWS_WITH(read("h2o:capacity=[64"), ContainsSubstring("--policy h2o:capacity=[64"));
}

TEST_CASE("tasks stand beside datasets in the grid") {
  const Experiment experiment = load(R"(model: m
dataset: {text: book.txt}
tasks:
  - copy
  - copy: {tokens: 32, gap: [0, 64]}
  - needle: {length: 512, text: "${HOME}/book.txt", get: make it}
policies: [dense]
)");
  CHECK(ids(experiment) == Strings{"m-book-dense-float32", "m-copy-dense-float32",
                                   "m-copy-gap-0+64-tokens-32-dense-float32",
                                   "m-needle-length-512-book-dense-float32"});
  const Cell& text = experiment.cells[0];
  CHECK_FALSE(text.dataset.is_task());
  CHECK(text.metrics.contains(Metric::latency));
  const Cell& copy = experiment.cells[2];
  CHECK(copy.dataset.task.arguments.at("gap") == PolicyValue(std::vector<int64_t>{0, 64}));
  CHECK(copy.dataset.task.arguments.at("samples") == PolicyValue(16));  // the default
  CHECK_FALSE(copy.metrics.contains(Metric::latency));
  CHECK(experiment.cells[3].dataset.texts.size() == 1);
  CHECK(experiment.cells[3].dataset.get == "make it");
  const std::string model = "model: m\npolicies: [dense]\n";
  CHECK(load(model + "tasks: streameval\n").cells.size() == 1);
  CHECK(load(model + "tasks: copy\nmetrics: [perplexity, latency]\n")
            .cells[0]
            .metrics.contains(Metric::latency));
  const auto refused = [&](const std::string& tasks) { return refusal(model + "tasks: " + tasks); };
  CHECK(refused("copie\n") == "grid.yaml:3: tasks: is 'copie'; did you mean 'copy'?");
  CHECK(refused("[{copie: {}}]\n") ==
        "grid.yaml:3: tasks.0: unknown task 'copie'; did you mean 'copy'?");
  CHECK(refused("[{copy: {gaps: 3}}]\n") ==
        "grid.yaml:3: tasks.0.copy.gaps: unknown key 'gaps'; did you mean 'gap'?");
  CHECK(refused("[{copy: {tokens: [3, 4]}}]\n") ==
        "grid.yaml:3: tasks.0.copy.tokens: is a list; expected an integer of 2 or more");
  CHECK(refused("[{copy: {gap: [3, 3]}}]\n") ==
        "grid.yaml:3: tasks.0.copy.gap.1: is '3', which the list has already");
  CHECK(refused("[{needle: {depth: 101}}]\n") ==
        "grid.yaml:3: tasks.0.needle.depth: is '101'; expected an integer of 100 or less");
  CHECK(
      refused("[{copy: {text: a.txt}}]\n") ==
      "grid.yaml:3: tasks.0.copy.text: unknown key 'text'; expected one of: tokens, gap, samples, "
      "seed");
  CHECK(refused("arc_stream\n") ==
        "grid.yaml:3: tasks: arc_stream is made from a file; expected 'text'");
  CHECK(refused("[{arc_stream: {text: a.jsonl, answer: word}}]\n") ==
        "grid.yaml:3: tasks.0.arc_stream.answer: is 'word'; expected one of: letter, text");
  CHECK(refused("[copy, {copy: {tokens: 64}}]\n") ==
        "grid.yaml:3: tasks: task 'copy' stands twice");
  CHECK(refused("[{copy: {}, needle: {}}]\n") ==
        "grid.yaml:3: tasks.0: expected one task: its name, a colon and its parameters, such as "
        "copy: {tokens: 32, gap: [0, 64]}");
  CHECK(refused("copy\nmetrics: latency\n") ==
        "grid.yaml:4: metrics: tasks are scored with perplexity; expected it, too");
}

TEST_CASE("how caches are stored is an axis of the grid") {
  const std::string yaml = "model: m\ndataset: {text: book.txt}\npolicies: [dense]\nkv: ";
  const Experiment experiment = load(
      yaml +
      "[native, q8_0, {keys: q8_0, values: q4_0}, {both: q4_0, rotate: true, interleave: true}, "
      "{turboquant: {bits: 3}}, {keys: {turboquant: {bits: 2, rotation: hadamard32}}}, kivi2, "
      "{turboquant: {bits: 4}, rotate: true}, {zero_values: 4}, "
      "{kivi: {bits: 4, group: 16, residual: 64}}]\n");
  CHECK(ids(experiment) == Strings{"m-book-dense-float32", "m-book-dense-float32-kv.q8_0",
                                   "m-book-dense-float32-kv.q8_0-q4_0",
                                   "m-book-dense-float32-kv.q4_0-rotated-interleaved",
                                   "m-book-dense-float32-kv.turboquant3",
                                   "m-book-dense-float32-kv.turboquant2_wht32-native",
                                   "m-book-dense-float32-kv.kivi2-by-32-but-128",
                                   "m-book-dense-float32-kv.turboquant4-rotated",
                                   "m-book-dense-float32-kv.native-zero-values-4",
                                   "m-book-dense-float32-kv.kivi4-by-16-but-64"});
  CHECK(experiment.cells.back().kv.kivi == KiviGroups{.group = 16, .residual = 64});
  const auto refused = [&](const std::string& kv) { return refusal(yaml + kv); };
  CHECK_THAT(refused("q4\n"), ContainsSubstring("grid.yaml:4: kv: is 'q4'; "));
  CHECK(refused("{key: q8_0}\n") == "grid.yaml:4: kv.key: unknown key 'key'; did you mean 'keys'?");
  CHECK(refused("{turboquant: {bits: 5}}\n") ==
        "grid.yaml:4: kv.turboquant.bits: is '5'; expected an integer of 4 or less");
  CHECK(refused("{turboquant: {bits: 4}, keys: q8_0}\n") ==
        "grid.yaml:4: kv.keys: stands beside 'turboquant'; expected one of them");
  CHECK_THAT(refused("{kivi: }\n"), ContainsSubstring("kv.kivi: is nothing; expected a mapping"));
  CHECK_THAT(refused("{turboquant: , rotate: true}\n"),
             ContainsSubstring("kv.turboquant: is nothing; expected a mapping"));
  CHECK(refused("{kivi: {bits: 3}}\n") == "grid.yaml:4: kv.kivi.bits: is 3; expected 2, 4 or 8");
  CHECK(refused("{kivi: {bits: 2, group: 32, residual: 48}}\n") ==
        "grid.yaml:4: kv.kivi: has a residual of 48; expected a multiple of the group, 32");
  CHECK(refused("{kivi: {bits: 2, group: 2, residual: 4}}\n") ==
        "grid.yaml:4: kv.kivi: has groups of 2 times 2 bits; expected whole bytes");
  CHECK(refused("{keys: kivi2, values: q8_0}\n") ==
        "grid.yaml:4: kv: has kivi beside something else; expected kv: {kivi: {bits: ...}}, both "
        "together");
  CHECK(refused("{both: q8_0, keys: q4_0}\n") ==
        "grid.yaml:4: kv.both: stands beside 'keys' or 'values'; expected it alone");
  CHECK(refused("{rotate: true}\n") ==
        "grid.yaml:4: kv.rotate: there is nothing that is quantised; expected 'keys' or 'values'");
  CHECK(refused("{zero_values: -1}\n") ==
        "grid.yaml:4: kv.zero_values: is '-1'; expected an integer of 0 or more");
  CHECK(refused("{values: q4_0, interleave: true}\n") ==
        "grid.yaml:4: kv.interleave: keys aren't quantised; expected 'keys' or 'both'");
}
