#include "eval/run/generate.h"

#include <ATen/ATen.h>

#include <cmath>
#include <map>
#include <set>

#include "base/error.h"
#include "eval/engines/method.h"
#include "policies/registry.h"
#include "tests/catch.h"
#include "tests/data.h"
#include "tests/eval/engines/score.h"

using namespace sinkbench;

namespace {

const auto go_on = [](int32_t) { return true; };

/// How often each of some tokens comes, of so many draws.
std::map<int32_t, double> shares(const std::vector<double>& probabilities, Sampling sampling) {
  constexpr int64_t draws = 20000;
  const at::Tensor logits = at::tensor(probabilities, at::kDouble).log().view({1, -1});
  std::map<int32_t, double> result;
  for (int64_t step = 0; step < draws; ++step) {
    result[sample(logits, sampling, step)] += 1.0 / static_cast<double>(draws);
  }
  return result;
}

}  // namespace

TEST_CASE("the next token is the likeliest, or is drawn as often as it is likely") {
  CHECK(sample(at::tensor({0.5, 2.0, 2.0, -1.0}).view({1, -1}), {}, 7) ==
        1);  // of equals the first
  const std::vector<double> p = {0.2, 0.5, 0.3};
  const Approx fifth = Approx(0.2).margin(0.015), half = Approx(0.5).margin(0.015);
  std::map<int32_t, double> drawn = shares(p, {.temperature = 1, .seed = 3});
  CHECK(drawn[0] == fifth);
  CHECK(drawn[1] == half);
  // 0.5 and 0.3 are the fewest that have 0.7 of it; 0.5 alone has half.
  drawn = shares(p, {.temperature = 1, .top_p = 0.7});
  CHECK(drawn.size() == 2);
  CHECK(drawn[1] == Approx(0.625).margin(0.015));
  CHECK(shares(p, {.temperature = 1, .top_p = 0.5}).size() == 1);
  CHECK(shares(p, {.temperature = 1, .top_p = 0}).size() == 1);
  // Half the temperature squares: 0.04, 0.25 and 0.09 of 0.38.
  drawn = shares(p, {.temperature = 0.5});
  CHECK(drawn[1] == Approx(0.25 / 0.38).margin(0.015));
  drawn = shares(p, {.temperature = 1e-3});
  CHECK(drawn.size() == 1);
}

TEST_CASE("what is written is what the policy's scoring finds likeliest, token by token") {
  const Decoder decoder =
      Decoder::load(test::data("families") / "llama_gqa", {.dtype = at::kDouble});
  const std::vector<int32_t> prompt = test::random_ids(9, decoder.config().vocab_size, 5);
  struct Case {
    const char* policy;
    PolicyArguments arguments;
    std::optional<int64_t> first_eviction;  // tokens fed, on paper
  };
  const Case cases[] = {{"dense", {}, std::nullopt},
                        {"window", {{"window", 12}}, 13},
                        {"sinks", {{"sinks", 2}, {"window", 5}}, 8},  // within the prompt
                        {"strided", {{"window", 6}, {"stride", 3}, {"kept", 2}}, 11},
                        {"h2o", {{"capacity", 16}, {"sinks", 2}, {"recent", 4}, {"every", 5}}, 20},
                        {"quest", {{"read", 8}, {"page", 2}, {"dense", 0}}, std::nullopt},
                        {"recompute", {{"window", 12}}, 12}};
  for (const Case& of : cases) {
    const auto policy = make_policy(of.policy, of.arguments);
    INFO(policy->label());
    const Generated text = generate(decoder, *policy, prompt, 40, {}, {}, go_on);
    REQUIRE(text.ids.size() == 40);
    CHECK(text.steps == 39);
    CHECK(text.first_eviction == of.first_eviction);
    std::vector<int32_t> stream = prompt;
    stream.insert(stream.end(), text.ids.begin(), text.ids.end());
    std::vector<int32_t> likeliest;  // after each token
    const auto engine = make_engine("chunked", decoder, *policy, {.chunk = 7});
    engine->begin(stream);
    while (!engine->done()) {
      engine->advance_rows([&](const QueryRows& rows) {
        const at::Tensor best = decoder.logits(rows.x).argmax(1);
        for (int64_t i = 0; i < best.size(0); ++i) {
          likeliest.push_back(static_cast<int32_t>(best[i].item<int64_t>()));
        }
      });
    }
    likeliest.erase(likeliest.begin(), likeliest.begin() + std::ssize(prompt) - 1);
    CHECK(text.ids == likeliest);
  }
}

TEST_CASE("a text ends where it is told to, and is the same for the same seed") {
  const Decoder decoder = Decoder::load(test::data("families") / "qwen2", {});
  const std::vector<int32_t> prompt = {3};
  const auto policy = make_policy("sinks", {{"sinks", 2}, {"window", 10}});
  const Sampling warm = {.temperature = 1.5, .top_p = 0.9, .seed = 11};
  const auto write = [&](const Sampling& sampling, std::vector<int32_t> stop = {}) {
    return generate(decoder, *policy, prompt, 30, sampling, stop, go_on);
  };
  const Generated text = write(warm);
  CHECK(write(warm).ids == text.ids);
  CHECK(write({.temperature = 1.5, .top_p = 0.9, .seed = 12}).ids != text.ids);
  CHECK_FALSE(text.stopped);
  const Generated stopped = write(warm, {text.ids[12]});
  CHECK(stopped.stopped);
  const auto first = std::find(text.ids.begin(), text.ids.end(), text.ids[12]);
  CHECK(stopped.ids == std::vector<int32_t>(text.ids.begin(), first + 1));
  int64_t seen = 0;
  const Generated left =
      generate(decoder, *policy, prompt, 30, warm, {}, [&](int32_t) { return ++seen < 5; });
  CHECK(left.ids == std::vector<int32_t>(text.ids.begin(), text.ids.begin() + 5));
}

TEST_CASE(
    "nothing is written under what can't be decoded with, nor after tokens that there aren't") {
  const Decoder decoder = Decoder::load(test::data("families") / "llama_gqa", {});
  const auto dense = make_policy("dense", {});
  const auto oracle = make_policy("oracle", {{"capacity", 30}});
  const std::vector<int32_t> prompt = {1, 2}, wrong = {1, 100000};
  CHECK_THROWS_WITH(generate(decoder, *oracle, prompt, 4, {}, {}, go_on),
                    ContainsSubstring("it sees queries before they come"));
  CHECK_THROWS_WITH(generate(decoder, *dense, wrong, 4, {}, {}, go_on),
                    ContainsSubstring("the prompt has the token 100000"));
}

TEST_CASE("repetition is the share of tokens that end a run of four which was there before") {
  const std::vector<int32_t> ids = {1, 2, 3, 4, 5, 1, 2, 3, 4, 9, 1, 2, 3, 4, 5};
  CHECK(repetition(ids, 0, 15) == 3.0 / 12);  // of 12 runs 1234, 1234 and 2345 come again
  CHECK(repetition(ids, 9, 15) == 2.0 / 6);
  CHECK(repetition(ids, 0, 3) == 0);
  CHECK(repetition(std::vector<int32_t>(8, 7), 0, 8) == 4.0 / 5);
}
