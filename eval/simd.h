// Vectors of floats through GCC's and Clang's vector extensions, for kernels that are compiled
// once per instruction set. Everything here is inlined into a function that names its target.
#pragma once

#include <cstdint>
#include <cstring>

#define SINKBENCH_INLINE inline __attribute__((always_inline))

namespace sinkbench::simd {

// Wider than the baseline's registers on purpose; never passed across a call.
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wpsabi"

template <int bytes>
struct Vector;
template <>
struct Vector<16> {
  typedef float Float __attribute__((vector_size(16)));
  typedef int32_t Int __attribute__((vector_size(16)));
};
template <>
struct Vector<32> {
  typedef float Float __attribute__((vector_size(32)));
  typedef int32_t Int __attribute__((vector_size(32)));
};
template <>
struct Vector<64> {
  typedef float Float __attribute__((vector_size(64)));
  typedef int32_t Int __attribute__((vector_size(64)));
};

template <int bytes>
using Float = typename Vector<bytes>::Float;
template <int bytes>
using Int = typename Vector<bytes>::Int;

template <int bytes>
SINKBENCH_INLINE Float<bytes> load(const float* p) {
  Float<bytes> v;
  std::memcpy(&v, p, bytes);
  return v;
}

template <int bytes>
SINKBENCH_INLINE void store(float* p, Float<bytes> v) {
  std::memcpy(p, &v, bytes);
}

/// exp(x) for x <= 0, relative error below 3e-7; 0 for x below -87.
template <int bytes>
SINKBENCH_INLINE Float<bytes> exp(Float<bytes> x) {
  using F = Float<bytes>;
  using I = Int<bytes>;
  const I underflow = x < -87.0f;
  x = underflow ? F{} : x;
  // x = n ln 2 + r with |r| <= ln(2)/2; adding 1.5 * 2^23 rounds to the nearest integer.
  const F shifted = x * 1.44269504088896341f + 12582912.0f;
  const F n = shifted - 12582912.0f;
  const F r = (x - n * 0.693359375f) - n * -2.12194440e-4f;
  F p = r * 1.9875691500e-4f + 1.3981999507e-3f;  // the polynomial of Cephes' expf
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * r * r + r + 1.0f;
  const I exponent = (__builtin_convertvector(n, I) + 127) << 23;
  F power;
  std::memcpy(&power, &exponent, bytes);
  const F result = p * power;
  return underflow ? F{} : result;
}

#pragma GCC diagnostic pop

}  // namespace sinkbench::simd
