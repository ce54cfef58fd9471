// What the families of Llama's making share.
#pragma once

#include <functional>

#include "models/family.h"

namespace sinkbench {

/// What the fields of a config.json are where they are absent: a class's defaults in transformers.
struct LlamaDefaults {
  double epsilon = 1e-6;
  double theta = 10000.0;
  double fraction = 1.0;  ///< of each head that is rotated
  bool tied = false;
  int64_t head_dim = 0;  ///< 0: the hidden size's share
};

/// How a family names its experts' tensors, `block`.`experts`.N.`gate`.weight and so on.
struct ExpertNames {
  const char* block = "mlp";
  const char* router = "gate";
  const char *gate = "gate_proj", *up = "up_proj", *down = "down_proj";
  const char* shared = "shared_expert";
  bool stacked =
      false;  ///< gpt-oss: all experts in one tensor, [experts, in, out], gate and up in turns
};

/// How a family stores what the decoder's configuration asks for.
struct LlamaTensors {
  bool fused = false;          ///< qkv_proj and gate_up_proj in place of five matrices
  bool norm_less_one = false;  ///< norms' weights less one: Gemma
  std::string root = "";  ///< what names begin with; "": "model." or, of the bare model, nothing
  std::string head = "lm_head";
  ExpertNames experts = {};
};

/// Experts of `size`, so many of which `chosen_field` says; `config.mlp_size`, which was that of an
/// ordinary MLP, becomes that of all that a token has. InputError where more are chosen than there
/// are.
void set_experts(DecoderConfig& config, const ConfigReader& reader, ExpertsConfig experts);
/// The number of experts, which has two names, and of those chosen, which has one; transformers'
/// defaults where they are absent.
ExpertsConfig read_experts(const ConfigReader& reader, int64_t experts, int64_t chosen);
/// Layers without experts, as Qwen's classes have it: `mlp_only_layers`, `decoder_sparse_step`.
void read_dense_layers(ExpertsConfig& experts, const ConfigReader& reader, int64_t layers);
DecoderConfig read_llama_config(const ConfigReader& config, const LlamaDefaults& defaults = {});
/// Everything but the rotary embedding.
DecoderConfig read_llama_shape(const ConfigReader& config, const LlamaDefaults& defaults = {});
/// `attention_bias` (with that of attention's output) and `mlp_bias`.
void read_llama_biases(DecoderConfig& config, const ConfigReader& reader);
/// The window of every layer: `sliding_window` (the query counted: 0 <= t - k < window), or, where
/// the field is absent (not null), `absent`; 0: there is none. InputError where `layer_types` names
/// layers without one: the classes that use this don't follow it.
void read_local_window(DecoderConfig& config, const ConfigReader& reader, int64_t absent = 0);
/// The same of the layers that `layer_types` names "sliding_attention", or, without that field, of
/// those for which `is_local` is true.
void read_local_windows(DecoderConfig& config, const ConfigReader& reader, int64_t absent,
                        const std::function<bool(int64_t layer)>& is_local);
/// Qwen's `use_sliding_window`, without which `sliding_window` means nothing.
bool uses_windows(const ConfigReader& reader);
/// The same as Qwen 2 and 3 have it: with `use_sliding_window`, from `max_window_layers` on.
void read_upper_local_windows(DecoderConfig& config, const ConfigReader& reader);
/// Two rotary embeddings, that of layers without a window and that of those with one, which are
/// known already: the dictionary of each kind of layer, or one for the former alone.
void read_rotaries_by_window(DecoderConfig& config, const ConfigReader& reader,
                             const BesideDictionary& global, const BesideDictionary& local);
/// The kinds of `layer_types`, "full_attention" or "sliding_attention"; empty where it is absent.
std::vector<std::string> read_layer_types(const ConfigReader& reader, int64_t layers);
DecoderWeights read_llama_weights(const DecoderConfig& config, const LlamaTensors& tensors,
                                  TensorSource& source);
/// The same as a function of a family, of tensors as Llama stores them.
DecoderWeights read_llama_weights(const DecoderConfig& config, const ConfigReader&,
                                  TensorSource& source);

}  // namespace sinkbench
