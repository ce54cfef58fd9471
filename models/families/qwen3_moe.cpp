// Qwen3's mixtures of experts (arXiv 2505.09388) as in transformers' Qwen3MoeForCausalLM.
#include "models/families/llama.h"

namespace sinkbench {
namespace {

DecoderConfig read_config(const ConfigReader& reader) {
  DecoderConfig config = read_llama_config(reader);
  config.qkv_bias = config.output_bias = reader.boolean({"attention_bias"}, false);
  config.query_key_norm = QueryKeyNorm::heads;
  read_upper_local_windows(config, reader);
  ExpertsConfig experts = read_experts(reader, 128, 8);
  experts.size = reader.integer({"moe_intermediate_size"}, 1, 768);
  experts.normalised = reader.boolean({"norm_topk_prob"}, false);
  read_dense_layers(experts, reader, config.layers);
  set_experts(config, reader, std::move(experts));
  return config;
}

}  // namespace

Family qwen3_moe_family() {
  return {.name = "qwen3_moe", .read_config = read_config, .read_weights = read_llama_weights};
}

}  // namespace sinkbench
