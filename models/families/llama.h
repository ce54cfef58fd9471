// What the families of Llama's making share.
#pragma once

#include "models/family.h"

namespace sinkbench {

/// Where a family's tensors depart from Llama's first version.
struct LlamaTensors {
  bool qkv_bias = false;
  bool output_bias = false;  ///< of attention
  bool mlp_bias = false;
  bool query_key_norms = false;  ///< q_norm and k_norm of each layer
  bool fused = false;            ///< qkv_proj and gate_up_proj in place of five matrices
};

DecoderConfig read_llama_config(const ConfigReader& config);
/// Windows of layers from `sliding_window` (the query counted: 0 <= t - k < window), where there is
/// one: of those that `layer_types` names "sliding_attention", or, without that field, of the
/// layers from `first_layer` on.
void read_local_windows(DecoderConfig& config, const ConfigReader& reader, int64_t first_layer);
/// The same as Qwen 2 and 3 have it: with `use_sliding_window`, from `max_window_layers` on.
void read_upper_local_windows(DecoderConfig& config, const ConfigReader& reader);
DecoderWeights read_llama_weights(const DecoderConfig& config, const LlamaTensors& tensors,
                                  TensorSource& source);

}  // namespace sinkbench
