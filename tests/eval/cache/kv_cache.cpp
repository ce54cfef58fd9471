// Which slot holds which token, and how many bytes that takes.
#include "eval/cache/kv_cache.h"

#include <set>

#include "eval/engines/method.h"
#include "eval/engines/stepwise.h"
#include "policies/registry.h"
#include "tests/catch.h"
#include "tests/data.h"
#include "tests/eval/engines/score.h"
#include "tests/policies/arguments.h"

using namespace sinkbench;

namespace {

/// A policy of each entry that caches, of about so many tokens.
std::vector<std::unique_ptr<Policy>> policies_of_size(int64_t size) {
  std::vector<std::unique_ptr<Policy>> policies;
  for (const PolicyEntry& entry : policy_registry()) {
    policies.push_back(make_policy(entry.name, test::arguments_of_size(entry, size)));
  }
  policies.push_back(make_policy("sinks", {{"sinks", size + 5}, {"window", 1}}));
  policies.push_back(make_policy("strided", {{"window", size}, {"stride", 3}, {"kept", 4}}));
  return policies;
}

std::set<int64_t> tokens(const View& view) {
  std::set<int64_t> result;
  for (const Range& range : view) {
    for (int64_t j = range.begin; j < range.end; ++j) result.insert(j);
  }
  return result;
}

}  // namespace

TEST_CASE("a cache holds exactly what the next query sees, in no more slots than are kept") {
  for (const auto& any : policies_of_size(7)) {
    const auto* policy = dynamic_cast<const IndexPolicy*>(any.get());
    if (policy == nullptr) continue;
    INFO(policy->label());
    DecoderConfig config;
    config.layers = 1;
    const LayerViews views(*policy, config);
    SlotMap slots(policy->view(0, 0));
    for (int64_t t = 0; t < 60; ++t) {
      const View view = policy->view(0, t + 1);
      slots.advance(t, view);
      std::set<int64_t> held;
      for (const int64_t token : slots.tokens()) {
        if (token >= 0) REQUIRE(held.insert(token).second);
      }
      REQUIRE(held == tokens(view));
      REQUIRE(slots.entries() == static_cast<int64_t>(held.size()));
      REQUIRE(static_cast<int64_t>(slots.tokens().size()) <= views.kept(0, 60));
      // Ranks: every held token once, in the stream's order.
      std::vector<int64_t> ranked;
      for (const int64_t slot : slots.ranked()) ranked.push_back(slots.tokens()[slot]);
      REQUIRE(ranked == std::vector<int64_t>(held.begin(), held.end()));
      // Segments: every held token once, each in its range.
      std::set<int64_t> in_segments, in_runs;
      for (const Segment& segment : slots.segments()) {
        for (int64_t slot = segment.slot; slot < segment.slot + segment.size; ++slot) {
          const int64_t token = slots.tokens()[slot];
          REQUIRE(in_segments.insert(token).second);
          REQUIRE(token >= view[segment.range].begin);
          REQUIRE(token < view[segment.range].end);
        }
      }
      REQUIRE(in_segments == held);
      for (const Segment& run : slots.runs()) {
        for (int64_t slot = run.slot; slot < run.slot + run.size; ++slot) {
          REQUIRE(in_runs.insert(slots.tokens()[slot]).second);
        }
      }
      REQUIRE(in_runs == held);
    }
  }
}

TEST_CASE("bytes held by tensors equal the formula, for every policy") {
  const auto folder = test::data("families") / "llama_gqa";
  for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16}) {
    const Decoder decoder = Decoder::load(folder, {.dtype = dtype});
    const auto ids = test::random_ids(101, decoder.config().vocab_size, 1);
    const int64_t fed = 100, element = dtype == at::kFloat ? 4 : 2;
    for (const int64_t size : {8, 64, 1000}) {
      for (const auto& policy : policies_of_size(size)) {
        INFO(policy->label());
        const auto method = make_method(*policy, decoder.config());
        // On paper: 3 layers, 2 key heads of 16 dimensions, keys and values. A score policy's round
        // comes after the token just fed has its slot; scans keep them in the precision of sums.
        const auto* score = dynamic_cast<const ScorePolicy*>(policy.get());
        const bool scan =
            score != nullptr || dynamic_cast<const ReadPolicy*>(policy.get()) != nullptr;
        const int64_t slots = std::min(method->kept(fed) + (score != nullptr ? 1 : 0), fed);
        CHECK(method->kv_bytes(fed, element) == slots * 3 * 2 * 2 * 16 * (scan ? 4 : element));
        const auto decoding = method->decoding(decoder);
        CHECK(decoding->kv_bytes_held(fed) == method->kv_bytes(fed, element));
        auto* stepwise = dynamic_cast<StepwiseEngine*>(decoding.get());
        if (stepwise == nullptr) continue;
        const auto& index = dynamic_cast<const IndexPolicy&>(*policy);
        int64_t most = 0;
        for (int64_t t = 0; t < fed; ++t) {
          most = std::max(most, stepwise->entries());
          stepwise->step(ids[t]);
          // What the policy says is there.
          REQUIRE(stepwise->entries() == sinkbench::size(index.view(0, t + 1)));
        }
        CHECK(std::max(most, stepwise->entries()) == method->kept(fed));
        CHECK(stepwise->kv_bytes_held() == method->kv_bytes(fed, element));  // nothing grew
      }
    }
  }
}

TEST_CASE("a cache is filled until it is as full as it gets") {
  const Decoder decoder = Decoder::load(test::data("families") / "llama_gqa", {});
  const auto entries = [&](const std::string& name, const PolicyArguments& arguments,
                           std::optional<int64_t> length = {}) {
    const auto policy = make_policy(name, arguments);
    const auto decoding = make_method(*policy, decoder.config())->decoding(decoder);
    decoding->fill(length, 50, 4);
    const int64_t filled = decoding->entries();
    for (int i = 0; i < 4; ++i) decoding->step(1);
    return filled;
  };
  CHECK(entries("window", {{"window", 30}}) == 30);
  CHECK(entries("window", {{"window", 300}}) == 300);  // longer than the stream
  CHECK(entries("sinks", {{"sinks", 4}, {"window", 20}}) == 24);
  CHECK(entries("dense", {}) == 50);
  CHECK(entries("dense", {}, 120) == 120);
  CHECK(entries("strided", {{"window", 20}, {"stride", 5}, {"kept", 9}}) == 33);
  // Those that the sinks are among don't count twice: 4 + 20, and 8, 16, 24 of a stream that grows.
  CHECK(entries("strided", {{"window", 20}, {"stride", 8}}, 27) == 27);
  CHECK(entries("recompute", {{"window", 12}}) == 11);
  // One that would take for ever to fill is filled for a while.
  CHECK(entries("strided", {{"window", 20}, {"kept", 10'000'000'000}}) > 1000);
}

TEST_CASE("bfloat16 is close to float32, and its two engines to each other") {
  const auto folder = test::data("families") / "llama_gqa";
  const Decoder exact = Decoder::load(folder, {});
  const Decoder rounded = Decoder::load(folder, {.dtype = at::kBFloat16});
  const auto ids = test::random_ids(120, exact.config().vocab_size, 2);
  for (const char* name : {"sinks", "recompute"}) {
    const auto policy = make_policy(name, {{"window", 28}});
    const std::vector<double> reference = test::score("chunked", exact, *policy, ids);
    const std::vector<double> chunked = test::score("chunked", rounded, *policy, ids);
    const std::vector<double> stepwise = test::score("stepwise", rounded, *policy, ids);
    const auto mean = [](const std::vector<double>& nll) {
      double sum = 0;
      for (const double v : nll) sum += v;
      return sum / static_cast<double>(nll.size());
    };
    // Eight bits of mantissa: a percent or so in a logit, less in the mean.
    CHECK(test::largest_difference(chunked, reference) < 0.2);
    CHECK(test::largest_difference(stepwise, reference) < 0.2);
    CHECK(std::abs(mean(chunked) - mean(reference)) < 0.01);
    CHECK(std::abs(mean(stepwise) - mean(reference)) < 0.01);
  }
}

TEST_CASE("bytes by formula under a form, in a model with windows in some layers") {
  const Decoder decoder = Decoder::load(test::data("families/gemma2"), {.dtype = at::kBFloat16});
  const auto bytes = [&](Positions positions, const StorageSpec& storage) {
    const auto policy = make_policy("sinks", {{"sinks", 2}, {"window", 14}}, positions,
                                    positions == Positions::capped ? 9 : 0);
    return make_method(*policy, decoder.config(), storage)->kv_bytes(200, 2);
  };
  const StorageSpec halves = {.keys = "float16", .values = "float16"};
  // Keys and values once, whatever the scan works on; `capped` without a form has keys twice, but
  // in layers with windows, which are at the stream's distances.
  CHECK(bytes(Positions::capped, halves) == bytes(Positions::frozen, halves));
  CHECK(2 * bytes(Positions::frozen, halves) == bytes(Positions::frozen, {}));
  CHECK(bytes(Positions::capped, {}) == bytes(Positions::frozen, {}) / 4 * 5);
  // What is in the run's own precision is float32 in a scan, and an intervention is no form.
  CHECK(bytes(Positions::frozen, {.zero_values = 4}) == bytes(Positions::frozen, {}));
  CHECK(bytes(Positions::capped, {.zero_values = 4}) == bytes(Positions::capped, {}));
  CHECK(bytes(Positions::frozen, {.keys = "float16"}) == bytes(Positions::frozen, {}) / 4 * 3);
}
