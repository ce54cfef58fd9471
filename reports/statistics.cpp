#include "reports/statistics.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numbers>
#include <numeric>
#include <random>

namespace sinkbench {
namespace {

constexpr size_t most_blocks = 1024;
constexpr size_t fewest_values = 5;  // that an interval is made from
constexpr size_t resamples = 5000;

struct Moments {
  double mean, standard_error;
};

Moments moments(double sum, double squares, double n) {
  const double mean = sum / n;
  const double variance = std::max(0.0, squares / n - mean * mean) * n / (n - 1);
  return {mean, std::sqrt(variance / n)};
}

/// The share of Student's distribution between -t and t.
double student_share(double t, int64_t degrees_of_freedom) {
  const double angle = std::atan(t / std::sqrt(static_cast<double>(degrees_of_freedom)));
  const double cosine = std::cos(angle);
  const bool odd = degrees_of_freedom % 2 == 1;
  double term = odd ? cosine : 1, sum = degrees_of_freedom == 1 ? 0 : term;
  for (int64_t k = odd ? 3 : 2; k < degrees_of_freedom; k += 2) {
    term *= static_cast<double>(k - 1) / static_cast<double>(k) * cosine * cosine;
    sum += term;
  }
  return odd ? 2 / std::numbers::pi * (angle + std::sin(angle) * sum) : std::sin(angle) * sum;
}

struct Sample {
  double mean, variance, n;
};

Sample describe(std::span<const double> values) {
  const double n = static_cast<double>(values.size());
  const double mean = sinkbench::mean(values);
  double squares = 0;
  for (const double value : values) squares += (value - mean) * (value - mean);
  return {mean, squares / (n - 1), n};
}

}  // namespace

double mean(std::span<const double> values) {
  return std::accumulate(values.begin(), values.end(), 0.0) / static_cast<double>(values.size());
}

std::vector<std::span<const double>> blocks_of(std::span<const double> values, size_t blocks) {
  const size_t n = values.size();
  std::vector<std::span<const double>> result;
  for (size_t b = 0; b < blocks; ++b) {
    const size_t begin = b * n / blocks, end = (b + 1) * n / blocks;
    result.push_back(values.subspan(begin, end - begin));
  }
  return result;
}

std::vector<double> block_means(std::span<const double> values, size_t blocks) {
  std::vector<double> means;
  for (const auto block : blocks_of(values, blocks)) means.push_back(mean(block));
  return means;
}

std::vector<double> block_means(std::span<const double> values) {
  const auto root = static_cast<size_t>(std::sqrt(static_cast<double>(values.size())));
  return block_means(values, std::min(most_blocks, root));
}

Interval bootstrap_mean(std::span<const double> values, double confidence) {
  constexpr double infinity = std::numeric_limits<double>::infinity();
  const size_t n = values.size();
  const double size = static_cast<double>(n);
  const double mean = sinkbench::mean(values);
  if (n < fewest_values || !std::isfinite(mean)) return {mean, -infinity, infinity};
  // About the mean, so that squares lose no digits.
  std::vector<double> centred;
  double squares = 0;
  for (const double value : values) {
    centred.push_back(value - mean);
    squares += centred.back() * centred.back();
  }
  const double standard_error = moments(0, squares, size).standard_error;
  if (standard_error == 0) return {mean, mean, mean};
  std::mt19937_64 random(1);
  std::vector<double> t;
  for (size_t i = 0; i < resamples; ++i) {
    double sum = 0, sum_of_squares = 0;
    for (size_t k = 0; k < n; ++k) {
      const double value = centred[random() % n];
      sum += value;
      sum_of_squares += value * value;
    }
    const Moments resample = moments(sum, sum_of_squares, size);
    if (resample.standard_error > 0) t.push_back(resample.mean / resample.standard_error);
  }
  std::sort(t.begin(), t.end());
  const size_t tail = static_cast<size_t>((1 - confidence) / 2 * static_cast<double>(t.size()));
  return {mean, mean - t[t.size() - 1 - tail] * standard_error, mean - t[tail] * standard_error};
}

double student_t(double confidence, int64_t degrees_of_freedom) {
  double low = 0, high = 1;
  while (student_share(high, degrees_of_freedom) < confidence) high *= 2;
  while (true) {
    const double middle = (low + high) / 2;
    if (middle <= low || middle >= high) return high;
    (student_share(middle, degrees_of_freedom) < confidence ? low : high) = middle;
  }
}

Interval mean_of(std::span<const double> values, double confidence) {
  constexpr double infinity = std::numeric_limits<double>::infinity();
  const Sample sample = describe(values);
  if (values.size() < 2) return {sample.mean, -infinity, infinity};
  const double reach = student_t(confidence, static_cast<int64_t>(values.size()) - 1) *
                       std::sqrt(sample.variance / sample.n);
  return {sample.mean, sample.mean - reach, sample.mean + reach};
}

Interval difference_of_means(std::span<const double> a, std::span<const double> b,
                             double confidence) {
  constexpr double infinity = std::numeric_limits<double>::infinity();
  const Sample before = describe(a), after = describe(b);
  const double mean = after.mean - before.mean;
  if (a.size() < 2 || b.size() < 2) return {mean, -infinity, infinity};
  const double share_a = before.variance / before.n, share_b = after.variance / after.n;
  const double variance = share_a + share_b;
  if (variance == 0) return {mean, mean, mean};
  const double degrees_of_freedom =
      variance * variance /
      (share_a * share_a / (before.n - 1) + share_b * share_b / (after.n - 1));
  const double reach =
      student_t(confidence, std::max<int64_t>(1, static_cast<int64_t>(degrees_of_freedom))) *
      std::sqrt(variance);
  return {mean, mean - reach, mean + reach};
}

}  // namespace sinkbench
