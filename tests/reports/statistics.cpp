#include "reports/statistics.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <random>

#include "tests/catch.h"

using namespace sinkbench;

namespace {

using Samples = std::vector<double>;

/// The share of all ways to call n of the samples the first set in which U lies as far from its
/// middle as here, or farther: the test's definition.
double enumerated_p(const Samples& a, const Samples& b) {
  Samples all = a;
  all.insert(all.end(), b.begin(), b.end());
  std::vector<bool> first(all.size(), false);
  std::fill(first.end() - static_cast<long>(a.size()), first.end(), true);
  const auto u = [&](const std::vector<bool>& is_first) {
    double pairs = 0;
    for (size_t i = 0; i < all.size(); ++i) {
      for (size_t j = 0; j < all.size(); ++j) {
        if (is_first[i] && !is_first[j] && all[i] > all[j]) ++pairs;
      }
    }
    return pairs;
  };
  std::vector<bool> given(all.size(), false);
  std::fill(given.begin(), given.begin() + static_cast<long>(a.size()), true);
  const double middle = static_cast<double>(a.size() * b.size()) / 2;
  const double here = std::abs(u(given) - middle);
  double ways = 0, as_far = 0;
  do {
    ++ways;
    as_far += std::abs(u(first) - middle) >= here;
  } while (std::next_permutation(first.begin(), first.end()));
  return as_far / ways;
}

}  // namespace

TEST_CASE("Mann-Whitney: a worked example") {
  // From the documentation of scipy.stats.mannwhitneyu: ages at the onset of diabetes.
  const Samples males = {19, 22, 16, 29, 24}, females = {20, 11, 17, 12};
  const RankTest test = mann_whitney(males, females);
  CHECK(test.u == 17);
  CHECK(test.p == Approx(1.0 / 9).epsilon(1e-12));
  const RankTest swapped = mann_whitney(females, males);
  CHECK(swapped.u == 3);
  CHECK(swapped.p == Approx(test.p).epsilon(1e-12));
}

TEST_CASE("Mann-Whitney: small samples agree with counting every order") {
  std::mt19937 random(3);
  for (const auto& [n, m] : {std::pair{1, 1}, {1, 6}, {2, 3}, {4, 4}, {5, 7}, {8, 6}}) {
    for (int trial = 0; trial < 4; ++trial) {
      Samples all(static_cast<size_t>(n + m));
      std::iota(all.begin(), all.end(), 0.0);
      std::shuffle(all.begin(), all.end(), random);
      const Samples a(all.begin(), all.begin() + n), b(all.begin() + n, all.end());
      INFO(n << " against " << m);
      CHECK(mann_whitney(a, b).p == Approx(enumerated_p(a, b)).epsilon(1e-12));
    }
  }
}

TEST_CASE("Mann-Whitney: many samples, with ties") {
  // By hand: 1..12 in pairs of equals, all even places of the first set, gives U = n m / 2.
  Samples a, b;
  for (int i = 0; i < 20; ++i) {
    a.push_back(i);
    b.push_back(i);
  }
  CHECK(mann_whitney(a, b).u == 200);
  CHECK(mann_whitney(a, b).p == 1);
  // All of one set above the other: U = 400, the variance 20 * 20 * 41 / 12, no ties.
  for (double& value : b) value += 100;
  const double z = (400 - 200 - 0.5) / std::sqrt(20.0 * 20.0 * 41.0 / 12.0);
  CHECK(mann_whitney(b, a).u == 400);
  CHECK(mann_whitney(b, a).p == Approx(std::erfc(z / std::sqrt(2.0))));
  // With ties the variance is smaller: two values alone, 10 + 30 and 30 + 10 of each.
  Samples c(40, 0.0), d(40, 0.0);
  std::fill(c.begin() + 10, c.end(), 1.0);
  std::fill(d.begin() + 30, d.end(), 1.0);
  const double u = 30 * 30 + 0.5 * (10 * 30 + 30 * 10);
  const double variance = 40.0 * 40.0 / 12 * (81 - 2 * (64000.0 - 40) / (80.0 * 79.0));
  CHECK(mann_whitney(c, d).u == u);
  CHECK(mann_whitney(c, d).p ==
        Approx(std::erfc((u - 800 - 0.5) / std::sqrt(variance) / std::sqrt(2.0))));
  CHECK(mann_whitney(Samples(20, 1.0), Samples(20, 1.0)).p == 1);
  CHECK(mann_whitney(Samples{}, a).p == 1);
}

TEST_CASE("Mann-Whitney rejects as rarely as it says where nothing has changed") {
  std::mt19937 random(5);
  std::exponential_distribution<double> time(1.0);
  int rejected = 0;
  constexpr int trials = 2000;
  for (int trial = 0; trial < trials; ++trial) {
    Samples a(30), b(40);
    for (double& value : a) value = time(random);
    for (double& value : b) value = time(random);
    rejected += mann_whitney(a, b).p < 0.05;
  }
  CHECK(rejected > 0.035 * trials);
  CHECK(rejected < 0.065 * trials);
}

TEST_CASE("blocks take every value once and differ by one in length") {
  std::vector<double> values(1003);
  std::iota(values.begin(), values.end(), 0.0F);
  const Samples means = block_means(values);
  REQUIRE(means.size() == 31);
  // Consecutive integers: a block's mean is its middle, so that means are apart by a block's
  // length.
  for (size_t b = 1; b < means.size(); ++b) {
    CHECK(means[b] - means[b - 1] >= 32);
    CHECK(means[b] - means[b - 1] <= 33);
  }
  CHECK(means.front() == Approx(15.5));
  CHECK(means.back() == Approx(1002 - 16));
  CHECK(block_means(std::vector<double>(9, 2.0F)) == Samples(3, 2.0));
  CHECK(block_means({}).empty());
  CHECK(block_means(std::vector<double>(2'000'000, 1.0F)).size() == 1024);
}

TEST_CASE("the bootstrap's interval covers the mean of correlated values as often as it says") {
  // First-order autoregression, each value carrying over 0.6 of the one before, its mean 0.25.
  std::mt19937 random(7);
  std::normal_distribution<float> noise;
  for (const size_t length : {size_t{400}, size_t{4096}}) {
    int covered = 0;
    constexpr int trials = 400;
    for (int trial = 0; trial < trials; ++trial) {
      std::vector<double> values(length);
      float state = noise(random) / 0.8F;
      for (double& value : values) {
        value = 0.25F + state;
        state = 0.6F * state + noise(random);
      }
      const Interval interval = bootstrap_mean(block_means(values), 0.95);
      CHECK(interval.low < interval.mean);
      CHECK(interval.mean < interval.high);
      covered += interval.low <= 0.25 && 0.25 <= interval.high;
    }
    INFO(length << " values: " << covered << " of " << trials);
    CHECK(covered >= 0.91 * trials);
    CHECK(covered <= 0.98 * trials);
  }
}

TEST_CASE("the bootstrap's interval is that of Student's t where values are normal") {
  // 64 values in pairs about the mean: the interval is about mean +- 1.998 standard errors.
  std::mt19937 random(11);
  std::normal_distribution<double> noise;
  Samples values;
  for (int i = 0; i < 32; ++i) {
    const double x = noise(random);
    values.insert(values.end(), {3 + x, 3 - x});
  }
  double squares = 0;
  for (const double value : values) squares += (value - 3) * (value - 3);
  const double standard_error = std::sqrt(squares / 63 / 64);
  const Interval interval = bootstrap_mean(values, 0.95);
  CHECK(interval.mean == Approx(3));
  CHECK(interval.high - 3 == Approx(1.998 * standard_error).epsilon(0.08));
  CHECK(3 - interval.low == Approx(1.998 * standard_error).epsilon(0.08));
  const Interval again = bootstrap_mean(values, 0.95);
  CHECK(again.low == interval.low);
  CHECK(again.high == interval.high);
  CHECK(bootstrap_mean(values, 0.99).high > interval.high);
}

TEST_CASE("no change has an interval of nothing, and few values say nothing") {
  const Interval none = bootstrap_mean(Samples(10, 0.0), 0.99);
  CHECK((none.low == 0 && none.mean == 0 && none.high == 0));
  const Interval shifted = bootstrap_mean(Samples(10, 0.5), 0.99);
  CHECK((shifted.low == 0.5 && shifted.high == 0.5));
  const Interval few = bootstrap_mean(Samples{1, 2, 3, 4}, 0.99);
  CHECK(few.mean == 2.5);
  CHECK(std::isinf(few.low));
  CHECK(std::isinf(few.high));
}
