#include "reports/statistics.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <random>

#include "tests/catch.h"

using namespace sinkbench;

namespace {

using Samples = std::vector<double>;

}  // namespace

TEST_CASE("Student's t has its tables' values") {
  // scipy.stats.t.ppf((1 + confidence) / 2, df)
  CHECK(student_t(0.95, 1) == Approx(12.706204736174694).epsilon(1e-12));
  CHECK(student_t(0.99, 2) == Approx(9.924843200918287).epsilon(1e-12));
  CHECK(student_t(0.99, 3) == Approx(5.840909309733355).epsilon(1e-12));
  CHECK(student_t(0.999, 7) == Approx(5.407882520861828).epsilon(1e-12));
  CHECK(student_t(0.99, 8) == Approx(3.355387331333395).epsilon(1e-12));
  CHECK(student_t(0.95, 30) == Approx(2.0422724563012378).epsilon(1e-12));
  CHECK(student_t(0.99, 100) == Approx(2.6258905214380173).epsilon(1e-12));
}

TEST_CASE("Welch's interval: a worked example") {
  // With numpy's variances, and scipy's t at 5 of scipy.stats.ttest_ind's 5.56 degrees of freedom.
  const Samples a = {20.1, 19.8, 20.4, 20.2, 19.9}, b = {22.5, 21.2, 23.1, 22.0, 24.3, 21.8};
  const Interval difference = difference_of_means(a, b, 0.99);
  CHECK(difference.mean == Approx(2.4033333333333324).epsilon(1e-12));
  CHECK(difference.low == Approx(0.545287701169552).epsilon(1e-9));
  CHECK(difference.high == Approx(4.261378965497113).epsilon(1e-9));
  CHECK(difference_of_means(Samples{1, 1}, Samples{3, 3}, 0.99).high == 2);
  CHECK(std::isinf(difference_of_means(Samples{1}, Samples{3, 3}, 0.99).high));
}

TEST_CASE("the interval of a mean: a worked example") {
  // scipy.stats.t.interval(0.99, 5, mean, scipy.stats.sem(values))
  const Interval interval = mean_of(Samples{22.5, 21.2, 23.1, 22.0, 24.3, 21.8}, 0.99);
  CHECK(interval.mean == Approx(22.483333333333334).epsilon(1e-12));
  CHECK(interval.low == Approx(20.675851562208436).epsilon(1e-9));
  CHECK(interval.high == Approx(24.290815104458233).epsilon(1e-9));
  CHECK(mean_of(Samples{2, 2, 2}, 0.99).high == 2);
  CHECK(std::isinf(mean_of(Samples{1}, 0.99).high));
}

TEST_CASE("Welch's interval misses as rarely as it says") {
  std::mt19937 random(5);
  std::normal_distribution<double> noise(0.0, 1.0);
  int missed = 0;
  constexpr int trials = 4000;
  for (int trial = 0; trial < trials; ++trial) {
    Samples a(5), b(8);
    for (double& value : a) value = 3 * noise(random);
    for (double& value : b) value = 1 + noise(random);
    const Interval difference = difference_of_means(a, b, 0.95);
    missed += difference.low > 1 || difference.high < 1;
  }
  CHECK(missed > 0.03 * trials);
  CHECK(missed < 0.06 * trials);
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
