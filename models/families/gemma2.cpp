// Gemma 2 (arXiv 2408.00118) as in transformers' Gemma2ForCausalLM: norms around attention and MLP,
// whose weights are stored less one, scores and logits that are capped, a window in every other
// layer.
#include <cmath>

#include "models/families/gemma.h"

namespace sinkbench {

DecoderConfig read_gemma_shape(const ConfigReader& reader) {
  DecoderConfig config = read_llama_shape(reader, {.tied = true, .head_dim = 256});
  config.norm_placement = NormPlacement::around;
  config.activation =
      read_activation(reader, {"hidden_activation", "hidden_act"}, "gelu_pytorch_tanh");
  config.qkv_bias = config.output_bias = reader.boolean({"attention_bias"}, false);
  config.embedding_scale = std::sqrt(static_cast<double>(config.hidden_size));
  config.rounds_embedding_scale = true;
  config.attention_scale = 1.0 / std::sqrt(reader.number({"query_pre_attn_scalar"}, 256.0));
  refuse(reader, "use_bidirectional_attention");
  return config;
}

void set_gemma_scale(nlohmann::json& config, int64_t layers_of_largest) {
  const int64_t of_heads =
      config.at("hidden_size").get<int64_t>() / config.at("num_attention_heads").get<int64_t>();
  config["query_pre_attn_scalar"] = config.at("num_hidden_layers") == layers_of_largest
                                        ? of_heads
                                        : config.at("head_dim").get<int64_t>();
}

DecoderWeights read_gemma_weights(const DecoderConfig& config, const ConfigReader&,
                                  TensorSource& source) {
  return read_llama_weights(config, {.norm_less_one = true}, source);
}

namespace {

DecoderConfig gemma2_config(const ConfigReader& reader) {
  DecoderConfig config = read_gemma_shape(reader);
  config.rotaries = {read_rotary(reader, config.head_dim, config.context)};
  // Absent, they are the class's; null, there are none.
  const auto cap = [&](const char* field, double absent) {
    return reader.json().contains(field) ? reader.number({field}, 0.0) : absent;
  };
  config.score_cap = cap("attn_logit_softcapping", 50.0);
  config.logit_cap = cap("final_logit_softcapping", 30.0);
  read_local_windows(config, reader, 4096, [](int64_t layer) { return layer % 2 == 0; });
  return config;
}

}  // namespace

Family gemma2_family() {
  return {.name = "gemma2",
          .read_config = gemma2_config,
          .read_weights = read_gemma_weights,
          .gguf = {.name = "gemma2",
                   .keys = {{"attn_logit_softcapping", "attn_logit_softcapping"},
                            {"final_logit_softcapping", "final_logit_softcapping"},
                            {"sliding_window", "attention.sliding_window"}},
                   .adapt = [](const GgufFile&, nlohmann::json& config) {
                     set_gemma_scale(config, 46);
                   }}};
}

}  // namespace sinkbench
