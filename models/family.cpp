#include "models/family.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>

namespace sinkbench {

const std::vector<Family>& family_registry() {
  static const std::vector<Family> families = {
      llama_family(),     mistral_family(),    qwen2_family(),       qwen3_family(),
      phi3_family(),      gpt_neox_family(),   falcon_family(),      mpt_family(),
      gpt2_family(),      gemma2_family(),     gemma3_text_family(), gemma3_family(),
      smollm3_family(),   granite_family(),    olmo2_family(),       olmo3_family(),
      phi_family(),       starcoder2_family(), opt_family(),         mixtral_family(),
      qwen2_moe_family(), qwen3_moe_family(),  olmoe_family(),       glm4_moe_family(),
      gpt_oss_family()};
  return families;
}

const Family& find_family(const ConfigReader& config) {
  if (!config.has("model_type") && config.has("architectures")) {
    config.fail("model_type", fmt::format("is missing; architectures is {}",
                                          config.json()["architectures"].dump()));
  }
  const std::string type = config.text({"model_type"});
  for (const Family& family : family_registry()) {
    if (family.name == type) return family;
  }
  for (const Unsupported& family : unsupported_families()) {
    if (family.name == type) {
      config.fail("model_type",
                  fmt::format("'{}' is not supported: it has {}", type, family.lacking));
    }
  }
  // No name that is like it: the two would compute something else.
  config.fail("model_type", fmt::format("'{}' is not supported; `sinkbench list families` names "
                                        "those that are",
                                        type));
}

namespace {

/// Fields that mean something in some configurations, and what they are where they mean nothing. A
/// family that doesn't read one can't run a model that has it otherwise.
struct Elsewhere {
  const char* field;
  nlohmann::json nothing;
};

const std::vector<Elsewhere>& fields_elsewhere() {
  static const std::vector<Elsewhere> fields = {
      {"rope_condense_ratio", 1},   // LongChat
      {"rope_ratio", 1},            // ChatGLM
      {"embedding_multiplier", 1},  // Granite, Falcon H1
      {"attention_multiplier", nullptr},
      {"residual_multiplier", 1},
      {"logits_scaling", 1},
      {"logit_scale", 1},  // Cohere, MPT
      {"scale_emb", 1},    // MiniCPM
      {"scale_depth", nullptr},
      {"dim_model_base", nullptr},
      {"lm_head_multiplier", 1},
      {"attn_logit_softcapping", nullptr},  // Gemma 2
      {"final_logit_softcapping", nullptr},
      {"query_pre_attn_scalar", nullptr},
      {"no_rope_layers", nullptr},  // SmolLM 3, Llama 4
      {"no_rope_layer_interval", 0},
      {"rope_local_base_freq", nullptr},
      {"attn_temperature_tuning", false},
      {"clip_qkv", nullptr},    // OLMo, DBRX
      {"qk_layernorm", false},  // Phi, StableLM
      {"use_qk_norm", false},
      {"qk_norm", false},
      {"use_parallel_residual", false},
      {"alibi", false},
      {"rotary_pct", nullptr},
      {"rotary_dim", nullptr},
      {"num_experts", 0},
      {"num_local_experts", 0},
      {"n_routed_experts", 0},
      {"num_kv_shared_layers", 0},
      {"hidden_size_per_layer_input", 0},
      {"attention_chunk_size", nullptr},
      {"sliding_window_pattern", nullptr},
      {"use_bidirectional_attention", false},
      {"tie_qk", false},
      {"is_causal", true},  // decoders made into encoders
  };
  return fields;
}

}  // namespace

void refuse_unread(const ConfigReader& reader, const DecoderConfig& config) {
  for (const auto& [field, nothing] : fields_elsewhere()) {
    const auto it = reader.json().find(field);
    if (it == reader.json().end() || it->is_null() || *it == nothing) continue;
    if (reader.was_read(field)) continue;
    reader.fail(field,
                fmt::format("is {}, which changes what a model computes and means nothing in "
                            "the family '{}': not supported",
                            it->dump(), config.family));
  }
  // A norm's epsilon under another family's name would be passed over.
  for (const char* field : {"norm_eps", "norm_epsilon", "rms_norm_eps", "layer_norm_eps",
                            "layer_norm_epsilon", "layernorm_epsilon"}) {
    const auto it = reader.json().find(field);
    if (it == reader.json().end() || !it->is_number() || reader.was_read(field)) continue;
    if (it->get<double>() == config.norm_epsilon) continue;
    reader.fail(field,
                fmt::format("is {}, but the norms of the family '{}' have an epsilon of {:g}, "
                            "by its own field or by default",
                            it->dump(), config.family, config.norm_epsilon));
  }
}

namespace {

/// What is there and has no part in what is computed, for people.
std::vector<std::string> notes_of(const ConfigReader& reader) {
  std::vector<std::string> notes;
  if (reader.has("auto_map")) {
    notes.push_back(
        fmt::format("config.json asks for code of the model's own (auto_map), which is not run: it "
                    "is computed as {}",
                    reader.text({"model_type"})));
  }
  const auto quantised = reader.object({"quantization_config"});
  const bool mxfp4 =
      quantised && quantised->has("quant_method") && quantised->text({"quant_method"}) == "mxfp4";
  if (quantised && !mxfp4) {
    notes.push_back("config.json has a quantization_config, but the weights are not quantised");
  }
  const auto window = reader.json().find("sliding_window");
  if (window != reader.json().end() && window->is_number() && !reader.was_read("sliding_window")) {
    notes.push_back(fmt::format(
        "config.json has a sliding_window of {}, which the family doesn't use", window->dump()));
  }
  return notes;
}

}  // namespace

DecoderConfig read_decoder_config(const ConfigReader& reader) {
  DecoderConfig config = find_family(reader).read_config(reader);
  config.family = reader.text({"model_type"});
  if (config.heads % config.kv_heads != 0) {
    reader.fail("num_key_value_heads", fmt::format("is {}; expected a divisor of the {} heads",
                                                   config.kv_heads, config.heads));
  }
  for (const RotaryConfig& rotary : config.rotaries) {
    if (rotary.dims > config.head_dim) {
      reader.fail("rotary", fmt::format("{} rotated dimensions; a head has {}", rotary.dims,
                                        config.head_dim));
    }
  }
  config.learned_sink_logits = reader.boolean({"learned_sink_logits"}, config.learned_sink_logits);
  if (reader.has("constant_sink_logit")) {
    if (config.learned_sink_logits) {
      reader.fail("constant_sink_logit", "is set beside learned_sink_logits; expected one of them");
    }
    config.constant_sink_logit = reader.number({"constant_sink_logit"});
  }
  if (reader.has("sink_token_id")) {
    const int64_t id = reader.integer({"sink_token_id"}, 0);
    if (id >= config.vocab_size) {
      reader.fail("sink_token_id", fmt::format("is {}; expected an id from 0 to {}, the vocabulary",
                                               id, config.vocab_size - 1));
    }
    config.sink_token = static_cast<int32_t>(id);
  }
  if (config.attention_scale == 0.0) config.attention_scale = 1.0 / std::sqrt(config.head_dim);
  refuse_unread(reader, config);
  for (std::string& note : notes_of(reader)) config.notes.push_back(std::move(note));
  return config;
}

std::string read_root(const TensorSource& source, const std::string& root,
                      const std::string& tensor) {
  return source.has(tensor) ? "" : root;
}

Linear read_linear(TensorSource& source, const std::string& name, int64_t out, int64_t in,
                   bool bias) {
  Linear linear;
  linear.weight = source.get(name + ".weight", {out, in});
  if (bias) linear.bias = source.get(name + ".bias", {out});
  return linear;
}

NormWeights read_norm(TensorSource& source, const std::string& name, int64_t size, bool bias) {
  NormWeights norm;
  norm.weight = source.get(name + ".weight", {size});
  if (bias) norm.bias = source.get(name + ".bias", {size});
  return norm;
}

void read_embedding_and_head(const DecoderConfig& config, const std::string& embedding,
                             const std::string& head, TensorSource& source,
                             DecoderWeights& weights) {
  const std::string embedding_name = embedding + ".weight";
  const std::string head_name = head + ".weight";
  const int64_t vocab = config.vocab_size;
  const int64_t hidden = config.hidden_size;
  if (!config.tied_head) {
    weights.embedding = source.get(embedding_name, {vocab, hidden});
    weights.head = read_linear(source, head, vocab, hidden, config.head_bias);
    return;
  }
  const bool only_head = !source.has(embedding_name) && source.has(head_name);
  weights.embedding = source.get(only_head ? head_name : embedding_name, {vocab, hidden});
  weights.head.weight = weights.embedding;
  if (only_head || !source.has(head_name)) return;
  const at::Tensor stored = source.get(head_name, {vocab, hidden});
  if (!source.same(head_name, embedding_name)) weights.head.weight = stored;
}

Linear stack(const std::vector<Linear>& parts) {
  std::vector<at::Tensor> weights, biases;
  for (const Linear& part : parts) {
    weights.push_back(part.weight);
    if (part.bias.defined()) biases.push_back(part.bias);
  }
  if (!biases.empty() && biases.size() != parts.size()) {
    throw std::logic_error("stack: either all parts have a bias or none");
  }
  Linear result{at::cat(weights, 0), {}};
  if (!biases.empty()) result.bias = at::cat(biases, 0);
  return result;
}

Linear read_qkv(TensorSource& source, const std::string& attention, const DecoderConfig& config) {
  const auto rows = [&](const char* name, int64_t heads) {
    return read_linear(source, attention + name, heads * config.head_dim, config.hidden_size,
                       config.qkv_bias);
  };
  return stack({rows("q_proj", config.heads), rows("k_proj", config.kv_heads),
                rows("v_proj", config.kv_heads)});
}

Linear ungroup(const Linear& rows, const DecoderConfig& config) {
  const int64_t share = config.heads / config.kv_heads;
  const auto by_kind = [&](const at::Tensor& x) {
    const at::Tensor groups = x.view({config.kv_heads, share + 2, config.head_dim, -1});
    const auto kind = [&](int64_t begin, int64_t size) {
      return groups.narrow(1, begin, size).reshape({-1, groups.size(3)});
    };
    return at::cat({kind(0, share), kind(share, 1), kind(share + 1, 1)}).view(x.sizes());
  };
  return {by_kind(rows.weight), rows.bias.defined() ? by_kind(rows.bias) : at::Tensor()};
}

at::Tensor read_sink_logit(const DecoderConfig& config, const std::string& attention,
                           TensorSource& source) {
  if (!config.learned_sink_logits) return {};
  return source.get(attention + ".sinks", {config.heads});
}

int64_t read_head_dim(const ConfigReader& config, const char* field, int64_t hidden_size,
                      int64_t heads) {
  if (hidden_size % heads != 0) {
    config.fail(field,
                fmt::format("is {}; expected a divisor of hidden_size {}", heads, hidden_size));
  }
  return hidden_size / heads;
}

void refuse(const ConfigReader& config, const char* field) {
  if (config.boolean({field}, false)) config.fail(field, "is true, which is not supported");
}

Activation read_activation(const ConfigReader& config, ConfigReader::Names names,
                           const std::string& fallback) {
  const std::string name = config.text(names, fallback);
  if (name == "silu" || name == "swish") return Activation::silu;
  if (name == "gelu") return Activation::gelu;
  if (name == "gelu_new" || name == "gelu_fast" || name == "gelu_pytorch_tanh") {
    return Activation::gelu_tanh;
  }
  if (name == "relu") return Activation::relu;
  config.fail(*names.begin(), fmt::format("'{}' is not supported; expected silu, gelu, gelu_new, "
                                          "gelu_fast, gelu_pytorch_tanh or relu",
                                          name));
}

}  // namespace sinkbench
