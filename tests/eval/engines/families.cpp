// Per-token NLL against what Hugging Face's modeling code and mit-han-lab/streaming-llm's loop
// gave on tiny random-weight checkpoints of each family (see tests/data/families/README.md).
#include <fstream>
#include <nlohmann/json.hpp>

#include "eval/engines/method.h"
#include "eval/experiment/engine_names.h"
#include "policies/registry.h"
#include "tests/catch.h"
#include "tests/data.h"
#include "tests/eval/engines/score.h"

using namespace sinkbench;
using test::largest_difference;
using test::score;

namespace {

PolicyArguments integers(const std::map<std::string, nlohmann::json>& object) {
  PolicyArguments arguments;
  for (const auto& [name, value] : object) arguments[name] = value.get<int64_t>();
  return arguments;
}

}  // namespace

TEST_CASE("NLL of every family's golden, every policy, every token") {
  constexpr double tolerance = 1e-4;  // nats; the goldens are float32, within 1e-5 of float64
  size_t families = 0;
  for (const auto& folder : std::filesystem::directory_iterator(test::data("families"))) {
    if (!folder.is_directory()) continue;
    ++families;
    const auto golden = nlohmann::json::parse(std::ifstream(folder.path() / "expected.json"));
    const auto ids = nlohmann::json::parse(std::ifstream(folder.path() / "tokens.json"))
                         .get<std::vector<int32_t>>();
    const Decoder decoder = Decoder::load(folder.path(), {});
    for (const std::string& engine : engine_names()) {
      INFO(folder.path().filename() << ", engine " << engine);
      const auto check = [&](const std::string& name, const PolicyArguments& arguments,
                             const nlohmann::json& nll) {
        const auto policy = make_policy(name, arguments);
        INFO(policy->label());
        CHECK(largest_difference(score(engine, decoder, *policy, ids, {.chunk = 48}),
                                 nll.get<std::vector<double>>()) < tolerance);
      };
      check("dense", {}, golden["dense_nll"]);
      for (const auto& streaming : golden.value("streaming", nlohmann::json::array())) {
        check("sinks", integers({{"sinks", streaming["sinks"]}, {"window", streaming["window"]}}),
              streaming["nll"]);
      }
      check("recompute", {{"window", golden["recompute"]["window"].get<int64_t>()}},
            golden["recompute"]["nll"]);
      for (const auto& entry : golden.value("policies", nlohmann::json::array())) {
        check(entry["policy"], integers(entry["arguments"]), entry["nll"]);
      }
    }
  }
  CHECK(families >= 37);
}

TEST_CASE("in double precision NLL agrees with the golden to 1e-9") {
  size_t families = 0;
  for (const auto& entry : std::filesystem::directory_iterator(test::data("families"))) {
    const auto& folder = entry.path();
    if (!std::filesystem::exists(folder / "expected_f64.json")) continue;
    ++families;
    const auto golden = nlohmann::json::parse(std::ifstream(folder / "expected_f64.json"));
    const auto ids =
        nlohmann::json::parse(std::ifstream(folder / "tokens.json")).get<std::vector<int32_t>>();
    const Decoder decoder = Decoder::load(folder, {.dtype = at::kDouble});
    for (const std::string& engine : engine_names()) {
      for (const int64_t chunk : {7, 64}) {
        if (engine == "stepwise" && chunk > 7) continue;
        INFO(folder.filename() << ", engine " << engine << ", chunk " << chunk);
        const auto check = [&](const std::string& policy, const PolicyArguments& arguments,
                               const nlohmann::json& nll) {
          INFO(policy);
          CHECK(largest_difference(
                    score(engine, decoder, *make_policy(policy, arguments), ids, {.chunk = chunk}),
                    nll.get<std::vector<double>>()) < 1e-9);
        };
        check("dense", {}, golden["dense_nll"]);
        check("recompute", {{"window", golden["recompute"]["window"].get<int64_t>()}},
              golden["recompute"]["nll"]);
        for (const auto& streaming : golden.value("streaming", nlohmann::json::array())) {
          check("sinks", integers({{"sinks", streaming["sinks"]}, {"window", streaming["window"]}}),
                streaming["nll"]);
        }
        for (const auto& other : golden.value("policies", nlohmann::json::array())) {
          check(other["policy"], integers(other["arguments"]), other["nll"]);
        }
      }
    }
  }
  CHECK(families >= 21);
}

TEST_CASE("weights as they are stored give the golden's NLL, in a folder and in GGUF") {
  const auto folder = test::data("families/gpt_oss_mxfp4");
  const auto ids =
      nlohmann::json::parse(std::ifstream(folder / "tokens.json")).get<std::vector<int32_t>>();
  for (const auto& path : {folder, test::data("gguf/gpt_oss_mxfp4.gguf")}) {
    for (const bool exact : {false, true}) {
      const auto golden = nlohmann::json::parse(
          std::ifstream(folder / (exact ? "expected_f64.json" : "expected.json")));
      const Decoder decoder =
          Decoder::load(path, {.dtype = exact ? at::kDouble : at::kFloat, .as_stored = true});
      // GGUF has epsilons and factors in float32.
      const double tolerance = !exact ? 1e-4 : path == folder ? 1e-9 : 1e-5;
      for (const std::string& engine : engine_names()) {
        INFO(path.filename() << " " << exact << " " << engine);
        const auto check = [&](const std::string& policy, const PolicyArguments& arguments,
                               const nlohmann::json& nll) {
          CHECK(largest_difference(
                    score(engine, decoder, *make_policy(policy, arguments), ids, {.chunk = 16}),
                    nll.get<std::vector<double>>()) < tolerance);
        };
        check("dense", {}, golden["dense_nll"]);
        check("recompute", {{"window", golden["recompute"]["window"].get<int64_t>()}},
              golden["recompute"]["nll"]);
        for (const auto& entry : golden.value("policies", nlohmann::json::array())) {
          check(entry["policy"], integers(entry["arguments"]), entry["nll"]);
        }
      }
    }
  }
}

TEST_CASE("NLL of every type of block that llama.cpp quantises to") {
  const auto folder = test::shared_data("goldens/gguf");
  if (!folder) return;
  const auto golden = nlohmann::json::parse(std::ifstream(*folder / "expected.json"));
  const auto ids = golden["ids"].get<std::vector<int32_t>>();
  CHECK(golden["files"].size() >= 14);
  const auto dense = make_policy("dense", {});
  for (const auto& [name, file] : golden["files"].items()) {
    INFO(name);
    for (const bool as_stored : {false, true}) {
      const Decoder decoder = Decoder::load(*folder / (name + ".gguf"), {.as_stored = as_stored});
      for (const std::string& engine : engine_names()) {
        CHECK(largest_difference(score(engine, decoder, *dense, ids, {}),
                                 file["dense_nll"].get<std::vector<double>>()) < 3e-5);
      }
    }
  }
}

TEST_CASE("in double precision chunked equals stepwise for every family and policy") {
  for (const auto& folder : std::filesystem::directory_iterator(test::data("families"))) {
    if (!folder.is_directory()) continue;
    const Decoder decoder = Decoder::load(folder.path(), {.dtype = at::kDouble});
    const auto ids = test::random_ids(90, decoder.config().vocab_size, 5);
    std::vector<std::unique_ptr<Policy>> policies;
    policies.push_back(make_policy("dense", {}));
    policies.push_back(make_policy("recompute", {{"window", 13}, {"stride", 3}}));
    policies.push_back(make_policy("recompute", {{"sinks", 2}, {"window", 11}}));
    if (decoder.config().learned_positions == 0) {
      policies.push_back(make_policy("window", {{"window", 1}}));
      policies.push_back(make_policy("sinks", {{"sinks", 3}, {"window", 12}}));
      if (!decoder.config().every_layer_is_local()) {
        policies.push_back(
            make_policy("sinks", {{"sinks", 3}, {"window", 17}}, Positions::original));
      }
    }
    for (const auto& policy : policies) {
      const std::vector<double> oracle = score("stepwise", decoder, *policy, ids);
      for (const int64_t chunk : {1, 7, 512}) {
        INFO(folder.path().filename() << " " << policy->label() << " chunk " << chunk);
        // NLLs are handed out as float32: half a unit in the last place of 16 is 4.8e-7.
        CHECK(largest_difference(score("chunked", decoder, *policy, ids, {.chunk = chunk}),
                                 oracle) < 2e-6);
      }
    }
  }
}

TEST_CASE("a GGUF file of 8-bit weights scores as the checkpoint that it was made of") {
  const auto gguf = test::shared_data("models/tinystories-656k-gguf/TinyStories-656K-Q8_0.gguf");
  const auto folder = test::shared_data("models/tinystories-656k");
  if (!gguf || !folder) {
    WARN("no shared data: a published GGUF file is not tested");
    return;
  }
  const Decoder small = Decoder::load(*gguf, {}), exact = Decoder::load(*folder, {});
  const auto ids = test::random_ids(600, exact.config().vocab_size, 9);
  const auto policy = make_policy("sinks", {{"sinks", 4}, {"window", 60}});
  const auto a = score("chunked", small, *policy, ids), b = score("chunked", exact, *policy, ids);
  double difference = 0.0;
  for (size_t i = 0; i < a.size(); ++i) difference += std::abs(a[i] - b[i]);
  CHECK(difference / static_cast<double>(a.size()) < 0.1);
  CHECK(small.parameters() == exact.parameters());
}
