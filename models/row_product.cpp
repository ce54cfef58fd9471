#include "models/row_product.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include "base/simd.h"

#pragma GCC diagnostic ignored "-Wpsabi"

namespace sinkbench {
namespace {

/// y[i] = weight[i] . x for rows from .. to
template <int bytes, int bytes_ahead = 0, typename T>
SINKBENCH_INLINE void rows(const T* weight, const float* x, int64_t in, int64_t from, int64_t to,
                           float* y) {
  for (int64_t i = from; i < to; ++i) y[i] = simd::dot<bytes, bytes_ahead>(weight + i * in, x, in);
}

template <typename T>
using RowsFunction = void (*)(const T*, const float*, int64_t in, int64_t from, int64_t to, float*);

#if defined(__x86_64__)
template <typename T>
SINKBENCH_AVX512 void rows_avx512(const T* weight, const float* x, int64_t in, int64_t from,
                                  int64_t to, float* y) {
  rows<64>(weight, x, in, from, to, y);
}
/// Intel's own prefetchers leave a third to half of what the memory gives (bfloat16 on Emerald
/// Rapids: 7.1 GB/s a core, and 12.4 so); on AMD's this costs a fifth.
template <typename T>
SINKBENCH_AVX512 void rows_avx512_ahead(const T* weight, const float* x, int64_t in, int64_t from,
                                        int64_t to, float* y) {
  rows<64, 4096>(weight, x, in, from, to, y);
}
template <typename T>
SINKBENCH_AVX2 void rows_avx2(const T* weight, const float* x, int64_t in, int64_t from, int64_t to,
                              float* y) {
  rows<32>(weight, x, in, from, to, y);
}
#endif
template <typename T>
void rows_baseline(const T* weight, const float* x, int64_t in, int64_t from, int64_t to,
                   float* y) {
  rows<16>(weight, x, in, from, to, y);
}

template <typename T>
void product(const void* weight, const float* x, int64_t in, int64_t out, float* y) {
  static const RowsFunction<T> function = [] {
#if defined(__x86_64__)
    if (simd::level() == simd::Level::avx512) {
      return RowsFunction<T>(__builtin_cpu_is("intel") ? rows_avx512_ahead<T> : rows_avx512<T>);
    }
    if (simd::level() == simd::Level::avx2) return RowsFunction<T>(rows_avx2<T>);
#endif
    return RowsFunction<T>(rows_baseline<T>);
  }();
  constexpr int64_t worth_a_thread = int64_t{1} << 15;  // multiply-adds
  at::parallel_for(0, out, std::max<int64_t>(1, worth_a_thread / in),
                   [&](int64_t from, int64_t to) {
                     function(static_cast<const T*>(weight), x, in, from, to, y);
                   });
}

}  // namespace

bool takes_row_product(const at::Tensor& x, const at::Tensor& weight) {
  return x.dim() == 2 && x.size(0) == 1 && x.device().is_cpu() && x.is_contiguous() &&
         weight.is_contiguous() && x.scalar_type() == weight.scalar_type() &&
         (x.scalar_type() == at::kFloat || x.scalar_type() == at::kBFloat16);
}

at::Tensor row_product(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias) {
  const int64_t out = weight.size(0);
  const int64_t in = weight.size(1);
  at::Tensor y = at::empty({1, out}, at::kFloat);
  const at::Tensor exact = x.to(at::kFloat);
  if (weight.scalar_type() == at::kBFloat16) {
    product<uint16_t>(weight.data_ptr(), exact.data_ptr<float>(), in, out, y.data_ptr<float>());
  } else {
    product<float>(weight.data_ptr(), exact.data_ptr<float>(), in, out, y.data_ptr<float>());
  }
  if (bias.defined()) y += bias;
  return y.to(x.scalar_type());
}

}  // namespace sinkbench
