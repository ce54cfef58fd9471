// Mistral 7B (Jiang et al. 2023, arXiv 2310.06825) as in transformers' MistralForCausalLM: Llama
// with grouped queries and, in its first version, a local window of 4096.
#include "models/families/llama.h"

namespace sinkbench {
namespace {

DecoderConfig mistral_config(const ConfigReader& reader) {
  DecoderConfig config = read_llama_config(reader);
  // A list of kinds makes it Ministral, which follows the list.
  read_local_windows(config, reader, 4096, [](int64_t) { return true; });
  return config;
}

}  // namespace

Family mistral_family() {
  return {.name = "mistral", .read_config = mistral_config, .read_weights = read_llama_weights};
}

}  // namespace sinkbench
