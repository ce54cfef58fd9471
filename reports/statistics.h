// What tells a change from noise.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace sinkbench {

/// Of no values: NaN.
double mean(std::span<const double> values);

/// So many blocks of neighbours, whose lengths differ by one at the most.
std::vector<std::span<const double>> blocks_of(std::span<const double> values, size_t blocks);

/// The mean of each.
std::vector<double> block_means(std::span<const double> values, size_t blocks);
/// The same, as many as the square root of the length (1024 at the most). Neighbouring tokens are
/// correlated, blocks hardly.
std::vector<double> block_means(std::span<const double> values);

struct Interval {
  double mean = 0, low = 0, high = 0;
};

/// The mean of independent values (such as `block_means`' differences) and its two-sided
/// confidence interval by the studentized bootstrap, which is right for skewed values and for few
/// of them: Efron and Tibshirani, An Introduction to the Bootstrap, 12.5. Deterministic. Fewer than
/// 5 values say nothing: the interval is then infinite.
Interval bootstrap_mean(std::span<const double> values, double confidence);

/// The t beyond which, on both sides, Student's distribution has a share of 1 - `confidence`. A
/// whole number of degrees of freedom, 1 or more. Abramowitz and Stegun, 26.7.3 and 26.7.4.
double student_t(double confidence, int64_t degrees_of_freedom);

/// The mean with its confidence interval by Student's t, which is infinite with fewer than 2
/// values.
Interval mean_of(std::span<const double> values, double confidence);

/// The difference of the means, `b` less `a`, with Welch's confidence interval (degrees of freedom
/// rounded down), which is infinite where either has fewer than 2 values.
Interval difference_of_means(std::span<const double> a, std::span<const double> b,
                             double confidence);

}  // namespace sinkbench
