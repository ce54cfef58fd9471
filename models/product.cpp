#include "models/product.h"

#include <ATen/ATen.h>
#include <dlfcn.h>

#include "base/simd.h"
#include "models/widened_product.h"

namespace sinkbench {
namespace {

/// oneDNN's, the same since its version 1: C [m, n] = alpha op(A) op(B) + beta C, rows side by
/// side, dimensions and strides in numbers; returns 0, or what is wrong.
using Sgemm = int (*)(char transpose_a, char transpose_b, int64_t m, int64_t n, int64_t k,
                      float alpha, const float* a, int64_t stride_a, const float* b,
                      int64_t stride_b, float beta, float* c, int64_t stride_c);

/// Null: LibTorch's own is as good or better, or there is none.
Sgemm onednn() {
  static const Sgemm function = [] {
    Sgemm found = nullptr;
#if defined(__x86_64__)
    const bool is_openblas = dlsym(RTLD_DEFAULT, "openblas_get_config") != nullptr;
    if (!at::hasMKL() && is_openblas && simd::level() == simd::Level::avx512 &&
        __builtin_cpu_is("intel")) {
      found = reinterpret_cast<Sgemm>(dlsym(RTLD_DEFAULT, "dnnl_sgemm"));
    }
#endif
    return found;
  }();
  return function;
}

bool takes_onednn(const at::Tensor& x, const at::Tensor& weight) {
  const auto rows_side_by_side = [](const at::Tensor& m) {
    return m.is_cpu() && m.dim() == 2 && m.scalar_type() == at::kFloat && m.stride(1) == 1 &&
           m.stride(0) >= m.size(1);
  };
  return onednn() != nullptr && x.numel() > 0 && weight.numel() > 0 && rows_side_by_side(x) &&
         rows_side_by_side(weight);
}

}  // namespace

bool uses_onednn() {
  return onednn() != nullptr;
}

at::Tensor product(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias) {
  if (widens(x)) return widened_product(x, weight, bias);
  if (!takes_onednn(x, weight)) return at::linear(x, weight, bias);
  const int64_t n = x.size(0), in = x.size(1), out = weight.size(0);
  at::Tensor y = at::empty({n, out}, x.options());
  const int wrong =
      onednn()('N', 'T', n, out, in, 1.0f, x.data_ptr<float>(), x.stride(0),
               weight.data_ptr<float>(), weight.stride(0), 0.0f, y.data_ptr<float>(), out);
  if (wrong != 0) return at::linear(x, weight, bias);
  if (bias.defined()) y += bias;
  return y;
}

}  // namespace sinkbench
