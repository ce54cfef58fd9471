// Products that a BLAS made for large matrices falls short of. Those of one row, which a decode
// step spends its time in, are bound by the memory that the weights are read from.
#pragma once

#include <ATen/core/Tensor.h>

namespace sinkbench {

/// Whether row_product takes these: one row, on the CPU, float32 or bfloat16, contiguous.
bool takes_row_product(const at::Tensor& x, const at::Tensor& weight);

/// x [1, in] weight^T [out, in] + bias [out] (or undefined) = [1, out], sums in float32, the
/// result in x's precision.
at::Tensor row_product(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias);

/// Whether a product is better made in float32 than in the input's bfloat16. LibTorch's are faster
/// with AMX, and with AVX512_BF16 on AMD's processors; on Intel's they are half as fast as
/// float32's, with AVX-512 alone a fifth, and without it a fiftieth.
bool widens(const at::Tensor& x);

/// x [n, in] weight^T [out, in] + bias [out] (or undefined) = [n, out] of bfloat16, by float32
/// products of some rows of the weight at a time: sums in float32, the result rounded once.
at::Tensor widened_product(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias);

}  // namespace sinkbench
