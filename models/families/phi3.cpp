// Phi-3 (Abdin et al. 2024, arXiv 2404.14219) as in transformers' Phi3ForCausalLM: Llama with
// fused matrices. The long-context versions' "longrope" is not supported.
#include "models/families/llama.h"

namespace sinkbench {
namespace {

DecoderConfig read_config(const ConfigReader& reader) {
  DecoderConfig config = read_llama_config(reader);
  if (reader.number({"partial_rotary_factor"}, 1.0) != 1.0) {
    reader.fail("partial_rotary_factor", "is not 1, which is not supported");
  }
  config.local_window = reader.integer({"sliding_window"}, 1, 0);
  return config;
}

DecoderWeights read_weights(const DecoderConfig& config, const ConfigReader&,
                            TensorSource& source) {
  return read_llama_weights(config, {.fused = true}, source);
}

}  // namespace

Family phi3_family() {
  return {"phi3", "Phi-3 mini and medium with 4K context (Phi3ForCausalLM)", read_config,
          read_weights};
}

}  // namespace sinkbench
