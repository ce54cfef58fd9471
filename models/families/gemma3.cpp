// Gemma 3 (arXiv 2503.19786) as in transformers' Gemma3ForCausalLM: as Gemma 2 without the caps,
// with norms of queries and keys, a window in five of six layers, and another theta in these. Of
// Gemma3ForConditionalGeneration the text part.
#include "models/families/gemma.h"

namespace sinkbench {
namespace {

DecoderConfig read_text_config(const ConfigReader& reader) {
  DecoderConfig config = read_gemma_shape(reader);
  config.query_key_norm = QueryKeyNorm::heads;
  config.score_cap = reader.number({"attn_logit_softcapping"}, 0.0);
  config.logit_cap = reader.number({"final_logit_softcapping"}, 0.0);
  const int64_t period = reader.integer({"sliding_window_pattern"}, 1, 6);
  read_local_windows(config, reader, 4096,
                     [&](int64_t layer) { return (layer + 1) % period != 0; });
  read_rotaries_by_window(config, reader, {.theta = reader.number({"rope_theta"}, 1e6)},
                          {.theta = reader.number({"rope_local_base_freq"}, 10000.0)});
  return config;
}

/// The text model's configuration; what it leaves out is the class's.
ConfigReader text_part(const ConfigReader& reader) {
  const auto stated = reader.object({"text_config"});
  if (!stated) reader.fail("text_config", "is missing; expected the text model's configuration");
  nlohmann::json text = {{"vocab_size", 262208},      {"hidden_size", 2304},
                         {"intermediate_size", 9216}, {"num_hidden_layers", 26},
                         {"num_attention_heads", 8},  {"num_key_value_heads", 4},
                         {"rms_norm_eps", 1e-6},      {"max_position_embeddings", 131072}};
  text.update(stated->json());
  text["tie_word_embeddings"] = reader.boolean({"tie_word_embeddings"}, true);
  return ConfigReader(reader.path(), text, "text_config");
}

DecoderConfig gemma3_config(const ConfigReader& reader) {
  const ConfigReader text = text_part(reader);
  DecoderConfig config = read_text_config(text);
  refuse_unread(text, config);
  config.notes.push_back("images are not supported: of the model, its text part is computed");
  return config;
}

DecoderWeights read_text_weights(const DecoderConfig& config, const ConfigReader&,
                                 TensorSource& source) {
  // Published ones have the first of these before names, transformers 4.52 to 5.0 saved the other.
  const bool published = source.has("language_model.model.norm.weight");
  for (const char* part : {"vision_tower.", "multi_modal_projector."}) {
    source.pass_over(published ? part : std::string("model.") + part);
  }
  return read_llama_weights(
      config,
      {.norm_less_one = true,
       .root = published ? "language_model.model." : "model.language_model.",
       .head = published && source.has("language_model.lm_head.weight") ? "language_model.lm_head"
                                                                        : "lm_head"},
      source);
}

void gemma3_gguf(const GgufFile&, nlohmann::json& config) {
  set_gemma_scale(config, 62);
  if (!config.contains("sliding_window")) config["sliding_window"] = nullptr;
}

}  // namespace

Family gemma3_text_family() {
  return {.name = "gemma3_text",
          .read_config = read_text_config,
          .read_weights = read_gemma_weights,
          .gguf = {.name = "gemma3",
                   .keys = {{"final_logit_softcapping", "final_logit_softcapping"},
                            {"rope_local_base_freq", "rope.freq_base_swa"},
                            {"sliding_window", "attention.sliding_window"}},
                   .adapt = gemma3_gguf}};
}

Family gemma3_family() {
  return {.name = "gemma3", .read_config = gemma3_config, .read_weights = read_text_weights};
}

}  // namespace sinkbench
