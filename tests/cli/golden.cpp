// `sinkbench golden` and `compare --golden`, from the outside: the goldens of other programs
// against kits, and mistakes that are made on purpose.
#include <nlohmann/json.hpp>

#include "tests/catch.h"
#include "tests/cli/program.h"
#include "tests/data.h"
#include "tests/files.h"

using namespace sinkbench;
using Catch::Matchers::StartsWith;
using nlohmann::json;
using test::Outcome;
namespace fs = std::filesystem;

namespace {

/// A model whose numbers under streaming-llm's own loop are known.
struct Workplace : test::TemporaryFolder {
  Workplace() {
    fs::copy(test::data("families/llama_gqa"), path() / "model");
    write(
        "kit.yaml",
        "model: model\ndataset: {tokens_file: model/tokens.json}\npolicies:\n  - dense\n"
        "  - sinks: {sinks: 4, window: 28}\n  - sinks: {sinks: 4, window: 28, positions: frozen}\n"
        "  - latest: {capacity: 32, sinks: 4, every: 8}\n"
        "  - window: {window: 32}\n  - window: {window: 32, positions: frozen}\n  - recompute: "
        "{window: 32}\n"
        "  - h2o: {capacity: 32, sinks: 0, recent: 8}\n");
    expected = json::parse(read_file(path() / "model/expected.json"));
  }
  Outcome run(std::vector<std::string> arguments) const {
    return test::Program(std::move(arguments), path()).wait();
  }
  Outcome golden(std::vector<std::string> more = {}) const {
    more.insert(more.begin(), {"golden", "kit.yaml", "--out", "kit.json", "--quiet"});
    return run(more);
  }
  Outcome compare(const std::string& policy, const json& nll,
                  std::vector<std::string> more = {}) const {
    write("nll.json", nll.dump());
    more.insert(more.begin(), {"compare", "--golden", "kit.json", "--policy", policy, "--nll",
                               "nll.json", "--quiet"});
    return run(more);
  }
  json streaming(int sinks, int window) const {
    for (const json& series : expected["streaming"]) {
      if (series["sinks"] == sinks && series["window"] == window) return series["nll"];
    }
    return {};
  }
  json kit() const { return json::parse(read_file(path() / "kit.json")); }
  json expected;
};

}  // namespace

TEST_CASE("a kit has what other programs' numbers are, and they are equal to it") {
  const Workplace place;
  const Outcome made = place.golden();
  INFO(made.err);
  REQUIRE(made.status == 0);
  CHECK_THAT(made.out, StartsWith("kit: model, 200 tokens of tokens.json, float32\n"));
  CHECK_THAT(made.out, ContainsSubstring("sinks-4+28 "));
  CHECK(place.kit()["ids"] == json::parse(read_file(place.path() / "model/tokens.json")));
  CHECK(!place.kit()["policies"]["h2o-32-sinks-0-recent-8"].contains("decisions"));
  for (const auto& [policy, nll] : std::vector<std::pair<std::string, json>>{
           {"dense", place.expected["dense_nll"]},
           {"sinks-4+28", place.streaming(4, 28)},
           {"window-0+32", place.streaming(0, 32)},
           {"recompute-32", place.expected["recompute"]["nll"]}}) {
    const Outcome outcome = place.compare(policy, nll);
    INFO(policy << outcome.out << outcome.err);
    CHECK(outcome.status == 0);
    CHECK_THAT(outcome.out, ContainsSubstring("EQUAL: no token departs"));
    CHECK(outcome.err.empty());
  }
  // One number a line, and raw float32.
  std::string lines, raw;
  for (const float value : place.streaming(4, 28).get<std::vector<float>>()) {
    lines += fmt::format("{}\n", value);
    raw.append(reinterpret_cast<const char*>(&value), 4);
  }
  place.write("nll.txt", lines);
  place.write("nll.f32", raw);
  for (const char* file : {"nll.txt", "nll.f32"}) {
    CHECK(place.run({"compare", "--golden", "kit.json", "--policy", "sinks-4+28", "--nll", file})
              .status == 0);
  }
  // The first tokens alone, and so few that they show nothing.
  json first = place.streaming(4, 28);
  first.erase(first.begin() + 60, first.end());
  CHECK(place.compare("sinks-4+28", first).status == 0);
  first.erase(first.begin() + 30, first.end());
  const Outcome few = place.compare("sinks-4+28", first);
  CHECK(few.status == 2);
  CHECK_THAT(few.err, ContainsSubstring("30 numbers agree, and nothing had been evicted by then"));
  CHECK_THAT(few.err, ContainsSubstring("evicted before it is 34; expected so many at least"));
}

TEST_CASE("mistakes are found from their first token on, and named") {
  const Workplace place;
  REQUIRE(place.golden().status == 0);
  const auto of = [&](const std::string& policy) { return place.kit()["policies"][policy]["nll"]; };
  const auto check = [&](const json& nll, const std::string& cause, int first = 34) {
    const Outcome outcome = place.compare("sinks-4+28", nll);
    INFO(outcome.out << outcome.err);
    CHECK(outcome.status == 1);
    CHECK_THAT(outcome.out, ContainsSubstring(fmt::format("DEPARTS from token {} on: ", first)));
    CHECK_THAT(outcome.out, ContainsSubstring("\nlikely cause: " + cause));
  };
  // By other programs.
  check(place.expected["dense_nll"], "dense after all");
  check(place.streaming(0, 32), "no sinks: a window as large as the cache");
  // By this one.
  check(of("sinks-4+28-frozen"), "positions frozen");
  check(of("latest-32-every-8"),
        "8 entries are evicted at once, where the cache is as many above its size");
  // Two at once.
  const Outcome two = place.compare("sinks-4+28", of("window-0+32-frozen"));
  INFO(two.out << two.err);
  CHECK(two.status == 1);
  CHECK_THAT(two.out, ContainsSubstring("\nlikely causes: "));
  CHECK_THAT(two.out, ContainsSubstring("positions frozen"));
  CHECK_THAT(two.out, ContainsSubstring("no sinks: a window as large as the cache"));
  json bits = place.streaming(4, 28);
  for (json& value : bits) value = value.get<double>() / std::log(2.0);
  check(bits, "the numbers are written otherwise, in bits", 1);
  json broken = place.streaming(4, 28);
  broken[99] = nullptr;
  const Outcome outcome = place.compare("sinks-4+28", broken);
  CHECK(outcome.status == 1);
  CHECK_THAT(outcome.out, ContainsSubstring("token 100 has no number"));
  // So few numbers that two mistakes are equal.
  json few = of("dense");
  few.erase(few.begin() + 35, few.end());
  const Outcome undecided = place.compare("sinks-4+28", few);
  CHECK(undecided.status == 1);
  CHECK_THAT(undecided.out,
             ContainsSubstring("likely cause one of these, which so few numbers don't "
                               "tell apart: "));
  CHECK_THAT(undecided.out, ContainsSubstring("dense after all"));
  // What departs before the cache could have anything to do with it.
  json early = place.streaming(4, 28);
  for (size_t i = 3; i < early.size(); ++i) early[i] = early[i].get<double>() + 0.5 * (i % 2);
  CHECK_THAT(place.compare("sinks-4+28", early).out,
             ContainsSubstring("it departs before anything was evicted (the first token that could "
                               "know is 34)"));
  // Nothing that is known.
  json noise = place.streaming(4, 28);
  for (size_t i = 40; i < noise.size(); ++i) noise[i] = noise[i].get<double>() + (i % 3) * 2.0;
  CHECK_THAT(place.compare("sinks-4+28", noise).out, ContainsSubstring("no known mistake fits"));
  // A larger tolerance.
  json near = place.streaming(4, 28);
  for (json& value : near) value = value.get<double>() + 0.01;
  CHECK(place.compare("sinks-4+28", near).status == 1);
  const Outcome wide = place.compare("sinks-4+28", near, {"--tolerance", "0.02"});
  CHECK(wide.status == 0);
  CHECK_THAT(wide.out, ContainsSubstring("nearest of all are the kit's own numbers"));
  CHECK_THAT(wide.out, !ContainsSubstring("would be EQUAL, too"));
  const Outcome blind = place.compare("sinks-4+28", near, {"--tolerance", "9"});
  CHECK(blind.status == 0);
  CHECK_THAT(blind.out,
             ContainsSubstring("within this tolerance 19 known mistakes would be EQUAL, too: "));
}

TEST_CASE("a BOS that is not fed is known, whether its number is left out or not") {
  const Workplace place;
  json config = json::parse(read_file(place.path() / "model/config.json"));
  fs::copy(test::data("tokenizers/byte_level.json"), place.path() / "model/tokenizer.json");
  config["sink_token_id"] = 7;
  place.write("model/config.json", config.dump());
  std::string book;
  for (int i = 0; i < 30; ++i) book += fmt::format("It was a bright cold day {}, ", i * i);
  place.write("book.txt", book);
  for (const char* bos : {"none", "stream"}) {
    place.write("kit.yaml",
                fmt::format("model: model\ndataset: {{text: book.txt, tokens: 120, bos: "
                            "{}}}\npolicies: [sinks: {{sinks: 4, window: 28}}]\n",
                            bos));
    REQUIRE(place
                .golden({"--set",
                         bos == std::string("none") ? "dataset.tokens=119" : "dataset.tokens=120"})
                .status == 0);
    if (bos == std::string("none"))
      fs::rename(place.path() / "kit.json", place.path() / "none.json");
  }
  CHECK(place.kit()["prefix"] == 1);
  const json without =
      json::parse(read_file(place.path() / "none.json"))["policies"]["sinks-4+28"]["nll"];
  CHECK(without.size() + 1 == place.kit()["policies"]["sinks-4+28"]["nll"].size());
  const Outcome outcome = place.compare("sinks-4+28", without);
  INFO(outcome.out << outcome.err);
  CHECK(outcome.status == 1);
  CHECK_THAT(outcome.out, ContainsSubstring("likely cause: the BOS is not fed"));
  json filled = without;
  filled.insert(filled.begin(), 3.0);
  CHECK_THAT(place.compare("sinks-4+28", filled).out,
             ContainsSubstring("likely cause: the BOS is not fed"));
}

TEST_CASE("the first token with something evicted before it is the first that departs from dense") {
  const Workplace place;
  place.write("kit.yaml", R"(model: model
dataset: {tokens_file: model/tokens.json}
policies:
  - dense
  - window: {window: 30}
  - sinks: {sinks: 4, window: 20, prompt: 50}
  - strided: {sinks: 2, window: 12, stride: 5, kept: 3}
  - strided: {sinks: 2, window: 12, stride: 5}
  - shift: {capacity: 40, sinks: 4}
  - recompute: {window: 24}
  - quest: {read: 16, page: 4, dense: 1}
  - h2o: {capacity: 20, recent: 4, every: 8}
  - h2o: {budget: {by_layer: [40, 16, 32]}, recent: 4}
  - tova: {capacity: 20, recent: 4, budget: {pyramid: {beta: 2}}}
  - knorm: {capacity: 20, recent: 4, prompt: 60}
)");
  const Outcome made = place.golden();
  INFO(made.err);
  REQUIRE(made.status == 0);
  const json policies = place.kit()["policies"];
  REQUIRE(policies.size() == 12);
  const json& dense = policies["dense"]["nll"];
  CHECK(policies["dense"]["first_evicted"].is_null());
  CHECK(policies["window-0+30"]["first_evicted"] == 32);
  CHECK(policies["sinks-4+20-prompt-50"]["first_evicted"] == 51);
  for (const auto& [id, policy] : policies.items()) {
    if (id == "dense") continue;
    size_t i = 0;
    while (i < dense.size() &&
           std::abs(policy["nll"][i].get<double>() - dense[i].get<double>()) < 1e-5) {
      ++i;
    }
    INFO(id);
    CHECK(policy["first_evicted"] == i + 1);
  }
}

TEST_CASE("without the model a departure is still found") {
  const Workplace place;
  REQUIRE(place.golden().status == 0);
  fs::rename(place.path() / "model", place.path() / "elsewhere");
  const json dense = place.expected["dense_nll"];
  Outcome outcome = place.compare("sinks-4+28", dense);
  CHECK(outcome.status == 1);
  CHECK_THAT(outcome.out, ContainsSubstring("DEPARTS from token 34 on"));
  CHECK_THAT(outcome.err, ContainsSubstring("no cause looked for: "));
  CHECK_THAT(outcome.err, ContainsSubstring("--model PATH"));
  outcome = place.compare("sinks-4+28", dense, {"--model", "elsewhere"});
  CHECK_THAT(outcome.out, ContainsSubstring("likely cause: dense after all"));
  outcome = place.compare("sinks-4+28", dense, {"--model", test::data("families/llama_mha")});
  CHECK_THAT(outcome.err, ContainsSubstring("is not the kit's model: SHA-256 "));
}

TEST_CASE("a kit has decisions where they are asked for") {
  const Workplace place;
  REQUIRE(place.golden({"--decisions"}).status == 0);
  const json policies = place.kit()["policies"];
  CHECK(!policies["sinks-4+28"].contains("decisions"));
  const json decisions = policies["h2o-32-sinks-0-recent-8"]["decisions"];
  // Three layers of two key heads each evict one of 33 entries after each token from the 33rd on.
  CHECK(decisions.size() == 6 * (199 - 32));
  CHECK(decisions[0][0] == 32);
  CHECK(decisions[0][3].size() == 1);
}

TEST_CASE("what makes no kit, or is no comparison, is said") {
  const Workplace place;
  const auto golden = [&](const std::string& yaml, const std::string& reason) {
    place.write("kit.yaml", yaml);
    const Outcome outcome = place.golden();
    CHECK(outcome.status == 2);
    CHECK_THAT(outcome.err, ContainsSubstring(reason));
    CHECK(!fs::exists(place.path() / "kit.json"));
  };
  const std::string model = "model: model\n", data = "dataset: {tokens_file: model/tokens.json}\n";
  golden(model + data + "policies: [dense]\ndtype: [float32, float64]\n", "has several dtypes");
  golden(model + data + "policies: [dense]\nchunk: [16, 32]\n", "has several chunks");
  golden(model + "dataset: {tokens_file: model/tokens.json, tokens: [10, 20]}\npolicies: [dense]\n",
         "has several texts");
  golden(model + "dataset: {tokens_file: model/tokens.json, reset: 50}\npolicies: [dense]\n",
         "dataset.reset cuts the text into pieces");
  golden(model + data + "policies: [recompute: {window: 8, stride: 2}]\n", "a stride of 2");
  golden(model + data + "policies: [dense]\nkv: q8_0\n", "kv is q8_0");
  golden("model: {config: model/config.json, weights: random}\n" + data + "policies: [dense]\n",
         "weights are random");
  golden(model + "tasks: {copy: {tokens: 4, gap: 4, samples: 1}}\npolicies: [dense]\n",
         "has a task");

  place.write("kit.yaml", model + data + "policies: [window: {window: 300}]\n");
  for (const char* out : {"", "model", "nowhere/kit.json"}) {
    const Outcome outcome = place.run({"golden", "kit.yaml", "--out", out});
    CHECK(outcome.status == 2);
    CHECK_THAT(outcome.err, ContainsSubstring(": expected a file in a folder that is there"));
  }
  const Outcome unfilled = place.golden();
  CHECK(unfilled.status == 0);
  CHECK_THAT(unfilled.err,
             ContainsSubstring("warning: window-0+300: nothing is ever evicted in this stream"));

  // Ids that the model doesn't have, and those that none has.
  json edited = place.kit();
  edited["ids"][3] = 999999;
  place.write("edited.json", edited.dump());
  place.write("dense.json", place.expected["dense_nll"].dump());
  json other = place.expected["dense_nll"];
  for (json& value : other) value = value.get<double>() + 0.1;
  place.write("other.json", other.dump());
  const Outcome outside = place.run({"compare", "--golden", "edited.json", "--policy",
                                     "window-0+300", "--nll", "other.json", "--quiet"});
  CHECK(outside.status == 1);
  CHECK_THAT(outside.out, !ContainsSubstring("no known mistake fits"));
  edited["ids"][3] = -1;
  place.write("edited.json", edited.dump());
  CHECK_THAT(place
                 .run({"compare", "--golden", "edited.json", "--policy", "window-0+300", "--nll",
                       "other.json"})
                 .err,
             ContainsSubstring("ids[3] is -1; expected an integer from 0 to 2147483647"));

  const json nll = place.expected["dense_nll"];
  const auto compare = [&](std::vector<std::string> arguments, const std::string& reason) {
    arguments.insert(arguments.begin(), {"compare"});
    const Outcome outcome = place.run(arguments);
    CHECK(outcome.status == 2);
    CHECK_THAT(outcome.err, ContainsSubstring(reason));
  };
  json more = nll;
  more.push_back(1.0);
  place.write("more.json", more.dump());
  place.write("nll.json", nll.dump());
  const std::string policy = "window-0+300";
  compare({"--golden", "kit.json", "--policy", policy, "--nll", "more.json"},
          "200 numbers; expected no more than the kit's 199");
  compare({"--golden", "kit.json", "--policy", "window-0+30", "--nll", "nll.json"},
          "no policy 'window-0+30'");
  compare({"--golden", "kit.json", "--nll", "nll.json"}, "--policy ID is missing");
  compare({"--golden", "kit.json", "--policy", policy}, "--nll FILE is missing");
  compare(
      {"--golden", "kit.json", "--policy", policy, "--nll", "nll.json", "--export", "junit=x.xml"},
      "--export is of results, and means nothing beside --golden");
  compare({"--golden", "kit.json", "--policy", policy, "--nll", "nll.json"},
          "the kit's stream never fills the cache of 300 entries");
  compare({"results", "--golden", "kit.json", "--policy", policy, "--nll", "nll.json"},
          "--golden stands beside 'results'");
  compare({"--golden", "nll.json", "--policy", policy, "--nll", "nll.json"},
          "nll.json: no kit of `sinkbench golden`");
  compare({"--golden", "kit.json", "--policy", policy, "--nll", "nothing.json"}, "nothing.json");
  compare({"--golden", "kit.json", "--policy", policy, "--nll", "nll.json", "--tolerance", "0"},
          "--tolerance 0: expected nats above 0, 10 at the most");
}
