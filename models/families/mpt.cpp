// MPT (MosaicML 2023, https://www.databricks.com/blog/mpt-7b) as in transformers' MptForCausalLM:
// ALiBi, no biases, one matrix for embedding and head.
#include <bit>
#include <cmath>

#include "models/family.h"

namespace sinkbench {
namespace {

/// 2^(-bias_max i/n) for i = 1..n, n the next power of two; where that is more than the heads,
/// every other one from the second on comes first (build_mpt_alibi_tensor of transformers).
std::vector<double> mpt_slopes(int64_t heads, double bias_max) {
  const int64_t n = static_cast<int64_t>(std::bit_ceil(static_cast<uint64_t>(heads)));
  std::vector<double> slopes;
  const auto add = [&](int64_t first, int64_t step) {
    for (int64_t i = first; i <= n && static_cast<int64_t>(slopes.size()) < heads; i += step) {
      slopes.push_back(std::exp2(-bias_max * static_cast<double>(i) / static_cast<double>(n)));
    }
  };
  if (n == heads) {
    add(1, 1);
  } else {
    add(2, 2);
    add(1, 2);
  }
  return slopes;
}

DecoderConfig mpt_config(const ConfigReader& reader) {
  DecoderConfig config;
  config.vocab_size = reader.integer({"vocab_size"}, 1);
  config.hidden_size = reader.integer({"d_model", "hidden_size"}, 1);
  config.mlp_size = reader.integer({"expansion_ratio"}, 1, 4) * config.hidden_size;
  if (const auto mlp = reader.object({"ffn_config"})) {
    config.mlp_size = mlp->integer({"ffn_hidden_size"}, 1, config.mlp_size);
    const auto activation = mlp->object({"ffn_act_fn"});
    if (activation && activation->text({"name"}, "gelu") != "gelu") {
      activation->fail("name", "is another than gelu, which is not supported");
    }
    if (mlp->text({"ffn_type"}, "mptmlp") != "mptmlp") {
      mlp->fail("ffn_type", "is another than mptmlp, which is not supported");
    }
    mlp->refuse_unread({"fc_type"}, ", which is not supported");
  }
  config.layers = reader.integer({"n_layers", "num_hidden_layers"}, 1);
  config.heads = reader.integer({"n_heads", "num_attention_heads"}, 1);
  config.kv_heads = config.heads;
  config.head_dim = read_head_dim(reader, "n_heads", config.hidden_size, config.heads);
  config.context = reader.integer({"max_seq_len"}, 1, 2048);
  config.norm = NormKind::layer;
  config.norm_epsilon = reader.number({"layer_norm_epsilon"}, 1e-5);
  config.activation = Activation::gelu;
  config.gated_mlp = false;
  config.qkv_bias = config.output_bias = config.mlp_bias = config.norm_bias =
      !reader.boolean({"no_bias"}, true);
  config.tied_head = reader.boolean({"tie_word_embeddings"}, true);
  const std::string norm = reader.text({"norm_type"}, "low_precision_layernorm");
  if (norm != "low_precision_layernorm" && norm != "layernorm") {
    reader.fail("norm_type", fmt::format("'{}' is not supported; expected low_precision_layernorm "
                                         "or layernorm",
                                         norm));
  }
  if (reader.has("logit_scale")) reader.fail("logit_scale", "is set, which is not supported");

  const ConfigReader attention =
      reader.object({"attn_config"})
          .value_or(ConfigReader(reader.path(), nlohmann::json::object(), "attn_config"));
  const std::string type = attention.text({"attn_type"}, "multihead_attention");
  if (type != "multihead_attention") {
    attention.fail("attn_type",
                   fmt::format("'{}' is not supported; expected multihead_attention", type));
  }
  for (const char* field : {"qk_ln", "prefix_lm", "rope", "attn_uses_sequence_id"}) {
    refuse(attention, field);
  }
  config.attention_scale = attention.number({"softmax_scale"}, 0.0);
  config.clip_qkv = attention.number({"clip_qkv"}, 0.0);
  if (attention.boolean({"alibi"}, true)) {
    config.alibi =
        AlibiConfig{.slopes = mpt_slopes(config.heads, attention.number({"alibi_bias_max"}, 8.0))};
  } else if (reader.boolean({"learned_pos_emb"}, true)) {
    config.learned_positions = config.context;
  } else {
    attention.fail("alibi", "is false and so is learned_pos_emb: a model without positions");
  }
  attention.has("alibi_bias_max");
  if (attention.integer({"sliding_window_size"}, -1, -1) != -1) {
    attention.fail("sliding_window_size", "is set: a local window is not supported in MPT");
  }
  if (attention.integer({"kv_n_heads"}, 1, config.heads) != config.heads) {
    attention.fail("kv_n_heads", "is another than n_heads, which is not supported");
  }
  // How it is computed, and what is of a kind of positions that is refused above.
  attention.refuse_unread({"attn_impl", "attn_pdrop", "model_type", "rope_theta", "rope_impl",
                           "rope_dail_config", "rope_hf_config", "fused_qkv"},
                          ", which is not supported");
  return config;
}

DecoderWeights mpt_weights(const DecoderConfig& config, const ConfigReader&,
                            TensorSource& source) {
  const int64_t hidden = config.hidden_size;
  const bool bias = config.norm_bias;
  const std::string root = read_root(source, "transformer.", "norm_f.weight");
  DecoderWeights weights;
  if (config.learned_positions > 0) {
    weights.positions = source.get(root + "wpe.weight", {config.learned_positions, hidden});
  }
  for (int64_t i = 0; i < config.layers; ++i) {
    const std::string prefix = fmt::format("{}blocks.{}.", root, i);
    LayerWeights layer;
    layer.attention_norm = read_norm(source, prefix + "norm_1", hidden, bias);
    layer.mlp_norm = read_norm(source, prefix + "norm_2", hidden, bias);
    layer.qkv = read_linear(source, prefix + "attn.Wqkv", 3 * hidden, hidden, bias);
    layer.output = read_linear(source, prefix + "attn.out_proj", hidden, hidden, bias);
    layer.gate_up = read_linear(source, prefix + "ffn.up_proj", config.mlp_size, hidden, bias);
    layer.down = read_linear(source, prefix + "ffn.down_proj", hidden, config.mlp_size, bias);
    layer.sink_logit = read_sink_logit(config, prefix + "attn", source);
    weights.layers.push_back(std::move(layer));
  }
  weights.final_norm = read_norm(source, root + "norm_f", hidden, bias);
  read_embedding_and_head(config, root + "wte", "lm_head", source, weights);
  return weights;
}

void mpt_gguf(const GgufFile&, nlohmann::json& config) {
  // As llama.cpp's conversion says it: no bias of positions, but positions that are learned.
  nlohmann::json& attention = config["attn_config"];
  if (attention.value("alibi_bias_max", 0.0) == 0.0) {
    attention.erase("alibi_bias_max");
    attention["alibi"] = false;
  }
  config["ffn_config"] = {{"ffn_hidden_size", config["intermediate_size"]}};
}

}  // namespace

Family mpt_family() {
  return {.name = "mpt",
          .read_config = mpt_config,
          .read_weights = mpt_weights,
          .gguf = {.name = "mpt",
                   .epsilon = "layer_norm_epsilon",
                   .keys = {{"max_seq_len", "context_length"},
                            {"attn_config.alibi_bias_max", "attention.max_alibi_bias"},
                            {"attn_config.clip_qkv", "attention.clamp_kqv"}},
                   .adapt = mpt_gguf}};
}

}  // namespace sinkbench
