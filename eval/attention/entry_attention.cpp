#include "eval/attention/entry_attention.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <type_traits>

#include "base/simd.h"
#include "eval/attention/panel.h"

#pragma GCC diagnostic ignored "-Wpsabi"

namespace sinkbench {
namespace {

/// Scores of some rows against keys: [rows, stride], whole vectors.
template <int bytes, int rows, typename T>
SINKBENCH_INLINE void score_rows(const EntryAttention<T>& a, const T* query, const T* key,
                                 int64_t entries, T* scores) {
  constexpr int columns = 2 * bytes / sizeof(T);
  for (int64_t j = 0; j < entries; j += columns) {
    panel<bytes, rows, 2>(a.head_dim, query, a.head_dim, key + j, a.key_stride, scores + j,
                          a.weight_stride, false);
  }
}

/// A row of scores becomes weights.
template <int bytes, typename T>
SINKBENCH_INLINE void softmax_row(const EntryAttention<T>& a, int64_t i, T* row) {
  constexpr T infinity = std::numeric_limits<T>::infinity();
  constexpr int64_t width = bytes / sizeof(T);
  const int64_t n = a.entries, end = (n + width - 1) / width * width;
  if (a.score_cap != 0) {
    for (int64_t j = 0; j < n; ++j) row[j] = a.score_cap * std::tanh(row[j] / a.score_cap);
  }
  if (a.slope != nullptr) {
    for (int64_t j = 0; j < n; ++j) {
      const int64_t distance = std::min(a.query_place[i] - a.entry_place[j], a.cap);
      row[j] += static_cast<T>(-a.slope[i] * static_cast<double>(distance));
    }
  }
  T maximum = a.sink_logit != nullptr ? a.sink_logit[i] : -infinity;
  T total = 0;
  if constexpr (std::is_same_v<T, float>) {
    using F = simd::Float<bytes>;
    using I = simd::Int<bytes>;
    std::fill(row + n, row + end, -infinity);
    const F lowest = F{} - infinity;
    F largest = lowest;
    if (a.first != nullptr) {
      const I q = I{} + a.query_of[i];
      for (int64_t j = 0; j < end; j += width) {
        I seen = simd::load<bytes>(a.first + j) <= q;
        if (a.last != nullptr) seen &= simd::load<bytes>(a.last + j) >= q;
        F v = simd::load<bytes>(row + j);
        v = seen ? v : lowest;
        simd::store<bytes>(row + j, v);
        largest = v > largest ? v : largest;
      }
    } else {
      for (int64_t j = 0; j < end; j += width) {
        const F v = simd::load<bytes>(row + j);
        largest = v > largest ? v : largest;
      }
    }
    maximum = std::max(maximum, simd::largest<bytes>(largest));
    F sum{};
    for (int64_t j = 0; j < end; j += width) {
      const F weight = simd::exp<bytes>(simd::load<bytes>(row + j) - maximum);
      simd::store<bytes>(row + j, weight);
      sum += weight;
    }
    total = simd::sum<bytes>(sum);
  } else {
    for (int64_t j = 0; j < n; ++j) {
      const bool hidden = a.first != nullptr && (a.first[j] > a.query_of[i] ||
                                                 (a.last != nullptr && a.last[j] < a.query_of[i]));
      if (hidden) row[j] = -infinity;
      maximum = std::max(maximum, row[j]);
    }
    for (int64_t j = 0; j < n; ++j) total += row[j] = std::exp(row[j] - maximum);
    std::fill(row + n, row + end, T{0});
  }
  if (a.sink_logit != nullptr) total += std::exp(a.sink_logit[i] - maximum);
  const T inverse = 1 / total;
  for (int64_t j = 0; j < end; j += width) {
    simd::store<bytes>(row + j, simd::load<bytes>(row + j) * inverse);
  }
}

/// `rows` rows, `first` and those after it.
template <int bytes, int rows, typename T>
SINKBENCH_INLINE void attend_rows(const EntryAttention<T>& a, int64_t first) {
  constexpr int64_t width = bytes / sizeof(T);
  const int64_t d = a.head_dim, n = a.entries;
  T* const scores = a.weights + (a.keep_weights ? first * a.weight_stride : 0);
  score_rows<bytes, rows>(a, a.query + first * d, a.key, n, scores);
  if (a.far != nullptr) {
    // The scores of what is far for a row are made anew, and what is nearer stays.
    for (int r = 0; r < rows; ++r) {
      const int64_t far = a.far[first + r];
      if (far == 0) continue;
      T near[2 * width];
      const int64_t whole = far / (2 * width) * (2 * width);
      T* const row = scores + r * a.weight_stride;
      std::copy_n(row + whole, 2 * width, near);
      score_rows<bytes, 1>(a, a.far_query + (first + r) * d, a.far_key, far, row);
      std::copy(near + (far - whole), near + 2 * width, row + far);
    }
  }
  for (int r = 0; r < rows; ++r) softmax_row<bytes>(a, first + r, scores + r * a.weight_stride);
  T mixed[rows][2 * width];
  int64_t c = 0;
  const auto give = [&](int64_t columns) __attribute__((always_inline)) {
    for (int r = 0; r < rows; ++r) std::copy_n(mixed[r], columns, a.output[first + r] + c);
  };
  for (; c + 2 * width <= d; c += 2 * width) {
    panel<bytes, rows, 2>(n, scores, a.weight_stride, a.value + c, d, mixed[0], 2 * width, false);
    give(2 * width);
  }
  for (; c + width <= d; c += width) {
    panel<bytes, rows, 1>(n, scores, a.weight_stride, a.value + c, d, mixed[0], 2 * width, false);
    give(width);
  }
  for (; c < d; ++c) {
    for (int r = 0; r < rows; ++r) {
      T sum = 0;
      for (int64_t j = 0; j < n; ++j) sum += scores[r * a.weight_stride + j] * a.value[j * d + c];
      mixed[r][0] = sum;
    }
    give(1);
  }
}

/// `most`: as many rows at once as the registers hold.
template <int bytes, int most, typename T>
SINKBENCH_INLINE void attend_all(const EntryAttention<T>& a) {
  int64_t first = 0;
  for (; first + most <= a.rows; first += most) attend_rows<bytes, most>(a, first);
  if constexpr (most > 4) {
    for (; first + 4 <= a.rows; first += 4) attend_rows<bytes, 4>(a, first);
  }
  const int64_t rest = a.rows - first;
  if (rest == 3) attend_rows<bytes, 3>(a, first);
  if (rest == 2) attend_rows<bytes, 2>(a, first);
  if (rest == 1) attend_rows<bytes, 1>(a, first);
}

template <int bytes, typename T>
SINKBENCH_INLINE void rotate_columns(const EntryRotation<T>& r) {
  constexpr int64_t width = bytes / sizeof(T);
  const int64_t half = r.rotated / 2;
  for (int64_t c = 0; c < half; ++c) {
    const T* first = r.key + c * r.key_stride;
    const T* second = first + half * r.key_stride;
    const T* cosine = r.cosine + c * r.table_stride;
    const T* sine = r.sine + c * r.table_stride;
    T* out = r.placed + c * r.placed_stride;
    T* out_second = out + half * r.placed_stride;
    int64_t j = r.begin;
    for (; j + width <= r.end; j += width) {
      const auto x = simd::load<bytes>(first + j), y = simd::load<bytes>(second + j);
      const auto cos = simd::load<bytes>(cosine + j), sin = simd::load<bytes>(sine + j);
      simd::store<bytes>(out + j, x * cos - y * sin);
      simd::store<bytes>(out_second + j, y * cos + x * sin);
    }
    for (; j < r.end; ++j) {
      out[j] = first[j] * cosine[j] - second[j] * sine[j];
      out_second[j] = second[j] * cosine[j] + first[j] * sine[j];
    }
  }
  for (int64_t c = r.rotated; c < r.head_dim; ++c) {
    std::copy(r.key + c * r.key_stride + r.begin, r.key + c * r.key_stride + r.end,
              r.placed + c * r.placed_stride + r.begin);
  }
}

#if defined(__x86_64__)
template <typename T>
SINKBENCH_AVX512 void attend_avx512(const EntryAttention<T>& a) {
  attend_all<64, 8>(a);
}
template <typename T>
SINKBENCH_AVX2 void attend_avx2(const EntryAttention<T>& a) {
  attend_all<32, 4>(a);
}
template <typename T>
SINKBENCH_AVX512 void rotate_avx512(const EntryRotation<T>& r) {
  rotate_columns<64>(r);
}
template <typename T>
SINKBENCH_AVX2 void rotate_avx2(const EntryRotation<T>& r) {
  rotate_columns<32>(r);
}
#endif

template <typename T>
void attend(const EntryAttention<T>& a) {
  static const auto best = [] {
#if defined(__x86_64__)
    if (simd::level() == simd::Level::avx512) return attend_avx512<T>;
    if (simd::level() == simd::Level::avx2) return attend_avx2<T>;
#endif
    return +[](const EntryAttention<T>& b) { attend_all<16, 4>(b); };
  }();
  best(a);
}

template <typename T>
void rotate_by_columns(const EntryRotation<T>& r) {
  static const auto best = [] {
#if defined(__x86_64__)
    if (simd::level() == simd::Level::avx512) return rotate_avx512<T>;
    if (simd::level() == simd::Level::avx2) return rotate_avx2<T>;
#endif
    return +[](const EntryRotation<T>& s) { rotate_columns<16>(s); };
  }();
  best(r);
}

}  // namespace

void attend_entries(const EntryAttention<float>& a) {
  attend(a);
}
void attend_entries(const EntryAttention<double>& a) {
  attend(a);
}
void rotate_entries(const EntryRotation<float>& r) {
  rotate_by_columns(r);
}
void rotate_entries(const EntryRotation<double>& r) {
  rotate_by_columns(r);
}

}  // namespace sinkbench
