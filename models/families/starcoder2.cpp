// StarCoder 2 (Lozhkov et al. 2024, arXiv 2402.19173) as in transformers' Starcoder2ForCausalLM:
// grouped queries, norms and matrices with biases, no gate, a local window in all layers.
#include "models/families/llama.h"

namespace sinkbench {
namespace {

DecoderConfig starcoder2_config(const ConfigReader& reader) {
  DecoderConfig config = read_llama_config(reader, {.tied = true});
  config.norm = NormKind::layer;
  config.norm_epsilon = reader.number({"norm_epsilon"}, 1e-5);
  config.activation = read_activation(reader, {"hidden_act"}, "gelu_pytorch_tanh");
  config.gated_mlp = false;
  const bool bias = reader.boolean({"use_bias"}, true);
  config.qkv_bias = config.output_bias = config.mlp_bias = bias;
  config.norm_bias = true;
  read_local_window(config, reader);
  return config;
}

DecoderWeights starcoder2_weights(const DecoderConfig& config, const ConfigReader&,
                            TensorSource& source) {
  const int64_t hidden = config.hidden_size;
  const int64_t query_size = config.heads * config.head_dim;
  const bool bias = config.qkv_bias;
  const std::string root = read_root(source, "model.", "norm.weight");
  DecoderWeights weights;
  for (int64_t i = 0; i < config.layers; ++i) {
    const std::string prefix = fmt::format("{}layers.{}.", root, i);
    LayerWeights layer;
    layer.attention_norm = read_norm(source, prefix + "input_layernorm", hidden, true);
    layer.mlp_norm = read_norm(source, prefix + "post_attention_layernorm", hidden, true);
    layer.qkv = read_qkv(source, prefix + "self_attn.", config);
    layer.output = read_linear(source, prefix + "self_attn.o_proj", hidden, query_size, bias);
    layer.gate_up = read_linear(source, prefix + "mlp.c_fc", config.mlp_size, hidden, bias);
    layer.down = read_linear(source, prefix + "mlp.c_proj", hidden, config.mlp_size, bias);
    layer.sink_logit = read_sink_logit(config, prefix + "self_attn", source);
    weights.layers.push_back(std::move(layer));
  }
  weights.final_norm = read_norm(source, root + "norm", hidden, true);
  read_embedding_and_head(config, root + "embed_tokens", "lm_head", source, weights);
  return weights;
}

}  // namespace

Family starcoder2_family() {
  return {.name = "starcoder2",
          .read_config = starcoder2_config,
          .read_weights = starcoder2_weights,
          .gguf = {.name = "starcoder2", .epsilon = "norm_epsilon"}};
}

}  // namespace sinkbench
