// Tensors whose numbers kernels of the CPU read and write as they are stored.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

namespace sinkbench {

/// On the CPU, side by side, float32 or bfloat16.
inline bool has_stored_numbers(const at::Tensor& x) {
  return x.is_cpu() && x.is_contiguous() &&
         (x.scalar_type() == at::kFloat || x.scalar_type() == at::kBFloat16);
}

/// Calls f with a pointer to the numbers of a tensor of float32 or bfloat16: float, or bfloat16's
/// bits.
template <typename F>
void with_stored_numbers(const at::Tensor& x, const F& f) {
  if (x.scalar_type() == at::kFloat) return f(static_cast<float*>(x.data_ptr()));
  f(static_cast<uint16_t*>(x.data_ptr()));
}

}  // namespace sinkbench
