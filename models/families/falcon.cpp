// Falcon (Almazrouei et al. 2023, arXiv 2311.16867) as in transformers' FalconForCausalLM, in its
// three styles: 7B (multi-query, one norm before parallel attention and MLP), 40B
// (new_decoder_architecture: grouped queries, a norm for each of the two) and RW (ALiBi, biases,
// one after the other).
#include <c10/util/BFloat16.h>

#include <cmath>

#include "models/alibi.h"
#include "models/family.h"

namespace sinkbench {
namespace {

/// Norms before the parallel halves of the new architecture: Falcon 2 has one for both.
bool has_two_norms(const ConfigReader& reader) {
  return reader.boolean({"new_decoder_architecture"}, false) &&
         reader.integer({"num_ln_in_parallel_attn"}, 1, 2) == 2;
}

DecoderConfig falcon_config(const ConfigReader& reader) {
  DecoderConfig config;
  const bool is_new = reader.boolean({"new_decoder_architecture"}, false);
  config.vocab_size = reader.integer({"vocab_size"}, 1);
  config.hidden_size = reader.integer({"hidden_size", "n_embed"}, 1);
  config.mlp_size = reader.integer({"ffn_hidden_size"}, 1, 4 * config.hidden_size);
  config.layers = reader.integer({"num_hidden_layers", "n_layer"}, 1);
  config.heads = reader.integer({"num_attention_heads", "n_head"}, 1);
  if (is_new) {
    config.kv_heads = reader.integer({"num_kv_heads", "n_head_kv"}, 1, config.heads);
  } else {
    config.kv_heads = reader.boolean({"multi_query"}, true) ? 1 : config.heads;
  }
  config.head_dim = read_head_dim(reader, "num_attention_heads", config.hidden_size, config.heads);
  config.context = reader.integer({"max_position_embeddings"}, 1, 2048);
  config.norm = NormKind::layer;
  config.norm_epsilon = reader.number({"layer_norm_epsilon"}, 1e-5);
  config.activation = read_activation(reader, {"activation"}, "gelu");
  config.gated_mlp = false;
  config.parallel_residual = is_new || reader.boolean({"parallel_attn"}, true);
  config.one_parallel_norm = config.parallel_residual && !has_two_norms(reader);
  config.qkv_bias = config.output_bias = config.mlp_bias = reader.boolean({"bias"}, false);
  config.norm_bias = true;
  config.tied_head = reader.boolean({"tie_word_embeddings"}, true);
  refuse(reader, "apply_residual_connection_post_layernorm");
  if (reader.boolean({"alibi"}, false)) {
    // transformers rounds the slopes to bfloat16 and scales biases with the query-key products.
    config.alibi = AlibiConfig{.slopes = alibi_slopes(config.heads)};
    for (double& slope : config.alibi->slopes) {
      slope = c10::BFloat16(static_cast<float>(slope)) / std::sqrt(config.head_dim);
    }
  } else {
    config.rotaries = {read_rotary(reader, config.head_dim, config.context)};
  }
  return config;
}

DecoderWeights falcon_weights(const DecoderConfig& config, const ConfigReader&,
                            TensorSource& source) {
  const int64_t hidden = config.hidden_size;
  const int64_t rows = (config.heads + 2 * config.kv_heads) * config.head_dim;
  const bool bias = config.qkv_bias;
  const bool two_norms = config.parallel_residual && !config.one_parallel_norm;
  const std::string root = read_root(source, "transformer.", "ln_f.weight");
  DecoderWeights weights;
  for (int64_t i = 0; i < config.layers; ++i) {
    const std::string prefix = fmt::format("{}h.{}.", root, i);
    LayerWeights layer;
    if (two_norms) {
      layer.attention_norm = read_norm(source, prefix + "ln_attn", hidden, true);
      layer.mlp_norm = read_norm(source, prefix + "ln_mlp", hidden, true);
    } else {
      layer.attention_norm = read_norm(source, prefix + "input_layernorm", hidden, true);
      layer.mlp_norm = config.parallel_residual
                           ? layer.attention_norm
                           : read_norm(source, prefix + "post_attention_layernorm", hidden, true);
    }
    layer.qkv = ungroup(
        read_linear(source, prefix + "self_attention.query_key_value", rows, hidden, bias), config);
    layer.output = read_linear(source, prefix + "self_attention.dense", hidden, hidden, bias);
    layer.gate_up =
        read_linear(source, prefix + "mlp.dense_h_to_4h", config.mlp_size, hidden, bias);
    layer.down = read_linear(source, prefix + "mlp.dense_4h_to_h", hidden, config.mlp_size, bias);
    layer.sink_logit = read_sink_logit(config, prefix + "self_attention", source);
    weights.layers.push_back(std::move(layer));
  }
  weights.final_norm = read_norm(source, root + "ln_f", hidden, true);
  read_embedding_and_head(config, root + "word_embeddings", "lm_head", source, weights);
  return weights;
}

/// llama.cpp's files don't name the style. (Those of RW, with ALiBi, don't exist.)
void falcon_gguf(const GgufFile& gguf, nlohmann::json& config) {
  const bool two_norms = gguf.tensors.contains("blk.0.attn_norm_2.weight");
  config["new_decoder_architecture"] = two_norms || config.value("num_kv_heads", 1) != 1;
  config["num_ln_in_parallel_attn"] = two_norms ? 2 : 1;
}

}  // namespace

Family falcon_family() {
  return {.name = "falcon",
          .read_config = falcon_config,
          .read_weights = falcon_weights,
          .gguf = {.name = "falcon",
                   .mlp_by_tensor = true,
                   .epsilon = "layer_norm_epsilon",
                   .keys = {{"ffn_hidden_size", "feed_forward_length"},
                            {"num_kv_heads", "attention.head_count_kv"}},
                   .adapt = falcon_gguf}};
}

}  // namespace sinkbench
