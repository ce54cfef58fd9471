// Models that can't be run under every policy: each is refused with the reason, by both engines.
#include "base/error.h"
#include "eval/cache/layer_views.h"
#include "eval/engines/method.h"
#include "eval/experiment/engine_names.h"
#include "policies/registry.h"
#include "tests/catch.h"
#include "tests/data.h"
#include "tests/eval/engines/score.h"

using namespace sinkbench;

namespace {

/// "" where the policy is accepted.
std::string refusal(const Policy& policy, const DecoderConfig& config, int64_t fed) {
  try {
    check_policy(policy, config, fed);
  } catch (const InputError& error) {
    return error.what();
  }
  return "";
}

}  // namespace

TEST_CASE("learned positions allow dense up to the table's end, and recompute") {
  const DecoderConfig gpt2{.family = "gpt2", .learned_positions = 256};
  CHECK(refusal(*make_policy("dense", {}), gpt2, 256).empty());
  CHECK_THAT(refusal(*make_policy("dense", {}), gpt2, 257),
             ContainsSubstring("policy dense: 257 positions are needed, and the model's table ends "
                               "after 256; expected a shorter stream"));
  CHECK(refusal(*make_policy("recompute", {{"window", 256}}), gpt2, 100'000).empty());
  CHECK_THAT(refusal(*make_policy("recompute", {{"window", 257}}), gpt2, 100),
             ContainsSubstring("expected a smaller window"));
  CHECK_THAT(refusal(*make_policy("window", {{"window", 8}}), gpt2, 100),
             ContainsSubstring("policy 0+8: the positions of a gpt2 model are learned"));
  CHECK_THAT(refusal(*make_policy("sinks", {{"window", 8}}), gpt2, 100),
             ContainsSubstring("expected dense or recompute"));
}

TEST_CASE("a local window bounds what a query may see") {
  const DecoderConfig mistral{.family = "mistral", .layers = 2, .local_windows = {4096, 4096}};
  // Dense is the model as it is, past its windows too.
  CHECK(refusal(*make_policy("dense", {}), mistral, 100'000).empty());
  // A cache of 4095 and the query itself.
  const auto fits = make_policy("sinks", {{"sinks", 4}, {"window", 4091}});
  const auto larger = make_policy("sinks", {{"sinks", 4}, {"window", 4092}});
  CHECK(refusal(*fits, mistral, 100'000).empty());
  CHECK_THAT(refusal(*larger, mistral, 100'000),
             ContainsSubstring("local window of 4096 (sliding_window in config.json); expected a "
                               "smaller one"));
  CHECK(refusal(*larger, mistral, 4096).empty());
  // By the stream's positions the sinks are as far away as the stream is long.
  const auto original = make_policy("sinks", {{"sinks", 4}, {"window", 28}}, Positions::original);
  CHECK(refusal(*original, mistral, 4096).empty());
  CHECK(!refusal(*original, mistral, 4097).empty());
  // A pass is the model as it is.
  CHECK(refusal(*make_policy("recompute", {{"window", 5000}}), mistral, 100'000).empty());
}

TEST_CASE("what a model can't be run under by a policy that evicts by content") {
  const auto h2o = [](PolicyArguments arguments, Positions positions = Positions::cache,
                      int64_t cap = 0) {
    arguments.merge(PolicyArguments{{"sinks", 0}, {"recent", 0}});
    return make_policy("h2o", arguments, positions, cap);
  };
  const DecoderConfig gpt2{.family = "gpt2", .layers = 2, .learned_positions = 256};
  CHECK_THAT(refusal(*h2o({{"capacity", 64}}), gpt2, 100),
             ContainsSubstring("policy h2o 64, sinks 0, recent 0: the positions of a gpt2 model"));
  CHECK_THAT(refusal(*make_policy("dense", {}, Positions::capped, 9), gpt2, 100),
             ContainsSubstring("distances can't be capped"));
  DecoderConfig llama{.family = "llama", .layers = 2};
  CHECK(refusal(*h2o({{"budget.by_layer", std::vector<int64_t>{8, 4}}}), llama, 100).empty());
  CHECK_THAT(refusal(*h2o({{"budget.by_layer", std::vector<int64_t>{8, 4, 2}}}), llama, 100),
             ContainsSubstring("budget.by_layer has 3 capacities, and the model 2 layers"));
  // 4093 entries before a round's last query, and the query itself.
  const DecoderConfig mistral{.family = "mistral", .layers = 2, .local_windows = {4096, 4096}};
  CHECK(refusal(*h2o({{"capacity", 4088}, {"every", 8}}), mistral, 100'000).empty());
  CHECK_THAT(refusal(*h2o({{"capacity", 4089}, {"every", 8}}), mistral, 100'000),
             ContainsSubstring("a query would see 4097 tokens"));
  CHECK(!refusal(*h2o({{"capacity", 64}}, Positions::original), mistral, 100'000).empty());
  CHECK(refusal(*h2o({{"capacity", 64}}, Positions::capped, 4095), mistral, 100'000).empty());
  CHECK(!refusal(*h2o({{"capacity", 64}}, Positions::capped, 4096), mistral, 100'000).empty());
  DecoderConfig mpt{.family = "mpt", .layers = 2};
  mpt.alibi.emplace();
  CHECK(refusal(*h2o({{"capacity", 64}}, Positions::frozen), mpt, 1000).empty());
  CHECK_THAT(refusal(*h2o({{"capacity", 64}, {"every", 2}}, Positions::frozen), mpt, 1000),
             ContainsSubstring("linear biases (ALiBi) have no meaning"));
  CHECK(refusal(*h2o({{"capacity", 64}, {"every", 2}}, Positions::frozen), llama, 1000).empty());
  const auto shift = make_policy("shift", {{"capacity", 64}}, Positions::frozen);
  CHECK_THAT(refusal(*shift, mpt, 1000), ContainsSubstring("linear biases (ALiBi)"));
}

TEST_CASE("where some layers have a local window, the policy works on the others") {
  const DecoderConfig hybrid{.family = "qwen2", .layers = 3, .local_windows = {0, 3, 0}};
  const auto policy = make_policy("sinks", {{"sinks", 1}, {"window", 2}});
  const LayerViews views(dynamic_cast<const IndexPolicy&>(*policy), hybrid);
  REQUIRE(views.kinds() == 2);
  CHECK(views.kind(0) == views.kind(2));
  // At t = 5, two earlier tokens of a window of three, the query counted.
  CHECK((views.view(views.kind(0), 5) == View{{0, 1}, {3, 5}}));
  CHECK(size(views.view(views.kind(1), 5)) == 2);
  CHECK((views.view(views.kind(1), 5).back() == Range{3, 5}));
  CHECK(views.positions(views.kind(0)) == Positions::cache);
  CHECK(views.positions(views.kind(1)) == Positions::original);
  CHECK(views.capacity(views.kind(0)) == 3);
  CHECK(views.capacity(views.kind(1)) == 2);
  CHECK(views.widest() == views.kind(0));
  CHECK(refusal(*make_policy("sinks", {{"window", 5000}}), hybrid, 100'000).empty());
  // A policy that keeps less than the window is as it is there, at the stream's distances.
  const auto narrow = make_policy("window", {{"window", 1}});
  const LayerViews few(dynamic_cast<const IndexPolicy&>(*narrow), hybrid);
  CHECK((few.view(few.kind(1), 5).back() == Range{4, 5}));
  CHECK(few.capacity(few.kind(1)) == 1);
}

TEST_CASE("frequencies that depend on the length bound the positions") {
  const DecoderConfig phi3{.family = "phi3", .rotaries = {RotaryConfig{.limit = 4096}}};
  CHECK(refusal(*make_policy("dense", {}), phi3, 4096).empty());
  CHECK_THAT(refusal(*make_policy("dense", {}), phi3, 4097),
             ContainsSubstring("a query would stand at position 4096, and past 4096 positions the "
                               "frequencies of this model"));
  CHECK(refusal(*make_policy("sinks", {{"window", 4091}}), phi3, 100'000).empty());
  CHECK_THAT(refusal(*make_policy("sinks", {{"window", 4092}}), phi3, 100'000),
             ContainsSubstring("expected a smaller cache or window"));
  CHECK(!refusal(*make_policy("recompute", {{"window", 4097}}), phi3, 100'000).empty());
}

TEST_CASE("both engines refuse before they compute") {
  const Decoder decoder = Decoder::load(test::data("families") / "gpt2", {});
  const auto ids = test::random_ids(258, decoder.config().vocab_size, 1);
  for (const std::string& engine : engine_names()) {
    INFO(engine);
    const auto score = [&](const Policy& policy, size_t count) {
      return test::score(engine, decoder, policy, {ids.begin(), ids.begin() + count});
    };
    CHECK(score(*make_policy("dense", {}), 257).size() == 256);
    CHECK_THROWS_AS(score(*make_policy("dense", {}), 258), InputError);
    CHECK_THROWS_AS(score(*make_policy("sinks", {{"window", 8}}), 20), InputError);
    CHECK_THROWS_AS(score(*make_policy("recompute", {{"window", 257}}), 258), InputError);
  }
}
