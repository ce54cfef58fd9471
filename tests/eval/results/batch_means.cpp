#include "eval/metrics/batch_means.h"

#include <cmath>
#include <random>

#include "base/error.h"
#include "tests/catch.h"

using namespace sinkbench;

TEST_CASE("batch means: the formula, on paper") {
  // Sixteen values in four blocks: means 2.5, 6.5, 10.5, 14.5 around 8.5; their squares from it
  // 36 + 4 + 4 + 36 = 80, so 80 / 3 over 4 blocks.
  BatchMeans means(16);
  for (int i = 1; i <= 16; ++i) means.add(i);
  CHECK(means.count() == 16);
  CHECK(means.mean() == 8.5);
  CHECK(means.standard_error() == Approx(std::sqrt(80.0 / 3 / 4)));

  // Two more than four blocks hold: in the mean, in no block.
  BatchMeans longer(18);
  for (int i = 1; i <= 18; ++i) longer.add(i);
  CHECK(longer.mean() == 9.5);
  CHECK(longer.standard_error() == Approx(std::sqrt(80.0 / 3 / 4)));

  BatchMeans constant(100);
  for (int i = 0; i < 100; ++i) constant.add(3);
  CHECK(constant.mean() == 3);
  CHECK(constant.standard_error() == 0);

  BatchMeans short_one(2);  // one block
  short_one.add(1);
  short_one.add(2);
  CHECK(short_one.mean() == 1.5);
  CHECK(std::isnan(short_one.standard_error()));
}

TEST_CASE("batch means go on from a state to the last bit") {
  std::mt19937 random(3);
  std::normal_distribution<double> noise;
  BatchMeans whole(1000), part(1000);
  for (int i = 0; i < 1000; ++i) {
    const double value = noise(random);
    whole.add(value);
    if (i % 77 == 0) {
      BatchMeans next(1000);
      next.restore(part.state());
      part = next;
    }
    part.add(value);
  }
  CHECK(part.mean() == whole.mean());
  CHECK(part.standard_error() == whole.standard_error());
  CHECK(part.count() == 1000);
  CHECK_THROWS_AS(part.restore({}), InputError);
  CHECK_THROWS_AS(part.restore({1000, 1, 1}), InputError);  // and no block
  CHECK_THROWS_AS(part.restore({std::nan(""), 1, 1}), InputError);
}

TEST_CASE("batch means see that neighbours are correlated") {
  // An autoregressive process x' = 0.9 x + e: the variance of the mean of n is, for large n,
  // 1 / (1 - 0.9)^2 / n, which is 19 times that of independent values of the same spread.
  constexpr int n = 200'000;
  std::mt19937 random(7);
  std::normal_distribution<double> noise;
  BatchMeans means(n);
  double x = 0;
  for (int i = 0; i < n; ++i) means.add(x = 0.9 * x + noise(random));
  const double expected = 10 / std::sqrt(static_cast<double>(n));
  CHECK(means.standard_error() > 0.7 * expected);  // 64 blocks: known to within some 9 %
  CHECK(means.standard_error() < 1.3 * expected);
}

TEST_CASE("quantiles lie between neighbours") {
  CHECK(quantile({4, 1, 3, 2}, 0.5) == 2.5);
  CHECK(quantile({4, 1, 3, 2}, 0.9) == Approx(3.7));
  CHECK(quantile({4, 1, 3, 2}, 0) == 1);
  CHECK(quantile({4, 1, 3, 2}, 1) == 4);
  CHECK(quantile({5}, 0.99) == 5);
  CHECK(std::isnan(quantile({}, 0.5)));
}
