// Mistral 7B (Jiang et al. 2023, arXiv 2310.06825) as in transformers' MistralForCausalLM: Llama
// with grouped queries and, in its first version, a local window of 4096.
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
  return read_llama_weights(config, {}, source);
}

}  // namespace

Family mistral_family() {
  return {"mistral", "Mistral 7B, Zephyr and others of MistralForCausalLM", read_config,
          read_weights};
}

}  // namespace sinkbench
