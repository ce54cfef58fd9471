#include "models/row_product.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <memory>
#include <type_traits>

#include "base/simd.h"
#include "models/share.h"
#include "models/stored_numbers.h"

#pragma GCC diagnostic ignored "-Wpsabi"

namespace sinkbench {
namespace {

template <typename T>
struct RowProduct {
  const float* x;     // [in], in the order of simd::load_two
  const T* weight;    // [out, in]
  const float* bias;  // [out], or null
  T* y;               // [out]
  int64_t in;
};

/// Rows from .. to of the weight.
template <int bytes, int bytes_ahead = 0, typename T>
SINKBENCH_INLINE void rows(const RowProduct<T>& p, int64_t from, int64_t to) {
  simd::dot_rows<bytes, bytes_ahead>(
      p.weight + from * p.in, p.x, p.in, to - from, [&](int64_t i, auto y) {
        T* const out = p.y + from + i;
        const float* const bias = p.bias != nullptr ? p.bias + from + i : nullptr;
        if constexpr (std::is_same_v<decltype(y), float>) {
          simd::store_one(out, bias != nullptr ? y + *bias : y);
        } else {
          simd::store_rounded<bytes>(out, bias != nullptr ? y + simd::load<bytes>(bias) : y);
        }
      });
}

/// x in the order of simd::load_two.
template <int bytes, typename T>
SINKBENCH_INLINE void order(const T* x, int64_t in, float* out) {
  simd::in_order_of_two<bytes, T>(in, [&](int64_t i, int64_t j) { out[i] = simd::as_float(x[j]); });
}

/// One instruction set's.
template <typename T>
struct RowKernel {
  void (*order)(const T* x, int64_t in, float* out);
  void (*rows)(const RowProduct<T>& p, int64_t from, int64_t to);
};

#if defined(__x86_64__)
template <typename T>
SINKBENCH_AVX512 void rows_avx512(const RowProduct<T>& p, int64_t from, int64_t to) {
  rows<64>(p, from, to);
}
template <typename T>
SINKBENCH_AVX512 void rows_avx512_ahead(const RowProduct<T>& p, int64_t from, int64_t to) {
  rows<64, simd::bytes_ahead>(p, from, to);
}
template <typename T>
SINKBENCH_AVX2 void rows_avx2(const RowProduct<T>& p, int64_t from, int64_t to) {
  rows<32>(p, from, to);
}
#endif
template <typename T>
void rows_baseline(const RowProduct<T>& p, int64_t from, int64_t to) {
  rows<16>(p, from, to);
}

template <typename T>
RowKernel<T> best_row_kernel() {
#if defined(__x86_64__)
  if (simd::level() == simd::Level::avx512) {
    return {order<64, T>, simd::fetches() ? rows_avx512_ahead<T> : rows_avx512<T>};
  }
  if (simd::level() == simd::Level::avx2) return {order<32, T>, rows_avx2<T>};
#endif
  return {order<16, T>, rows_baseline<T>};
}

}  // namespace

bool takes_row_product(const at::Tensor& x, const at::Tensor& weight) {
  return x.dim() == 2 && x.size(0) == 1 && has_stored_numbers(x) && has_stored_numbers(weight) &&
         x.scalar_type() == weight.scalar_type();
}

at::Tensor row_product(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias) {
  const int64_t out = weight.size(0), in = weight.size(1);
  const at::Tensor y = at::empty({1, out}, x.options());
  const at::Tensor added = bias.defined() ? bias.to(at::kFloat).contiguous() : bias;
  const auto call = [&]<typename T>(T* to) {
    static const RowKernel<T> kernel = best_row_kernel<T>();
    const auto ordered = std::make_unique_for_overwrite<float[]>(in);
    kernel.order(static_cast<const T*>(x.data_ptr()), in, ordered.get());
    const RowProduct<T> whole = {.x = ordered.get(),
                                 .weight = static_cast<const T*>(weight.data_ptr()),
                                 .bias = added.defined() ? added.data_ptr<float>() : nullptr,
                                 .y = to,
                                 .in = in};
    constexpr int64_t part_numbers = int64_t{1} << 15, part_rows = 16;  // so many, in whole vectors
    const int64_t part = std::max<int64_t>(1, part_numbers / (part_rows * in)) * part_rows;
    share(out, part, [&](int64_t begin, int64_t end) { kernel.rows(whole, begin, end); });
  };
  with_stored_numbers(y, call);
  return y;
}

}  // namespace sinkbench
