// Policies that evict by content, in both engines, against programs that share nothing with ours.
#include <fstream>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "eval/engines/method.h"
#include "eval/experiment/engine_names.h"
#include "policies/registry.h"
#include "tests/catch.h"
#include "tests/data.h"
#include "tests/eval/engines/score.h"

using namespace sinkbench;
using test::largest_difference;
using test::score;
using Json = nlohmann::json;

namespace {

/// A golden's parameters under this program's names.
std::unique_ptr<Policy> golden_policy(const Json& golden) {
  const std::string name = golden["policy"];
  PolicyArguments arguments;
  if (find_policy(name).is_score_policy()) {
    arguments = {{"sinks", 0}, {"recent", 0}};
    if (name == "snapkv") arguments.merge(PolicyArguments{{"rows", 8}, {"pool", 1}});
  }
  Positions positions = Positions::cache;
  int64_t cap = 0;
  for (const auto& [key, value] : golden.items()) {
    if (key == "policy" || key == "nll" || key == "evicted") continue;
    if (key == "positions") {
      const auto& names = positions_names();
      positions = static_cast<Positions>(std::find(names.begin(), names.end(), value) -
                                         names.begin());
    } else if (key == "cap") {
      cap = value.get<int64_t>();
    } else if (key == "capacity_by_layer") {
      arguments["budget.by_layer"] = value.get<std::vector<int64_t>>();
    } else if (value.is_string()) {
      arguments[key] = value.get<std::string>();
    } else {
      arguments[key] = value.get<int64_t>();
    }
  }
  if (name == "sinks") {
    arguments["window"] = arguments.at("capacity").integer() - arguments.at("sinks").integer();
    arguments.erase("capacity");
  }
  return make_policy(name, arguments, positions, cap);
}

struct Run {
  std::vector<double> nll;
  std::vector<Decision> decisions;
  std::optional<Disagreement> disagreement;
};

Run run(const std::string& name, const Decoder& decoder, const Policy& policy,
        const std::vector<int32_t>& ids, int64_t chunk,
        const std::vector<Decision>* follow = nullptr) {
  Run result;
  EngineOptions options = {.chunk = chunk};
  options.decisions.sink = [&](std::span<const Decision> decisions) {
    result.decisions.insert(result.decisions.end(), decisions.begin(), decisions.end());
  };
  options.decisions.follow = follow;
  const auto engine = make_engine(name, decoder, policy, options);
  engine->score(ids, [&](std::span<const double> nll) {
    result.nll.insert(result.nll.end(), nll.begin(), nll.end());
  });
  result.disagreement = engine->disagreement();
  return result;
}

/// As in the goldens.
Json evicted_of(const std::vector<Decision>& decisions, const DecoderConfig& config) {
  Json result(config.layers, Json(config.kv_heads, Json::array()));
  for (const Decision& decision : decisions) {
    for (const int64_t place : decision.places) {
      result[decision.layer][decision.head].push_back(place);
    }
  }
  return result;
}

/// Keeps what comes last: a window; with sinks, `sinks`.
class ByPlace final : public ScorePolicy {
 public:
  using ScorePolicy::ScorePolicy;
  Needs needs() const override { return {}; }
  void score(const Round& round, std::span<double> scores) const override {
    std::copy(round.place.begin(), round.place.end(), scores.begin());
  }
};

Retention retention_of(int64_t capacity, int64_t sinks, int64_t recent, int64_t every = 1) {
  Retention retention;
  retention.name = "by place";
  retention.cache = std::to_string(capacity);
  retention.capacity = {capacity};
  retention.sinks = sinks;
  retention.recent = recent;
  retention.every = every;
  return retention;
}

std::vector<int32_t> ids_of(const std::filesystem::path& folder) {
  return Json::parse(std::ifstream(folder / "tokens.json")).get<std::vector<int32_t>>();
}

}  // namespace

TEST_CASE("NLL and evictions of every golden of the score policies, both engines, any block") {
  for (const char* family : {"llama_gqa", "qwen2"}) {
    const auto folder = test::data("families") / family;
    const std::vector<int32_t> ids = ids_of(folder);
    const Json goldens = Json::parse(
        std::ifstream(test::data("policies") / (std::string(family) + ".json")));
    REQUIRE(goldens.size() == 25);
    const Decoder decoder = Decoder::load(folder, {.dtype = at::kDouble});
    for (const Json& golden : goldens) {
      const auto policy = golden_policy(golden);
      const auto expected = golden["nll"].get<std::vector<double>>();
      for (const std::string& engine : engine_names()) {
        for (const int64_t chunk : {1, 7, 64, 1000}) {
          if (engine == "stepwise" && chunk > 1) continue;
          INFO(family << " " << policy->label() << " " << to_string(policy->positions()) << ", "
                      << engine << ", chunk " << chunk);
          const Run result = run(engine, decoder, *policy, ids, chunk);
          CHECK(largest_difference(result.nll, expected) < 1e-8);
          if (find_policy(golden["policy"].get<std::string>()).is_score_policy()) {
            CHECK(evicted_of(result.decisions, decoder.config()) == golden["evicted"]);
          }
        }
      }
    }
  }
}

TEST_CASE("NLL of kvpress's own streaming of K-norm, KeyDiff and TOVA") {
  const Json goldens = Json::parse(std::ifstream(test::data("policies") / "kvpress.json"));
  for (const char* family : {"llama_gqa", "qwen2"}) {
    const auto ids = goldens[family]["ids"].get<std::vector<int32_t>>();
    const Decoder decoder =
        Decoder::load(test::data("families") / family, {.dtype = at::kDouble});
    for (const Json& golden : goldens[family]["policies"]) {
      const auto policy = golden_policy(golden);
      INFO(family << " " << policy->label());
      CHECK(largest_difference(run("chunked", decoder, *policy, ids, 50).nll,
                               golden["nll"].get<std::vector<double>>()) < 2e-5);
    }
  }
}
