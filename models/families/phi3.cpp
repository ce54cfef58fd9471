// Phi-3 (Abdin et al. 2024, arXiv 2404.14219) as in transformers' Phi3ForCausalLM: Llama with
// fused matrices.
#include "models/families/llama.h"

namespace sinkbench {
namespace {

DecoderConfig phi3_config(const ConfigReader& reader) {
  DecoderConfig config = read_llama_config(reader, {.epsilon = 1e-5});
  read_local_window(config, reader);
  return config;
}

DecoderWeights phi3_weights(const DecoderConfig& config, const ConfigReader&,
                            TensorSource& source) {
  return read_llama_weights(config, {.fused = true}, source);
}

}  // namespace

Family phi3_family() {
  return {.name = "phi3",
          .read_config = phi3_config,
          .read_weights = phi3_weights,
          .gguf = {.name = "phi3", .keys = {{"sliding_window", "attention.sliding_window"}}}};
}

}  // namespace sinkbench
