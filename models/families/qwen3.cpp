// Qwen3 (arXiv 2505.09388) as in transformers' Qwen3ForCausalLM: Llama with norms on queries and
// keys, and a head size of its own.
#include "models/families/llama.h"

namespace sinkbench {
namespace {

DecoderConfig qwen3_config(const ConfigReader& reader) {
  DecoderConfig config = read_llama_config(reader, {.head_dim = 128});
  config.qkv_bias = config.output_bias = reader.boolean({"attention_bias"}, false);
  config.query_key_norm = QueryKeyNorm::heads;
  read_upper_local_windows(config, reader);
  return config;
}

}  // namespace

Family qwen3_family() {
  return {.name = "qwen3",
          .read_config = qwen3_config,
          .read_weights = read_llama_weights,
          .gguf = {.name = "qwen3"}};
}

}  // namespace sinkbench
