#include "eval/results/results.h"

#include <algorithm>
#include <cmath>
#include <fstream>
#include <nlohmann/json.hpp>
#include <random>

#include "base/error.h"
#include "tests/catch.h"
#include "tests/eval/experiment/example.h"
#include "tests/files.h"

using namespace sinkbench;
namespace fs = std::filesystem;
using nlohmann::json;

namespace {

/// Fields of a cell that came after the first results were written.
const std::vector<json::json_pointer> later_fields = {"/evicted_mass/output_error"_json_pointer,
                                                      "/evicted_mass/to_sink_logit"_json_pointer,
                                                      "/reference"_json_pointer,
                                                      "/dataset/task"_json_pointer,
                                                      "/kv/group"_json_pointer,
                                                      "/kv/residual"_json_pointer,
                                                      "/kv/zero_values"_json_pointer,
                                                      "/kv"_json_pointer,
                                                      "/answers"_json_pointer,
                                                      "/answers_file"_json_pointer,
                                                      "/evicted_mass_settings"_json_pointer,
                                                      "/divergence"_json_pointer,
                                                      "/collapse"_json_pointer,
                                                      "/common"_json_pointer,
                                                      "/evicted_mass"_json_pointer,
                                                      "/latency_settings/seconds"_json_pointer,
                                                      "/dataset/reset"_json_pointer,
                                                      "/dataset/pieces"_json_pointer,
                                                      "/policy/cache"_json_pointer,
                                                      "/model/local_layers"_json_pointer,
                                                      "/policy/size"_json_pointer,
                                                      "/policy/cap"_json_pointer,
                                                      "/policy/plugin"_json_pointer,
                                                      "/memory/mean_entries"_json_pointer,
                                                      "/memory/device_held_bytes"_json_pointer,
                                                      "/memory/device_peak_bytes"_json_pointer,
                                                      "/decisions"_json_pointer,
                                                      "/decisions_file"_json_pointer,
                                                      "/dataset/files"_json_pointer,
                                                      "/dataset/notes"_json_pointer,
                                                      "/dataset/documents"_json_pointer,
                                                      "/dataset/characters"_json_pointer,
                                                      "/dataset/replaced_bytes"_json_pointer,
                                                      "/dataset/crlf_line_ends"_json_pointer,
                                                      "/dataset/byte_order_marks"_json_pointer,
                                                      "/dataset/subfolders"_json_pointer,
                                                      "/dataset/invalid"_json_pointer,
                                                      "/dataset/bos_token"_json_pointer,
                                                      "/dataset/special_tokens"_json_pointer};

/// Whether `place`, such as /cells/0/collapse, is one of them.
bool came_later(const json::json_pointer& place) {
  return std::any_of(later_fields.begin(), later_fields.end(), [&](const auto& field) {
    return place.to_string().ends_with(field.to_string());
  });
}

/// The message with which a results.json is refused, the folder left out.
std::string refusal(const std::string& content) {
  const test::TemporaryFolder folder;
  folder.write("results.json", content);
  try {
    read_results(folder.path());
  } catch (const InputError& error) {
    std::string message = error.what();
    const std::string prefix = folder.path().string() + "/";
    if (message.starts_with(prefix)) message.erase(0, prefix.size());
    return message;
  }
  return "it was accepted";
}

}  // namespace

TEST_CASE("results are the same after writing and reading") {
  const test::TemporaryFolder folder;
  Results results = test::example_results();
  CellResult& task = results.cells.emplace_back(
      test::example_cell("tiny-copy-dense-float32", {.name = "dense"}, "dense"));
  task.cell.dataset = {.texts = {"/texts/book.txt"},
                       .task = {"needle", {{"length", std::vector<int64_t>{512}}, {"seed", 3}}}};
  task.answers = {{.answers = 8, .groups = 4, .least = 1, .most = 2, .accuracy = 0.25},
                  {.of = {{"gap", 3}}, .log_probability = -2, .held_all = 0.5}};
  task.answers_file = "nll/tiny-copy-dense-float32.answers.jsonl";
  task.cell.kv = {.keys = "q8_0",
                  .values = "q4_0",
                  .rotate = true,
                  .interleave = true,
                  .kivi = {.group = 8, .residual = 24},
                  .zero_values = 4};
  write_results(results, folder.path());
  const Results read = read_results(folder.path());
  CHECK(to_json(read) == to_json(results));

  // Field by field where the JSON could say the same of two different things.
  REQUIRE(read.cells.size() == results.cells.size());
  for (size_t i = 0; i < read.cells.size(); ++i) {
    const Cell& a = results.cells[i].cell;
    const Cell& b = read.cells[i].cell;
    CHECK(b.model == a.model);
    CHECK(b.dataset == a.dataset);
    CHECK(b.policy == a.policy);
    CHECK(b.kv == a.kv);
    CHECK(b.latency == a.latency);
    CHECK(b.metrics == a.metrics);
    CHECK(b.chunk == a.chunk);
    CHECK(read.cells[i].perplexity.has_value() == results.cells[i].perplexity.has_value());
    CHECK(read.cells[i].memory.has_value() == results.cells[i].memory.has_value());
    CHECK(read.cells[i].error == results.cells[i].error);
    CHECK(read.cells[i].answers_file == results.cells[i].answers_file);
    CHECK(read.cells[i].answers.size() == results.cells[i].answers.size());
  }
  CHECK(read.cells[0].perplexity->token == results.cells[0].perplexity->token);
  CHECK(read.cells[0].latency[1].samples_ms == results.cells[0].latency[1].samples_ms);
}

TEST_CASE("what is made of a reference and of dense attention is written and read") {
  const test::TemporaryFolder folder;
  Results results = test::example_results();
  const std::string reference = results.cells[0].cell.id;
  CellResult& result = results.cells[1];
  result.cell.metrics = {Metric::perplexity, Metric::divergence, Metric::evicted_mass};
  result.cell.reference = reference;
  result.cell.evicted_mass_tokens = 512;
  result.divergence = {.reference = reference,
                       .kl_mean = 0.1 + 0.2,
                       .kl_stderr = std::nan(""),
                       .kl_max = 7.25,
                       .same_top = 0.75,
                       .same_top_stderr = 0.125,
                       .tokens = 8191,
                       .seconds = 1.5};
  result.common = {.stride = 8, .scored = 1024, .nll_mean = 3.5, .nll_stderr = 0.25};
  result.collapse = {.reference = reference, .window = 256, .margin = 0.5, .onset = 4711};
  result.evicted_mass = {.mean = 0.25,
                         .tokens = 512,
                         .by_head = {{0.125, 0.375}, {0.5, 0}},
                         .to_sink_logit = {{0.5, 0.25}, {0, 0.125}}};
  result.cell.model.as_stored = true;
  results.cells[2].collapse = {.reference = reference, .window = 256, .margin = 0.5, .onset = {}};
  write_results(results, folder.path());
  const Results read = read_results(folder.path());
  CHECK(to_json(read) == to_json(results));
  const CellResult& back = read.cells[1];
  CHECK(back.cell.metrics == result.cell.metrics);
  CHECK(back.cell.reference == reference);
  CHECK(back.cell.evicted_mass_tokens == 512);
  REQUIRE(back.divergence);
  CHECK(back.divergence->kl_mean == 0.1 + 0.2);
  CHECK(std::isnan(back.divergence->kl_stderr));
  REQUIRE(back.common);
  CHECK(back.common->stride == 8);
  CHECK(back.common->scored == 1024);
  CHECK(back.common->nll_mean == 3.5);
  CHECK(back.common->nll_stderr == 0.25);
  CHECK(!read.cells[2].common);
  REQUIRE(back.collapse);
  CHECK(back.collapse->onset == 4711);
  REQUIRE(read.cells[2].collapse);
  CHECK(!read.cells[2].collapse->onset);
  REQUIRE(back.evicted_mass);
  CHECK(back.evicted_mass->by_head == result.evicted_mass->by_head);
  CHECK(back.evicted_mass->to_sink_logit == result.evicted_mass->to_sink_logit);
  CHECK(back.cell.model.as_stored);
  CHECK_FALSE(read.cells[0].cell.model.as_stored);
  const json cell = to_json(results).at("cells").at(1);
  CHECK(cell.at("evicted_mass").at("by_layer") == json{0.25, 0.25});
  CHECK(cell.at("evicted_mass_settings") == json{{"tokens", 512}});
}

TEST_CASE("results of before there were a field are read, without it") {
  json object = to_json(test::example_results());
  for (json& cell : object.at("cells")) {
    for (const auto& field : later_fields) {
      json& parent = cell.at(field.parent_pointer());
      if (!parent.is_null()) CHECK(parent.erase(field.back()) == 1);
    }
    for (json& timing : cell.at("latency")) {
      CHECK(timing.erase("fewest_entries") + timing.erase("by_events") + timing.erase("session") ==
            3);
    }
    json& policy = cell.at("policy");
    if (policy.at("name") == "recompute") CHECK(policy.at("parameters").erase("sinks") == 1);
  }
  const test::TemporaryFolder folder;
  folder.write("results.json", object.dump());
  const Results read = read_results(folder.path());
  REQUIRE(read.cells.size() == 4);
  for (const CellResult& cell : read.cells) {
    CHECK(!cell.divergence);
    CHECK(!cell.collapse);
    CHECK(!cell.evicted_mass);
    CHECK(cell.cell.reference.empty());
  }
  Results expected = test::example_results();
  for (CellResult& cell : expected.cells) {
    cell.cell.latency.seconds = 0;  // one round
    cell.text = {};
  }
  CHECK(to_json(read) == to_json(expected));
}

TEST_CASE("turns of two programs are read back, and rounds of before there were any") {
  Results results = test::example_results();
  LatencyResult& timing = results.cells[0].latency[0];
  timing.session = "0123abcd";
  timing.rounds = {{.samples = 1, .turn = 3}, {.samples = 2, .turn = 5}};
  json object = to_json(results);
  const LatencyResult read = results_from_json(object).cells[0].latency[0];
  CHECK(read.session == "0123abcd");
  REQUIRE(read.rounds.size() == 2);
  CHECK(read.rounds[1].turn == 5);
  json& older = object.at("cells").at(0).at("latency").at(0);
  for (json& round : older.at("rounds")) CHECK(round.erase("turn") == 1);
  CHECK(results_from_json(object).cells[0].latency[0].rounds[1].turn == 0);
  older.at("rounds").at(0)["turn"] = -1;
  CHECK_THROWS_WITH(results_from_json(object), ContainsSubstring("turn"));
  older.at("rounds").at(0)["turn"] = 0;
  older.at("rounds").at(0)["samples"] = 0;  // of which there is no median
  CHECK_THROWS_WITH(results_from_json(object), ContainsSubstring("samples"));
}

TEST_CASE("results.json has the fields that its readers are promised") {
  const json object = to_json(test::example_results());
  CHECK(object.at("schema_version") == 1);
  for (const char* key : {"name", "config_sha256", "started", "versions", "machine", "warnings"}) {
    CHECK(object.contains(key));
  }
  CHECK(object.at("conventions").at("order") == "feed token t, score token t+1, then evict");
  const json& cell = object.at("cells").at(0);
  CHECK(cell.at("id") == "tiny-book-8192-dense-float32");
  CHECK(cell.at("model").at("weights") == "checkpoint");
  CHECK(cell.at("dataset").at("text") == json{"/texts/book.txt"});
  CHECK(cell.at("dataset").at("sha256") == "d0");
  CHECK(cell.at("dataset").at("files") == json{"/texts/book.txt"});
  CHECK(cell.at("dataset").at("characters") == 30000);
  CHECK(cell.at("dataset").at("notes").size() == 1);
  CHECK(cell.at("policy").at("parameters") == json::object());
  CHECK(cell.at("perplexity").at("bits_per_byte") == 1.875);
  CHECK(cell.at("latency").at(0).at("cache_entries") == 256);
  CHECK(cell.at("memory").at("kv_bytes_held") == 12'582'912);
  CHECK(cell.at("nll_file") == "nll/tiny-book-8192-dense-float32.f32");
  CHECK(cell.at("error").is_null());
  CHECK(object.at("cells").at(1).at("policy").at("parameters") ==
        json{{"sinks", 4}, {"window", 252}});
  // What was not measured is null, not nought.
  const json& failed = object.at("cells").back();
  CHECK(failed.at("error") == "out of memory");
  CHECK(failed.at("perplexity").is_null());
  CHECK(failed.at("latency").empty());
  CHECK(failed.at("memory").is_null());
  CHECK(failed.at("nll_file").is_null());
}

TEST_CASE("a number that there isn't is null, and a text that is no UTF-8 still written") {
  const test::TemporaryFolder folder;
  Results results = test::example_results();
  results.cells[0].perplexity->nll_stderr = std::nan("");
  results.cells[0].cell.model.path = "/models/\xff";
  results.cells[0].evicted_mass = {.mean = std::nan(""),
                                   .tokens = 512,
                                   .by_head = {{0.125, std::nan("")}},
                                   .output_error = {INFINITY},
                                   .to_sink_logit = {{std::nan("")}}};
  write_results(results, folder.path());
  const Results read = read_results(folder.path());
  CHECK(std::isnan(read.cells[0].perplexity->nll_stderr));
  const EvictedMassResult& mass = read.cells[0].evicted_mass.value();
  CHECK(mass.by_head[0][0] == 0.125);
  CHECK(std::isnan(mass.by_head[0][1]));
  CHECK(std::isnan(mass.to_sink_logit[0][0]));
  CHECK(std::isnan(mass.output_error[0]));
  CHECK(read.cells[0].cell.model.path == "/models/\uFFFD");
}

TEST_CASE("results are replaced as a whole, and nothing else is left") {
  const test::TemporaryFolder folder;
  Results results = test::example_results();
  write_results(results, folder.path());
  results.cells.pop_back();
  write_results(results, folder.path());
  CHECK(read_results(folder.path()).cells.size() == results.cells.size());
  std::set<std::string> names;
  for (const auto& file : fs::directory_iterator(folder.path())) {
    names.insert(file.path().filename().string());
  }
  CHECK(names == std::set<std::string>{"results.json"});
  CHECK_THROWS_AS(write_results(results, folder.path() / "no such folder"), InputError);
}

TEST_CASE("refused: what is no results.json") {
  CHECK_THROWS_WITH(read_results("no/such/folder"),
                    ContainsSubstring("no/such/folder/results.json"));
  CHECK_THAT(refusal(""), ContainsSubstring("results.json: not the results of a run"));
  CHECK_THAT(refusal("{\"schema_version\": 1,"),
             ContainsSubstring("results.json: not the results of a run"));
  CHECK_THAT(refusal("[1, 2]"), ContainsSubstring("results.json: not the results of a run"));
  CHECK(refusal("{\"schema_version\": 2}") ==
        "results.json: schema_version is 2; this program reads 1");
}

TEST_CASE("refused: each field that is missing or of another kind") {
  const json whole = to_json(test::example_results());
  const auto break_at = [&](const json::json_pointer& place) {
    const std::string name = place.back();
    json without = whole;
    without.at(place.parent_pointer()).erase(name);
    INFO("without " << place.to_string());
    if (!came_later(place)) {
      CHECK_THAT(refusal(without.dump()),
                 ContainsSubstring("expected '" + name + "', which isn't there"));
    }
    json other = whole;
    other.at(place) = json::array({json::array()});
    INFO("another kind of " << place.to_string());
    CHECK_THAT(refusal(other.dump()), ContainsSubstring("not the results of a run"));
    CHECK_THAT(refusal(other.dump()), ContainsSubstring(name));
  };
  for (const auto& [key, value] : whole.items()) {
    if (key != "conventions") break_at(json::json_pointer("/" + key));
  }
  for (const auto& [key, value] : whole.at("cells").at(0).items()) {
    const json::json_pointer place("/cells/0/" + key);
    break_at(place);
    if (!value.is_object()) continue;
    for (const auto& [inner, ignored] : value.items()) {
      // Which of the two there is says what kind of dataset it was.
      if (inner == "text") continue;
      // Maps of any content.
      if (place.to_string() == "/cells/0/policy/parameters") continue;
      break_at(place / inner);
    }
  }
}

TEST_CASE("a value that no run could have is refused by its field") {
  const json whole = to_json(test::example_results());
  const auto reason = [&](const std::string& place, const json& value) {
    json results = whole;
    results.at(json::json_pointer("/cells/0/" + place)) = value;
    return refusal(results.dump());
  };
  const std::string begin = "results.json: not the results of a run: cells[0].";
  CHECK(reason("perplexity/stride", 0) ==
        begin + "perplexity.stride is 0; expected an integer of 1 or more");
  CHECK(reason("perplexity/scored", -7) ==
        begin + "perplexity.scored is -7; expected an integer of 0 or more");
  CHECK(reason("perplexity/token", -1.5) ==
        begin + "perplexity.token is -1.5; expected a number of 0 or more");
  CHECK(reason("latency/0/p50_ms", -2.5) ==
        begin + "latency[0].p50_ms is -2.5; expected a number of 0 or more");
  CHECK(reason("latency/0/samples_ms/0", "1") ==
        begin + "latency[0].samples_ms[0] is \"1\"; expected a number of 0 or more");
  CHECK(reason("memory/kv_bytes_held", -8) ==
        begin + "memory.kv_bytes_held is -8; expected an integer of 0 or more");
  CHECK(reason("dataset/bos", "document ") ==
        begin + "dataset.bos is \"document \"; expected one of stream, document, none");
  CHECK(reason("model/weights", "stored") ==
        begin + "model.weights is \"stored\"; expected one of checkpoint, random, as-stored");
  CHECK(reason("metrics/0", "perplexities")
            .starts_with(begin + "metrics[0] is \"perplexities\"; expected one of perplexity, "));
}

TEST_CASE("what is no integer is refused where one belongs") {  // found by fuzzing: 1.7e81
  const std::string text = to_json(test::example_results()).dump();
  for (const char* field : {"threads", "chunk", "parameters", "weight_bytes", "scored"}) {
    const std::string key = std::string("\"") + field + "\":";
    const size_t begin = text.find(key);
    INFO(field);
    REQUIRE(begin != std::string::npos);
    const size_t end = text.find_first_of(",}", begin);
    for (const char* value : {"1.7e81", "1.5", "true"}) {
      CHECK_THAT(refusal(text.substr(0, begin) + key + value + text.substr(end)),
                 ContainsSubstring("; expected an integer"));
    }
  }
}

TEST_CASE("an NLL file outside of the results' folder is refused") {
  std::string text = to_json(test::example_results()).dump();
  const std::string key = "\"nll_file\":\"nll/";
  const size_t begin = text.find(key);
  REQUIRE(begin != std::string::npos);
  for (const char* folder : {"/etc/", "../", "nll/../../", "../nll/"}) {
    std::string changed = text;
    changed.replace(begin, key.size(), std::string("\"nll_file\":\"") + folder);
    CHECK_THAT(refusal(changed), ContainsSubstring("; expected a path in the same folder"));
  }
}
