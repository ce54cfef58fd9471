// RoCo: of the entries whose weights vary the least, those of high mean stay; so does what varies.
#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <vector>

#include "policies/registry.h"
#include "policies/score_policy.h"

namespace sinkbench {
namespace {

class Roco final : public ScorePolicy {
 public:
  Roco(const Retention& retention, double ratio) : ScorePolicy(retention), ratio_(ratio) {}

  Needs needs() const override { return {.sum = true, .squares = true}; }
  void score(const Round& round, std::span<double> scores) const override {
    const int64_t n = std::ssize(scores), keep = round.keep;
    // In float32, so that deviations that differ by rounding alone are equal.
    std::vector<float> deviation(n);
    std::vector<double> means(n);
    const auto [first, last] = unprotected(retention(), round);
    std::vector<int64_t> free(last - first);  // to leave
    std::iota(free.begin(), free.end(), first);
    for (int64_t i = 0; i < n; ++i) {
      const double mean = round.sum[i] / round.seen(i);
      const double variance = round.squares[i] / round.seen(i) - mean * mean;
      deviation[i] = static_cast<float>(std::sqrt(std::max(variance, 0.0)));
      scores[i] = std::numeric_limits<double>::infinity();
      means[i] = mean;
    }
    const auto safe = static_cast<int64_t>(ratio_ * static_cast<double>(keep));
    const int64_t candidates = std::min<int64_t>(std::ssize(free), std::max(keep - safe, n - keep));
    std::stable_sort(free.begin(), free.end(),
                     [&](int64_t a, int64_t b) { return deviation[a] < deviation[b]; });
    for (int64_t i = 0; i < candidates; ++i) scores[free[i]] = means[free[i]];
  }

 private:
  double ratio_;
};

}  // namespace

PolicyEntry roco_policy() {
  return {
      .name = "roco",
      .summary = "keeps what has varying or much attention",
      .source = "Ren and Zhu 2024, arXiv 2402.06262",
      .parameters = {{.name = "ratio",
                      .meaning = "share of the capacity that is safe for its weights' deviation",
                      .fallback = 0.3,
                      .real = PolicyParameter::Bounds{0, 1}}},
      .presets = {paper_preset(
          "of the published code: 4 first and 10 last, distances of the stream",
          {{"sinks", 4}, {"recent", 10}})},
      .weights = true,
      .shares = true,
      .make = [](const Retention& retention, const PolicyArguments& arguments) {
        return std::make_unique<Roco>(retention, arguments.at("ratio").real());
      }};
}

}  // namespace sinkbench
