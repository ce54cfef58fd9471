// ggml's blocks of quantised numbers, decoded.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/gguf.h"

namespace sinkbench {

/// Whether `decode_blocks` takes the type: all that are in use but IQ1, IQ2 and IQ3, whose numbers
/// are indices into ggml's own tables of hundreds of vectors.
bool can_decode(const GgmlType& type);

/// `n` numbers, a multiple of the type's block, as float32: the same as `dequantize_row_*` of
/// https://github.com/ggml-org/ggml/blob/master/src/ggml-quants.c gives.
void decode_blocks(const GgmlType& type, const std::byte* blocks, int64_t n, float* out);

}  // namespace sinkbench
