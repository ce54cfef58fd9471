// GLM-4.5 (Zhipu AI 2025, arXiv 2508.06471) as in transformers' Glm4MoeForCausalLM: half of each
// head rotated, scores of a sigmoid with a correction for the choice, a shared expert, dense layers
// first.
#include <algorithm>

#include "models/families/llama.h"

namespace sinkbench {
namespace {

DecoderConfig glm4_moe_config(const ConfigReader& reader) {
  DecoderConfig config = read_llama_config(reader, {.epsilon = 1e-5, .fraction = 0.5});
  config.qkv_bias = reader.boolean({"attention_bias"}, false);
  if (reader.boolean({"use_qk_norm"}, false)) config.query_key_norm = QueryKeyNorm::heads;
  for (const char* groups : {"n_group", "topk_group"}) {
    if (const int64_t count = reader.integer({groups}, 1, 1); count != 1) {
      reader.fail(groups, fmt::format("is {}, which is not supported; expected 1", count));
    }
  }
  ExpertsConfig experts = read_experts(reader, 128, 8);
  experts.size = reader.integer({"moe_intermediate_size"}, 1, 1408);
  experts.shared_size = experts.size * reader.integer({"n_shared_experts"}, 1, 1);
  experts.shared_gated = false;
  experts.sigmoid = true;
  experts.normalised = reader.boolean({"norm_topk_prob"}, true);
  experts.scale = reader.number({"routed_scaling_factor"}, 1.0);
  const int64_t dense = std::min(reader.integer({"first_k_dense_replace"}, 0, 1), config.layers);
  for (int64_t layer = 0; dense > 0 && layer < config.layers; ++layer) {
    experts.dense_layers.push_back(layer < dense);
  }
  set_experts(config, reader, std::move(experts));
  return config;
}

DecoderWeights glm4_moe_weights(const DecoderConfig& config, const ConfigReader& reader,
                            TensorSource& source) {
  // Layers that guess the tokens after the next one have no part in what the model says of that.
  const int64_t beyond = reader.integer({"num_nextn_predict_layers"}, 0, 0);
  for (int64_t i = 0; i < beyond; ++i) {
    source.pass_over(fmt::format("model.layers.{}.", config.layers + i));
  }
  return read_llama_weights(config, {.experts = {.shared = "shared_experts"}}, source);
}

}  // namespace

Family glm4_moe_family() {
  return {.name = "glm4_moe", .read_config = glm4_moe_config, .read_weights = glm4_moe_weights};
}

}  // namespace sinkbench
