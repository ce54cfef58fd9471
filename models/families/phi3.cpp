// Phi-3 (Abdin et al. 2024, arXiv 2404.14219) as in transformers' Phi3ForCausalLM: Llama with
// fused matrices.
#include "models/families/llama.h"

namespace sinkbench {
namespace {

DecoderConfig read_config(const ConfigReader& reader) {
  DecoderConfig config = read_llama_config(reader);
  read_local_windows(config, reader, 0);
  return config;
}

DecoderWeights read_weights(const DecoderConfig& config, const ConfigReader&,
                            TensorSource& source) {
  return read_llama_weights(config, {.fused = true}, source);
}

}  // namespace

Family phi3_family() {
  return {"phi3", "Phi-3 and Phi-4 mini, Phi-3 medium (Phi3ForCausalLM)", read_config,
          read_weights};
}

}  // namespace sinkbench
