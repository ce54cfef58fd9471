#include "policies/score_policy.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <stdexcept>

#include "base/simd.h"
#include "policies/values.h"

#pragma GCC diagnostic ignored "-Wpsabi"

namespace sinkbench {

namespace {

/// The first of the lowest values; lanes of their own let the loop become vectors.
int64_t first_lowest(std::span<const float> values, int64_t first, int64_t last) {
  constexpr int64_t lanes = 16;
  float lowest[lanes];
  std::fill_n(lowest, lanes, values[first]);
  int64_t i = first;
  for (; i + lanes <= last; i += lanes) {
    for (int64_t l = 0; l < lanes; ++l) {
      lowest[l] = values[i + l] < lowest[l] ? values[i + l] : lowest[l];
    }
  }
  for (; i < last; ++i) lowest[0] = std::min(lowest[0], values[i]);
  const float low = *std::min_element(lowest, lowest + lanes);
  return std::find(values.begin() + first, values.begin() + last, low) - values.begin();
}

template <int bytes>
SINKBENCH_INLINE double dot_in_vectors(const double* a, const double* b, int64_t n) {
  constexpr int64_t width = bytes / sizeof(double);
  simd::Double<bytes> part0{}, part1{};
  int64_t i = 0;
  for (; i + 2 * width <= n; i += 2 * width) {
    part0 += simd::load<bytes>(a + i) * simd::load<bytes>(b + i);
    part1 += simd::load<bytes>(a + i + width) * simd::load<bytes>(b + i + width);
  }
  part0 += part1;
  double sum = 0;
  for (int l = 0; l < width; ++l) sum += part0[l];
  for (; i < n; ++i) sum += a[i] * b[i];
  return sum;
}

template <int bytes>
SINKBENCH_INLINE void add_in_vectors(double scale, const double* x, double* sum, int64_t n) {
  constexpr int64_t width = bytes / sizeof(double);
  int64_t i = 0;
  for (; i + width <= n; i += width) {
    simd::store<bytes>(sum + i, simd::load<bytes>(sum + i) + scale * simd::load<bytes>(x + i));
  }
  for (; i < n; ++i) sum[i] += scale * x[i];
}

#if defined(__x86_64__)
SINKBENCH_AVX2 double dot_avx2(const double* a, const double* b, int64_t n) {
  return dot_in_vectors<32>(a, b, n);
}
SINKBENCH_AVX2 void add_avx2(double scale, const double* x, double* sum, int64_t n) {
  add_in_vectors<32>(scale, x, sum, n);
}
#endif

bool has_avx2() {
  static const bool has = simd::level() != simd::Level::baseline;
  return has;
}

}  // namespace

double dot(const double* a, const double* b, int64_t n) {
#if defined(__x86_64__)
  if (has_avx2()) return dot_avx2(a, b, n);
#endif
  return dot_in_vectors<16>(a, b, n);
}

void add_scaled(double scale, const double* x, double* sum, int64_t n) {
#if defined(__x86_64__)
  if (has_avx2()) return add_avx2(scale, x, sum, n);
#endif
  add_in_vectors<16>(scale, x, sum, n);
}

std::optional<int64_t> ScorePolicy::capacity() const {
  const Budget& budget = retention_.budget;
  // That of the first layer, wherever there is another.
  const int64_t most = budget.kind == Budget::Kind::pyramid
                           ? budget.of(0, 0, {.layers = 2}, retention_.guarded())
                           : budget.most();
  return std::max(most + retention_.every, retention_.prompt) - 1;
}

Needs needs_of(const ScorePolicy& policy) {
  Needs needs = policy.needs();
  needs.values = needs.values || policy.retention().values != Retention::Values::none;
  return needs;
}

void score_entries(const ScorePolicy& policy, const Round& round, std::span<double> scores) {
  policy.score(round, scores);
  combine_with_values(policy.retention().values, round.values, round.value_dim, scores);
}

Unprotected unprotected(const Retention& retention, const Round& round) {
  const int64_t n = std::ssize(round.place);
  // The first tokens of the stream, as many as are still there, stand at the front.
  int64_t first = 0;
  while (first < n && round.place[first] < retention.sinks) ++first;
  return {first, std::max(first, n - retention.recent)};
}

void check_numbers(const Retention& retention, const Round& round, std::span<const double> scores) {
  int32_t no_numbers = 0;
  for (const double score : scores) no_numbers |= score != score ? 1 : 0;
  if (no_numbers == 0) return;
  const auto nan = std::find_if(scores.begin(), scores.end(), [](double x) { return x != x; });
  throw std::runtime_error(fmt::format(
      "policy {}: the score of token {} in layer {}, head {} is not a number, in the round after "
      "token {}",
      retention.name, round.place[nan - scores.begin()], round.layer, round.head, round.next - 1));
}

std::vector<int64_t> evicted(const Retention& retention, const Round& round,
                             std::span<const double> scores) {
  const int64_t n = static_cast<int64_t>(scores.size());
  const int64_t surplus = n - round.keep;
  if (surplus <= 0) return {};
  const auto [first, last] = unprotected(retention, round);
  check_numbers(retention, round, scores);
  std::vector<float> rounded(n);
  for (int64_t i = 0; i < n; ++i) rounded[i] = static_cast<float>(scores[i]);
  if (surplus == 1) return {first_lowest(rounded, first, last)};
  std::vector<int64_t> result(last - first);
  std::iota(result.begin(), result.end(), first);
  std::nth_element(result.begin(), result.begin() + surplus - 1, result.end(),
                   [&](int64_t a, int64_t b) {
                     return rounded[a] < rounded[b] || (rounded[a] == rounded[b] && a < b);
                   });
  result.resize(surplus);
  std::sort(result.begin(), result.end());
  return result;
}

}  // namespace sinkbench
