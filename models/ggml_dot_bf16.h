// Dot products by the processor's own of bfloat16 (AVX512_BF16): small integers and E2M1 are exact
// in bfloat16, and so is x as a sum of three of them; sums are float32.
#pragma once

#include "models/ggml_dot.h"

namespace sinkbench::bf16_dots {

/// False where the machine or the type has none, and then nothing was done.
bool dot_rows(std::span<const StoredRow> rows, const DotOperand& x, float* y);

}  // namespace sinkbench::bf16_dots
