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
DecoderWeights read_llama_weights(const DecoderConfig& config, const LlamaTensors& tensors,
                                  TensorSource& source);

}  // namespace sinkbench
