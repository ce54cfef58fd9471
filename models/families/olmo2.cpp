// OLMo 2 (arXiv 2501.00656) as in transformers' Olmo2ForCausalLM: Llama with norms after attention
// and MLP in place of before, and norms of all queries and all keys together. OLMo 3 as in
// Olmo3ForCausalLM: the same with a window in three of four layers, whose frequencies are not
// scaled.
#include "base/json.h"
#include "models/families/llama.h"

namespace sinkbench {
namespace {

DecoderConfig read_shape(const ConfigReader& reader) {
  DecoderConfig config = read_llama_shape(reader, {.epsilon = 1e-5});
  config.qkv_bias = config.output_bias = reader.boolean({"attention_bias"}, false);
  config.norm_placement = NormPlacement::after;
  config.query_key_norm = QueryKeyNorm::whole;
  return config;
}

DecoderConfig olmo2_config(const ConfigReader& reader) {
  DecoderConfig config = read_shape(reader);
  config.rotaries = {read_rotary(reader, config.head_dim, config.context)};
  return config;
}

DecoderConfig read_config_3(const ConfigReader& reader) {
  DecoderConfig config = read_shape(reader);
  read_local_windows(config, reader, 4096, [](int64_t layer) { return (layer + 1) % 4 != 0; });
  const BesideDictionary beside = beside_rope_dictionary(reader, 500000.0);
  read_rotaries_by_window(config, reader, beside, beside);
  return config;
}

/// Files of both are of one architecture; those of OLMo 3 have a window.
void olmo2_gguf(const GgufFile& gguf, nlohmann::json& config) {
  // Written for Gemma's sake; here llama.cpp takes freq_base in all layers.
  if (const auto local = config.find("rope_local_base_freq"); local != config.end()) {
    if (*local != config["rope_theta"]) {
      throw InputError::format(
          "{}: olmo2.rope.freq_base_swa: is {}; expected that of olmo2.rope.freq_base, {}",
          gguf.path().string(), json_text(*local), json_text(config["rope_theta"]));
    }
    config.erase(local);
  }
  if (config.contains("sliding_window")) config["model_type"] = "olmo3";
}

}  // namespace

Family olmo2_family() {
  return {.name = "olmo2",
          .read_config = olmo2_config,
          .read_weights = read_llama_weights,
          .gguf = {.name = "olmo2",
                   .keys = {{"rope_local_base_freq", "rope.freq_base_swa"},
                            {"sliding_window", "attention.sliding_window"}},
                   .adapt = olmo2_gguf}};
}

Family olmo3_family() {
  return {.name = "olmo3",
          .read_config = read_config_3,
          .read_weights = read_llama_weights};  // GGUF: see olmo2
}

}  // namespace sinkbench
