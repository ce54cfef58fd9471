// RMSNorm (Zhang & Sennrich 2019) in one pass over memory, where LibTorch 1.13 has only its parts.
#pragma once

#include <ATen/core/Tensor.h>

namespace sinkbench {

/// x [n, size] * weight [size] / sqrt(mean(x^2) + epsilon), computed in x's precision (float32 or
/// float64) and rounded once, to `dtype`.
at::Tensor rms_norm(const at::Tensor& x, const at::Tensor& weight, double epsilon,
                    at::ScalarType dtype);

}  // namespace sinkbench
