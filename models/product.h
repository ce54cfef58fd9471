// Products of many rows with a matrix, by whichever of the libraries' and our own is best for the
// machine.
#pragma once

#include <ATen/core/Tensor.h>

namespace sinkbench {

/// x [n, in] weight^T [out, in] + bias [out] (or undefined) = [n, out] in x's precision; sums in
/// float32 or wider.
at::Tensor product(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias);

/// Whether float32 products on the CPU are oneDNN's rather than those of LibTorch's BLAS: beside
/// OpenBLAS on Intel's processors with AVX-512, where they take a tenth to a fifth less time
/// (docs/performance.md). LibTorch loads oneDNN, and uses it for bfloat16.
bool uses_onednn();

}  // namespace sinkbench
