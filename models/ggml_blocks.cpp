#include "models/ggml_blocks.h"

#include <c10/util/BFloat16.h>
#include <c10/util/Half.h>

#include <cstring>
#include <stdexcept>

namespace sinkbench {
namespace {

using Bytes = const uint8_t*;

float half(Bytes p) {
  uint16_t bits;
  std::memcpy(&bits, p, sizeof bits);
  return c10::detail::fp16_ieee_to_fp32_value(bits);
}

int as_signed(uint8_t byte) {
  return static_cast<int8_t>(byte);
}

// A function for each type: one block at `p` to its numbers at `y`.

void q4_0(Bytes p, float* y) {
  const float d = half(p);
  for (int i = 0; i < 16; ++i) {
    y[i] = static_cast<float>((p[2 + i] & 15) - 8) * d;
    y[i + 16] = static_cast<float>((p[2 + i] >> 4) - 8) * d;
  }
}

void q4_1(Bytes p, float* y) {
  const float d = half(p), least = half(p + 2);
  for (int i = 0; i < 16; ++i) {
    y[i] = static_cast<float>(p[4 + i] & 15) * d + least;
    y[i + 16] = static_cast<float>(p[4 + i] >> 4) * d + least;
  }
}

/// Number i of a block of 32: its lower four bits, and bit i of `fifth`.
int five_bits(Bytes q, uint32_t fifth, int i) {
  const int low = i < 16 ? q[i] & 15 : q[i - 16] >> 4;
  return low | static_cast<int>(fifth >> i & 1) << 4;
}

void q5_0(Bytes p, float* y) {
  const float d = half(p);
  uint32_t fifth;
  std::memcpy(&fifth, p + 2, sizeof fifth);
  for (int i = 0; i < 32; ++i) y[i] = static_cast<float>(five_bits(p + 6, fifth, i) - 16) * d;
}

void q5_1(Bytes p, float* y) {
  const float d = half(p), least = half(p + 2);
  uint32_t fifth;
  std::memcpy(&fifth, p + 4, sizeof fifth);
  for (int i = 0; i < 32; ++i) y[i] = static_cast<float>(five_bits(p + 8, fifth, i)) * d + least;
}

void q8_0(Bytes p, float* y) {
  const float d = half(p);
  for (int i = 0; i < 32; ++i) y[i] = static_cast<float>(as_signed(p[2 + i])) * d;
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

struct ScaleAndLeast {
  int scale, least;
};

/// Of group j of 8: six bits each, packed into 12 bytes.
ScaleAndLeast six_bits(Bytes packed, int j) {
  if (j < 4) return {packed[j] & 63, packed[j + 4] & 63};
  return {(packed[j + 4] & 15) | packed[j - 4] >> 6 << 4, packed[j + 4] >> 4 | packed[j] >> 6 << 4};
}

/// Q4_K, and Q5_K where `fifth` has a fifth bit of every number.
void q4_or_5_k(Bytes p, Bytes fifth, Bytes quants, float* y) {
  const float d = half(p), least = half(p + 2);
  for (int group = 0; group < 8; ++group) {
    const auto [stated_scale, stated_least] = six_bits(p + 4, group);
    const float scale = d * static_cast<float>(stated_scale);
    const float offset = least * static_cast<float>(stated_least);
    const Bytes q = quants + group / 2 * 32;
    const int shift = group % 2 * 4;
    for (int i = 0; i < 32; ++i) {
      const int high = fifth == nullptr ? 0 : (fifth[i] >> group & 1) << 4;
      *y++ = scale * static_cast<float>((q[i] >> shift & 15) + high) - offset;
    }
  }
}

void q4_k(Bytes p, float* y) {
  q4_or_5_k(p, nullptr, p + 16, y);
}

void q5_k(Bytes p, float* y) {
  q4_or_5_k(p, p + 16, p + 48, y);
}

void q6_k(Bytes p, float* y) {
  const Bytes low = p, high = p + 128, scales = p + 192;
  const float d = half(p + 208);
  for (int part = 0; part < 8; ++part) {  // of 32 numbers
    const Bytes l = low + part / 4 * 64 + part % 2 * 32;
    const Bytes h = high + part / 4 * 32;
    const int low_shift = part % 4 / 2 * 4, high_shift = part % 4 * 2;
    for (int i = 0; i < 32; ++i) {
      const int q = ((l[i] >> low_shift & 15) | (h[i] >> high_shift & 3) << 4) - 32;
      const float scale = d * static_cast<float>(as_signed(scales[2 * part + i / 16]));
      *y++ = scale * static_cast<float>(q);
    }
  }
}

/// The sixteen values of IQ4_NL and IQ4_XS.
constexpr float nonlinear[16] = {-127, -104, -83, -65, -49, -35, -22, -10,
                                 1,    13,   25,  38,  53,  69,  89,  113};

void iq4_nl(Bytes p, float* y) {
  const float d = half(p);
  for (int i = 0; i < 16; ++i) {
    y[i] = d * nonlinear[p[2 + i] & 15];
    y[i + 16] = d * nonlinear[p[2 + i] >> 4];
  }
}

void iq4_xs(Bytes p, float* y) {
  const float d = half(p);
  uint16_t top;
  std::memcpy(&top, p + 2, sizeof top);
  const Bytes low = p + 4;
  for (int group = 0; group < 8; ++group) {
    const int stated = (low[group / 2] >> (group % 2 * 4) & 15) | (top >> (2 * group) & 3) << 4;
    const float scale = d * static_cast<float>(stated - 32);
    const Bytes q = p + 8 + group * 16;
    for (int i = 0; i < 16; ++i) {
      y[i] = scale * nonlinear[q[i] & 15];
      y[i + 16] = scale * nonlinear[q[i] >> 4];
    }
    y += 32;
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

/// OCP's microscaling format: numbers E2M1, here twice their value, with an exponent of 8 bits.
void mxfp4(Bytes p, float* y) {
  constexpr float doubled[16] = {0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12};
  const uint32_t exponent = p[0];  // 2^(exponent - 127), halved; below 2 a subnormal number
  const uint32_t bits = exponent < 2 ? uint32_t{0x00200000} << exponent : (exponent - 1) << 23;
  float d;
  std::memcpy(&d, &bits, sizeof d);
  for (int i = 0; i < 16; ++i) {
    y[i] = doubled[p[1 + i] & 15] * d;
    y[i + 16] = doubled[p[1 + i] >> 4] * d;
  }
}

void f16(Bytes p, float* y) {
  *y = half(p);
}

void bf16(Bytes p, float* y) {
  uint16_t bits;
  std::memcpy(&bits, p, sizeof bits);
  *y = c10::detail::f32_from_bits(bits);
}

void f32(Bytes p, float* y) {
  std::memcpy(y, p, sizeof *y);
}

using DecodeBlock = void (*)(Bytes, float*);

/// Null for a type that isn't decoded.
DecodeBlock block_decoder(uint32_t type) {
  switch (type) {
    case GgmlType::f32:
      return f32;
    case GgmlType::f16:
      return f16;
    case GgmlType::bf16:
      return bf16;
    case GgmlType::q4_0:
      return q4_0;
    case GgmlType::q4_1:
      return q4_1;
    case GgmlType::q5_0:
      return q5_0;
    case GgmlType::q5_1:
      return q5_1;
    case GgmlType::q8_0:
      return q8_0;
    case GgmlType::q2_k:
      return q2_k;
    case GgmlType::q3_k:
      return q3_k;
    case GgmlType::q4_k:
      return q4_k;
    case GgmlType::q5_k:
      return q5_k;
    case GgmlType::q6_k:
      return q6_k;
    case GgmlType::iq4_nl:
      return iq4_nl;
    case GgmlType::iq4_xs:
      return iq4_xs;
    case GgmlType::tq1_0:
      return tq1_0;
    case GgmlType::tq2_0:
      return tq2_0;
    case GgmlType::mxfp4:
      return mxfp4;
  }
  return nullptr;
}

}  // namespace

bool can_decode(const GgmlType& type) {
  return block_decoder(type.id) != nullptr;
}

void decode_blocks(const GgmlType& type, const std::byte* blocks, int64_t n, float* out) {
  const DecodeBlock decode = block_decoder(type.id);
  if (decode == nullptr)
    throw std::logic_error("decode_blocks: a type that can_decode doesn't take");
  const auto* p = reinterpret_cast<Bytes>(blocks);
  for (const float* end = out + n; out < end; out += type.numbers, p += type.bytes) decode(p, out);
}

}  // namespace sinkbench
