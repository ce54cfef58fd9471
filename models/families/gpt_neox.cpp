// GPT-NeoX and Pythia (Black et al. 2022, arXiv 2204.06745) as in transformers'
// GPTNeoXForCausalLM.
#include "models/family.h"

namespace sinkbench {
namespace {

DecoderConfig gpt_neox_config(const ConfigReader& reader) {
  DecoderConfig config;
  config.vocab_size = reader.integer({"vocab_size"}, 1);
  config.hidden_size = reader.integer({"hidden_size"}, 1);
  config.mlp_size = reader.integer({"intermediate_size"}, 1, 4 * config.hidden_size);
  config.layers = reader.integer({"num_hidden_layers"}, 1);
  config.heads = reader.integer({"num_attention_heads"}, 1);
  config.kv_heads = config.heads;
  config.head_dim = read_head_dim(reader, "num_attention_heads", config.hidden_size, config.heads);
  config.context = reader.integer({"max_position_embeddings"}, 1, 0);
  config.norm = NormKind::layer;
  config.norm_epsilon = reader.number({"layer_norm_eps"}, 1e-5);
  config.activation = read_activation(reader, {"hidden_act"}, "gelu");
  config.gated_mlp = false;
  config.parallel_residual = reader.boolean({"use_parallel_residual"}, true);
  config.tied_head = reader.boolean({"tie_word_embeddings"}, false);
  config.qkv_bias = config.output_bias = reader.boolean({"attention_bias"}, true);
  config.mlp_bias = config.norm_bias = true;
  const BesideDictionary beside = {
      .theta = reader.number({"rotary_emb_base", "rope_theta"}, 10000.0),
      .fraction = reader.number({"rotary_pct", "partial_rotary_factor"}, 0.25)};
  config.rotaries = {
      read_rotary(reader, rope_dictionary(reader), beside, config.head_dim, config.context)};
  return config;
}

DecoderWeights gpt_neox_weights(const DecoderConfig& config, const ConfigReader&,
                            TensorSource& source) {
  const int64_t hidden = config.hidden_size;
  const bool attention_bias = config.qkv_bias;
  const std::string root = read_root(source, "gpt_neox.", "final_layer_norm.weight");
  DecoderWeights weights;
  for (int64_t i = 0; i < config.layers; ++i) {
    const std::string prefix = fmt::format("{}layers.{}.", root, i);
    LayerWeights layer;
    layer.attention_norm = read_norm(source, prefix + "input_layernorm", hidden, true);
    layer.mlp_norm = read_norm(source, prefix + "post_attention_layernorm", hidden, true);
    layer.qkv = ungroup(read_linear(source, prefix + "attention.query_key_value", 3 * hidden,
                                    hidden, attention_bias),
                        config);
    layer.output = read_linear(source, prefix + "attention.dense", hidden, hidden, attention_bias);
    layer.gate_up =
        read_linear(source, prefix + "mlp.dense_h_to_4h", config.mlp_size, hidden, true);
    layer.down = read_linear(source, prefix + "mlp.dense_4h_to_h", hidden, config.mlp_size, true);
    layer.sink_logit = read_sink_logit(config, prefix + "attention", source);
    weights.layers.push_back(std::move(layer));
  }
  weights.final_norm = read_norm(source, root + "final_layer_norm", hidden, true);
  read_embedding_and_head(config, root + "embed_in", "embed_out", source, weights);
  return weights;
}

/// GGUF doesn't say which GELU it is: GPT-NeoX-20B's is by tanh, Pythia's and the others' is not.
void gpt_neox_gguf(const GgufFile&, nlohmann::json& config) {
  const bool is_20b = config["num_hidden_layers"] == 44 && config["hidden_size"] == 6144;
  config["hidden_act"] = is_20b ? "gelu_fast" : "gelu";
}

}  // namespace

Family gpt_neox_family() {
  return {.name = "gpt_neox",
          .read_config = gpt_neox_config,
          .read_weights = gpt_neox_weights,
          .gguf = {.name = "gptneox",
                   .epsilon = "layer_norm_eps",
                   .keys = {{"use_parallel_residual", "use_parallel_residual"}},
                   .adapt = gpt_neox_gguf}};
}

}  // namespace sinkbench
