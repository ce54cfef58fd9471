// Qwen3's mixtures of experts (arXiv 2505.09388) as in transformers' Qwen3MoeForCausalLM.
#include "models/families/llama.h"

namespace sinkbench {
namespace {

DecoderConfig qwen3_moe_config(const ConfigReader& reader) {
  DecoderConfig config = read_llama_config(reader);
  config.qkv_bias = config.output_bias = reader.boolean({"attention_bias"}, false);
  config.query_key_norm = QueryKeyNorm::heads;
  if (uses_windows(reader)) read_local_window(config, reader, 4096);  // of every layer
  ExpertsConfig experts = read_experts(reader, 128, 8);
  experts.size = reader.integer({"moe_intermediate_size"}, 1, 768);
  experts.normalised = reader.boolean({"norm_topk_prob"}, false);
  read_dense_layers(experts, reader, config.layers);
  set_experts(config, reader, std::move(experts));
  return config;
}

/// GGUF doesn't say it; llama.cpp takes it for granted.
void qwen3_moe_gguf(const GgufFile&, nlohmann::json& config) {
  config["norm_topk_prob"] = true;
}

}  // namespace

Family qwen3_moe_family() {
  return {.name = "qwen3_moe",
          .read_config = qwen3_moe_config,
          .read_weights = read_llama_weights,
          .gguf = {.name = "qwen3moe",
                   .keys = {{"num_experts", "expert_count"},
                            {"num_experts_per_tok", "expert_used_count"},
                            {"moe_intermediate_size", "expert_feed_forward_length"}},
                   .adapt = qwen3_moe_gguf}};
}

}  // namespace sinkbench
