// Qwen1.5-MoE and Qwen2-MoE (arXiv 2407.10671) as in transformers' Qwen2MoeForCausalLM: Qwen2 with
// experts and a shared one.
#include "models/families/llama.h"

namespace sinkbench {
namespace {

DecoderConfig qwen2_moe_config(const ConfigReader& reader) {
  DecoderConfig config = read_llama_config(reader);
  config.qkv_bias = reader.boolean({"qkv_bias"}, true);
  if (uses_windows(reader)) {
    // Not as in Qwen 2: every other one of the layers below the bound.
    const int64_t end = reader.integer({"max_window_layers"}, 0, 28);
    read_local_windows(config, reader, 4096,
                       [&](int64_t layer) { return layer % 2 == 0 && layer < end; });
  }
  ExpertsConfig experts = read_experts(reader, 60, 4);
  experts.size = reader.integer({"moe_intermediate_size"}, 1, 1408);
  experts.shared_size = reader.integer({"shared_expert_intermediate_size"}, 1, 5632);
  experts.normalised = reader.boolean({"norm_topk_prob"}, false);
  read_dense_layers(experts, reader, config.layers);
  set_experts(config, reader, std::move(experts));
  return config;
}

}  // namespace

Family qwen2_moe_family() {
  return {
      .name = "qwen2_moe",
      .read_config = qwen2_moe_config,
      .read_weights = read_llama_weights,
      .gguf = {.name = "qwen2moe",
               .keys = {{"num_experts", "expert_count"},
                        {"num_experts_per_tok", "expert_used_count"},
                        {"moe_intermediate_size", "expert_feed_forward_length"},
                        {"shared_expert_intermediate_size", "expert_shared_feed_forward_length"}}}};
}

}  // namespace sinkbench
