// `sinkbench sinks`, from the outside.
#include <nlohmann/json.hpp>

#include <algorithm>
#include <fstream>

#include "tests/catch.h"
#include "tests/cli/model_and_book.h"
#include "tests/cli/program.h"
#include "tests/data.h"
#include "tests/files.h"

using namespace sinkbench;
using Catch::Matchers::StartsWith;
using nlohmann::json;
using test::Outcome;
namespace fs = std::filesystem;

namespace {

/// A folder with a model whose streams begin with token 319, and a text.
struct Workplace : test::ModelAndBook {
  Workplace() {
    json config = read("model/config.json");
    config["sink_token_id"] = 319;
    write("model/config.json", config.dump());
  }
  Outcome operator()(std::vector<std::string> arguments) const {
    arguments.insert(arguments.begin(), "sinks");
    arguments.push_back("--quiet");
    return test::Program(std::move(arguments), path()).wait();
  }
  json read(const fs::path& name) const { return json::parse(read_file(path() / name)); }
};

}  // namespace

TEST_CASE("sinks measures every family") {
  const Workplace place;
  int families = 0;
  for (const auto& folder : fs::directory_iterator(test::data("families"))) {
    if (!folder.is_directory()) continue;
    INFO(folder.path());
    ++families;
    const Outcome outcome =
        place({folder.path(), "--dataset", folder.path() / "tokens.json", "--samples", "2",
               "--tokens", "12", "--epsilon", "0.15", "--no-plots", "--out", "out"});
    CHECK(outcome.err == "");
    REQUIRE(outcome.status == 0);
    const json sinks = place.read("out/sinks.json");
    json config = place.read(folder.path() / "config.json");
    if (config.contains("text_config")) config = json(config["text_config"]);
    const auto either = [&](std::initializer_list<const char*> names) -> size_t {
      for (const char* name : names) {
        if (config.contains(name)) return config[name];
      }
      return 0;
    };
    const size_t layers = either({"num_hidden_layers", "n_layers", "n_layer"});
    const size_t heads = either({"num_attention_heads", "n_heads", "n_head"});
    REQUIRE(sinks["layers"].size() == layers);
    CHECK(sinks["tokens"] == 12);
    CHECK(sinks["samples"] == 2);
    CHECK(sinks["epsilon"] == 0.15);
    CHECK(sinks["bos"].is_null());
    std::vector<double> rate(4, 0);
    for (const json& layer : sinks["layers"]) {
      REQUIRE(layer["heads"].size() == heads);
      double mean = 0, largest = 0;
      for (const json& head : layer["heads"]) {
        const double alpha = head["alpha"][0];
        mean += alpha / static_cast<double>(heads);
        largest = std::max(largest, alpha);
        CHECK(alpha < 1);
        // The first query attends to nothing but its own key and a trained sink.
        const bool learned = folder.path().filename().string().starts_with("gpt_oss");
        CHECK(head["trained_sink_mass"].is_null() != learned);
        const double parked = learned ? head["trained_sink_mass"].get<double>() : 0.0;
        CHECK((learned ? parked > 0 && parked < 1 && alpha > 0 : alpha > 1.0 / 12));
        for (size_t k = 0; k < 4; ++k) {
          rate[k] +=
              head["above_epsilon_percent"][k].get<double>() / static_cast<double>(layers * heads);
        }
      }
      CHECK(layer["alpha_0_mean"].get<double>() == Approx(mean));
      CHECK(layer["alpha_0_max"].get<double>() == Approx(largest));
    }
    for (size_t k = 0; k < 4; ++k) CHECK(sinks["sink_percent"][k].get<double>() == Approx(rate[k]));
    const std::string csv = read_file(place.path() / "out/sinks.csv");
    CHECK(std::count(csv.begin(), csv.end(), '\n') == 1 + static_cast<long>(layers * heads));
  }
  CHECK(families >= 16);
}

TEST_CASE("sinks puts a BOS before each sample, or none") {
  const Workplace place;
  const Outcome tokens =
      test::Program({"tokenize", "model", "book.txt", "--no-special"}, place.path()).wait();
  const auto ids = json::parse(tokens.out).get<std::vector<int>>();
  json with = json::array();
  for (int sample = 0; sample < 3; ++sample) {
    with.push_back(319);
    for (int i = 0; i < 7; ++i) with.push_back(ids.at(sample * 7 + i));
  }
  place.write("with.json", with.dump());
  place.write("without.json", tokens.out);
  const auto of = [&](const std::string& dataset, const std::string& bos) {
    const Outcome outcome = place({"model", "--dataset", dataset, "--bos", bos, "--samples", "3",
                                   "--tokens", "8", "--no-plots", "--format", "json"});
    REQUIRE(outcome.status == 0);
    CHECK(outcome.out == read_file(place.path() / "results/sinks-model/sinks.json"));
    return json::parse(outcome.out);
  };
  const json text = of("book.txt", "sample"), hand = of("with.json", "none");
  CHECK(text["bos"] == 319);
  CHECK(text["layers"] == hand["layers"]);
  CHECK(text["dataset"]["sha256"] == hand["dataset"]["sha256"]);
  CHECK(text["model"]["sha256"].get<std::string>().size() == 64);
  CHECK(text["versions"].contains("commit"));
  const json plain = of("book.txt", "none"), first = of("without.json", "sample");
  CHECK(plain["bos"].is_null());
  CHECK(plain["layers"] == first["layers"]);
  CHECK(plain["layers"] != text["layers"]);
}

TEST_CASE("sinks prints tables and draws pictures") {
  const Workplace place;
  const Outcome outcome = place(
      {"model/", "--dataset", "book.txt", "--samples", "2", "--tokens", "10", "--positions", "2"});
  REQUIRE(outcome.status == 0);
  for (const char* text :
       {"sinks: model, book.txt, 2 samples of 10 tokens, token 319 before each, float32\n"
        "Sink metric at epsilon 0.3, T 10: Sink_0 ",
        " %, Sink_1 ", "layer   mean    max", "head 3", "position 0", "ratio",
        "\nresults: results/sinks-model\npictures: results/sinks-model/plots\n"}) {
    CHECK_THAT(outcome.out, ContainsSubstring(text));
  }
  const json sinks = place.read("results/sinks-model/sinks.json");
  CHECK_THAT(outcome.out, ContainsSubstring(fmt::format("Sink_0 {:.1f} %, Sink_1 {:.1f} %\n",
                                                        sinks["sink_percent"][0].get<double>(),
                                                        sinks["sink_percent"][1].get<double>())));
  for (const char* name : {"sinks", "attention-maps"}) {
    for (const char* extension : {".svg", ".png", ".gp", ".csv"}) {
      CHECK(
          fs::exists(place.path() / "results/sinks-model/plots" / (std::string(name) + extension)));
    }
  }
  const Outcome csv = place({"model", "--dataset", "book.txt", "--samples", "2", "--tokens", "10",
                             "--format", "csv", "--no-plots"});
  CHECK(csv.out == read_file(place.path() / "results/sinks-model/sinks.csv"));
}

TEST_CASE("sinks refuses bad input in one line, and writes nothing") {
  const Workplace place;
  fs::copy(test::data("families/gpt2"), place.path() / "gpt2");
  const std::vector<std::pair<std::vector<std::string>, std::string>> cases = {
      {{"nowhere", "--dataset", "book.txt"}, "nowhere: no such model"},
      {{"model", "--dataset", "no.txt"}, "no.txt: no such text"},
      {{"model", "--dataset", "book.txt", "--epsilon", "1.5"},
       "epsilon is 1.5; expected a number from 0 to below 1"},
      {{"model", "--dataset", "book.txt", "--epsilon", "nan"}, "epsilon is nan; expected"},
      {{"model", "--dataset", "book.txt", "--tokens", "1"}, "tokens is 1; expected 2 to 16777216"},
      {{"model", "--dataset", "book.txt", "--positions", "65"},
       "positions is 65; expected 1 to the 64 tokens of a sample"},
      {{"model", "--dataset", "book.txt"},
       "too few for 100 samples of 64 (the BOS is one of them)"},
      {{"gpt2", "--dataset", "gpt2/tokens.json", "--tokens", "257"},
       "tokens is 257; expected no more than the 256 that this model takes at once"},
      {{"model", "--dataset", "book.txt", "gpt2/tokens.json"}, "stands by itself"},
      {{"model", "--dataset", "book.txt", "--dtype", "float16"}, "dtype float16 has no matrix"}};
  for (const auto& [arguments, message] : cases) {
    const Outcome outcome = place(arguments);
    INFO(message);
    CHECK(outcome.status == 2);
    CHECK_THAT(outcome.err, ContainsSubstring(message));
    CHECK(std::count(outcome.err.begin(), outcome.err.end(), '\n') == 1);
    CHECK(outcome.out == "");
  }
  CHECK(place({"model"}).status == 2);
  CHECK(place({"model", "--dataset", "book.txt", "--bos", "often"}).status == 2);
  CHECK(!fs::exists(place.path() / "results"));
}

TEST_CASE("an experiment of sinks is measured once, and again where something has changed") {
  const Workplace place;
  place.write(
      "sinks.yaml",
      "model: model\ndataset: {text: book.txt}\nsinks:\n  input: [natural, random, repeated]\n"
      "  samples: 2\n  tokens: 10\n  logits: {layers: [0, 1], heads: [1]}\n");
  const Outcome first = test::Program({"sinks", "sinks.yaml"}, place.path()).wait();
  INFO(first.err);
  REQUIRE(first.status == 0);
  CHECK_THAT(first.out, StartsWith("Sinks\n  model  "));
  CHECK_THAT(first.out, ContainsSubstring("random tokens"));
  CHECK_THAT(first.out, ContainsSubstring("one token repeated"));
  CHECK_THAT(first.out, ContainsSubstring("results: results/sinks\n"));
  CHECK_THAT(first.err,
             ContainsSubstring("measurement 3 of 3: model-book-repeated-T10-bos.none-float32"));
  const fs::path natural = "results/sinks/model-book-natural-T10-float32";
  for (const char* name : {"sinks.json", "sinks.csv", "attention-maps.csv", "logits.csv",
                           "plots/sinks.svg", "plots/attention-maps.svg", "plots/logits.svg"}) {
    INFO(name);
    CHECK(fs::exists(place.path() / natural / name));
  }
  const std::string logits = read_file(place.path() / natural / "logits.csv");
  CHECK(std::count(logits.begin(), logits.end(), '\n') ==
        1 + 2 * 55);  // 10 queries of 1 to 10 keys
  const json sinks = place.read(natural / "sinks.json");
  CHECK(sinks["input"] == "natural");
  CHECK(sinks["bos"] == 319);
  CHECK(place.read("results/sinks/model-book-random-T10-bos.none-float32/sinks.json")["bos"]
            .is_null());
  const std::string summary = read_file(place.path() / "results/sinks/summary.csv");
  CHECK_THAT(summary,
             StartsWith("model,input,text,bos,tokens,samples,seed,dtype,epsilon,sink_percent_0,"
                        "published\nmodel,natural,book.txt,319,10,2,0,float32,0.3,"));
  CHECK(std::count(summary.begin(), summary.end(), '\n') == 4);

  const Outcome again = test::Program({"sinks", "sinks.yaml"}, place.path()).wait();
  CHECK(again.out == first.out);
  CHECK_THAT(again.err,
             ContainsSubstring("measurement 1 of 3: model-book-natural-T10-float32: Sink_0 "));
  CHECK_THAT(again.err, ContainsSubstring(", measured before\n"));
  CHECK(place.read(natural / "sinks.json") == sinks);

  const Outcome other =
      test::Program({"sinks", "sinks.yaml", "--set", "sinks.epsilon=0.1"}, place.path()).wait();
  CHECK_THAT(other.err, !ContainsSubstring("measured before"));
  CHECK(place.read(natural / "sinks.json")["epsilon"] == 0.1);

  // So is which logits were kept, and whether they are there.
  const auto logits_of = [&](const std::string& heads) {
    const Outcome outcome = test::Program({"sinks", "sinks.yaml", "--set", "sinks.epsilon=0.1",
                                           "--set", "sinks.logits.heads=" + heads},
                                          place.path())
                                .wait();
    CHECK(outcome.status == 0);
    return outcome.err.find("natural-T10-float32: Sink_0") == outcome.err.npos
               ? "?"
               : read_file(place.path() / natural / "logits.csv").substr(0, 40);
  };
  CHECK_THAT(logits_of("[0]"), StartsWith("layer,head,query,key,logit\n0,0,"));
  CHECK_THAT(logits_of("[1]"), StartsWith("layer,head,query,key,logit\n0,1,"));
  fs::remove(place.path() / natural / "logits.csv");
  CHECK_THAT(logits_of("[1]"), StartsWith("layer,head,query,key,logit\n0,1,"));

  const Outcome twice =
      test::Program({"sinks", "sinks.yaml", "--samples", "3"}, place.path()).wait();
  CHECK(twice.status == 2);
  CHECK_THAT(twice.err, ContainsSubstring("--samples has no meaning beside an experiment"));

  // A file that is broken is measured anew.
  place.write(natural / "sinks.json", "{");
  const Outcome mended =
      test::Program({"sinks", "sinks.yaml", "--set", "sinks.epsilon=0.1"}, place.path()).wait();
  CHECK(mended.status == 0);
  CHECK_THAT(mended.err, ContainsSubstring("nothing of it is used"));
  CHECK(place.read(natural / "sinks.json")["epsilon"] == 0.1);
}

TEST_CASE("drawn samples need no text, and natural ones do") {
  const Workplace place;
  const auto of = [&](const std::string& input, std::vector<std::string> more = {}) {
    more.insert(more.begin(), {"model", "--input", input, "--samples", "3", "--tokens", "12",
                               "--no-plots", "--format", "json"});
    return place(more);
  };
  const Outcome random = of("random"), repeated = of("repeated");
  REQUIRE(random.status == 0);
  REQUIRE(repeated.status == 0);
  CHECK(json::parse(random.out)["input"] == "random");
  CHECK(json::parse(random.out)["bos"].is_null());
  CHECK(json::parse(of("random").out)["layers"] == json::parse(random.out)["layers"]);
  CHECK(json::parse(of("random", {"--seed", "4"}).out)["layers"] !=
        json::parse(random.out)["layers"]);
  CHECK(json::parse(of("random", {"--bos", "sample", "--dataset", "book.txt"}).out)["bos"] == 319);
  for (const Outcome& outcome : {of("natural"), of("random", {"--bos", "sample"})}) {
    CHECK(outcome.status == 2);
    CHECK_THAT(outcome.err, ContainsSubstring("--dataset is missing; expected a text"));
  }
  CHECK(of("random", {"--seed", "-1"}).status == 2);
  const Outcome logits = of("random", {"--logit-layers", "0,1"});
  CHECK(logits.status == 0);
  CHECK(fs::exists(place.path() / "results/sinks-model-random/logits.csv"));
  CHECK_THAT(of("random", {"--logit-layers", "9"}).err,
             ContainsSubstring("logits of layer 9; expected one of 0 to"));
  // What an earlier measurement has left is not beside the next one.
  CHECK(of("random").status == 0);
  CHECK(!fs::exists(place.path() / "results/sinks-model-random/logits.csv"));
}
