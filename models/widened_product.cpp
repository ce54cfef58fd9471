#include "models/widened_product.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <memory>
#include <utility>

#include "base/simd.h"
#include "models/share.h"

#pragma GCC diagnostic ignored "-Wpsabi"

namespace sinkbench {
namespace {

// A tile of the result, some rows by two vectors of columns, stays in registers over a part of
// `in`; its columns of the weight are widened and laid out by depth before, for many tiles:
//   packed[panel][depth][2 * width]
constexpr int64_t depth_at_once = 512;    // numbers of a row
constexpr int64_t columns_at_once = 256;  // of the result; with the depth 512 KiB: a core's cache

template <int bytes>
constexpr int64_t width = bytes / 4;
template <int bytes>
constexpr int64_t panel_columns = 2 * width<bytes>;
/// Rows of a tile: as many as the registers hold, with two for the weight and one for x.
template <int bytes>
constexpr int tile_rows = bytes == 64 ? 12 : 6;

/// Where bit `half` of i and of a lane j differ, (i, j) and its mirror image change places.
template <int bytes, int half, int... j>
SINKBENCH_INLINE void swap_halves(simd::Float<bytes>& a, simd::Float<bytes>& b,
                                  std::integer_sequence<int, j...>) {
  constexpr int n = sizeof...(j);
  const simd::Float<bytes> first =
      __builtin_shufflevector(a, b, ((j & half) ? n + j - half : j)...);
  b = __builtin_shufflevector(a, b, ((j & half) ? n + j : j + half)...);
  a = first;
}

template <int bytes, int half>
SINKBENCH_INLINE void transpose_steps(simd::Float<bytes>* v) {
  constexpr int n = bytes / 4;
  if constexpr (half < n) {
    for (int i = 0; i < n; ++i) {
      if ((i & half) == 0) {
        swap_halves<bytes, half>(v[i], v[i + half], std::make_integer_sequence<int, n>());
      }
    }
    transpose_steps<bytes, 2 * half>(v);
  }
}

/// Rows of the weight (of `in` numbers, from `weight` on) to columns of a panel; rows that there
/// are none of to zeros.
template <int bytes>
SINKBENCH_INLINE void pack(const uint16_t* weight, int64_t in, int64_t rows, int64_t depth,
                           float* panel) {
  constexpr int64_t w = width<bytes>;
  for (int64_t column = 0; column < panel_columns<bytes>; column += w) {
    const int64_t there = std::clamp<int64_t>(rows - column, 0, w);
    const uint16_t* from = weight + column * in;
    int64_t k = 0;
    for (; k + w <= depth; k += w) {
      simd::Float<bytes> v[w];
      for (int64_t i = 0; i < w; ++i) {
        v[i] = i < there ? simd::load_as_float<bytes>(from + i * in + k) : simd::Float<bytes>{};
      }
      transpose_steps<bytes, 1>(v);
      for (int64_t i = 0; i < w; ++i) {
        simd::store<bytes>(panel + (k + i) * panel_columns<bytes> + column, v[i]);
      }
    }
    for (; k < depth; ++k) {
      for (int64_t i = 0; i < w; ++i) {
        panel[k * panel_columns<bytes> + column + i] =
            i < there ? simd::as_float(from[i * in + k]) : 0.0f;
      }
    }
  }
}

/// So many rows of x (of `in` numbers) by a panel, added to sums (rows of columns_at_once).
template <int bytes, int rows>
SINKBENCH_INLINE void tile(const float* x, int64_t in, int64_t depth, const float* panel,
                           float* sums) {
  constexpr int64_t w = width<bytes>;
  simd::Float<bytes> left[rows] = {}, right[rows] = {};
  for (int64_t k = 0; k < depth; ++k) {
    const simd::Float<bytes> a = simd::load<bytes>(panel + k * 2 * w);
    const simd::Float<bytes> b = simd::load<bytes>(panel + k * 2 * w + w);
#pragma GCC unroll 16
    for (int i = 0; i < rows; ++i) {
      const float one = x[i * in + k];
      left[i] += a * one;
      right[i] += b * one;
    }
  }
  for (int i = 0; i < rows; ++i) {
    float* const to = sums + i * columns_at_once;
    simd::store<bytes>(to, simd::load<bytes>(to) + left[i]);
    simd::store<bytes>(to + w, simd::load<bytes>(to + w) + right[i]);
  }
}

struct WidenedProduct {
  const float* x;          // [n, in]
  const uint16_t* weight;  // [out, in]
  const float* bias;       // [out], or null
  uint16_t* y;             // [n, out]
  int64_t n, in, out;
};

struct Scratch {
  float* packed;  // [columns_at_once, depth_at_once]
  float* sums;    // [n, columns_at_once]
};

/// Columns from .. to of the result, at most columns_at_once.
template <int bytes>
SINKBENCH_INLINE void block(const WidenedProduct& p, int64_t from, int64_t to,
                            const Scratch& scratch) {
  constexpr int64_t w = width<bytes>;
  const int64_t columns = to - from;
  for (int64_t row = 0; row < p.n; ++row) {
    float* sums = scratch.sums + row * columns_at_once;
    if (p.bias != nullptr) std::copy(p.bias + from, p.bias + to, sums);
    std::fill(sums + (p.bias != nullptr ? columns : 0), sums + columns_at_once, 0.0f);
  }
  for (int64_t k = 0; k < p.in; k += depth_at_once) {
    const int64_t depth = std::min(depth_at_once, p.in - k);
    for (int64_t column = 0; column < columns; column += panel_columns<bytes>) {
      pack<bytes>(p.weight + (from + column) * p.in + k, p.in, columns - column, depth,
                  scratch.packed + column * depth);
    }
    const auto rows = [&]<int count>(int64_t row) __attribute__((always_inline)) {
      for (int64_t column = 0; column < columns; column += panel_columns<bytes>) {
        tile<bytes, count>(p.x + row * p.in + k, p.in, depth, scratch.packed + column * depth,
                           scratch.sums + row * columns_at_once + column);
      }
    };
    int64_t row = 0;
    for (; row + tile_rows<bytes> <= p.n; row += tile_rows<bytes>) {
      rows.template operator()<tile_rows<bytes>>(row);
    }
    for (; row + 3 <= p.n; row += 3) rows.template operator()<3>(row);
    for (; row < p.n; ++row) rows.template operator()<1>(row);
  }
  for (int64_t row = 0; row < p.n; ++row) {
    const float* sums = scratch.sums + row * columns_at_once;
    uint16_t* y = p.y + row * p.out + from;
    int64_t column = 0;
    for (; column + w <= columns; column += w) {
      simd::store_rounded<bytes>(y + column, simd::load<bytes>(sums + column));
    }
    for (; column < columns; ++column) simd::store_one(y + column, sums[column]);
  }
}

#if defined(__x86_64__)
SINKBENCH_AVX512 void block_avx512(const WidenedProduct& p, int64_t from, int64_t to,
                                   const Scratch& s) {
  block<64>(p, from, to, s);
}
SINKBENCH_AVX2 void block_avx2(const WidenedProduct& p, int64_t from, int64_t to,
                               const Scratch& s) {
  block<32>(p, from, to, s);
}
#endif
void block_baseline(const WidenedProduct& p, int64_t from, int64_t to, const Scratch& s) {
  block<16>(p, from, to, s);
}

using BlockFunction = void (*)(const WidenedProduct&, int64_t from, int64_t to, const Scratch&);

BlockFunction best_block() {
#if defined(__x86_64__)
  if (simd::level() == simd::Level::avx512) return block_avx512;
  if (simd::level() == simd::Level::avx2) return block_avx2;
#endif
  return block_baseline;
}

/// Blocks of so many columns and parts of so many rows, for threads to share.
struct Division {
  int64_t columns, blocks;
  int64_t rows, parts;
};

int64_t up(int64_t n, int64_t step) {
  return (n + step - 1) / step;
}

Division divide(const WidenedProduct& p, int64_t threads) {
  constexpr int64_t widest_panel = 32, fewest_rows = 48;  // of a part, which packs for itself
  const int64_t shares = threads * up(p.out, threads * columns_at_once);
  const int64_t columns = up(up(p.out, shares), widest_panel) * widest_panel;
  const int64_t blocks = up(p.out, columns);
  const int64_t most_parts = std::max<int64_t>(1, p.n / fewest_rows);
  const int64_t parts = std::clamp<int64_t>(threads / blocks, 1, most_parts);
  return {.columns = columns, .blocks = blocks, .rows = up(p.n, parts), .parts = parts};
}

/// Whether LibTorch's products of bfloat16 are faster than float32's: with tiles (AMX), and with
/// AVX-512's instruction for pairs but on Intel's processors, where it has half the rate of
/// float32's multiply-add (measured: 84 beside 161 GFLOP/s). Without it they are put together of
/// other instructions (30 GFLOP/s on the same processor).
bool has_faster_bfloat16() {
#if defined(__x86_64__)
  if (simd::level() != simd::Level::avx512) return false;
  return __builtin_cpu_supports("amx-bf16") ||
         (__builtin_cpu_supports("avx512bf16") && !__builtin_cpu_is("intel"));
#else
  return false;
#endif
}

}  // namespace

bool widens(const at::Tensor& x) {
  static const bool has_faster = has_faster_bfloat16();
  return x.is_cpu() && x.scalar_type() == at::kBFloat16 && !has_faster;
}

at::Tensor widened_product(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias) {
  static const BlockFunction block = best_block();
  const at::Tensor wide = x.to(at::kFloat).contiguous(), rows = weight.contiguous();
  const at::Tensor added = bias.defined() ? bias.to(at::kFloat).contiguous() : bias;
  const at::Tensor y = at::empty({x.size(0), weight.size(0)}, x.options());
  const WidenedProduct whole = {.x = wide.data_ptr<float>(),
                                .weight = static_cast<const uint16_t*>(rows.data_ptr()),
                                .bias = added.defined() ? added.data_ptr<float>() : nullptr,
                                .y = static_cast<uint16_t*>(y.data_ptr()),
                                .n = x.size(0),
                                .in = weight.size(1),
                                .out = weight.size(0)};
  const Division division = divide(whole, at::get_num_threads());
  share(division.blocks * division.parts, 1, [&](int64_t from, int64_t to) {
    const auto packed = std::make_unique_for_overwrite<float[]>(columns_at_once * depth_at_once);
    const auto sums = std::make_unique_for_overwrite<float[]>(division.rows * columns_at_once);
    for (int64_t i = from; i < to; ++i) {
      const int64_t column = i / division.parts * division.columns;
      const int64_t row = std::min(i % division.parts * division.rows, whole.n);
      WidenedProduct part = whole;
      part.x += row * whole.in;
      part.y += row * whole.out;
      part.n = std::min(division.rows, whole.n - row);
      block(part, column, std::min(column + division.columns, whole.out),
            {.packed = packed.get(), .sums = sums.get()});
    }
  });
  return y;
}

}  // namespace sinkbench
