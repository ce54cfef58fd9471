// A small matrix product whose accumulators are registers, for kernels of attention.
#pragma once

#include <cstdint>
#include <type_traits>

#include "base/simd.h"

namespace sinkbench {

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wpsabi"

/// c[rows x columns] = a[rows x depth] b[depth x columns], + c where `accumulate`; columns are
/// `vectors` vectors of so many bytes.
template <int bytes, int rows, int vectors, typename T>
SINKBENCH_INLINE void panel(int64_t depth, const T* a, int64_t a_stride, const T* b,
                            int64_t b_stride, T* c, int64_t c_stride, bool accumulate) {
  using V = std::conditional_t<std::is_same_v<T, double>, simd::Double<bytes>, simd::Float<bytes>>;
  constexpr int width = bytes / sizeof(T);
  V sum[rows][vectors];
  for (int i = 0; i < rows; ++i) {
    for (int v = 0; v < vectors; ++v) {
      sum[i][v] = accumulate ? simd::load<bytes>(c + i * c_stride + v * width) : V{};
    }
  }
  for (int64_t k = 0; k < depth; ++k) {
    V column[vectors];
    for (int v = 0; v < vectors; ++v) column[v] = simd::load<bytes>(b + k * b_stride + v * width);
    for (int i = 0; i < rows; ++i) {
      const T factor = a[i * a_stride + k];
      for (int v = 0; v < vectors; ++v) sum[i][v] += factor * column[v];
    }
  }
  for (int i = 0; i < rows; ++i) {
    for (int v = 0; v < vectors; ++v) simd::store<bytes>(c + i * c_stride + v * width, sum[i][v]);
  }
}

#pragma GCC diagnostic pop

}  // namespace sinkbench
