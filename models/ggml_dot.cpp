// Products of ggml's blocks with numbers in float32. (In a file of its own: here products and sums
// may be rounded together, which decoding must not do.)
#include "base/simd.h"
#include "models/ggml_blocks.h"
#include "models/ggml_vectors.h"

#pragma GCC diagnostic ignored "-Wpsabi"

namespace sinkbench {
namespace {

using ggml_vectors::Bytes;

using Dot = float (*)(Bytes p, Bytes powers, int64_t n, const float* x);

template <int bytes, class Type>
SINKBENCH_INLINE float dot(Bytes p, Bytes powers, int64_t n, const float* x) {
  using simd::Float;
  constexpr int64_t width = bytes / 4;
  Float<bytes> sums[4] = {};  // one alone would wait for each multiply-add to finish
  float rest = 0;
  ggml_vectors::row<bytes, Type>(
      p, powers, n,
      [&sums, x ](int64_t block, int i, Float<bytes> v) __attribute__((always_inline)) {
        sums[i / width % 4] += v * simd::load<bytes>(x + block + i);
      },
      [&rest, x ](int64_t i, float number)
          __attribute__((always_inline)) { rest += number * x[i]; });
  return simd::sum<bytes>((sums[0] + sums[1]) + (sums[2] + sums[3])) + rest;
}

template <template <int> class Type>
struct Kernel {
#if defined(__x86_64__)
  SINKBENCH_AVX512 static float avx512(Bytes p, Bytes powers, int64_t n, const float* x) {
    return dot<64, Type<64>>(p, powers, n, x);
  }
  SINKBENCH_AVX2 static float avx2(Bytes p, Bytes powers, int64_t n, const float* x) {
    return dot<32, Type<32>>(p, powers, n, x);
  }
#endif
  static float baseline(Bytes p, Bytes powers, int64_t n, const float* x) {
    return dot<16, Type<16>>(p, powers, n, x);
  }
  static Dot of_this_machine() {
#if defined(__x86_64__)
    if (simd::level() == simd::Level::avx512) return avx512;
    if (simd::level() == simd::Level::avx2) return avx2;
#endif
    return baseline;
  }
};

}  // namespace

float dot_blocks(const GgmlType& type, const std::byte* blocks, int64_t n, const float* x) {
  if (const Dot function = ggml_vectors::choose<Kernel>(type.id)) {
    return function(reinterpret_cast<Bytes>(blocks), nullptr, n, x);
  }
  float numbers[256], sum = 0;
  for (int64_t done = 0; done < n; done += type.numbers, blocks += type.bytes) {
    decode_blocks(type, blocks, type.numbers, numbers);
    for (uint32_t i = 0; i < type.numbers; ++i) sum += numbers[i] * x[done + i];
  }
  return sum;
}

float dot_mxfp4(const std::byte* numbers, const std::byte* powers, int64_t n, const float* x) {
  return Kernel<ggml_vectors::Mxfp4Apart>::of_this_machine()(reinterpret_cast<Bytes>(numbers),
                                                             reinterpret_cast<Bytes>(powers), n, x);
}

}  // namespace sinkbench
