// Phi-1, 1.5 and 2 (Li et al. 2023, arXiv 2309.05463) as in transformers' PhiForCausalLM: attention
// and MLP in parallel after one norm, biases everywhere, the head's included.
#include "models/family.h"

namespace sinkbench {
namespace {

DecoderConfig phi_config(const ConfigReader& reader) {
  DecoderConfig config;
  config.vocab_size = reader.integer({"vocab_size"}, 1);
  config.hidden_size = reader.integer({"hidden_size"}, 1);
  config.mlp_size = reader.integer({"intermediate_size"}, 1, 4 * config.hidden_size);
  config.layers = reader.integer({"num_hidden_layers"}, 1);
  config.heads = reader.integer({"num_attention_heads"}, 1);
  config.kv_heads = reader.integer({"num_key_value_heads"}, 1, config.heads);
  config.head_dim = read_head_dim(reader, "num_attention_heads", config.hidden_size, config.heads);
  config.context = reader.integer({"max_position_embeddings"}, 1, 0);
  config.norm = NormKind::layer;
  config.norm_epsilon = reader.number({"layer_norm_eps"}, 1e-5);
  config.activation = read_activation(reader, {"hidden_act"}, "gelu_new");
  config.gated_mlp = false;
  config.parallel_residual = config.one_parallel_norm = true;
  config.qkv_bias = config.output_bias = config.mlp_bias = config.norm_bias = true;
  config.head_bias = true;
  config.rotaries = {read_rotary(reader, rope_dictionary(reader),
                                 beside_rope_dictionary(reader, 10000.0, 0.5), config.head_dim,
                                 config.context)};
  refuse(reader, "qk_layernorm");
  refuse(reader, "tie_word_embeddings");
  return config;
}

DecoderWeights phi_weights(const DecoderConfig& config, const ConfigReader&,
                            TensorSource& source) {
  const int64_t hidden = config.hidden_size;
  const std::string root = read_root(source, "model.", "final_layernorm.weight");
  DecoderWeights weights;
  for (int64_t i = 0; i < config.layers; ++i) {
    const std::string prefix = fmt::format("{}layers.{}.", root, i);
    LayerWeights layer;
    layer.attention_norm = layer.mlp_norm =
        read_norm(source, prefix + "input_layernorm", hidden, true);
    layer.qkv = read_qkv(source, prefix + "self_attn.", config);
    layer.output = read_linear(source, prefix + "self_attn.dense", hidden, hidden, true);
    layer.gate_up = read_linear(source, prefix + "mlp.fc1", config.mlp_size, hidden, true);
    layer.down = read_linear(source, prefix + "mlp.fc2", hidden, config.mlp_size, true);
    layer.sink_logit = read_sink_logit(config, prefix + "self_attn", source);
    weights.layers.push_back(std::move(layer));
  }
  weights.final_norm = read_norm(source, root + "final_layernorm", hidden, true);
  read_embedding_and_head(config, root + "embed_tokens", "lm_head", source, weights);
  return weights;
}

}  // namespace

Family phi_family() {
  return {.name = "phi",
          .read_config = phi_config,
          .read_weights = phi_weights,
          .gguf = {.name = "phi2", .mlp_by_tensor = true, .epsilon = "layer_norm_eps"}};
}

}  // namespace sinkbench
