#include "reports/statistics.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <random>

namespace sinkbench {
namespace {

constexpr size_t most_blocks = 1024;
constexpr size_t fewest_values = 5;  // that an interval is made from
constexpr size_t resamples = 5000;
constexpr size_t exact_samples = 8;

struct Moments {
  double mean, standard_error;
};

Moments moments(double sum, double squares, double n) {
  const double mean = sum / n;
  const double variance = std::max(0.0, squares / n - mean * mean) * n / (n - 1);
  return {mean, std::sqrt(variance / n)};
}

/// The probability that U is `u` or more without ties, where all orders are equally likely.
double exact_upper_tail(double u, size_t n, size_t m) {
  // ways[j][k]: orders of i samples of the first and j of the second set in which U is k, as a
  // share of all orders. The largest sample is of the first set (and beats all j) or of the second.
  std::vector<std::vector<double>> ways(m + 1, std::vector<double>(n * m + 1, 0.0));
  for (auto& row : ways) row[0] = 1;
  for (size_t i = 1; i <= n; ++i) {
    for (size_t j = 1; j <= m; ++j) {
      const double of_first = static_cast<double>(i) / static_cast<double>(i + j);
      for (size_t k = i * j + 1; k-- > 0;) {
        const double first = k >= j ? ways[j][k - j] : 0.0;
        const double second = ways[j - 1][k];
        ways[j][k] = of_first * first + (1 - of_first) * second;
      }
    }
  }
  double tail = 0;
  for (size_t k = static_cast<size_t>(std::ceil(u)); k <= n * m; ++k) tail += ways[m][k];
  return tail;
}

}  // namespace

std::vector<double> block_means(std::span<const double> values) {
  const size_t n = values.size();
  const size_t blocks =
      std::min(most_blocks, static_cast<size_t>(std::sqrt(static_cast<double>(n))));
  std::vector<double> means;
  for (size_t b = 0; b < blocks; ++b) {
    const auto block = values.subspan(b * n / blocks, (b + 1) * n / blocks - b * n / blocks);
    means.push_back(std::accumulate(block.begin(), block.end(), 0.0) /
                    static_cast<double>(block.size()));
  }
  return means;
}

Interval bootstrap_mean(std::span<const double> values, double confidence) {
  constexpr double infinity = std::numeric_limits<double>::infinity();
  const size_t n = values.size();
  const double size = static_cast<double>(n);
  const double mean = std::accumulate(values.begin(), values.end(), 0.0) / size;
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

RankTest mann_whitney(std::span<const double> a, std::span<const double> b) {
  if (a.empty() || b.empty()) return {};
  const double n = static_cast<double>(a.size()), m = static_cast<double>(b.size());
  std::vector<std::pair<double, bool>> samples;  // value, of the first set
  for (const double value : a) samples.emplace_back(value, true);
  for (const double value : b) samples.emplace_back(value, false);
  std::sort(samples.begin(), samples.end());
  double rank_sum = 0;  // of the first set; equal samples share their mean rank
  double ties = 0;      // t^3 - t over groups of equal samples
  for (size_t begin = 0, end = 0; begin < samples.size(); begin = end) {
    while (end < samples.size() && samples[end].first == samples[begin].first) ++end;
    const double equal = static_cast<double>(end - begin);
    ties += equal * equal * equal - equal;
    const double rank = static_cast<double>(begin + end + 1) / 2;
    for (size_t i = begin; i < end; ++i) rank_sum += samples[i].second ? rank : 0;
  }
  const double u = rank_sum - n * (n + 1) / 2;
  const double larger = std::max(u, n * m - u);
  if (ties == 0 && std::min(a.size(), b.size()) <= exact_samples) {
    return {u, std::min(1.0, 2 * exact_upper_tail(larger, a.size(), b.size()))};
  }
  const double total = n + m;
  const double deviation = std::sqrt(n * m / 12 * ((total + 1) - ties / (total * (total - 1))));
  if (deviation == 0) return {u, 1};  // all samples are equal
  const double z = (larger - n * m / 2 - 0.5) / deviation;
  return {u, std::min(1.0, std::erfc(z / std::sqrt(2.0)))};
}

}  // namespace sinkbench
