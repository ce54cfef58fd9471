#include "models/ggml_blocks.h"

#include <c10/util/Half.h>

#include <cstring>
#include <stdexcept>

#include "base/simd.h"
#include "models/ggml_vectors.h"

#pragma GCC diagnostic ignored "-Wpsabi"

namespace sinkbench {
namespace {

using Bytes = const uint8_t*;

float half(Bytes p) {
  uint16_t bits;
  std::memcpy(&bits, p, sizeof bits);
  return c10::detail::fp16_ieee_to_fp32_value(bits);
}

// A function for each type: one block at `p` to its numbers at `y`.

/// Number i of a block of 32: its lower four bits, and bit i of `fifth`.
int five_bits(Bytes q, uint32_t fifth, int i) {
  const int low = i < 16 ? q[i] & 15 : q[i - 16] >> 4;
  return low | static_cast<int>(fifth >> i & 1) << 4;
}

void q5_1(Bytes p, float* y) {
  const float d = half(p), least = half(p + 2);
  uint32_t fifth;
  std::memcpy(&fifth, p + 4, sizeof fifth);
  for (int i = 0; i < 32; ++i) y[i] = static_cast<float>(five_bits(p + 8, fifth, i)) * d + least;
}

// The K types: superblocks of 256 numbers in groups of 16 or 32 whose scales are quantised, too.

void q2_k(Bytes p, float* y) {
  const Bytes scales = p, quants = p + 16;
  const float d = half(p + 80), least = half(p + 82);
  for (int group = 0; group < 16; ++group) {
    // Groups of 16 lie two by two in 32 bytes, four pairs one above the other.
    const Bytes q = quants + group / 8 * 32 + group % 2 * 16;
    const int shift = group % 8 / 2 * 2;
    const float scale = d * static_cast<float>(scales[group] & 15);
    const float offset = least * static_cast<float>(scales[group] >> 4);
    for (int i = 0; i < 16; ++i) *y++ = scale * static_cast<float>(q[i] >> shift & 3) - offset;
  }
}

void q3_k(Bytes p, float* y) {
  const Bytes high = p, quants = p + 32, packed = p + 96;
  const float d = half(p + 108);
  for (int group = 0; group < 16; ++group) {
    const int low4 = group < 8 ? packed[group] & 15 : packed[group - 8] >> 4;
    const int top2 = packed[8 + group % 4] >> (group / 4 * 2) & 3;
    const float scale = d * static_cast<float>((low4 | top2 << 4) - 32);
    const Bytes q = quants + group / 8 * 32 + group % 2 * 16;
    const Bytes h = high + group % 2 * 16;
    const int shift = group % 8 / 2 * 2, bit = group / 2;
    for (int i = 0; i < 16; ++i) {
      *y++ = scale * static_cast<float>((q[i] >> shift & 3) - ((h[i] >> bit & 1) != 0 ? 0 : 4));
    }
  }
}

// Ternary numbers (-1, 0, 1), five in a byte as digits of base 3, or four as two bits each.

/// Digit `n` of a byte that holds five as a fixed-point fraction.
float ternary_digit(uint8_t byte, int n) {
  constexpr uint8_t power_of_3[] = {1, 3, 9, 27, 81};
  const auto shifted = static_cast<uint8_t>(byte * power_of_3[n]);
  return static_cast<float>((shifted * 3 >> 8) - 1);
}

void tq1_0(Bytes p, float* y) {
  const float d = half(p + 52);
  for (int n = 0; n < 5; ++n) {
    for (int i = 0; i < 32; ++i) *y++ = ternary_digit(p[i], n) * d;
  }
  for (int n = 0; n < 5; ++n) {
    for (int i = 0; i < 16; ++i) *y++ = ternary_digit(p[32 + i], n) * d;
  }
  for (int n = 0; n < 4; ++n) {
    for (int i = 0; i < 4; ++i) *y++ = ternary_digit(p[48 + i], n) * d;
  }
}

void tq2_0(Bytes p, float* y) {
  const float d = half(p + 64);
  for (int part = 0; part < 8; ++part) {
    const Bytes q = p + part / 4 * 32;
    const int shift = part % 4 * 2;
    for (int i = 0; i < 32; ++i) *y++ = static_cast<float>((q[i] >> shift & 3) - 1) * d;
  }
}

using DecodeBlock = void (*)(Bytes, float*);

/// Of a type by itself, block by block; null for one that has vectors, or isn't decoded.
DecodeBlock plain_decoder(uint32_t type) {
  switch (type) {
    case GgmlType::q5_1:
      return q5_1;
    case GgmlType::q2_k:
      return q2_k;
    case GgmlType::q3_k:
      return q3_k;
    case GgmlType::tq1_0:
      return tq1_0;
    case GgmlType::tq2_0:
      return tq2_0;
  }
  return nullptr;
}

/// n numbers to y, float or bfloat16's bits.
template <typename T>
using DecodeRow = void (*)(Bytes p, Bytes powers, int64_t n, T* y);

template <typename T>
struct To {
  template <int bytes, class Type>
  static SINKBENCH_INLINE void decode(Bytes p, Bytes powers, int64_t n, T* y) {
    ggml_vectors::row<bytes, Type>(
        p, powers, n,
        [y](int64_t block, int i, simd::Float<bytes> v)
            __attribute__((always_inline)) { simd::store_rounded<bytes>(y + block + i, v); },
        [y](int64_t i, float x) __attribute__((always_inline)) { simd::store_one(y + i, x); });
  }

  template <template <int> class Type>
  struct Kernel {
#if defined(__x86_64__)
    SINKBENCH_AVX512 static void avx512(Bytes p, Bytes powers, int64_t n, T* y) {
      decode<64, Type<64>>(p, powers, n, y);
    }
    SINKBENCH_AVX2 static void avx2(Bytes p, Bytes powers, int64_t n, T* y) {
      decode<32, Type<32>>(p, powers, n, y);
    }
#endif
    static void baseline(Bytes p, Bytes powers, int64_t n, T* y) {
      decode<16, Type<16>>(p, powers, n, y);
    }
    static DecodeRow<T> of_this_machine() {
#if defined(__x86_64__)
      if (simd::level() == simd::Level::avx512) return avx512;
      if (simd::level() == simd::Level::avx2) return avx2;
#endif
      return baseline;
    }
  };
};

template <typename T>
void decode(const GgmlType& type, const std::byte* blocks, int64_t n, T* out) {
  const auto* p = reinterpret_cast<Bytes>(blocks);
  if (const auto row = ggml_vectors::choose<To<T>::template Kernel>(type.id)) {
    return row(p, nullptr, n, out);
  }
  const DecodeBlock block = plain_decoder(type.id);
  if (block == nullptr) {
    throw std::logic_error("decode_blocks: a type that can_decode doesn't take");
  }
  float numbers[256];
  for (int64_t done = 0; done < n; done += type.numbers, p += type.bytes) {
    block(p, numbers);
    for (uint32_t i = 0; i < type.numbers; ++i) simd::store_one(out + done + i, numbers[i]);
  }
}

}  // namespace

bool can_decode(const GgmlType& type) {
  return plain_decoder(type.id) != nullptr ||
         ggml_vectors::choose<To<float>::Kernel>(type.id) != nullptr;
}

void decode_blocks(const GgmlType& type, const std::byte* blocks, int64_t n, float* out) {
  decode(type, blocks, n, out);
}

void decode_blocks(const GgmlType& type, const std::byte* blocks, int64_t n, uint16_t* out) {
  decode(type, blocks, n, out);
}

void decode_mxfp4(const std::byte* numbers, const std::byte* powers, int64_t n, float* out) {
  To<float>::Kernel<ggml_vectors::Mxfp4Apart>::of_this_machine()(
      reinterpret_cast<Bytes>(numbers), reinterpret_cast<Bytes>(powers), n, out);
}

void decode_mxfp4(const std::byte* numbers, const std::byte* powers, int64_t n, uint16_t* out) {
  To<uint16_t>::Kernel<ggml_vectors::Mxfp4Apart>::of_this_machine()(
      reinterpret_cast<Bytes>(numbers), reinterpret_cast<Bytes>(powers), n, out);
}

}  // namespace sinkbench
