// Qwen3 (arXiv 2505.09388) as in transformers' Qwen3ForCausalLM: Llama with norms on queries and
// keys, and a head size of its own.
#include "models/families/llama.h"

namespace sinkbench {
namespace {

DecoderConfig read_config(const ConfigReader& reader) {
  DecoderConfig config = read_llama_config(reader);
  if (!reader.has("head_dim")) config.head_dim = 128;  // transformers' default, not the quotient
  read_upper_local_windows(config, reader);
  return config;
}

DecoderWeights read_weights(const DecoderConfig& config, const ConfigReader& reader,
                            TensorSource& source) {
  const bool bias = reader.boolean({"attention_bias"}, false);
  return read_llama_weights(
      config, {.qkv_bias = bias, .output_bias = bias, .query_key_norms = true}, source);
}

}  // namespace

Family qwen3_family() {
  return {"qwen3", "Qwen3's dense models (Qwen3ForCausalLM)", read_config, read_weights};
}

}  // namespace sinkbench
