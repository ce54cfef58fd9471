// KeyDiff: keys that are unlike the others stay.
#include <cmath>
#include <vector>

#include "policies/registry.h"
#include "policies/score_policy.h"

namespace sinkbench {
namespace {

class Keydiff final : public ScorePolicy {
 public:
  using ScorePolicy::ScorePolicy;
  Needs needs() const override { return {.keys = true, .entry_score = true}; }
  double enter(const Entry& entry) const override {
    return 1 / std::sqrt(dot(entry.rotated.data(), entry.rotated.data(), std::ssize(entry.key)));
  }
  /// Less the cosine between a key and the mean of all keys' directions.
  void score(const Round& round, std::span<double> scores) const override {
    const int64_t d = round.head_dim;
    std::vector<double> mean(d);
    for (size_t i = 0; i < scores.size(); ++i) {
      add_scaled(round.entry_score[i], round.keys.data() + i * d, mean.data(), d);
    }
    const double inverse = 1 / std::sqrt(dot(mean.data(), mean.data(), d));
    for (size_t i = 0; i < scores.size(); ++i) {
      const double product = dot(round.keys.data() + i * d, mean.data(), d);
      scores[i] = -product * round.entry_score[i] * inverse;
    }
  }
};

}  // namespace

PolicyEntry keydiff_policy() {
  return {.name = "keydiff",
          .summary = "keeps the keys that are least like the others",
          .source = "Park et al. 2025, arXiv 2504.15364",
          .presets = {paper_preset(
              "the paper's: rounds of 128 tokens, nothing protected, distances of the stream",
              {{"every", 128}})},
          .make = [](const Retention& retention, const PolicyArguments&) {
            return std::make_unique<Keydiff>(retention);
          }};
}

}  // namespace sinkbench
