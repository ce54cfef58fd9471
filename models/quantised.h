// Hugging Face folders whose weights are stored in fewer bits by a method of their own.
#pragma once

#include "models/checkpoint.h"
#include "models/config_reader.h"

namespace sinkbench {

/// Throws InputError naming the method (GPTQ, AWQ, bitsandbytes, FP8 with scales, MLX, ...) where
/// the tensors show one: packed integers, or scales beside a weight. A `quantization_config`
/// without such tensors is left over, and harmless. gpt-oss's experts in MXFP4 are read.
void refuse_quantised(const ConfigReader& config, const SafetensorsCheckpoint& checkpoint);

}  // namespace sinkbench
