// Llama (Touvron et al. 2023, arXiv 2302.13971) as in transformers' LlamaForCausalLM.
#include "models/families/llama.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <stdexcept>

namespace sinkbench {

DecoderConfig read_llama_shape(const ConfigReader& reader, const LlamaDefaults& defaults) {
  DecoderConfig config;
  config.vocab_size = reader.integer({"vocab_size"}, 1);
  config.hidden_size = reader.integer({"hidden_size"}, 1);
  config.mlp_size = reader.integer({"intermediate_size"}, 1);
  config.layers = reader.integer({"num_hidden_layers"}, 1);
  constexpr int64_t most_layers = 10000;  // what is kept for each is not yet checked by tensors
  if (config.layers > most_layers) {
    reader.fail("num_hidden_layers",
                fmt::format("is {}; expected {} at the most", config.layers, most_layers));
  }
  config.heads = reader.integer({"num_attention_heads"}, 1);
  config.kv_heads = reader.integer({"num_key_value_heads"}, 1, config.heads);
  config.head_dim = reader.integer({"head_dim"}, 1, defaults.head_dim);
  if (config.head_dim == 0) {
    config.head_dim =
        read_head_dim(reader, "num_attention_heads", config.hidden_size, config.heads);
  }
  config.context = reader.integer({"max_position_embeddings"}, 1, 0);
  config.norm = NormKind::rms;
  config.norm_epsilon = reader.number({"rms_norm_eps"}, defaults.epsilon);
  config.activation = read_activation(reader, {"hidden_act"}, "silu");
  config.gated_mlp = true;
  config.tied_head = reader.boolean({"tie_word_embeddings"}, defaults.tied);
  return config;
}

DecoderConfig read_llama_config(const ConfigReader& reader, const LlamaDefaults& defaults) {
  DecoderConfig config = read_llama_shape(reader, defaults);
  config.rotaries = {read_rotary(reader, rope_dictionary(reader),
                                 beside_rope_dictionary(reader, defaults.theta, defaults.fraction),
                                 config.head_dim, config.context)};
  return config;
}

void read_llama_biases(DecoderConfig& config, const ConfigReader& reader) {
  config.qkv_bias = config.output_bias = reader.boolean({"attention_bias"}, false);
  config.mlp_bias = reader.boolean({"mlp_bias"}, false);
}

ExpertsConfig read_experts(const ConfigReader& reader, int64_t experts, int64_t chosen) {
  ExpertsConfig result;
  result.experts =
      reader.integer({"num_local_experts", "num_experts", "n_routed_experts"}, 1, experts);
  result.chosen = reader.integer({"num_experts_per_tok", "experts_per_token"}, 1, chosen);
  if (result.chosen > result.experts) {
    reader.fail("num_experts_per_tok",
                fmt::format("is {}, and there are {} experts", result.chosen, result.experts));
  }
  return result;
}

void read_dense_layers(ExpertsConfig& experts, const ConfigReader& reader, int64_t layers) {
  const int64_t step = reader.integer({"decoder_sparse_step"}, 1, 1);
  std::vector<bool> dense(layers);
  for (int64_t layer = 0; layer < layers; ++layer) dense[layer] = (layer + 1) % step != 0;
  if (reader.has("mlp_only_layers")) {
    for (const nlohmann::json& layer : reader.json().at("mlp_only_layers")) {
      if (!layer.is_number_integer() || layer.get<int64_t>() < 0 ||
          layer.get<int64_t>() >= layers) {
        reader.fail("mlp_only_layers",
                    fmt::format("has {}; expected layers from 0 to {}", layer.dump(), layers - 1));
      }
      dense[layer.get<int64_t>()] = true;
    }
  }
  if (std::find(dense.begin(), dense.end(), true) != dense.end()) experts.dense_layers = dense;
}

void set_experts(DecoderConfig& config, const ConfigReader& reader, ExpertsConfig experts) {
  constexpr int64_t most_experts = 10000;
  if (experts.experts > most_experts) {
    reader.fail("num_experts",
                fmt::format("is {}; expected {} at the most", experts.experts, most_experts));
  }
  experts.dense_size = config.mlp_size;
  config.mlp_size = experts.chosen * experts.size + experts.shared_size;
  config.experts = std::move(experts);
}

std::vector<std::string> read_layer_types(const ConfigReader& reader, int64_t layers) {
  if (!reader.has("layer_types")) return {};
  const nlohmann::json& types = reader.json().at("layer_types");
  if (!types.is_array() || static_cast<int64_t>(types.size()) != layers) {
    reader.fail("layer_types",
                fmt::format("expected a list of {} words, one for each layer", layers));
  }
  for (size_t layer = 0; layer < types.size(); ++layer) {
    if (types[layer] != "sliding_attention" && types[layer] != "full_attention") {
      reader.fail("layer_types",
                  fmt::format("element {} is {}; expected full_attention or sliding_attention",
                              layer, types[layer].dump()));
    }
  }
  return types.get<std::vector<std::string>>();
}

void read_local_windows(DecoderConfig& config, const ConfigReader& reader, int64_t absent,
                        const std::function<bool(int64_t layer)>& is_local) {
  const bool is_absent = !reader.json().contains("sliding_window");
  const int64_t window = is_absent ? absent : reader.integer({"sliding_window"}, 1, 0);
  const std::vector<std::string> types = read_layer_types(reader, config.layers);
  std::vector<int64_t> windows;
  for (int64_t layer = 0; layer < config.layers; ++layer) {
    const bool local = types.empty() ? is_local(layer) : types[layer] == "sliding_attention";
    windows.push_back(local ? window : 0);
  }
  const bool any = std::any_of(windows.begin(), windows.end(), [](int64_t w) { return w > 0; });
  if (any) config.local_windows = windows;
}

void read_rotaries_by_window(DecoderConfig& config, const ConfigReader& reader,
                             const BesideDictionary& global, const BesideDictionary& local) {
  auto of_global = rope_dictionary(reader, "full_attention");
  const auto of_local = rope_dictionary(reader, "sliding_attention");
  if (!of_global && !of_local) of_global = rope_dictionary(reader);
  config.rotaries = {read_rotary(reader, of_global, global, config.head_dim, config.context),
                     read_rotary(reader, of_local, local, config.head_dim, config.context)};
  for (int64_t layer = 0; layer < config.layers; ++layer) {
    const bool windowed = !config.local_windows.empty() && config.local_windows[layer] > 0;
    config.rotary_of_layer.push_back(windowed ? 1 : 0);
  }
}

void read_local_window(DecoderConfig& config, const ConfigReader& reader, int64_t absent) {
  read_local_windows(config, reader, absent, [](int64_t) { return true; });
  const auto& windows = config.local_windows;
  if (std::find(windows.begin(), windows.end(), 0) != windows.end()) {
    reader.fail("layer_types",
                "names layers without a window, which the family's own code doesn't follow");
  }
}

bool uses_windows(const ConfigReader& reader) {
  reader.has("sliding_window");  // which may be there where it means nothing
  return reader.boolean({"use_sliding_window"}, false);
}

void read_upper_local_windows(DecoderConfig& config, const ConfigReader& reader) {
  if (!uses_windows(reader)) return;
  const int64_t first = reader.integer({"max_window_layers"}, 0, 28);
  read_local_windows(config, reader, 4096, [&](int64_t layer) { return layer >= first; });
}

namespace {

/// gpt-oss's: matrices of all experts in one tensor, [experts, in, out], gate and up in turns.
std::vector<ExpertWeights> read_stacked_experts(const ExpertsConfig& experts, int64_t hidden,
                                                const std::string& prefix, TensorSource& source) {
  const int64_t count = experts.experts, size = experts.size;
  const auto read = [&](const std::string& name, int64_t out, int64_t in, bool turns) {
    if (source.has(name + "_blocks")) return source.get_mxfp4(name, {count, out, in}, turns);
    const at::Tensor all = source.get(name, {count, in, out});
    std::vector<Linear> matrices(count);
    for (int64_t e = 0; e < count; ++e) {
      const at::Tensor rows = all.select(0, e).t();
      matrices[e].weight =
          turns ? at::cat({rows.slice(0, 0, out, 2), rows.slice(0, 1, out, 2)}) : rows.contiguous();
    }
    return matrices;
  };
  const std::vector<Linear> gate_up = read(prefix + "gate_up_proj", 2 * size, hidden, true);
  const std::vector<Linear> down = read(prefix + "down_proj", hidden, size, false);
  std::vector<ExpertWeights> result(count);
  for (int64_t e = 0; e < count; ++e) result[e] = {gate_up[e], down[e]};
  if (!experts.bias) return result;
  const at::Tensor inner = source.get(prefix + "gate_up_proj_bias", {count, 2 * size});
  const at::Tensor outer = source.get(prefix + "down_proj_bias", {count, hidden});
  for (int64_t e = 0; e < count; ++e) {
    result[e].gate_up.bias = inner[e].view({size, 2}).t().reshape({2 * size});
    result[e].down.bias = outer[e];
  }
  return result;
}

ExpertsWeights read_expert_weights(const DecoderConfig& config, const ExpertNames& names,
                                   const std::string& prefix, TensorSource& source) {
  const ExpertsConfig& experts = *config.experts;
  const int64_t hidden = config.hidden_size;
  const std::string block = prefix + names.block + ".";
  const auto gated = [&](const std::string& name, int64_t size) {
    return ExpertWeights{
        .gate_up = stack({read_linear(source, name + names.gate, size, hidden, false),
                          read_linear(source, name + names.up, size, hidden, false)}),
        .down = read_linear(source, name + names.down, hidden, size, false)};
  };
  ExpertsWeights weights;
  weights.router =
      read_linear(source, block + names.router, experts.experts, hidden, experts.router_bias);
  if (experts.sigmoid) {
    weights.correction =
        source.get_exact(block + names.router + ".e_score_correction_bias", {experts.experts});
  }
  if (names.stacked) {
    weights.experts = read_stacked_experts(experts, hidden, block + "experts.", source);
  } else {
    for (int64_t e = 0; e < experts.experts; ++e) {
      weights.experts.push_back(gated(fmt::format("{}experts.{}.", block, e), experts.size));
    }
  }
  if (experts.shared_size == 0) return weights;
  const ExpertWeights shared = gated(block + names.shared + ".", experts.shared_size);
  weights.shared_gate_up = shared.gate_up;
  weights.shared_down = shared.down;
  if (experts.shared_gated) {
    weights.shared_gate = read_linear(source, block + "shared_expert_gate", 1, hidden, false);
  }
  return weights;
}

}  // namespace

DecoderWeights read_llama_weights(const DecoderConfig& config, const LlamaTensors& tensors,
                                  TensorSource& source) {
  const int64_t hidden = config.hidden_size;
  const int64_t query_size = config.heads * config.head_dim;
  const int64_t key_size = config.kv_heads * config.head_dim;

  const std::string root =
      tensors.root.empty() ? read_root(source, "model.", "norm.weight") : tensors.root;
  const auto read_scale = [&](const std::string& name, int64_t size) {
    // One is added before rounding: most of a small weight would be lost beside it.
    return tensors.norm_less_one ? source.get_exact(name, {size}) + 1.0 : source.get(name, {size});
  };
  DecoderWeights weights;
  for (int64_t i = 0; i < config.layers; ++i) {
    const std::string prefix = fmt::format("{}layers.{}.", root, i);
    const std::string attention = prefix + "self_attn.";
    const std::string mlp = prefix + "mlp.";
    const auto linear = [&](const std::string& name, int64_t out, int64_t in, bool bias) {
      return read_linear(source, name, out, in, bias);
    };
    const auto norm = [&](const char* name) {
      NormWeights norm;
      norm.weight = read_scale(prefix + name + ".weight", hidden);
      return norm;
    };
    LayerWeights layer;
    switch (config.norm_placement) {
      case NormPlacement::before:
        layer.attention_norm = norm("input_layernorm");
        layer.mlp_norm = norm("post_attention_layernorm");
        break;
      case NormPlacement::after:
        layer.attention_post_norm = norm("post_attention_layernorm");
        layer.mlp_post_norm = norm("post_feedforward_layernorm");
        break;
      case NormPlacement::around:
        layer.attention_norm = norm("input_layernorm");
        layer.attention_post_norm = norm("post_attention_layernorm");
        layer.mlp_norm = norm("pre_feedforward_layernorm");
        layer.mlp_post_norm = norm("post_feedforward_layernorm");
        break;
      case NormPlacement::residual:
        throw std::logic_error("no family of Llama's making has norms after the residual sum");
    }
    layer.qkv = tensors.fused ? linear(attention + "qkv_proj", query_size + 2 * key_size, hidden,
                                       config.qkv_bias)
                              : read_qkv(source, attention, config);
    const int64_t mlp_size = config.experts ? config.experts->dense_size : config.mlp_size;
    if (config.experts && !config.experts->is_dense(i)) {
      layer.experts = read_expert_weights(config, tensors.experts, prefix, source);
    } else if (tensors.fused) {
      layer.gate_up = linear(mlp + "gate_up_proj", 2 * mlp_size, hidden, config.mlp_bias);
    } else {
      layer.gate_up = stack({linear(mlp + "gate_proj", mlp_size, hidden, config.mlp_bias),
                             linear(mlp + "up_proj", mlp_size, hidden, config.mlp_bias)});
    }
    if (config.query_key_norm != QueryKeyNorm::none) {
      const bool whole = config.query_key_norm == QueryKeyNorm::whole;
      layer.query_norm =
          read_scale(attention + "q_norm.weight", whole ? query_size : config.head_dim);
      layer.key_norm = read_scale(attention + "k_norm.weight", whole ? key_size : config.head_dim);
    }
    layer.output = linear(attention + "o_proj", hidden, query_size, config.output_bias);
    if (layer.gate_up.weight.defined()) {
      layer.down = linear(mlp + "down_proj", hidden, mlp_size, config.mlp_bias);
    }
    layer.sink_logit = read_sink_logit(config, prefix + "self_attn", source);
    weights.layers.push_back(std::move(layer));
  }
  weights.final_norm.weight = read_scale(root + "norm.weight", hidden);
  read_embedding_and_head(config, root + "embed_tokens", tensors.head, source, weights);
  return weights;
}

DecoderWeights read_llama_weights(const DecoderConfig& config, const ConfigReader&,
                                  TensorSource& source) {
  return read_llama_weights(config, LlamaTensors{}, source);
}

namespace {

DecoderConfig llama_config(const ConfigReader& reader) {
  DecoderConfig config = read_llama_config(reader);
  read_llama_biases(config, reader);
  return config;
}

}  // namespace

Family llama_family() {
  return {.name = "llama",
          .read_config = llama_config,
          .read_weights = read_llama_weights,
          .gguf = {.name = "llama", .paired = true}};
}

}  // namespace sinkbench
