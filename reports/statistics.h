// What tells a change from noise.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace sinkbench {

/// Means over blocks of neighbours, as many as the square root of the length (1024 at the most),
/// whose lengths differ by one at the most. Neighbouring tokens are correlated, blocks hardly.
std::vector<double> block_means(std::span<const double> values);

struct Interval {
  double mean = 0, low = 0, high = 0;
};

/// The mean of independent values (such as `block_means`' differences) and its two-sided
/// confidence interval by the studentized bootstrap, which is right for skewed values and for few
/// of them: Efron and Tibshirani, An Introduction to the Bootstrap, 12.5. Deterministic. Fewer than
/// 5 values say nothing: the interval is then infinite.
Interval bootstrap_mean(std::span<const double> values, double confidence);

struct RankTest {
  double u = 0;  ///< of the first samples: pairs in which the first is the larger one, ties half
  double p = 1;  ///< two-sided
};

/// Mann and Whitney's test of whether one of two sets of samples tends to be the larger. Exact
/// where either has 8 samples or fewer and there are no ties; else by the normal approximation with
/// corrections for ties and continuity (the choices of scipy.stats.mannwhitneyu). p is 1 where
/// either is empty.
RankTest mann_whitney(std::span<const double> a, std::span<const double> b);

}  // namespace sinkbench
