// An engine taken up again where another one was left: the same numbers to the last bit.
#include <ATen/ATen.h>

#include "base/error.h"
#include "eval/engines/engine.h"
#include "policies/registry.h"
#include "tests/catch.h"
#include "tests/data.h"
#include "tests/eval/engines/score.h"
#include "tests/policies/arguments.h"

using namespace sinkbench;

namespace {

/// As if the process had ended: tensors of their own.
std::vector<at::Tensor> copied(const std::vector<at::Tensor>& state) {
  std::vector<at::Tensor> result;
  for (const at::Tensor& tensor : state) result.push_back(tensor.clone());
  return result;
}

/// Scores with a new engine for each block, each begun with the state that the last one left.
std::vector<double> score_in_pieces(const std::string& name, const Decoder& decoder,
                                    const Policy& policy, const Stream& stream,
                                    const EngineOptions& options) {
  std::vector<double> result;
  const NllSink sink = [&](std::span<const double> nll) {
    result.insert(result.end(), nll.begin(), nll.end());
  };
  int64_t next = 0;
  std::vector<at::Tensor> state;
  for (bool done = false; !done;) {
    const auto engine = make_engine(name, decoder, policy, options);
    engine->begin(stream);
    if (next > 0) engine->resume(next, state);
    engine->advance(sink);
    REQUIRE(engine->next() > next);
    next = engine->next();
    done = engine->done();
    state = copied(engine->state());
  }
  return result;
}

}  // namespace

TEST_CASE("an engine goes on from a state as if it had never stopped") {
  const std::string family = GENERATE("llama_gqa", "gpt_neox_parallel", "mpt", "gpt2");
  const auto dtype = GENERATE(at::kFloat, at::kBFloat16, at::kDouble);
  const std::string engine = GENERATE("chunked", "stepwise");
  const Decoder decoder = Decoder::load(test::data("families/" + family), {.dtype = dtype});
  const std::vector<int32_t> ids = test::random_ids(120, decoder.config().vocab_size, 3);
  std::vector<std::unique_ptr<Policy>> policies;
  policies.push_back(make_policy("dense", {}));
  policies.push_back(make_policy("recompute", {{"window", 40}, {"stride", 3}}));
  policies.push_back(make_policy("recompute", {{"sinks", 2}, {"window", 38}}));
  if (decoder.config().learned_positions == 0) {
    policies.push_back(make_policy("window", {{"window", 24}}));
    policies.push_back(make_policy("sinks", {{"sinks", 4}, {"window", 24}}));
    policies.push_back(make_policy("sinks", {{"sinks", 4}, {"window", 24}}, Positions::original));
    const PolicyArguments strided = {{"window", 12}, {"stride", 3}, {"kept", 9}};
    policies.push_back(make_policy("strided", strided));
    policies.push_back(make_policy("strided", strided, Positions::original));
  }
  if (decoder.config().learned_positions == 0 && dtype == at::kFloat) {
    const PolicyArguments strided = {{"window", 12}, {"stride", 3}, {"kept", 9}};
    policies.push_back(make_policy("sinks", {{"sinks", 4}, {"window", 24}}, Positions::frozen));
    policies.push_back(make_policy("strided", strided, Positions::capped, 20));
    const auto score = [&](const char* name, PolicyArguments arguments, Positions positions,
                           int64_t cap = 0) {
      arguments.merge(PolicyArguments{{"capacity", 28}, {"recent", 6}});
      policies.push_back(make_policy(name, arguments, positions, cap));
    };
    score("h2o", {{"every", 5}, {"score", "ema"}, {"half_life", 9}}, Positions::cache);
    score("snapkv", {{"rows", 5}, {"every", 4}}, Positions::original);
    score("tova", {}, Positions::capped, 31);
    score("keydiff", {{"every", 3}}, Positions::cache);
    score("knorm", {}, Positions::frozen);
    score("random", {{"score", "fresh"}, {"every", 2}}, Positions::original);
  }
  for (const auto& policy : policies) {
    INFO(family << " " << engine << " " << policy->label());
    const EngineOptions options = {.chunk = 17};
    // Linear biases have no distance below zero.
    const auto* by_score = dynamic_cast<const ScorePolicy*>(policy.get());
    if (decoder.config().alibi && policy->positions() == Positions::frozen &&
        (by_score == nullptr || by_score->retention().every > 1)) {
      continue;
    }
    CHECK(score_in_pieces(engine, decoder, *policy, Stream{ids}, options) ==
          test::score(engine, decoder, *policy, ids, options));
  }
}

TEST_CASE("each piece of a stream is a stream of its own, and can be gone on from") {
  const std::string engine = GENERATE("chunked", "stepwise");
  const Decoder decoder = Decoder::load(test::data("families/llama_gqa"), {});
  const std::vector<int32_t> ids = test::random_ids(120, decoder.config().vocab_size, 3);
  const std::vector<int64_t> pieces = {0, 50, 100, 102};
  const EngineOptions options = {.chunk = 17};
  for (const PolicyEntry& entry : policy_registry()) {
    const auto policy = make_policy(entry.name, test::arguments_of_size(entry, 20));
    INFO(engine << " " << policy->label());
    std::vector<double> expected;
    for (size_t i = 0; i < pieces.size(); ++i) {
      const auto end = i + 1 < pieces.size() ? ids.begin() + pieces[i + 1] : ids.end();
      const auto nll =
          test::score(engine, decoder, *policy, {ids.begin() + pieces[i], end}, options);
      expected.insert(expected.end(), nll.begin(), nll.end());
    }
    const Stream stream{.ids = ids, .pieces = pieces};
    CHECK(stream.fed() == 116);
    CHECK(stream.longest() == 49);
    CHECK(stream.scored(1) == 116);
    CHECK(stream.scored(10) == 5 + 5 + 1 + 2);
    CHECK(expected.size() == 116);
    CHECK(score_in_pieces(engine, decoder, *policy, stream, options) == expected);
  }
}

TEST_CASE("pieces of any lengths beside a prompt's leave each other nothing") {
  // Shorter than the prompt a piece evicts nothing; a block as long as the piece, or shorter.
  const auto chunk = GENERATE(8, 64);
  const Decoder decoder = Decoder::load(test::data("families/llama_gqa"), {.dtype = at::kDouble});
  const std::vector<int64_t> pieces = {0, 40, 84, 123, 163, 204, 244};  // 40, 44, 39, 40, 41, ...
  const std::vector<int32_t> ids = test::random_ids(300, decoder.config().vocab_size, 5);
  for (const PolicyEntry& entry : policy_registry()) {
    if (!entry.prompt) continue;
    PolicyArguments arguments = test::arguments_of_size(entry, 12);
    arguments["prompt"] = 40;
    for (const Positions positions : {Positions::cache, Positions::original, Positions::capped}) {
      if (positions != Positions::cache && std::ranges::count(entry.positions, positions) == 0) {
        continue;
      }
      const auto policy =
          make_policy(entry.name, arguments, positions, positions == Positions::capped ? 9 : 0);
      INFO(chunk << " " << policy->label() << " " << to_string(positions));
      std::vector<double> expected;
      for (size_t i = 0; i < pieces.size(); ++i) {
        const auto end = i + 1 < pieces.size() ? ids.begin() + pieces[i + 1] : ids.end();
        const auto nll =
            test::score("stepwise", decoder, *policy, {ids.begin() + pieces[i], end}, {});
        expected.insert(expected.end(), nll.begin(), nll.end());
      }
      const auto engine = make_engine("chunked", decoder, *policy, {.chunk = chunk});
      std::vector<double> nll;
      engine->begin(Stream{.ids = ids, .pieces = pieces});
      while (!engine->done()) {
        engine->advance(
            [&](std::span<const double> more) { nll.insert(nll.end(), more.begin(), more.end()); });
      }
      REQUIRE(nll.size() == expected.size());
      double largest = 0;
      for (size_t i = 0; i < nll.size(); ++i) {
        largest = std::max(largest, std::abs(nll[i] - expected[i]));
      }
      CHECK(largest < 1e-9);
    }
  }
}

TEST_CASE("a state of another policy or beyond the stream is refused") {
  const Decoder decoder = Decoder::load(test::data("families/llama_gqa"), {});
  const std::vector<int32_t> ids = test::random_ids(60, decoder.config().vocab_size, 3);
  const auto narrow = make_policy("window", {{"window", 8}});
  const auto wide = make_policy("window", {{"window", 16}});
  for (const std::string name : {"chunked", "stepwise"}) {
    const auto from = make_engine(name, decoder, *narrow, {.chunk = 20});
    from->begin(ids);
    while (from->next() < 20) from->advance([](std::span<const double>) {});
    const auto to = make_engine(name, decoder, *wide, {.chunk = 20});
    to->begin(ids);
    CHECK_THROWS_AS(to->resume(20, from->state()), InputError);
    CHECK_THROWS_AS(to->resume(20, {}), InputError);
    CHECK_THROWS_AS(to->resume(60, from->state()), InputError);
  }
}
