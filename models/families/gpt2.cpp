// GPT-2 (Radford et al. 2019) as in transformers' GPT2LMHeadModel. Its positions are learned, so
// that a cache can't shift them: only dense, up to the table's end, and recompute make sense.
#include <ATen/ATen.h>

#include "models/family.h"

namespace sinkbench {
namespace {

DecoderConfig gpt2_config(const ConfigReader& reader) {
  DecoderConfig config;
  config.vocab_size = reader.integer({"vocab_size"}, 1);
  config.hidden_size = reader.integer({"n_embd", "hidden_size"}, 1);
  config.mlp_size = reader.integer({"n_inner"}, 1, 4 * config.hidden_size);
  config.layers = reader.integer({"n_layer", "num_hidden_layers"}, 1);
  config.heads = reader.integer({"n_head", "num_attention_heads"}, 1);
  config.kv_heads = config.heads;
  config.head_dim = read_head_dim(reader, "n_head", config.hidden_size, config.heads);
  config.context = reader.integer({"n_positions", "max_position_embeddings", "n_ctx"}, 1);
  config.learned_positions = config.context;
  config.norm = NormKind::layer;
  config.norm_epsilon = reader.number({"layer_norm_epsilon"}, 1e-5);
  config.activation = read_activation(reader, {"activation_function"}, "gelu_new");
  config.gated_mlp = false;
  config.qkv_bias = config.output_bias = config.mlp_bias = config.norm_bias = true;
  config.tied_head = reader.boolean({"tie_word_embeddings"}, true);
  if (!reader.boolean({"scale_attn_weights"}, true)) config.attention_scale = 1.0;
  refuse(reader, "scale_attn_by_inverse_layer_idx");
  refuse(reader, "add_cross_attention");
  return config;
}

/// transformers' Conv1D keeps a linear layer's weight as [in, out].
Linear read_conv(TensorSource& source, const std::string& name, int64_t out, int64_t in) {
  return {source.get(name + ".weight", {in, out}).t().contiguous(),
          source.get(name + ".bias", {out})};
}

DecoderWeights gpt2_weights(const DecoderConfig& config, const ConfigReader&,
                            TensorSource& source) {
  const int64_t hidden = config.hidden_size;
  const std::string root = read_root(source, "transformer.", "ln_f.weight");
  DecoderWeights weights;
  weights.positions = source.get(root + "wpe.weight", {config.learned_positions, hidden});
  for (int64_t i = 0; i < config.layers; ++i) {
    const std::string prefix = fmt::format("{}h.{}.", root, i);
    LayerWeights layer;
    layer.attention_norm = read_norm(source, prefix + "ln_1", hidden, true);
    layer.mlp_norm = read_norm(source, prefix + "ln_2", hidden, true);
    layer.qkv = read_conv(source, prefix + "attn.c_attn", 3 * hidden, hidden);
    layer.output = read_conv(source, prefix + "attn.c_proj", hidden, hidden);
    layer.gate_up = read_conv(source, prefix + "mlp.c_fc", config.mlp_size, hidden);
    layer.down = read_conv(source, prefix + "mlp.c_proj", hidden, config.mlp_size);
    layer.sink_logit = read_sink_logit(config, prefix + "attn", source);
    weights.layers.push_back(std::move(layer));
  }
  weights.final_norm = read_norm(source, root + "ln_f", hidden, true);
  read_embedding_and_head(config, root + "wte", "lm_head", source, weights);
  return weights;
}

}  // namespace

Family gpt2_family() {
  return {.name = "gpt2",
          .read_config = gpt2_config,
          .read_weights = gpt2_weights,
          .gguf = {.name = "gpt2",
                   .epsilon = "layer_norm_epsilon",
                   .keys = {{"n_inner", "feed_forward_length"}}}};
}

}  // namespace sinkbench
