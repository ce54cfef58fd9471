// Granite 3 (IBM 2024) as in transformers' GraniteForCausalLM: Llama with factors on the embedding,
// on what each sublayer adds, on scores and on logits.
#include <cmath>

#include "models/families/llama.h"

namespace sinkbench {
namespace {

DecoderConfig granite_config(const ConfigReader& reader) {
  DecoderConfig config = read_llama_config(reader);
  read_llama_biases(config, reader);
  config.embedding_scale = reader.number({"embedding_multiplier"}, 1.0);
  config.attention_scale = reader.number({"attention_multiplier"}, 1.0);
  config.residual_scale = reader.number({"residual_multiplier"}, 1.0);
  const double logits = reader.number({"logits_scaling"}, 1.0);
  if (logits == 0.0) reader.fail("logits_scaling", "is 0; logits are divided by it");
  config.logit_scale = 1.0 / logits;
  if (config.attention_scale == 0.0) reader.fail("attention_multiplier", "is 0");
  return config;
}

void granite_gguf(const GgufFile& gguf, nlohmann::json& config) {
  // llama.cpp takes this for a model whose queries and keys aren't rotated (Granite 4).
  const char* key = "granite.rope.scaling.finetuned";
  if (gguf.metadata.value(key, true) != true) {
    throw InputError::format("{}: {}: is false: a Granite without positions is not supported",
                             gguf.path().string(), key);
  }
  if (config.contains("attention_multiplier")) return;
  config["attention_multiplier"] = 1.0 / std::sqrt(config.value("head_dim", 0.0));
}

}  // namespace

Family granite_family() {
  return {.name = "granite",
          .read_config = granite_config,
          .read_weights = read_llama_weights,
          .gguf = {.name = "granite",
                   .paired = true,
                   .keys = {{"embedding_multiplier", "embedding_scale"},
                            {"attention_multiplier", "attention.scale"},
                            {"residual_multiplier", "residual_scale"},
                            {"logits_scaling", "logit_scale"}},
                   .adapt = granite_gguf}};
}

}  // namespace sinkbench
