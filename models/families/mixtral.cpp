// Mixtral (Jiang et al. 2024, arXiv 2401.04088) as in transformers' MixtralForCausalLM: Mistral
// with experts.
#include "models/families/llama.h"

namespace sinkbench {
namespace {

DecoderConfig mixtral_config(const ConfigReader& reader) {
  DecoderConfig config = read_llama_config(reader, {.epsilon = 1e-5, .theta = 1e6});
  read_local_window(config, reader);
  ExpertsConfig experts = read_experts(reader, 8, 2);
  experts.size = config.mlp_size;
  set_experts(config, reader, std::move(experts));
  return config;
}

DecoderWeights mixtral_weights(const DecoderConfig& config, const ConfigReader&,
                            TensorSource& source) {
  return read_llama_weights(
      config, {.experts = {.block = "block_sparse_moe", .gate = "w1", .up = "w3", .down = "w2"}},
      source);
}

}  // namespace

Family mixtral_family() {
  return {.name = "mixtral",
          .read_config = mixtral_config,
          .read_weights = mixtral_weights,
          .gguf = {.name = "llama",
                   .paired = true,
                   .keys = {{"num_local_experts", "expert_count"},
                            {"num_experts_per_tok", "expert_used_count"}}}};
}

}  // namespace sinkbench
