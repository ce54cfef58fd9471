#include "models/ggml_dot_bf16.h"

#if defined(__x86_64__)

#include <immintrin.h>

#include <algorithm>
#include <cstring>
#include <limits>

#include "base/simd.h"
#include "models/ggml_vectors.h"

// GCC's own headers make undefined vectors on purpose.
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"

// With its own target, every function here must be inlined into one that has it.
#define SINKBENCH_BF16 \
  __attribute__((target("avx512f,avx512dq,avx512vl,avx512bw,avx512bf16,avx2,fma,f16c")))
#define SINKBENCH_INLINE_BF16 SINKBENCH_BF16 SINKBENCH_INLINE

namespace sinkbench::bf16_dots {
namespace {

using ggml_vectors::Bytes;
using ggml_vectors::half_power;

SINKBENCH_INLINE_BF16 float half(Bytes p) {
  uint16_t bits;
  std::memcpy(&bits, p, sizeof bits);
  return _mm_cvtss_f32(_mm_cvtph_ps(_mm_cvtsi32_si128(bits)));
}

constexpr uint16_t bf16(float x) {
  return static_cast<uint16_t>(__builtin_bit_cast(uint32_t, x) >> 16);
}
/// 32 numbers that words are looked up in by their lowest five bits; of sixteen, all of them twice.
struct Table {
  alignas(64) uint16_t numbers[32] = {};
};
template <typename Function>
constexpr Table table_of(Function number) {
  Table table;
  for (int i = 0; i < 32; ++i) table.numbers[i] = bf16(number(i & 15));
  return table;
}
constexpr Table plain_numbers = table_of([](int i) { return static_cast<float>(i); });
constexpr Table less_eight = table_of([](int i) { return static_cast<float>(i - 8); });
/// The sixty-four numbers of six bits less 32, one after the other.
constexpr Table less_32(int first) {
  Table table;
  for (int i = 0; i < 32; ++i) table.numbers[i] = bf16(static_cast<float>(first + i - 32));
  return table;
}
constexpr Table lower_less_32 = less_32(0), upper_less_32 = less_32(32);
constexpr Table doubled_e2m1 = table_of([](int i) {
  constexpr float sizes[] = {0, 1, 2, 3, 4, 6, 8, 12};
  return i < 8 ? sizes[i] : -sizes[i - 8];
});
SINKBENCH_INLINE_BF16 __m512i look_up(const Table& table, __m512i words) {
  return _mm512_permutexvar_epi16(words, _mm512_load_si512(table.numbers));
}

SINKBENCH_INLINE_BF16 __m512i words(Bytes p) {
  return _mm512_cvtepu8_epi16(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
}

// A type: `units` of 32 numbers in a block of `size` bytes, each a vector of bfloat16, the factors
// on a unit's products, and, where there is one, what is taken off for each number of x.

/// The lower halves of sixteen bytes, then the upper.
SINKBENCH_INLINE_BF16 __m512i nibbles(Bytes p) {
  const __m256i low = _mm256_cvtepu8_epi16(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
  return _mm512_inserti64x4(_mm512_castsi256_si512(low), _mm256_srli_epi16(low, 4), 1);
}

struct Q4_0 {
  static constexpr int units = 1, size = 18, factors = 1;
  static constexpr bool offset = false;
  SINKBENCH_INLINE_BF16 static void read_factors(Bytes p, Bytes, float* factor, float*) {
    factor[0] = half(p);
  }
  SINKBENCH_INLINE_BF16 static __m512i unit(Bytes p, int) {
    return look_up(less_eight, nibbles(p + 2));
  }
};

struct Mxfp4 {
  static constexpr int units = 1, size = 17, factors = 1;
  static constexpr bool offset = false;
  SINKBENCH_INLINE_BF16 static void read_factors(Bytes p, Bytes, float* factor, float*) {
    factor[0] = half_power(p[0]);
  }
  SINKBENCH_INLINE_BF16 static __m512i unit(Bytes p, int) {
    return look_up(doubled_e2m1, nibbles(p + 1));
  }
};

struct Mxfp4Apart {
  static constexpr int units = 1, size = 16, factors = 1;
  static constexpr bool offset = false;
  SINKBENCH_INLINE_BF16 static void read_factors(Bytes, Bytes power, float* factor, float*) {
    factor[0] = *power == 255 ? std::numeric_limits<float>::quiet_NaN() : half_power(*power);
  }
  SINKBENCH_INLINE_BF16 static __m512i unit(Bytes p, int) {
    const __m512i pairs =
        _mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
    return look_up(doubled_e2m1, _mm512_or_si512(pairs, _mm512_slli_epi32(pairs, 12)));
  }
};

struct Q4K {
  static constexpr int units = 8, size = 144, factors = 1;
  static constexpr bool offset = true;
  SINKBENCH_INLINE_BF16 static void read_factors(Bytes p, Bytes, float* factor, float* off) {
    // Eight scales and eight offsets of six bits each in twelve bytes.
    uint32_t packed[4];
    std::memcpy(packed, p + 4, 12);
    packed[3] = (packed[2] >> 4 & 0x0F0F0F0F) | (packed[1] >> 6 & 0x03030303) << 4;
    const uint32_t offsets = packed[1] & 0x3F3F3F3F;
    packed[1] = (packed[2] & 0x0F0F0F0F) | (packed[0] >> 6 & 0x03030303) << 4;
    packed[2] = offsets;
    packed[0] &= 0x3F3F3F3F;
    const __m512 six = _mm512_cvtepi32_ps(
        _mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(packed))));
    const __m256 d = _mm256_set1_ps(half(p)), least = _mm256_set1_ps(half(p + 2));
    _mm256_storeu_ps(factor, _mm256_mul_ps(_mm512_castps512_ps256(six), d));
    _mm256_storeu_ps(off, _mm256_mul_ps(_mm512_extractf32x8_ps(six, 1), least));
  }
  SINKBENCH_INLINE_BF16 static __m512i unit(Bytes p, int k) {
    const __m512i both = words(p + 16 + 32 * (k / 2));
    return look_up(plain_numbers, k % 2 == 0 ? both : _mm512_srli_epi16(both, 4));
  }
};

struct Q6K {
  static constexpr int units = 8, size = 210, factors = 2;  // of each half of a unit
  static constexpr bool offset = false;
  SINKBENCH_INLINE_BF16 static void read_factors(Bytes p, Bytes, float* factor, float*) {
    const __m512i scales =
        _mm512_cvtepi8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p + 192)));
    _mm512_storeu_ps(factor,
                     _mm512_mul_ps(_mm512_cvtepi32_ps(scales), _mm512_set1_ps(half(p + 208))));
  }
  SINKBENCH_INLINE_BF16 static __m512i unit(Bytes p, int k) {
    const int part = k / 4, quarter = k % 4;
    const __m512i low = words(p + 64 * part + 32 * (quarter % 2));
    const __m512i top = words(p + 128 + 32 * part);
    const __m512i upper = quarter == 0   ? _mm512_slli_epi16(top, 4)
                          : quarter == 1 ? _mm512_slli_epi16(top, 2)
                          : quarter == 2 ? top
                                         : _mm512_srli_epi16(top, 2);
    // Four bits of one, and above them two of the other: 0xCA chooses by the mask.
    const __m512i index = _mm512_ternarylogic_epi32(
        _mm512_set1_epi16(15), quarter < 2 ? low : _mm512_srli_epi16(low, 4), upper, 0xCA);
    return _mm512_permutex2var_epi16(_mm512_load_si512(lower_less_32.numbers), index,
                                     _mm512_load_si512(upper_less_32.numbers));
  }
};

template <class Type, int parts>
SINKBENCH_BF16 float dot(const StoredRow& row, const DotOperand& x) {
  const auto n = static_cast<int64_t>(x.x.size());
  const uint16_t* const of_x = x.in_parts.data();
  Bytes p = reinterpret_cast<Bytes>(row.numbers), powers = reinterpret_cast<Bytes>(row.powers);
  __m512 sums[2] = {_mm512_setzero_ps(), _mm512_setzero_ps()};
  __m256 off = _mm256_setzero_ps();
  const int with_powers = powers != nullptr ? 1 : 0;
  for (int64_t number = 0; number < n; p += Type::size, powers += with_powers) {
    float factor[Type::units * Type::factors], taken[8];
    Type::read_factors(p, powers, factor, taken);
    if constexpr (Type::offset) {
      off = _mm256_fmadd_ps(_mm256_loadu_ps(taken), _mm256_loadu_ps(x.sums.data() + number / 32),
                            off);
    }
#pragma GCC unroll 8
    for (int k = 0; k < Type::units; ++k, number += 32) {
      const __m512i numbers = Type::unit(p, k);
      __m512 products = _mm512_setzero_ps();
#pragma GCC unroll 3
      for (int i = 0; i < parts; ++i) {
        products = _mm512_dpbf16_ps(products, (__m512bh)numbers,
                                    (__m512bh)_mm512_loadu_si512(of_x + i * n + number));
      }
      __m512 by = _mm512_set1_ps(factor[k * Type::factors]);
      if constexpr (Type::factors == 2) {
        by = _mm512_mask_mov_ps(by, 0xFF00, _mm512_set1_ps(factor[2 * k + 1]));
      }
      sums[k % 2] = _mm512_fmadd_ps(products, by, sums[k % 2]);
    }
  }
  float sum = _mm512_reduce_add_ps(_mm512_add_ps(sums[0], sums[1]));
  if constexpr (Type::offset) {
    float lanes[8];
    _mm256_storeu_ps(lanes, off);
    for (const float lane : lanes) sum -= lane;
  }
  return sum;
}

// (One row at a time: several that share what is read of x are a quarter faster in a cache, and
// half as fast from memory, which is then read in as many places.)
template <class Type>
void dot_all(std::span<const StoredRow> rows, const DotOperand& x, float* y) {
  for (const StoredRow& row : rows) {
    *y++ = x.parts == 1 ? dot<Type, 1>(row, x) : dot<Type, 3>(row, x);
  }
}

}  // namespace

bool dot_rows(std::span<const StoredRow> rows, const DotOperand& x, float* y) {
  static const bool there =
      simd::level() == simd::Level::avx512 && __builtin_cpu_supports("avx512bf16");
  if (!there || rows.empty()) return false;
  if (rows[0].type == nullptr) {
    dot_all<Mxfp4Apart>(rows, x, y);
    return true;
  }
  switch (rows[0].type->id) {
    case GgmlType::q4_0:
      dot_all<Q4_0>(rows, x, y);
      return true;
    case GgmlType::mxfp4:
      dot_all<Mxfp4>(rows, x, y);
      return true;
    case GgmlType::q4_k:
      dot_all<Q4K>(rows, x, y);
      return true;
    case GgmlType::q6_k:
      dot_all<Q6K>(rows, x, y);
      return true;
  }
  return false;
}

}  // namespace sinkbench::bf16_dots

#else

namespace sinkbench::bf16_dots {

bool dot_rows(std::span<const StoredRow>, const DotOperand&, float*) {
  return false;
}

}  // namespace sinkbench::bf16_dots

#endif
