#include "policies/values.h"

#include <cmath>
#include <limits>
#include <vector>

namespace sinkbench {

void combine_with_values(Retention::Values how, std::span<const double> values, int64_t value_dim,
                         std::span<double> scores) {
  if (how == Retention::Values::none) return;
  const auto value = [&](size_t i) { return values.data() + static_cast<int64_t>(i) * value_dim; };
  if (how == Retention::Values::norm) {
    for (size_t i = 0; i < scores.size(); ++i) {
      if (std::isinf(scores[i])) continue;
      scores[i] *= std::sqrt(dot(value(i), value(i), value_dim));
    }
    return;
  }
  double sum = 0;
  int64_t count = 0;
  for (const double score : scores) {
    if (std::isinf(score)) continue;
    sum += score;
    ++count;
  }
  const auto share = [&](size_t i) { return sum > 0 ? scores[i] / sum : 0.0; };
  const bool fast = how == Retention::Values::fast_caote;
  std::vector<double> output(value_dim), difference(value_dim);
  for (size_t i = 0; i < scores.size(); ++i) {
    if (std::isinf(scores[i])) continue;
    add_scaled(fast ? 1.0 / static_cast<double>(count) : share(i), value(i), output.data(),
               value_dim);
  }
  for (size_t i = 0; i < scores.size(); ++i) {
    if (std::isinf(scores[i])) continue;
    for (int64_t c = 0; c < value_dim; ++c) difference[c] = output[c] - value(i)[c];
    const double w = share(i);
    scores[i] = w < 1
                    ? w / (1 - w) * std::sqrt(dot(difference.data(), difference.data(), value_dim))
                    : std::numeric_limits<double>::infinity();
  }
}

}  // namespace sinkbench
