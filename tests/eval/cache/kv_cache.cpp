// Which slot holds which token, and how many bytes that takes.
#include "eval/cache/kv_cache.h"

#include <set>

#include "eval/engines/recompute.h"
#include "eval/engines/stepwise.h"
#include "policies/registry.h"
#include "tests/catch.h"
#include "tests/data.h"
#include "tests/eval/engines/score.h"

using namespace sinkbench;

TEST_CASE("a cache holds exactly what the next query sees, in no more slots than the capacity") {
  std::vector<std::unique_ptr<Policy>> policies;
  policies.push_back(make_policy("dense", {}));
  policies.push_back(make_policy("window", {{"window", 1}}));
  policies.push_back(make_policy("window", {{"window", 9}}));
  policies.push_back(make_policy("sinks", {{"sinks", 4}, {"window", 7}}));
  policies.push_back(make_policy("sinks", {{"sinks", 12}, {"window", 1}}));
  for (const auto& policy : policies) {
    INFO(policy->label());
    SlotMap slots(*policy);
    for (int64_t t = 0; t < 60; ++t) {
      slots.advance(t);
      std::set<int64_t> held, seen;
      for (const int64_t token : slots.tokens()) {
        if (token >= 0) REQUIRE(held.insert(token).second);
      }
      const View view = policy->view(t + 1);
      for (const Range& range : view) {
        for (int64_t j = range.begin; j < range.end; ++j) seen.insert(j);
      }
      REQUIRE(held == seen);
      REQUIRE(slots.entries() == static_cast<int64_t>(held.size()));
      if (policy->capacity()) {
        REQUIRE(static_cast<int64_t>(slots.tokens().size()) <= *policy->capacity());
      }
      // Segments: every held token once, each in its range.
      std::set<int64_t> in_segments;
      for (const Segment& segment : slots.segments()) {
        for (int64_t slot = segment.slot; slot < segment.slot + segment.size; ++slot) {
          const int64_t token = slots.tokens()[slot];
          REQUIRE(in_segments.insert(token).second);
          REQUIRE(token >= view[segment.range].begin);
          REQUIRE(token < view[segment.range].end);
        }
      }
      REQUIRE(in_segments == held);
    }
  }
}

TEST_CASE("bytes held by tensors equal the formula, for every policy") {
  const auto folder = test::data("families") / "llama_gqa";
  for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16}) {
    const Decoder decoder = Decoder::load(folder, {.dtype = dtype});
    const auto ids = test::random_ids(101, decoder.config().vocab_size, 1);
    const int64_t fed = 100;
    for (const PolicyEntry& entry : policy_registry()) {
      for (const int64_t size : {8, 64, 1000}) {
        PolicyArguments arguments;
        for (const PolicyParameter& p : entry.parameters) {
          arguments[p.name] = p.name == "window" ? size : p.fallback.value_or(1);
        }
        const auto policy = make_policy(entry.name, arguments);
        INFO(policy->label() << " " << size);
        // On paper: 3 layers, 2 key heads of 16 dimensions, keys and values.
        int64_t entries = fed;
        if (entry.name == "window" || entry.name == "recompute") entries = std::min(fed, size);
        if (entry.name == "sinks") entries = std::min(fed, size + 4);
        const int64_t bytes = entries * 3 * 2 * 2 * 16 * (dtype == at::kFloat ? 4 : 2);
        CHECK(kept_entries(*policy, fed) *
                  decoder.config().kv_bytes_per_token(at::elementSize(dtype)) ==
              bytes);
        if (policy->recomputes()) {
          RecomputeEngine engine(decoder, *policy);
          engine.pass(std::span(ids).first(kept_entries(*policy, fed)));
          CHECK(engine.kv_bytes_held() == bytes);
        } else {
          StepwiseEngine engine(decoder, *policy);
          engine.reset(fed);
          CHECK(engine.kv_bytes_held() == bytes);
          for (int64_t t = 0; t < fed; ++t) engine.step(ids[t]);
          CHECK(engine.kv_bytes_held() == bytes);  // nothing grew
          CHECK(engine.cache_entries() == entries);
        }
      }
    }
  }
}

TEST_CASE("bfloat16 is close to float32, and its two engines to each other") {
  const auto folder = test::data("families") / "llama_gqa";
  const Decoder exact = Decoder::load(folder, {});
  const Decoder rounded = Decoder::load(folder, {.dtype = at::kBFloat16});
  const auto ids = test::random_ids(120, exact.config().vocab_size, 2);
  for (const char* name : {"sinks", "recompute"}) {
    const auto policy = make_policy(name, {{"window", 28}});
    const std::vector<float> reference = test::score("chunked", exact, *policy, ids);
    const std::vector<float> chunked = test::score("chunked", rounded, *policy, ids);
    const std::vector<float> stepwise = test::score("stepwise", rounded, *policy, ids);
    const auto mean = [](const std::vector<float>& nll) {
      double sum = 0;
      for (const float v : nll) sum += v;
      return sum / static_cast<double>(nll.size());
    };
    // Eight bits of mantissa: a percent or so in a logit, less in the mean.
    CHECK(test::largest_difference(chunked, reference) < 0.2);
    CHECK(test::largest_difference(stepwise, reference) < 0.2);
    CHECK(std::abs(mean(chunked) - mean(reference)) < 0.01);
    CHECK(std::abs(mean(stepwise) - mean(reference)) < 0.01);
  }
}
