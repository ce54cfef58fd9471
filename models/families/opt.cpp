// OPT (Zhang et al. 2022, arXiv 2205.01068) as in transformers' OPTForCausalLM. Its positions are
// learned, so that a cache can't shift them: only dense, up to the table's end, and recompute make
// sense.
#include <ATen/ATen.h>

#include "models/family.h"

namespace sinkbench {
namespace {

DecoderConfig opt_config(const ConfigReader& reader) {
  DecoderConfig config;
  config.vocab_size = reader.integer({"vocab_size"}, 1);
  config.hidden_size = reader.integer({"hidden_size"}, 1);
  config.mlp_size = reader.integer({"ffn_dim"}, 1);
  config.layers = reader.integer({"num_hidden_layers"}, 1);
  config.heads = reader.integer({"num_attention_heads"}, 1);
  config.kv_heads = config.heads;
  config.head_dim = read_head_dim(reader, "num_attention_heads", config.hidden_size, config.heads);
  config.context = reader.integer({"max_position_embeddings"}, 1);
  config.learned_positions = config.context;
  config.norm = NormKind::layer;
  config.norm_epsilon = 1e-5;
  config.activation = read_activation(reader, {"activation_function"}, "relu");
  config.gated_mlp = false;
  config.tied_head = reader.boolean({"tie_word_embeddings"}, true);
  const bool bias = reader.boolean({"enable_bias"}, true);
  config.qkv_bias = config.output_bias = config.mlp_bias = bias;
  config.norm_bias = true;
  if (!reader.boolean({"do_layer_norm_before"}, true)) {
    config.norm_placement = NormPlacement::residual;
  }
  if (!reader.boolean({"layer_norm_elementwise_affine"}, true)) {
    reader.fail("layer_norm_elementwise_affine", "is false, which is not supported");
  }
  refuse(reader, "_remove_final_layer_norm");
  return config;
}

DecoderWeights opt_weights(const DecoderConfig& config, const ConfigReader& reader,
                            TensorSource& source) {
  const int64_t hidden = config.hidden_size;
  const std::string root = read_root(source, "model.", "decoder.embed_tokens.weight") + "decoder.";
  DecoderWeights weights;
  // The first two rows belong to no position (transformers' OPTLearnedPositionalEmbedding).
  constexpr int64_t offset = 2;
  weights.positions =
      source.get(root + "embed_positions.weight", {config.learned_positions + offset, hidden})
          .narrow(0, offset, config.learned_positions);
  for (int64_t i = 0; i < config.layers; ++i) {
    const std::string prefix = fmt::format("{}layers.{}.", root, i);
    const std::string attention = prefix + "self_attn.";
    const auto linear = [&](const std::string& name, int64_t out, int64_t in) {
      return read_linear(source, name, out, in, config.qkv_bias);
    };
    LayerWeights layer;
    layer.attention_norm = read_norm(source, prefix + "self_attn_layer_norm", hidden, true);
    layer.mlp_norm = read_norm(source, prefix + "final_layer_norm", hidden, true);
    layer.qkv = read_qkv(source, attention, config);
    layer.output = linear(attention + "out_proj", hidden, hidden);
    layer.gate_up = linear(prefix + "fc1", config.mlp_size, hidden);
    layer.down = linear(prefix + "fc2", hidden, config.mlp_size);
    layer.sink_logit = read_sink_logit(config, prefix + "self_attn", source);
    weights.layers.push_back(std::move(layer));
  }
  // Where norms come last, the last layer's is the model's.
  if (config.norm_placement == NormPlacement::before) {
    weights.final_norm = read_norm(source, root + "final_layer_norm", hidden, true);
  }
  const int64_t embedded = reader.integer({"word_embed_proj_dim"}, 1, hidden);
  if (embedded == hidden) {
    read_embedding_and_head(config, root + "embed_tokens", "lm_head", source, weights);
    return weights;
  }
  // OPT 350m: a narrower embedding, projected into the layers and out of them. Both products are
  // made once, for all tokens.
  DecoderConfig narrow = config;
  narrow.hidden_size = embedded;
  read_embedding_and_head(narrow, root + "embed_tokens", "lm_head", source, weights);
  const at::Tensor in = source.get(root + "project_in.weight", {hidden, embedded});
  const at::Tensor out = source.get(root + "project_out.weight", {embedded, hidden});
  if (in.is_meta()) {
    weights.embedding = at::empty({config.vocab_size, hidden}, in.options());
    weights.head.weight = at::empty({config.vocab_size, hidden}, in.options());
    return weights;
  }
  weights.head.weight = at::matmul(weights.head.weight, out);
  weights.embedding = at::matmul(weights.embedding, in.t());
  return weights;
}

}  // namespace

Family opt_family() {
  return {.name = "opt", .read_config = opt_config, .read_weights = opt_weights};
}

}  // namespace sinkbench
