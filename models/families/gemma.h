// What Gemma 2 and 3 share.
#pragma once

#include "models/families/llama.h"

namespace sinkbench {

/// Everything but windows and rotary embeddings.
DecoderConfig read_gemma_shape(const ConfigReader& config);
/// llama.cpp's files don't hold `query_pre_attn_scalar`: it is a head's size, but for the largest
/// model, which is told by its number of layers.
void set_gemma_scale(nlohmann::json& config, int64_t layers_of_largest);
DecoderWeights read_gemma_weights(const DecoderConfig& config, const ConfigReader&,
                                  TensorSource& source);

}  // namespace sinkbench
