// Qwen2 and Qwen2.5 (arXiv 2407.10671) as in transformers' Qwen2ForCausalLM: Llama with biases on
// queries, keys and values.
#include "models/families/llama.h"

namespace sinkbench {
namespace {

DecoderConfig qwen2_config(const ConfigReader& reader) {
  DecoderConfig config = read_llama_config(reader);
  config.qkv_bias = true;
  read_upper_local_windows(config, reader);
  return config;
}

}  // namespace

Family qwen2_family() {
  return {.name = "qwen2",
          .read_config = qwen2_config,
          .read_weights = read_llama_weights,
          .gguf = {.name = "qwen2"}};
}

}  // namespace sinkbench
