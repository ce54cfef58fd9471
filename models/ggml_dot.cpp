// Products of ggml's blocks with numbers in float32. (In a file of its own: here products and sums
// may be rounded together, which decoding must not do.)
#include "models/ggml_dot.h"

#include <cstring>

#include "base/simd.h"
#include "models/ggml_blocks.h"
#include "models/ggml_dot_bf16.h"
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

DotOperand::DotOperand(std::span<const float> numbers) : x(numbers) {
  const size_t n = x.size();
  in_parts.resize(3 * n);
  bool exact = true;  // by the first part alone
  for (size_t i = 0; i < n; ++i) {
    float rest = x[i];
    for (size_t part = 0; part < 3; ++part) {  // eight bits of the significand each
      uint32_t bits;
      std::memcpy(&bits, &rest, sizeof bits);
      in_parts[part * n + i] = static_cast<uint16_t>(bits >> 16);
      bits &= 0xFFFF0000;
      float upper;
      std::memcpy(&upper, &bits, sizeof upper);
      rest -= upper;
      if (part == 0) exact = exact && rest == 0.0f;
    }
  }
  parts = exact ? 1 : 3;
  if (n % 32 != 0) return;
  for (size_t begin = 0; begin < n; begin += 32) {
    double sum = 0;
    for (size_t i = begin; i < begin + 32; ++i) sum += x[i];
    sums.push_back(static_cast<float>(sum));
  }
}

void plain::dot_rows(std::span<const StoredRow> rows, const DotOperand& operand, float* y) {
  const auto n = static_cast<int64_t>(operand.x.size());
  const float* const x = operand.x.data();
  for (const StoredRow& row : rows) {
    const auto* const p = reinterpret_cast<Bytes>(row.numbers);
    if (row.type == nullptr) {
      *y++ = Kernel<ggml_vectors::Mxfp4Apart>::of_this_machine()(
          p, reinterpret_cast<Bytes>(row.powers), n, x);
    } else if (const Dot function = ggml_vectors::choose<Kernel>(row.type->id)) {
      *y++ = function(p, nullptr, n, x);
    } else {
      float numbers[256], sum = 0;
      const std::byte* block = row.numbers;
      for (int64_t done = 0; done < n; done += row.type->numbers, block += row.type->bytes) {
        decode_blocks(*row.type, block, row.type->numbers, numbers);
        for (uint32_t i = 0; i < row.type->numbers; ++i) sum += numbers[i] * x[done + i];
      }
      *y++ = sum;
    }
  }
}

void dot_rows(std::span<const StoredRow> rows, const DotOperand& x, float* y) {
  if (!bf16_dots::dot_rows(rows, x, y)) plain::dot_rows(rows, x, y);
}

}  // namespace sinkbench
