// Values of the first tokens set to zero: engines against the definition, and against each other.
#include <ATen/ATen.h>
#include <c10/core/InferenceMode.h>

#include <numeric>

#include "models/rotary.h"
#include "policies/registry.h"
#include "tests/catch.h"
#include "tests/data.h"
#include "tests/eval/engines/score.h"

using namespace sinkbench;
using test::largest_difference;
using test::score;

namespace {

/// Layer by layer over the whole stream at its own places, query by query over what the policy
/// shows it; the values of the first `zeroed` tokens are zero, for themselves too.
std::vector<double> by_definition(const Decoder& decoder, const Policy& policy,
                                  const std::vector<int32_t>& ids, int64_t zeroed) {
  const c10::InferenceMode inference;
  const DecoderConfig& config = decoder.config();
  const int64_t n = std::ssize(ids) - 1, share = config.heads / config.kv_heads;
  std::vector<int64_t> places(n);
  std::iota(places.begin(), places.end(), 0);
  const std::vector<int64_t> wide(ids.begin(), ids.end());
  at::Tensor x =
      decoder.embed(at::tensor(wide, at::kLong).narrow(0, 0, n), at::tensor(places, at::kLong));
  for (int64_t layer = 0; layer < config.layers; ++layer) {
    const Projection projection = decoder.project(layer, x);
    const auto placed = [&](const at::Tensor& y) {
      return rotate(*config.rotary(layer), y,
                    rotary_table(*config.rotary(layer), places, at::kDouble, at::kCPU));
    };
    const at::Tensor query = placed(projection.query), key = placed(projection.key);
    at::Tensor stored = projection.value.clone();
    for (int64_t t = 0; t < zeroed; ++t) stored[t].zero_();
    at::Tensor attended = at::zeros({n, config.heads, config.head_dim}, at::kDouble);
    for (int64_t t = 0; t < n; ++t) {
      std::vector<int64_t> seen;
      for (const Range& range : test::view_of(policy, config, layer, t)) {
        for (int64_t p = range.begin; p < range.end; ++p) seen.push_back(p);
      }
      seen.push_back(t);
      const at::Tensor rows = at::tensor(seen, at::kLong);
      at::Tensor value = stored.clone();
      value[t] = projection.value[t];
      for (int64_t head = 0; head < config.heads; ++head) {
        const at::Tensor keys = key.index_select(0, rows).select(1, head / share);
        const at::Tensor weights =
            at::softmax(config.attention_scale * at::mv(keys, query[t][head]), -1);
        attended[t][head] =
            at::mv(value.index_select(0, rows).select(1, head / share).t(), weights);
      }
    }
    x = decoder.finish(layer, x, attended.flatten(1));
  }
  const at::Tensor logits = decoder.logits(x);
  const at::Tensor nll = decoder.nll_of_logits(logits, at::tensor(wide, at::kLong).narrow(0, 1, n));
  return {nll.data_ptr<double>(), nll.data_ptr<double>() + n};
}

}  // namespace

TEST_CASE("values of zero are those of the definition, in both engines") {
  const Decoder decoder = Decoder::load(test::data("families/llama_gqa"), {.dtype = at::kDouble});
  const std::vector<int32_t> ids = test::random_ids(60, decoder.config().vocab_size, 5);
  for (const auto& policy :
       {make_policy("dense", {}),
        make_policy("sinks", {{"sinks", 4}, {"window", 12}}, Positions::original)}) {
    for (const int64_t zeroed : {0, 1, 4, 7}) {
      INFO(policy->label() << ", " << zeroed);
      const EngineOptions options{.chunk = 16, .storage = {.zero_values = zeroed}};
      const std::vector<double> expected = by_definition(decoder, *policy, ids, zeroed);
      CHECK(largest_difference(score("chunked", decoder, *policy, ids, options), expected) < 1e-9);
      CHECK(largest_difference(score("stepwise", decoder, *policy, ids, options), expected) < 1e-9);
      if (zeroed == 0) continue;
      CHECK(largest_difference(score("chunked", decoder, *policy, ids), expected) > 1e-3);
    }
  }
}

TEST_CASE("values of zero are the same in both engines under every kind of policy") {
  const Decoder decoder = Decoder::load(test::data("families/llama_gqa"), {.dtype = at::kDouble});
  const std::vector<int32_t> ids = test::random_ids(60, decoder.config().vocab_size, 5);
  std::vector<std::unique_ptr<Policy>> policies;
  policies.push_back(make_policy("sinks", {{"sinks", 4}, {"window", 12}}));
  policies.push_back(make_policy("sinks", {{"sinks", 2}, {"window", 12}}, Positions::frozen));
  policies.push_back(make_policy("h2o", {{"capacity", 16}, {"sinks", 4}, {"recent", 4}}));
  policies.push_back(make_policy("quest", {{"read", 16}, {"page", 4}, {"dense", 1}}));
  policies.push_back(make_policy("knorm", {{"capacity", 16}, {"sinks", 4}, {"recent", 4}}));
  for (const auto& policy : policies) {
    for (const char* form : {"native", "int8"}) {
      INFO(policy->label() << ", " << form);
      const EngineOptions options{.chunk = 7,
                                  .storage = {.keys = form, .values = form, .zero_values = 3}};
      const std::vector<double> chunked = score("chunked", decoder, *policy, ids, options);
      CHECK(largest_difference(chunked, score("stepwise", decoder, *policy, ids, options)) < 1e-9);
      const EngineOptions whole{.chunk = 7, .storage = {.keys = form, .values = form}};
      CHECK(largest_difference(chunked, score("chunked", decoder, *policy, ids, whole)) > 1e-3);
    }
  }
}
