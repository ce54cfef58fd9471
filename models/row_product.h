// Products of one row, which a decode step spends its time in and which are bound by the memory
// that the weights are read from: a BLAS made for large matrices falls short of them.
#pragma once

#include <ATen/core/Tensor.h>

namespace sinkbench {

/// Whether row_product takes these: one row, on the CPU, float32 or bfloat16, contiguous.
bool takes_row_product(const at::Tensor& x, const at::Tensor& weight);

/// x [1, in] weight^T [out, in] + bias [out] (or undefined) = [1, out], sums in float32, the
/// result in x's precision.
at::Tensor row_product(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias);

}  // namespace sinkbench
