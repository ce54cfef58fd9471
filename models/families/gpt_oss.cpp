// gpt-oss (OpenAI 2025, arXiv 2508.10925) as in transformers' GptOssForCausalLM: a learned sink
// logit for each head, windows in every second layer, experts with biases and a clamped activation.
#include "models/families/llama.h"

namespace sinkbench {
namespace {

DecoderConfig gpt_oss_config(const ConfigReader& reader) {
  DecoderConfig config =
      read_llama_config(reader, {.epsilon = 1e-5, .theta = 150000.0, .head_dim = 64});
  config.qkv_bias = config.output_bias = reader.boolean({"attention_bias"}, true);
  config.learned_sink_logits = true;
  if (!rope_dictionary(reader)) {  // the class's, where there is none
    const ConfigReader yarn(reader.path(),
                            {{"rope_type", "yarn"},
                             {"factor", 32.0},
                             {"beta_fast", 32.0},
                             {"beta_slow", 1.0},
                             {"truncate", false},
                             {"original_max_position_embeddings", 4096}},
                            "rope_parameters");
    config.rotaries = {read_rotary(reader, yarn, beside_rope_dictionary(reader, 150000.0),
                                   config.head_dim, config.context)};
  }
  read_local_windows(config, reader, 128, [](int64_t layer) { return layer % 2 == 0; });
  ExpertsConfig experts = read_experts(reader, 128, 4);
  experts.size = config.mlp_size;
  experts.router_bias = experts.bias = true;
  experts.limit = reader.number({"swiglu_limit"}, 7.0);
  if (experts.limit <= 0) reader.fail("swiglu_limit", "expected a number above 0");
  if (const double slope = reader.number({"swiglu_alpha"}, 1.702); slope != 1.702) {
    reader.fail("swiglu_alpha",
                fmt::format("is {}, which is not supported; expected 1.702", slope));
  }
  set_experts(config, reader, std::move(experts));
  return config;
}

DecoderWeights gpt_oss_weights(const DecoderConfig& config, const ConfigReader&,
                            TensorSource& source) {
  return read_llama_weights(config, {.experts = {.router = "router", .stacked = true}}, source);
}

/// GGUF doesn't say that YaRN's bounds are not rounded, which all of these models have in common. A
/// file without scaling has none.
void gpt_oss_gguf(const GgufFile&, nlohmann::json& config) {
  nlohmann::json& scaling = config["rope_scaling"];
  if (scaling.is_object()) {
    scaling["truncate"] = false;
  } else {
    scaling = {{"rope_type", "default"}};
  }
}

}  // namespace

Family gpt_oss_family() {
  return {.name = "gpt_oss",
          .read_config = gpt_oss_config,
          .read_weights = gpt_oss_weights,
          .gguf = {.name = "gpt-oss",
                   .keys = {{"num_local_experts", "expert_count"},
                            {"num_experts_per_tok", "expert_used_count"},
                            {"intermediate_size", "expert_feed_forward_length"},
                            {"sliding_window", "attention.sliding_window"}},
                   .adapt = gpt_oss_gguf}};
}

}  // namespace sinkbench
