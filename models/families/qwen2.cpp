// Qwen2 and Qwen2.5 (arXiv 2407.10671) as in transformers' Qwen2ForCausalLM: Llama with biases on
// queries, keys and values.
#include "models/families/llama.h"

namespace sinkbench {
namespace {

DecoderConfig read_config(const ConfigReader& reader) {
  DecoderConfig config = read_llama_config(reader);
  read_upper_local_windows(config, reader);
  return config;
}

DecoderWeights read_weights(const DecoderConfig& config, const ConfigReader&,
                            TensorSource& source) {
  return read_llama_weights(config, {.qkv_bias = true}, source);
}

}  // namespace

Family qwen2_family() {
  return {"qwen2", "Qwen2, Qwen2.5 and others of Qwen2ForCausalLM", read_config, read_weights};
}

}  // namespace sinkbench
