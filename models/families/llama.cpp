// Llama (Touvron et al. 2023, arXiv 2302.13971) as in transformers' LlamaForCausalLM.
#include "models/family.h"

namespace sinkbench {
namespace {

DecoderConfig read_config(const ConfigReader& reader) {
  DecoderConfig config;
  config.vocab_size = reader.integer({"vocab_size"}, 1);
  config.hidden_size = reader.integer({"hidden_size"}, 1);
  config.mlp_size = reader.integer({"intermediate_size"}, 1);
  config.layers = reader.integer({"num_hidden_layers"}, 1);
  config.heads = reader.integer({"num_attention_heads"}, 1);
  config.kv_heads = reader.integer({"num_key_value_heads"}, 1, config.heads);
  config.head_dim = reader.integer({"head_dim"}, 1, 0);
  if (config.head_dim == 0) {
    if (config.hidden_size % config.heads != 0) {
      reader.fail("num_attention_heads", fmt::format("is {}; expected a divisor of hidden_size {}",
                                                     config.heads, config.hidden_size));
    }
    config.head_dim = config.hidden_size / config.heads;
  }
  config.context = reader.integer({"max_position_embeddings"}, 1, 0);
  config.norm = NormKind::rms;
  config.norm_epsilon = reader.number({"rms_norm_eps"}, 1e-6);
  config.activation = read_activation(reader, {"hidden_act"}, "silu");
  config.gated_mlp = true;
  config.tied_head = reader.boolean({"tie_word_embeddings"}, false);
  const auto parameters = reader.object({"rope_parameters"});
  const double theta = parameters && parameters->has("rope_theta")
                           ? parameters->number({"rope_theta"})
                           : reader.number({"rope_theta"}, 10000.0);
  config.rotary = read_rotary(reader, config.head_dim, theta, config.context);
  return config;
}

DecoderWeights read_weights(const DecoderConfig& config, const ConfigReader& reader,
                            TensorSource& source) {
  const int64_t hidden = config.hidden_size;
  const int64_t query_size = config.heads * config.head_dim;
  const int64_t key_size = config.kv_heads * config.head_dim;
  const bool attention_bias = reader.boolean({"attention_bias"}, false);
  const bool mlp_bias = reader.boolean({"mlp_bias"}, false);

  DecoderWeights weights;
  for (int64_t i = 0; i < config.layers; ++i) {
    const std::string prefix = fmt::format("model.layers.{}.", i);
    const std::string attention = prefix + "self_attn.";
    const std::string mlp = prefix + "mlp.";
    LayerWeights layer;
    layer.attention_norm = read_norm(source, prefix + "input_layernorm", hidden, false);
    layer.mlp_norm = read_norm(source, prefix + "post_attention_layernorm", hidden, false);
    layer.qkv =
        stack({read_linear(source, attention + "q_proj", query_size, hidden, attention_bias),
               read_linear(source, attention + "k_proj", key_size, hidden, attention_bias),
               read_linear(source, attention + "v_proj", key_size, hidden, attention_bias)});
    layer.output = read_linear(source, attention + "o_proj", hidden, query_size, attention_bias);
    layer.gate_up =
        stack({read_linear(source, mlp + "gate_proj", config.mlp_size, hidden, mlp_bias),
               read_linear(source, mlp + "up_proj", config.mlp_size, hidden, mlp_bias)});
    layer.down = read_linear(source, mlp + "down_proj", hidden, config.mlp_size, mlp_bias);
    weights.layers.push_back(std::move(layer));
  }
  weights.final_norm = read_norm(source, "model.norm", hidden, false);
  read_embedding_and_head(config, "model.embed_tokens", "lm_head", source, weights);
  return weights;
}

}  // namespace

Family llama_family() {
  return {"llama", "Llama 1 to 3, TinyLlama, Yi, Vicuna and others of LlamaForCausalLM",
          read_config, read_weights};
}

}  // namespace sinkbench
