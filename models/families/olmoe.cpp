// OLMoE (Muennighoff et al. 2024, arXiv 2409.02060) as in transformers' OlmoeForCausalLM: norms of
// all queries and all keys together, experts whose weights are shares of the softmax over all.
#include "models/families/llama.h"

namespace sinkbench {
namespace {

DecoderConfig olmoe_config(const ConfigReader& reader) {
  DecoderConfig config = read_llama_config(reader, {.epsilon = 1e-5});
  config.qkv_bias = config.output_bias = reader.boolean({"attention_bias"}, false);
  config.query_key_norm = QueryKeyNorm::whole;
  config.clip_qkv = reader.number({"clip_qkv"}, 0.0);
  ExpertsConfig experts = read_experts(reader, 64, 8);
  experts.size = config.mlp_size;
  experts.normalised = reader.boolean({"norm_topk_prob"}, false);
  set_experts(config, reader, std::move(experts));
  return config;
}

}  // namespace

Family olmoe_family() {
  return {.name = "olmoe",
          .read_config = olmoe_config,
          .read_weights = read_llama_weights,
          .gguf = {.name = "olmoe",
                   .keys = {{"num_experts", "expert_count"},
                            {"num_experts_per_tok", "expert_used_count"}}}};
}

}  // namespace sinkbench
