// What the goldens of tests/data/families don't reach: families without one, fields that they leave
// at their defaults, and what is refused.
#include "models/family.h"

#include <ATen/ATen.h>

#include <fstream>
#include <functional>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "models/alibi.h"
#include "models/decoder.h"
#include "tests/catch.h"
#include "tests/data.h"

using namespace sinkbench;
using nlohmann::json;
namespace fs = std::filesystem;

namespace {

json golden_config(const std::string& name, const json& changes = json::object()) {
  json config = json::parse(std::ifstream(test::data("families") / name / "config.json"));
  config.merge_patch(changes);
  return config;
}

ConfigReader reader(const json& config) {
  return ConfigReader("config.json", config, "");
}

/// A golden's tensors under other names, and more of them.
class Disguised final : public TensorSource {
 public:
  using Make = std::function<at::Tensor(const std::string&, at::IntArrayRef, TensorSource&)>;
  Disguised(const std::string& golden, Make make)
      : checkpoint_(test::data("families") / golden, at::kFloat, at::kCPU), make_(make) {}

  at::Tensor get(const std::string& name, at::IntArrayRef shape) override {
    const at::Tensor made = make_(name, shape, checkpoint_);
    return made.defined() ? made : checkpoint_.get(name, shape);
  }
  std::vector<Linear> get_mxfp4(const std::string& name, at::IntArrayRef shape,
                                bool turns) override {
    return checkpoint_.get_mxfp4(name, shape, turns);
  }
  bool has(const std::string& name) const override { return checkpoint_.has(name); }
  void check_all_used() const override { checkpoint_.check_all_used(); }

 private:
  SafetensorsCheckpoint checkpoint_;
  Make make_;
};

Decoder build(const json& config, TensorSource& source) {
  const DecoderConfig decoder_config = read_decoder_config(reader(config));
  DecoderWeights weights =
      find_family(reader(config)).read_weights(decoder_config, reader(config), source);
  source.check_all_used();
  return Decoder(decoder_config, std::move(weights), {});
}

Decoder build(const std::string& golden, const json& changes) {
  SafetensorsCheckpoint source(test::data("families") / golden, at::kFloat, at::kCPU);
  return build(golden_config(golden, changes), source);
}

/// A stand-in for the residual stream.
at::Tensor stream(const Decoder& decoder) {
  at::manual_seed(1);
  return at::randn({7, decoder.config().hidden_size});
}

/// Everything but attention, where the queries stand for what was attended to.
at::Tensor logits_without_attention(const Decoder& decoder) {
  at::Tensor x = decoder.embed(at::arange(20, at::kLong));
  for (int64_t layer = 0; layer < decoder.config().layers; ++layer) {
    const Projection p = decoder.project(layer, x);
    const int64_t share = decoder.config().heads / decoder.config().kv_heads;
    const at::Tensor mixed =
        p.query + p.key.repeat_interleave(share, 1) + 2 * p.value.repeat_interleave(share, 1);
    x = decoder.finish(layer, x, mixed.flatten(1));
  }
  return decoder.logits(x);
}

}  // namespace

TEST_CASE("the families that people are told of are those that there are") {
  const auto& told = supported_families();
  const auto& there = family_registry();
  REQUIRE(told.size() == there.size());
  for (size_t i = 0; i < told.size(); ++i) {
    CHECK(told[i].name == there[i].name);
    CHECK(told[i].gguf == there[i].gguf.name);
    CHECK_FALSE(told[i].summary.empty());
  }
}

TEST_CASE("phi3 is llama with fused matrices") {
  Disguised source(
      "llama_gqa",
      [](const std::string& name, at::IntArrayRef shape, TensorSource& llama) -> at::Tensor {
        const auto part = [&](const char* fused, const char* single, int64_t rows) {
          std::string other = name;
          other.replace(other.find(fused), std::string(fused).size(), single);
          return llama.get(other, {rows, shape[1]});
        };
        if (name.find("qkv_proj") != std::string::npos) {
          const int64_t keys = (shape[0] - shape[1]) / 2;
          return at::cat({part("qkv_proj", "q_proj", shape[1]), part("qkv_proj", "k_proj", keys),
                          part("qkv_proj", "v_proj", keys)});
        }
        if (name.find("gate_up_proj") != std::string::npos) {
          return at::cat({part("gate_up_proj", "gate_proj", shape[0] / 2),
                          part("gate_up_proj", "up_proj", shape[0] / 2)});
        }
        return {};
      });
  const Decoder phi3 =
      build(golden_config("llama_gqa", {{"model_type", "phi3"}, {"sliding_window", 2047}}), source);
  const Decoder llama = Decoder::load(test::data("families") / "llama_gqa", {});
  CHECK(at::equal(logits_without_attention(phi3), logits_without_attention(llama)));
  CHECK(phi3.config().local_windows == std::vector<int64_t>(3, 2047));
}

TEST_CASE("qwen3 norms every head's queries and keys") {
  Disguised source("llama_gqa",
                   [](const std::string& name, at::IntArrayRef shape, TensorSource&) -> at::Tensor {
                     if (name.ends_with("q_norm.weight"))
                       return at::arange(1, shape[0] + 1, at::kFloat);
                     if (name.ends_with("k_norm.weight"))
                       return at::arange(shape[0], 0, -1, at::kFloat);
                     return {};
                   });
  const Decoder llama = Decoder::load(test::data("families") / "llama_gqa", {});
  const int64_t size = llama.config().head_dim;
  const Decoder qwen3 =
      build(golden_config("llama_gqa", {{"model_type", "qwen3"}, {"head_dim", size}}), source);
  const at::Tensor x = stream(llama);
  const Projection plain = llama.project(1, x);
  const Projection normed = qwen3.project(1, x);
  const auto expected = [&](const at::Tensor& heads, const at::Tensor& weight) {
    const at::Tensor exact = heads.to(at::kDouble);
    const at::Tensor mean = exact.square().mean(-1, true) + llama.config().norm_epsilon;
    return (exact / mean.sqrt() * weight).to(at::kFloat);
  };
  CHECK(at::allclose(normed.query, expected(plain.query, at::arange(1, size + 1)), 1e-5, 1e-6));
  CHECK(at::allclose(normed.key, expected(plain.key, at::arange(size, 0, -1)), 1e-5, 1e-6));
  CHECK(at::equal(normed.value, plain.value));
  // Products of other numbers of rows may be summed otherwise; the weights' size is taken out
  // again.
  const Projection some = qwen3.project(1, x, x.narrow(0, 2, 3));
  const at::Tensor query_weight = at::arange(1, size + 1), key_weight = at::arange(size, 0, -1);
  CHECK(at::allclose(some.query / query_weight, normed.query.narrow(0, 2, 3) / query_weight, 1e-5,
                     1e-6));
  CHECK(at::allclose(some.key / key_weight, normed.key / key_weight, 1e-5, 1e-6));
}

TEST_CASE("mpt's clip_qkv clamps queries, keys and values") {
  const Decoder plain = build("mpt", json::object());
  const Decoder clipped = build("mpt", {{"attn_config", {{"clip_qkv", 0.25}}}});
  const at::Tensor x = stream(plain);
  const Projection before = plain.project(0, x);
  const Projection after = clipped.project(0, x);
  for (const auto& [a, b] : {std::pair(before.query, after.query), std::pair(before.key, after.key),
                             std::pair(before.value, after.value)}) {
    REQUIRE(a.abs().max().item<float>() > 0.25);
    CHECK(at::equal(a.clamp(-0.25, 0.25), b));
  }
  const Projection some = clipped.project(0, x, x.narrow(0, 0, 1));
  CHECK(some.query.abs().max().item<float>() <= 0.25);
  CHECK(at::allclose(some.key, after.key, 1e-5, 1e-6));
}

TEST_CASE("olmoe's clip_qkv clamps queries and keys that are normed already") {
  const Decoder plain = build("olmoe", json::object());
  const Decoder clipped = build("olmoe", {{"clip_qkv", 0.25}});
  const at::Tensor x = stream(plain);
  const Projection before = plain.project(0, x);
  const Projection after = clipped.project(0, x);
  REQUIRE(before.query.abs().max().item<float>() > 0.25);
  CHECK(at::equal(before.query.clamp(-0.25, 0.25), after.query));
  CHECK(at::equal(before.key.clamp(-0.25, 0.25), after.key));
  CHECK(at::equal(before.value.clamp(-0.25, 0.25), after.value));
}

TEST_CASE("gemma's factor on embeddings is rounded to the model's precision") {
  const fs::path folder = test::data("families/gemma2");  // sqrt(32) is 5.65685, and 5.65625 there
  const at::Tensor ids = at::arange(20, at::kLong);
  SafetensorsCheckpoint source(folder, at::kDouble, at::kCPU);
  const Decoder exact = Decoder::load(folder, {});
  const at::Tensor rows =
      at::embedding(source.get("model.embed_tokens.weight", {exact.config().vocab_size, 32}), ids);
  const auto given = [&](at::ScalarType dtype) {
    return Decoder::load(folder, {.dtype = dtype}).embed(ids).to(at::kDouble);
  };
  CHECK(at::allclose(given(at::kFloat), rows * std::sqrt(32.0), 1e-6, 0));
  CHECK(at::equal(given(at::kBFloat16), rows.to(at::kBFloat16).to(at::kDouble) * 5.65625));
}

TEST_CASE("gpt-oss is scaled by YaRN where its configuration says nothing") {
  const auto rotary = [](json changes) {
    json config = golden_config("gpt_oss");
    config["rope_parameters"] = std::move(changes);
    return read_decoder_config(reader(config)).rotaries.at(0);
  };
  const json stated = {{"rope_type", "yarn"},
                       {"factor", 32.0},
                       {"beta_fast", 32.0},
                       {"beta_slow", 1.0},
                       {"truncate", false},
                       {"rope_theta", 150000.0},
                       {"original_max_position_embeddings", 4096}};
  const RotaryConfig expected = rotary(stated), absent = rotary(nullptr);
  CHECK(absent.inverse_frequencies == expected.inverse_frequencies);
  CHECK(absent.magnitude == expected.magnitude);
  CHECK(absent.magnitude > 1.3);
}

TEST_CASE("slopes of linear biases") {
  using Slopes = std::vector<double>;
  CHECK(alibi_slopes(4) == Slopes{1.0 / 4, 1.0 / 16, 1.0 / 64, 1.0 / 256});
  // Three heads: the two of the next lower power, and the first of the four of the next higher.
  CHECK(alibi_slopes(3) == Slopes{1.0 / 16, 1.0 / 256, 1.0 / 4});
  const auto mpt = [](int64_t heads, double bias_max) {
    const json config = golden_config("mpt", {{"n_heads", heads},
                                              {"d_model", 8 * heads},
                                              {"attn_config", {{"alibi_bias_max", bias_max}}}});
    return read_decoder_config(reader(config)).alibi->slopes;
  };
  CHECK(mpt(4, 8.0) == alibi_slopes(4));
  CHECK(mpt(4, 16.0) == Slopes{1.0 / 16, 1.0 / 256, 1.0 / 4096, 1.0 / 65536});
  // Three heads: of the four, the second and the fourth, then the first.
  CHECK(mpt(3, 8.0) == Slopes{1.0 / 16, 1.0 / 256, 1.0 / 4});
  CHECK(mpt(5, 8.0) == Slopes{1.0 / 4, 1.0 / 16, 1.0 / 64, 1.0 / 256, 1.0 / 2});
}

TEST_CASE("local windows are read where they are in use") {
  const auto window = [](const std::string& golden, const json& changes) {
    return read_decoder_config(reader(golden_config(golden, changes))).local_windows;
  };
  using Windows = std::vector<int64_t>;
  const auto layers = [](const std::string& golden) {
    return read_decoder_config(reader(golden_config(golden, json::object()))).layers;
  };
  CHECK(window("mistral", json::object()).empty());
  // A window that is null is none; one that is absent (as after such a patch) is the class's.
  CHECK(window("mistral", {{"sliding_window", nullptr}}) == Windows(layers("mistral"), 4096));
  CHECK(window("mistral", {{"sliding_window", 4096}}) == Windows(layers("mistral"), 4096));
  CHECK(window("qwen2", json::object()).empty());
  // The layers from max_window_layers on, 28 where it isn't said.
  REQUIRE(layers("qwen2") == 2);
  const json used = {{"use_sliding_window", true}, {"sliding_window", 20}};
  const auto with = [&](json changes) {
    changes.update(used);
    return changes;
  };
  CHECK(window("qwen2", with({{"max_window_layers", nullptr}})).empty());
  CHECK(window("qwen2", with({{"max_window_layers", 0}})) == Windows{20, 20});
  CHECK(window("qwen2", with({{"max_window_layers", 1}})) == Windows{0, 20});
  CHECK(window("qwen2", with({{"max_window_layers", 2}})).empty());
  // Which the layers' types overrule.
  const json types = {"sliding_attention", "full_attention"};
  CHECK(window("qwen2", with({{"max_window_layers", 1}, {"layer_types", types}})) ==
        Windows{20, 0});
  // Mixtures of experts have them otherwise: every other layer below the bound, or all.
  REQUIRE(layers("qwen2_moe") == 4);
  CHECK(window("qwen2_moe", json::object()).empty());
  CHECK(window("qwen2_moe", with({{"max_window_layers", nullptr}, {"layer_types", nullptr}})) ==
        Windows{20, 0, 20, 0});
  CHECK(window("qwen2_moe", with({{"max_window_layers", 2}, {"layer_types", nullptr}})) ==
        Windows{20, 0, 0, 0});
  CHECK(window("qwen3_moe", json::object()).empty());
  CHECK(window("qwen3_moe", with({{"max_window_layers", 1}})) == Windows(layers("qwen3_moe"), 20));
  CHECK_THROWS_WITH(window("qwen2", with({{"layer_types", {"sliding_attention", "other"}}})),
                    ContainsSubstring("layer_types: element 1 is \"other\"; expected"));
  CHECK_THROWS_WITH(window("mistral", {{"sliding_window", 8}, {"layer_types", json::array()}}),
                    ContainsSubstring("layer_types: expected a list of"));
}

TEST_CASE("older spellings of a configuration's fields") {
  struct Case {
    const char* golden;
    std::map<std::string, std::string> then;  // by what it is called now
  };
  const std::vector<Case> cases = {
      {"falcon_40b_style",
       {{"hidden_size", "n_embed"},
        {"num_hidden_layers", "n_layer"},
        {"num_attention_heads", "n_head"},
        {"num_kv_heads", "n_head_kv"}}},
      {"gpt2",
       {{"n_embd", "hidden_size"},
        {"n_layer", "num_hidden_layers"},
        {"n_head", "num_attention_heads"},
        {"n_positions", "max_position_embeddings"}}},
      {"gpt2", {{"n_positions", "n_ctx"}}},
      {"mpt",
       {{"d_model", "hidden_size"},
        {"n_layers", "num_hidden_layers"},
        {"n_heads", "num_attention_heads"}}},
      {"gpt_neox_parallel",
       {{"rotary_pct", "partial_rotary_factor"}, {"rotary_emb_base", "rope_theta"}}},
  };
  const auto shape = [](const DecoderConfig& c) {
    return std::vector<int64_t>{c.vocab_size,
                                c.hidden_size,
                                c.mlp_size,
                                c.layers,
                                c.heads,
                                c.kv_heads,
                                c.head_dim,
                                c.context,
                                c.learned_positions,
                                c.rotaries.empty() ? 0 : c.rotaries[0].dims};
  };
  for (const Case& c : cases) {
    json config = golden_config(c.golden);
    const DecoderConfig today = read_decoder_config(reader(config));
    for (const auto& [now, then] : c.then) {
      INFO(c.golden << " " << now << " " << then);
      REQUIRE(config.contains(now));
      config.erase(then);
      config[then] = config[now];
      config.erase(now);
    }
    const DecoderConfig old = read_decoder_config(reader(config));
    INFO(c.golden);
    CHECK(shape(old) == shape(today));
    REQUIRE(old.rotaries.size() == today.rotaries.size());
    for (size_t r = 0; r < today.rotaries.size(); ++r) {
      CHECK(old.rotaries[r].inverse_frequencies == today.rotaries[r].inverse_frequencies);
    }
  }
}

TEST_CASE("rope_parameters holds what stood beside it") {
  json config = golden_config("gpt_neox_parallel");
  const DecoderConfig today = read_decoder_config(reader(config));
  config["rope_parameters"] = {{"rope_type", "default"},
                               {"rope_theta", config["rotary_emb_base"]},
                               {"partial_rotary_factor", config["rotary_pct"]}};
  config.erase("rotary_emb_base");
  config.erase("rotary_pct");
  const DecoderConfig nested = read_decoder_config(reader(config));
  CHECK(nested.rotaries[0].dims == today.rotaries[0].dims);
  CHECK(nested.rotaries[0].inverse_frequencies == today.rotaries[0].inverse_frequencies);

  const DecoderConfig llama = read_decoder_config(reader(golden_config(
      "llama_mha",
      {{"rope_theta", nullptr},
       {"rope_parameters", {{"rope_type", "linear"}, {"factor", 2.0}, {"rope_theta", 500.0}}}})));
  CHECK(llama.rotaries[0].inverse_frequencies[0] == 0.5);
  CHECK(llama.rotaries[0].theta == 500.0);
}

TEST_CASE("multi_query says how many key-value heads there are") {
  CHECK(read_decoder_config(reader(golden_config("falcon_7b_style"))).kv_heads == 1);
  CHECK(read_decoder_config(reader(golden_config("falcon_7b_style", {{"multi_query", false}})))
            .kv_heads == 4);
}

TEST_CASE("what a family doesn't support is refused by name") {
  struct Case {
    const char* golden;
    json changes;
    const char* expected;
  };
  const std::vector<Case> cases = {
      {"falcon_7b_style",
       {{"apply_residual_connection_post_layernorm", true}},
       "config.json: apply_residual_connection_post_layernorm: is true, which is not supported"},
      {"falcon_7b_style",
       {{"num_attention_heads", 5}},
       "num_attention_heads: is 5; expected a divisor of hidden_size 64"},
      {"falcon_40b_style", {{"num_kv_heads", 3}}, "is 3; expected a divisor of the 4 heads"},
      {"mpt", {{"attn_config", {{"qk_ln", true}}}}, "config.json: attn_config.qk_ln: is true"},
      {"mpt", {{"attn_config", {{"prefix_lm", true}}}}, "attn_config.prefix_lm: is true"},
      {"mpt",
       {{"attn_config", {{"attn_type", "multiquery_attention"}}}},
       "attn_config.attn_type: 'multiquery_attention' is not supported"},
      {"mpt", {{"norm_type", "rmsnorm"}}, "norm_type: 'rmsnorm' is not supported"},
      {"mpt", {{"logit_scale", "inv_sqrt_d_model"}}, "logit_scale: is set"},
      {"mpt",
       {{"learned_pos_emb", false}, {"attn_config", {{"alibi", false}}}},
       "attn_config.alibi: is false and so is learned_pos_emb"},
      {"gpt2", {{"scale_attn_by_inverse_layer_idx", true}}, "scale_attn_by_inverse_layer_idx"},
      {"gpt2", {{"n_positions", nullptr}, {"n_ctx", nullptr}}, "n_positions: is missing"},
      {"llama_mha",
       {{"model_type", "phi3"}, {"rope_scaling", {{"type", "longrope"}}}},
       "rope_scaling.short_factor: is missing; expected 8 numbers"},
      {"llama_mha",
       {{"rope_scaling", {{"type", "longrope"}, {"short_factor", {1, 2}}}}},
       "rope_scaling.short_factor: is [1,2]; expected 8 numbers"},
      {"llama_mha",
       {{"model_type", "phi3"}, {"partial_rotary_factor", 1.5}},
       "partial_rotary_factor: is 1.5; expected more than 0 and at most 1"},
      {"llama_mha",
       {{"rope_scaling", {{"type", "dynamic"}, {"factor", 2}}},
        {"max_position_embeddings", nullptr}},
       "rope_scaling.original_max_position_embeddings: is missing"},
      {"llama_mha", {{"model_type", "lama"}}, "model_type: 'lama' is not supported; `sinkbench"},
      {"mpt",
       {{"attn_config", {{"sliding_window_size", 8}}}},
       "attn_config.sliding_window_size: is set"},
      {"mpt",
       {{"attn_config", {{"new_thing", 8}}}},
       "attn_config.new_thing: is 8, which is not supported"},
      {"mpt",
       {{"ffn_config", {{"ffn_act_fn", {{"name", "relu"}}}}}},
       "ffn_config.ffn_act_fn.name: is another than gelu"},
      {"llama_mha",
       {{"rope_scaling", {{"factor", 4.0}}}},
       "rope_scaling.factor: is 4.0, but there"},
      {"llama_mha",
       {{"rope_scaling", {{"rope_type", "linear"}, {"factor", 4.0}, {"beta_fast", 8}}}},
       "rope_scaling.beta_fast: is 8, which means nothing where rope_type is 'linear'"},
      {"llama_mha",
       {{"rope_parameters", {{"full_attention", {{"rope_type", "default"}}}}}},
       "rope_parameters: holds dictionaries by kind of layer"},
      {"llama_mha",
       {{"rope_scaling", {{"rope_type", "linear"}, {"factor", 4.0}}},
        {"rope_parameters", {{"rope_type", "default"}}}},
       "rope_scaling: is given beside other rope_parameters"},
      {"llama_mha", {{"rope_condense_ratio", 4}}, "rope_condense_ratio: is 4, which changes"},
      {"llama_mha", {{"embedding_multiplier", 12.0}}, "embedding_multiplier: is 12.0"},
      {"llama_mha", {{"final_logit_softcapping", 30.0}}, "final_logit_softcapping: is 30.0"},
      {"llama_mha", {{"no_rope_layers", {1, 0}}}, "no_rope_layers: is [1,0]"},
      {"llama_mha", {{"norm_eps", 0.5}}, "norm_eps: is 0.5, but the norms of the family 'llama'"},
      {"gemma2", {{"use_bidirectional_attention", true}}, "use_bidirectional_attention: is true"},
      {"phi", {{"qk_layernorm", true}}, "qk_layernorm: is true"},
      {"olmo2", {{"clip_qkv", 8.0}}, "clip_qkv: is 8.0"},
      {"phi3_window",
       {{"layer_types", {"sliding_attention", "full_attention", "sliding_attention"}}},
       "layer_types: names layers without a window"},
      {"llama_mha", {{"is_causal", false}}, "is_causal: is false, which changes what"},
      {"gpt_oss", {{"swiglu_alpha", 1.5}}, "swiglu_alpha: is 1.5, which is not supported"},
      {"llama_mha", {{"model_type", "granitemoe"}}, "is not supported: it has mixtures of experts"},
  };
  for (const Case& c : cases) {
    INFO(c.golden << " " << c.changes);
    CHECK_THROWS_WITH(read_decoder_config(reader(golden_config(c.golden, c.changes))),
                      ContainsSubstring(c.expected));
  }
}
