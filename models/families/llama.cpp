// Llama (Touvron et al. 2023, arXiv 2302.13971) as in transformers' LlamaForCausalLM.
#include "models/families/llama.h"

#include <algorithm>

namespace sinkbench {

DecoderConfig read_llama_config(const ConfigReader& reader) {
  DecoderConfig config;
  config.vocab_size = reader.integer({"vocab_size"}, 1);
  config.hidden_size = reader.integer({"hidden_size"}, 1);
  config.mlp_size = reader.integer({"intermediate_size"}, 1);
  config.layers = reader.integer({"num_hidden_layers"}, 1);
  config.heads = reader.integer({"num_attention_heads"}, 1);
  config.kv_heads = reader.integer({"num_key_value_heads"}, 1, config.heads);
  config.head_dim = reader.integer({"head_dim"}, 1, 0);
  if (config.head_dim == 0) {
    config.head_dim =
        read_head_dim(reader, "num_attention_heads", config.hidden_size, config.heads);
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
  const double fraction = parameters && parameters->has("partial_rotary_factor")
                              ? parameters->number({"partial_rotary_factor"})
                              : reader.number({"partial_rotary_factor"}, 1.0);
  if (fraction <= 0.0 || fraction > 1.0) {
    reader.fail("partial_rotary_factor",
                fmt::format("is {}; expected more than 0 and at most 1", fraction));
  }
  const auto dims = static_cast<int64_t>(static_cast<double>(config.head_dim) * fraction);
  config.rotary = read_rotary(reader, dims, theta, config.context);
  return config;
}

void read_local_windows(DecoderConfig& config, const ConfigReader& reader, int64_t first_layer) {
  const int64_t window = reader.integer({"sliding_window"}, 1, 0);
  if (window == 0) return;
  std::vector<int64_t> windows(config.layers, 0);
  if (reader.has("layer_types")) {
    const nlohmann::json& types = reader.json().at("layer_types");
    if (!types.is_array() || types.size() != windows.size()) {
      reader.fail("layer_types",
                  fmt::format("expected a list of {} words, one for each layer", windows.size()));
    }
    for (size_t layer = 0; layer < windows.size(); ++layer) {
      if (types[layer] == "sliding_attention") {
        windows[layer] = window;
      } else if (types[layer] != "full_attention") {
        reader.fail("layer_types", fmt::format("element {} is {}; expected full_attention or "
                                               "sliding_attention",
                                               layer, types[layer].dump()));
      }
    }
  } else {
    for (int64_t layer = first_layer; layer < config.layers; ++layer) windows[layer] = window;
  }
  const bool any = std::any_of(windows.begin(), windows.end(), [](int64_t w) { return w > 0; });
  if (any) config.local_windows = windows;
}

void read_upper_local_windows(DecoderConfig& config, const ConfigReader& reader) {
  if (!reader.boolean({"use_sliding_window"}, false)) return;
  read_local_windows(config, reader, reader.integer({"max_window_layers"}, 0, 28));
}

DecoderWeights read_llama_weights(const DecoderConfig& config, const LlamaTensors& tensors,
                                  TensorSource& source) {
  const int64_t hidden = config.hidden_size;
  const int64_t query_size = config.heads * config.head_dim;
  const int64_t key_size = config.kv_heads * config.head_dim;

  const std::string root = read_root(source, "model.", "norm.weight");
  DecoderWeights weights;
  for (int64_t i = 0; i < config.layers; ++i) {
    const std::string prefix = fmt::format("{}layers.{}.", root, i);
    const std::string attention = prefix + "self_attn.";
    const std::string mlp = prefix + "mlp.";
    const auto linear = [&](const std::string& name, int64_t out, int64_t in, bool bias) {
      return read_linear(source, name, out, in, bias);
    };
    LayerWeights layer;
    layer.attention_norm = read_norm(source, prefix + "input_layernorm", hidden, false);
    layer.mlp_norm = read_norm(source, prefix + "post_attention_layernorm", hidden, false);
    if (tensors.fused) {
      layer.qkv =
          linear(attention + "qkv_proj", query_size + 2 * key_size, hidden, tensors.qkv_bias);
      layer.gate_up = linear(mlp + "gate_up_proj", 2 * config.mlp_size, hidden, tensors.mlp_bias);
    } else {
      layer.qkv = stack({linear(attention + "q_proj", query_size, hidden, tensors.qkv_bias),
                         linear(attention + "k_proj", key_size, hidden, tensors.qkv_bias),
                         linear(attention + "v_proj", key_size, hidden, tensors.qkv_bias)});
      layer.gate_up = stack({linear(mlp + "gate_proj", config.mlp_size, hidden, tensors.mlp_bias),
                             linear(mlp + "up_proj", config.mlp_size, hidden, tensors.mlp_bias)});
    }
    if (tensors.query_key_norms) {
      layer.query_norm = source.get(attention + "q_norm.weight", {config.head_dim});
      layer.key_norm = source.get(attention + "k_norm.weight", {config.head_dim});
    }
    layer.output = linear(attention + "o_proj", hidden, query_size, tensors.output_bias);
    layer.down = linear(mlp + "down_proj", hidden, config.mlp_size, tensors.mlp_bias);
    layer.sink_logit = read_sink_logit(config, prefix + "self_attn", source);
    weights.layers.push_back(std::move(layer));
  }
  weights.final_norm = read_norm(source, root + "norm", hidden, false);
  read_embedding_and_head(config, root + "embed_tokens", "lm_head", source, weights);
  return weights;
}

namespace {

DecoderWeights read_weights(const DecoderConfig& config, const ConfigReader& reader,
                            TensorSource& source) {
  const bool attention_bias = reader.boolean({"attention_bias"}, false);
  return read_llama_weights(config,
                            {.qkv_bias = attention_bias,
                             .output_bias = attention_bias,
                             .mlp_bias = reader.boolean({"mlp_bias"}, false)},
                            source);
}

}  // namespace

Family llama_family() {
  return {"llama", "Llama 1 to 3, TinyLlama, Yi, Vicuna and others of LlamaForCausalLM",
          read_llama_config, read_weights};
}

}  // namespace sinkbench
