// Products of bfloat16 by float32's multiply-add, for processors on which that is faster.
#pragma once

#include <ATen/core/Tensor.h>

namespace sinkbench {

/// Whether a product is better made in float32 than in the input's bfloat16. LibTorch's are faster
/// with AMX, and with AVX512_BF16 on AMD's processors; on Intel's they are half as fast as
/// float32's, with AVX-512 alone a fifth, and without it a fiftieth.
bool widens(const at::Tensor& x);

/// x [n, in] weight^T [out, in] + bias [out] (or undefined) = [n, out], all of bfloat16 and on the
/// CPU. Sums in float32, over `in` by parts of 512, rounded once: a row's result is the same
/// whatever rows are beside it, on however many threads.
at::Tensor widened_product(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias);

}  // namespace sinkbench
