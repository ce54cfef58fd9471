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
/// https://github.com/ggml-org/ggml/blob/master/src/ggml-quants.c gives; or rounded to bfloat16.
void decode_blocks(const GgmlType& type, const std::byte* blocks, int64_t n, float* out);
void decode_blocks(const GgmlType& type, const std::byte* blocks, int64_t n, uint16_t* out);

/// MXFP4 (OCP Microscaling Formats 1.0) as safetensors hold it: two numbers of E2M1 in each byte,
/// the lower four bits first, and, elsewhere, for each block of 32 a power of two, less 127 (255:
/// not a number).
void decode_mxfp4(const std::byte* numbers, const std::byte* powers, int64_t n, float* out);
void decode_mxfp4(const std::byte* numbers, const std::byte* powers, int64_t n, uint16_t* out);

}  // namespace sinkbench
