// ggml's blocks by vectors: what is decoded a thousand times as often as anything else, weights
// that stay in their file's form. Everything here is inlined into a function that names its target.
#pragma once

#include <c10/util/Half.h>

#include <cstdint>
#include <cstring>
#include <limits>
#include <type_traits>

#include "base/gguf.h"
#include "base/simd.h"

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wpsabi"

namespace sinkbench::ggml_vectors {

using Bytes = const uint8_t*;
using simd::Float;
using simd::Int;
template <int bytes>
constexpr int width = bytes / 4;

template <int bytes>
struct Narrow;  // numbers in memory, wherever they begin
template <>
struct Narrow<16> {
  typedef uint8_t Byte __attribute__((vector_size(4), aligned(1), may_alias));
  typedef int8_t SignedByte __attribute__((vector_size(4), aligned(1), may_alias));
  typedef uint16_t Half __attribute__((vector_size(8), aligned(1), may_alias));
};
template <>
struct Narrow<32> {
  typedef uint8_t Byte __attribute__((vector_size(8), aligned(1), may_alias));
  typedef int8_t SignedByte __attribute__((vector_size(8), aligned(1), may_alias));
  typedef uint16_t Half __attribute__((vector_size(16), aligned(1), may_alias));
};
template <>
struct Narrow<64> {
  typedef uint8_t Byte __attribute__((vector_size(16), aligned(1), may_alias));
  typedef int8_t SignedByte __attribute__((vector_size(16), aligned(1), may_alias));
  typedef uint16_t Half __attribute__((vector_size(32), aligned(1), may_alias));
};

/// Numbers of one byte each.
template <int bytes>
SINKBENCH_INLINE Int<bytes> widen(Bytes p) {
  const auto& v = *reinterpret_cast<const typename Narrow<bytes>::Byte*>(p);
  if constexpr (bytes == 16) return __builtin_convertvector(v, Int<16>);
  Int<bytes> wide;
  SINKBENCH_CONVERT("vpmovzxbd", v, wide);
  return wide;
}
template <int bytes>
SINKBENCH_INLINE Int<bytes> widen_signed(Bytes p) {
  const auto& v = *reinterpret_cast<const typename Narrow<bytes>::SignedByte*>(p);
  if constexpr (bytes == 16) return __builtin_convertvector(v, Int<16>);
  Int<bytes> wide;
  SINKBENCH_CONVERT("vpmovsxbd", v, wide);
  return wide;
}

template <int bytes>
SINKBENCH_INLINE Float<bytes> to_float(Int<bytes> v) {
  return __builtin_convertvector(v, Float<bytes>);
}
template <int bytes>
SINKBENCH_INLINE Int<bytes> lanes() {
  Int<bytes> v{};
  for (int i = 0; i < width<bytes>; ++i) v[i] = i;
  return v;
}

/// The numbers of a table of sixteen that each index, below 16, names.
template <int bytes>
SINKBENCH_INLINE Float<bytes> look_up(const float* table, Int<bytes> index) {
#ifndef __clang__
  if constexpr (bytes == 64) return __builtin_shuffle(simd::load<64>(table), index);
  if constexpr (bytes == 32) {
    return __builtin_shuffle(simd::load<32>(table), simd::load<32>(table + 8), index);
  }
#endif
  Float<bytes> v{};
  for (int i = 0; i < width<bytes>; ++i) v[i] = table[index[i]];
  return v;
}

/// Numbers of IEEE's half precision.
template <int bytes>
SINKBENCH_INLINE Float<bytes> from_halves(Bytes p) {
  const auto& v = *reinterpret_cast<const typename Narrow<bytes>::Half*>(p);
#if defined(__x86_64__) && !defined(__clang__)
  if constexpr (bytes > 16) {  // F16C, which all processors with AVX2 have
    Float<bytes> wide;
    SINKBENCH_CONVERT("vcvtph2ps", v, wide);
    return wide;
  }
#endif
  Float<bytes> wide{};
  for (int i = 0; i < width<bytes>; ++i) wide[i] = c10::detail::fp16_ieee_to_fp32_value(v[i]);
  return wide;
}
SINKBENCH_INLINE float half(Bytes p) {
  uint16_t bits;
  std::memcpy(&bits, p, sizeof bits);
  return c10::detail::fp16_ieee_to_fp32_value(bits);
}

constexpr float nonlinear[16] = {-127, -104, -83, -65, -49, -35, -22, -10,
                                 1,    13,   25,  38,  53,  69,  89,  113};
constexpr float e2m1_doubled[16] = {0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12};

/// 2^(exponent - 127), halved; below 2 a subnormal number.
SINKBENCH_INLINE float half_power(uint32_t exponent) {
  const uint32_t bits = exponent < 2 ? uint32_t{0x00200000} << exponent : (exponent - 1) << 23;
  float d;
  std::memcpy(&d, &bits, sizeof d);
  return d;
}

// A function for each type: of one block at `p` it hands the numbers in vectors to `out(i, v)`, i
// the place of the first of them.

template <int bytes>
struct Q8_0 {
  static constexpr int numbers = 32, size = 34;
  template <class Out>
  static SINKBENCH_INLINE void block(Bytes p, const Out& out) {
    const float d = half(p);
#pragma GCC unroll 8
    for (int i = 0; i < 32; i += width<bytes>) {
      out(i, to_float<bytes>(widen_signed<bytes>(p + 2 + i)) * d);
    }
  }
};

/// Sixteen bytes of four bits each: those of the lower halves, then those of the upper.
template <int bytes, class Out, class Value>
SINKBENCH_INLINE void nibbles(Bytes q, const Out& out, const Value& value) {
#pragma GCC unroll 2
  for (int i = 0; i < 16; i += width<bytes>) {
    const Int<bytes> both = widen<bytes>(q + i);
    out(i, value(i, both & 15));
    out(16 + i, value(16 + i, both >> 4));
  }
}

template <int bytes>
struct Q4_0 {
  static constexpr int numbers = 32, size = 18;
  template <class Out>
  static SINKBENCH_INLINE void block(Bytes p, const Out& out) {
    const float d = half(p);
    nibbles<bytes>(
        p + 2, out, [d](int, Int<bytes> q) __attribute__((always_inline)) {
          return to_float<bytes>(q - 8) * d;
        });
  }
};

template <int bytes>
struct Q4_1 {
  static constexpr int numbers = 32, size = 20;
  template <class Out>
  static SINKBENCH_INLINE void block(Bytes p, const Out& out) {
    const float d = half(p), least = half(p + 2);
    nibbles<bytes>(
        p + 4, out, [=](int, Int<bytes> q) __attribute__((always_inline)) {
          return to_float<bytes>(q) * d + least;
        });
  }
};

template <int bytes>
struct Q5_0 {
  static constexpr int numbers = 32, size = 22;
  template <class Out>
  static SINKBENCH_INLINE void block(Bytes p, const Out& out) {
    const float d = half(p);
    int32_t fifth;
    std::memcpy(&fifth, p + 2, sizeof fifth);
    nibbles<bytes>(
        p + 6, out, [=](int i, Int<bytes> q) __attribute__((always_inline)) {
          const Int<bytes> high = (fifth >> (lanes<bytes>() + i)) & 1;
          return to_float<bytes>((q | high << 4) - 16) * d;
        });
  }
};

template <int bytes>
struct Iq4Nl {
  static constexpr int numbers = 32, size = 18;
  template <class Out>
  static SINKBENCH_INLINE void block(Bytes p, const Out& out) {
    const float d = half(p);
    nibbles<bytes>(
        p + 2, out, [d](int, Int<bytes> q) __attribute__((always_inline)) {
          return look_up<bytes>(nonlinear, q) * d;
        });
  }
};

template <int bytes>
struct Mxfp4 {
  static constexpr int numbers = 32, size = 17;
  template <class Out>
  static SINKBENCH_INLINE void block(Bytes p, const Out& out) {
    const float d = half_power(p[0]);
    nibbles<bytes>(
        p + 1, out, [d](int, Int<bytes> q) __attribute__((always_inline)) {
          return look_up<bytes>(e2m1_doubled, q) * d;
        });
  }
};

/// The same numbers as safetensors hold them: bytes of neighbours, the lower four bits first, and
/// the exponent elsewhere.
template <int bytes>
struct Mxfp4Apart {
  static constexpr int numbers = 32, size = 16;
  static constexpr bool apart = true;
  template <class Out>
  static SINKBENCH_INLINE void block(Bytes p, uint8_t exponent, const Out& out) {
    const float d =
        exponent == 255 ? std::numeric_limits<float>::quiet_NaN() : half_power(exponent);
    const Int<bytes> shift = (lanes<bytes>() & 7) * 4;
#pragma GCC unroll 8
    for (int i = 0; i < 32; i += width<bytes>) {
      int32_t words[2] = {};  // eight numbers each
      std::memcpy(words, p + i / 8 * 4, bytes == 64 ? 8 : 4);
      const Int<bytes> word =
          lanes<bytes>() < 8 ? Int<bytes>{} + words[0] : Int<bytes>{} + words[1];
      const int first = i % 8 * 4;  // of a narrow vector
      out(i, look_up<bytes>(e2m1_doubled, word >> (shift + first) & 15) * d);
    }
  }
};

/// Of group j of 8: six bits each, packed into 12 bytes.
struct ScaleAndLeast {
  int scale, least;
};
SINKBENCH_INLINE ScaleAndLeast six_bits(Bytes packed, int j) {
  if (j < 4) return {packed[j] & 63, packed[j + 4] & 63};
  return {(packed[j + 4] & 15) | packed[j - 4] >> 6 << 4, packed[j + 4] >> 4 | packed[j] >> 6 << 4};
}

template <int bytes, bool five_bits>
struct Q4Or5K {
  static constexpr int numbers = 256, size = five_bits ? 176 : 144;
  template <class Out>
  static SINKBENCH_INLINE void block(Bytes p, const Out& out) {
    const float d = half(p), least = half(p + 2);
    const Bytes fifth = p + 16, quants = p + (five_bits ? 48 : 16);
#pragma GCC unroll 4
    for (int pair = 0; pair < 4; ++pair) {
      float scale[2], offset[2];
#pragma GCC unroll 2
      for (int j = 0; j < 2; ++j) {
        const ScaleAndLeast six = six_bits(p + 4, 2 * pair + j);
        scale[j] = d * static_cast<float>(six.scale);
        offset[j] = least * static_cast<float>(six.least);
      }
#pragma GCC unroll 4
      for (int i = 0; i < 32; i += width<bytes>) {
        const Int<bytes> both = widen<bytes>(quants + 32 * pair + i);
        Int<bytes> low = both & 15, high = both >> 4;
        if constexpr (five_bits) {
          const Int<bytes> top = widen<bytes>(fifth + i) >> (2 * pair);
          low |= (top & 1) << 4;
          high |= (top & 2) << 3;
        }
        out(64 * pair + i, scale[0] * to_float<bytes>(low) - offset[0]);
        out(64 * pair + 32 + i, scale[1] * to_float<bytes>(high) - offset[1]);
      }
    }
  }
};

template <int bytes>
struct Q6K {
  static constexpr int numbers = 256, size = 210;
  template <class Out>
  static SINKBENCH_INLINE void block(Bytes p, const Out& out) {
    const Bytes low = p, high = p + 128, scales = p + 192;
    const float d = half(p + 208);
#pragma GCC unroll 2
    for (int part = 0; part < 2; ++part) {  // of 128 numbers
#pragma GCC unroll 4
      for (int i = 0; i < 32; i += width<bytes>) {
        const Int<bytes> a = widen<bytes>(low + 64 * part + i);
        const Int<bytes> b = widen<bytes>(low + 64 * part + 32 + i);
        const Int<bytes> top = widen<bytes>(high + 32 * part + i);
        const auto put = [&](int quarter, Int<bytes> q) __attribute__((always_inline)) {
          const auto scale = static_cast<int8_t>(scales[8 * part + 2 * quarter + i / 16]);
          out(128 * part + 32 * quarter + i,
              (d * static_cast<float>(scale)) * to_float<bytes>(q - 32));
        };
        put(0, (a & 15) | (top & 3) << 4);
        put(1, (b & 15) | (top & 12) << 2);
        put(2, a >> 4 | (top & 48));
        put(3, b >> 4 | (top & 192) >> 2);
      }
    }
  }
};

template <int bytes>
struct Iq4Xs {
  static constexpr int numbers = 256, size = 136;
  template <class Out>
  static SINKBENCH_INLINE void block(Bytes p, const Out& out) {
    const float d = half(p);
    uint16_t top;
    std::memcpy(&top, p + 2, sizeof top);
#pragma GCC unroll 8
    for (int group = 0; group < 8; ++group) {
      const int stated = (p[4 + group / 2] >> (group % 2 * 4) & 15) | (top >> (2 * group) & 3) << 4;
      const float scale = d * static_cast<float>(stated - 32);
      const auto shifted = [&](int i, Float<bytes> v) __attribute__((always_inline)) {
        out(32 * group + i, v);
      };
      nibbles<bytes>(
          p + 8 + 16 * group, shifted, [scale](int, Int<bytes> q) __attribute__((always_inline)) {
            return scale * look_up<bytes>(nonlinear, q);
          });
    }
  }
};

// What has no blocks is taken by the vector.

template <int bytes>
struct F16 {
  static constexpr int numbers = width<bytes>, size = 2 * numbers;
  template <class Out>
  static SINKBENCH_INLINE void block(Bytes p, const Out& out) {
    out(0, from_halves<bytes>(p));
  }
};
template <int bytes>
struct Bf16 {
  static constexpr int numbers = width<bytes>, size = 2 * numbers;
  template <class Out>
  static SINKBENCH_INLINE void block(Bytes p, const Out& out) {
    uint16_t bits[numbers];
    std::memcpy(bits, p, sizeof bits);
    out(0, simd::load_as_float<bytes>(bits));
  }
};
template <int bytes>
struct F32 {
  static constexpr int numbers = width<bytes>, size = 4 * numbers;
  template <class Out>
  static SINKBENCH_INLINE void block(Bytes p, const Out& out) {
    Float<bytes> v;
    std::memcpy(&v, p, sizeof v);
    out(0, v);
  }
};

template <int bytes>
using Q4K = Q4Or5K<bytes, false>;
template <int bytes>
using Q5K = Q4Or5K<bytes, true>;

/// The blocks of n numbers at `p`, a multiple of the type's but where it has no blocks; `powers`:
/// of MXFP4 where they lie apart. `out(block, i, v)` takes vectors, that of the numbers from
/// block + i on, `one(i, x)` what is left.
template <int bytes, class Type, class Out, class One>
SINKBENCH_INLINE void row(Bytes p, Bytes powers, int64_t n, const Out& out, const One& one) {
  int64_t done = 0;
  for (; done + Type::numbers <= n; done += Type::numbers, p += Type::size) {
    const auto put = [&out, done ](int i, Float<bytes> v) __attribute__((always_inline)) {
      out(done, i, v);
    };
    if constexpr (requires { Type::apart; }) {
      Type::block(p, *powers++, put);
    } else {
      Type::block(p, put);
    }
  }
  if constexpr (Type::numbers == width<bytes>) {
    uint8_t rest[Type::size] = {};
    std::memcpy(rest, p, static_cast<size_t>((n - done) * Type::size / Type::numbers));
    Type::block(
        rest, [&one, done, n ](int, Float<bytes> v) __attribute__((always_inline)) {
          for (int64_t i = done; i < n; ++i) one(i, v[i - done]);
        });
  }
}

/// Kernel<Type>::of_this_machine() for the type; null for one that isn't here.
template <template <template <int> class> class Kernel>
auto choose(uint32_t type) -> decltype(Kernel<F32>::of_this_machine()) {
  switch (type) {
    case GgmlType::f32:
      return Kernel<F32>::of_this_machine();
    case GgmlType::f16:
      return Kernel<F16>::of_this_machine();
    case GgmlType::bf16:
      return Kernel<Bf16>::of_this_machine();
    case GgmlType::q8_0:
      return Kernel<Q8_0>::of_this_machine();
    case GgmlType::q4_0:
      return Kernel<Q4_0>::of_this_machine();
    case GgmlType::q4_1:
      return Kernel<Q4_1>::of_this_machine();
    case GgmlType::q5_0:
      return Kernel<Q5_0>::of_this_machine();
    case GgmlType::q4_k:
      return Kernel<Q4K>::of_this_machine();
    case GgmlType::q5_k:
      return Kernel<Q5K>::of_this_machine();
    case GgmlType::q6_k:
      return Kernel<Q6K>::of_this_machine();
    case GgmlType::iq4_nl:
      return Kernel<Iq4Nl>::of_this_machine();
    case GgmlType::iq4_xs:
      return Kernel<Iq4Xs>::of_this_machine();
    case GgmlType::mxfp4:
      return Kernel<Mxfp4>::of_this_machine();
  }
  return nullptr;
}

}  // namespace sinkbench::ggml_vectors

#pragma GCC diagnostic pop
