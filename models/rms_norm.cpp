#include "models/rms_norm.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <cmath>

#include "models/cuda/fused.h"

namespace sinkbench {
namespace {

template <typename Weight, typename Out>
void rows(const float* x, const Weight* weight, int64_t n, int64_t size, double epsilon, Out* y) {
  constexpr int64_t worth_a_thread = int64_t{1} << 14;  // elements
  at::parallel_for(
      0, n, std::max<int64_t>(1, worth_a_thread / size), [&](int64_t from, int64_t to) {
        for (const float* row = x + from * size; row < x + to * size; row += size) {
          float squares = 0;
#pragma omp simd reduction(+ : squares)
          for (int64_t i = 0; i < size; ++i) squares += row[i] * row[i];
          const float inverse =
              1.0f / std::sqrt(squares / static_cast<float>(size) + static_cast<float>(epsilon));
          Out* out = y + (row - x);
#pragma omp simd
          for (int64_t i = 0; i < size; ++i) {
            out[i] = static_cast<Out>(row[i] * inverse * static_cast<float>(weight[i]));
          }
        }
      });
}

template <typename Weight>
void rows(const at::Tensor& x, const at::Tensor& weight, double epsilon, at::Tensor& y) {
  const auto call = [&](auto* out) {
    rows(x.data_ptr<float>(), weight.data_ptr<Weight>(), x.size(0), x.size(1), epsilon, out);
  };
  if (y.scalar_type() == at::kFloat) return call(y.data_ptr<float>());
  call(y.data_ptr<at::BFloat16>());
}

bool has_kernel(at::ScalarType type) {
  return type == at::kFloat || type == at::kBFloat16;
}

}  // namespace

at::Tensor rms_norm(const at::Tensor& x, const at::Tensor& weight, double epsilon,
                    at::ScalarType dtype) {
  if (x.device().is_cpu() && x.dim() == 2 && x.is_contiguous() && weight.is_contiguous() &&
      x.scalar_type() == at::kFloat && has_kernel(weight.scalar_type()) && has_kernel(dtype)) {
    at::Tensor y = at::empty(x.sizes(), x.options().dtype(dtype));
    if (weight.scalar_type() == at::kFloat) {
      rows<float>(x, weight, epsilon, y);
    } else {
      rows<at::BFloat16>(x, weight, epsilon, y);
    }
    return y;
  }
  return fused::rms_norm(x, weight, epsilon, dtype);
}

}  // namespace sinkbench
