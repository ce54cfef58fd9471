// LagKV: keys and values that stand out from those that follow them stay.
#include <algorithm>
#include <cmath>
#include <numeric>
#include <vector>

#include "policies/registry.h"
#include "policies/score_policy.h"

namespace sinkbench {
namespace {

/// The softmax, over `lag` rows of x, of the standard deviation of what their d numbers are on the
/// scale from the least to the most of each dimension in the next `lag` rows.
std::vector<double> standing_out(const double* x, int64_t lag, int64_t d) {
  const double* next = x + lag * d;
  std::vector<double> least(next, next + d), most(least), result(lag), scaled(d);
  for (int64_t i = 1; i < lag; ++i) {
    for (int64_t c = 0; c < d; ++c) {
      least[c] = std::min(least[c], next[i * d + c]);
      most[c] = std::max(most[c], next[i * d + c]);
    }
  }
  for (int64_t i = 0; i < lag; ++i) {
    double mean = 0, sum = 0;
    for (int64_t c = 0; c < d; ++c) {
      const double range = most[c] - least[c];
      scaled[c] = range > 0 ? (x[i * d + c] - least[c]) / range : 0;
      mean += scaled[c];
    }
    mean /= static_cast<double>(d);
    for (int64_t c = 0; c < d; ++c) sum += (scaled[c] - mean) * (scaled[c] - mean);
    result[i] = d > 1 ? std::sqrt(sum / static_cast<double>(d - 1)) : 0;
  }
  const double largest = *std::max_element(result.begin(), result.end());
  double sum = 0;
  for (double& r : result) sum += r = std::exp(r - largest);
  for (double& r : result) r /= sum;
  return result;
}

class Lagkv final : public ScorePolicy {
 public:
  Lagkv(const Retention& retention, int64_t lag, bool ranks)
      : ScorePolicy(retention), lag_(lag), ranks_(ranks) {}

  Needs needs() const override { return {.keys = true, .values = true}; }
  void score(const Round& round, std::span<double> scores) const override {
    const int64_t n = std::ssize(scores), d = round.head_dim;
    const int64_t first = unprotected(retention(), round).first;
    std::fill(scores.begin(), scores.end(), 1.0);
    const int64_t partitions = (n - first) / lag_;
    if (partitions < 2) {  // nothing has what follows it yet: the oldest go
      for (int64_t i = first; i < n; ++i) {
        scores[i] = static_cast<double>(i - first) / static_cast<double>(n - first);
      }
      return;
    }
    std::vector<int64_t> order(lag_);
    for (int64_t p = 0; p + 1 < partitions; ++p) {
      const int64_t begin = first + p * lag_;
      const std::vector<double> keys = standing_out(round.keys.data() + begin * d, lag_, d);
      const std::vector<double> values = standing_out(round.values.data() + begin * d, lag_, d);
      const auto share = [&](int64_t i) { return (keys[i] + values[i]) / 2; };
      if (!ranks_) {
        for (int64_t i = 0; i < lag_; ++i) scores[begin + i] = share(i);
        continue;
      }
      std::iota(order.begin(), order.end(), 0);
      // In float32: what differs by rounding alone is equal, and the older comes first.
      std::stable_sort(order.begin(), order.end(), [&](int64_t a, int64_t b) {
        return static_cast<float>(share(a)) < static_cast<float>(share(b));
      });
      for (int64_t rank = 0; rank < lag_; ++rank) {
        scores[begin + order[rank]] = static_cast<double>(rank) / static_cast<double>(lag_);
      }
    }
  }

 private:
  int64_t lag_;
  bool ranks_;
};

}  // namespace

PolicyEntry lagkv_policy() {
  return {.name = "lagkv",
          .summary = "keeps keys and values that stand out from the `lag` that follow them",
          .source = "Liang et al. 2025, arXiv 2504.04704",
          .parameters = {{.name = "lag",
                          .meaning = "entries that are compared with as many that follow them",
                          .minimum = 2,
                          .fallback = 128},
                         {.name = "score",
                          .meaning = "of an entry: its rank among the `lag`, or its share",
                          .fallback = "rank",
                          .words = {"rank", "share"}}},
          .presets = {paper_preset(
              "the paper's: 4 first tokens, rounds of 128, distances of the stream",
              {{"sinks", 4}, {"every", 128}})},
          .make = [](const Retention& retention, const PolicyArguments& arguments) {
            return std::make_unique<Lagkv>(retention, arguments.at("lag").integer(),
                                           arguments.at("score").word() == "rank");
          }};
}

}  // namespace sinkbench
