// Random small configurations of every family: the two engines agree whatever the shape.
#include <ATen/ATen.h>

#include <fmt/format.h>

#include <cmath>
#include <nlohmann/json.hpp>
#include <random>

#include "models/family.h"
#include "policies/registry.h"
#include "tests/catch.h"
#include "tests/eval/engines/score.h"

using namespace sinkbench;
using nlohmann::json;

namespace {

/// Weights of such a size that attention is neither flat nor on one key alone.
class LivelyWeights final : public TensorSource {
 public:
  at::Tensor get(const std::string&, at::IntArrayRef shape) override {
    const at::Tensor noise = at::randn(shape, at::kDouble);
    if (shape.size() == 1) return 1.0 + 0.3 * noise;
    return noise * (1.5 / std::sqrt(static_cast<double>(shape[1])));
  }
  bool has(const std::string&) const override { return false; }
  void check_all_used() const override {}
};

class Random {
 public:
  explicit Random(unsigned seed) : engine_(seed) {}
  int64_t of(std::initializer_list<int64_t> values) {
    return values.begin()[engine_() % values.size()];
  }
  bool coin() { return engine_() % 2 == 0; }

 private:
  std::mt19937 engine_;
};

json rope_scaling(Random& random) {
  switch (random.of({0, 1, 2, 3, 4})) {
    case 1:
      return {{"type", "linear"}, {"factor", 2.0}};
    case 2:
      return {{"rope_type", "llama3"}, {"factor", 8.0}, {"original_max_position_embeddings", 64}};
    case 3:
      return {{"type", "yarn"}, {"factor", 4.0}, {"original_max_position_embeddings", 64}};
    case 4:
      return {{"type", "dynamic"}, {"factor", 2.0}};
  }
  return nullptr;
}

/// A config.json of the family, of a random shape.
json random_config(const std::string& family, Random& random) {
  const int64_t kv_heads = random.of({1, 2, 3}), heads = kv_heads * random.of({1, 2, 3});
  const int64_t head_dim = random.of({4, 6, 16}), hidden = heads * head_dim;
  const int64_t layers = random.of({1, 2, 3});
  json config = {{"model_type", family}, {"vocab_size", random.of({17, 50})}};
  if (random.coin()) config["tie_word_embeddings"] = random.coin();
  if (random.coin()) {
    config[random.coin() ? "learned_sink_logits" : "use_cache"] = true;
  } else if (random.coin() && family != "gpt_oss") {  // which has learned ones
    config["constant_sink_logit"] = random.of({-1, 0, 2});
  }
  if (family == "mpt") {
    config.update({{"d_model", hidden}, {"n_heads", heads}, {"n_layers", layers}});
    config["attn_config"] = {{"alibi_bias_max", random.of({4, 8})}};
    config["no_bias"] = random.coin();
    if (random.coin()) config["attn_config"]["clip_qkv"] = 1.0;
  } else if (family == "gpt2") {
    config.update(
        {{"n_embd", hidden}, {"n_head", heads}, {"n_layer", layers}, {"n_positions", 64}});
  } else {
    config.update({{"hidden_size", hidden},
                   {"num_hidden_layers", layers},
                   {"num_attention_heads", heads},
                   {"max_position_embeddings", 64}});
  }
  if (family == "falcon") {
    config["new_decoder_architecture"] = random.coin();
    config["num_kv_heads"] = kv_heads;
    config["multi_query"] = random.coin();
    config["parallel_attn"] = random.coin();
    config["alibi"] = random.coin();
    config["bias"] = random.coin();
  } else if (family == "gpt_neox") {
    config["intermediate_size"] = random.of({8, 24});
    config["rotary_pct"] = head_dim == 16 && random.coin() ? 0.25 : 1.0;
    config["use_parallel_residual"] = random.coin();
    config["attention_bias"] = random.coin();
  } else if (family == "phi") {
    config["intermediate_size"] = random.of({8, 24});
    config["num_key_value_heads"] = kv_heads;
    config["partial_rotary_factor"] = head_dim == 16 && random.coin() ? 0.5 : 1.0;
    config.erase("tie_word_embeddings");
  } else if (family == "opt") {
    config["ffn_dim"] = random.of({8, 24});
    config["do_layer_norm_before"] = random.coin();
    config["enable_bias"] = random.coin();
  } else if (family != "mpt" && family != "gpt2") {
    config["intermediate_size"] = random.of({8, 24});
    config["num_key_value_heads"] = kv_heads;
    config["head_dim"] = random.coin() ? head_dim : 8;
    config["attention_bias"] = random.coin();
    config["rope_scaling"] = rope_scaling(random);
    if (head_dim == 16 && random.coin()) config["partial_rotary_factor"] = 0.5;
  }
  if (family == "granite") {
    config["attention_multiplier"] = 0.3;
    config["residual_multiplier"] = 0.5;
    config["logits_scaling"] = random.of({1, 4});
  }
  if (family == "mixtral" || family == "olmoe" || family == "gpt_oss" || family.ends_with("_moe")) {
    config["num_experts"] = random.of({2, 5});
    config["num_experts_per_tok"] = random.of({1, 2});
    config["norm_topk_prob"] = random.coin();
  }
  if (family.ends_with("_moe")) {
    config["moe_intermediate_size"] = random.of({8, 24});
  }
  if (family == "glm4_moe") {
    config["head_dim"] = 8;  // of which half is rotated
    config["n_shared_experts"] = random.of({1, 2});
    config["routed_scaling_factor"] = 1.5;
    config["use_qk_norm"] = random.coin();
    config["first_k_dense_replace"] = random.of({0, 1});
  } else if (family.ends_with("_moe")) {
    config["shared_expert_intermediate_size"] = random.of({8, 24});
    config["decoder_sparse_step"] = random.of({1, 2});
  }
  if (family == "gemma3") return {{"model_type", family}, {"text_config", config}};
  return config;
}

}  // namespace

TEST_CASE("random small configurations of every family: stepwise against chunked") {
  for (const Family& family : family_registry()) {
    for (unsigned seed = 0; seed < 25; ++seed) {
      Random random(seed);
      const json config = random_config(family.name, random);
      const ConfigReader reader("config.json", config, "");
      const DecoderConfig decoder_config = read_decoder_config(reader);
      at::manual_seed(seed);
      LivelyWeights source;
      const Decoder decoder(decoder_config, family.read_weights(decoder_config, reader, source),
                            {.dtype = at::kDouble});
      std::vector<std::unique_ptr<Policy>> policies;
      policies.push_back(make_policy("dense", {}));
      policies.push_back(make_policy(
          "recompute", {{"window", random.of({1, 5, 20})}, {"stride", random.of({1, 3})}}));
      if (decoder_config.learned_positions == 0) {
        const PolicyArguments arguments = {{"sinks", random.of({0, 1, 4})},
                                           {"window", random.of({1, 6, 19})}};
        policies.push_back(make_policy("sinks", arguments));
        policies.push_back(make_policy("sinks", arguments, Positions::original));
        for (const Positions positions : {Positions::cache, Positions::original}) {
          policies.push_back(make_policy("strided",
                                         {{"sinks", random.of({0, 1, 3})},
                                          {"window", random.of({1, 5})},
                                          {"stride", random.of({1, 2, 3})},
                                          {"kept", random.of({0, 2, 9})}},
                                         positions));
        }
      }
      const auto ids = test::random_ids(45, decoder_config.vocab_size, seed);
      for (const auto& policy : policies) {
        INFO(config << " " << policy->label());
        const EngineOptions options{.chunk = random.of({1, 7, 16, 64})};
        CHECK(test::largest_difference(test::score("chunked", decoder, *policy, ids, options),
                                       test::score("stepwise", decoder, *policy, ids)) < 1e-9);
      }
    }
  }
}
