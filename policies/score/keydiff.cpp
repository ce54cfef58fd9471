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
  Needs needs() const override { return {.keys = true}; }
  /// Less the cosine between a key and the mean of all keys' directions.
  void score(const Round& round, std::span<double> scores) const override {
    const int64_t d = round.head_dim;
    std::vector<double> anchor(d), inverse(scores.size());
    for (size_t i = 0; i < scores.size(); ++i) {
      const double* key = round.keys.data() + i * d;
      double squares = 0;
      for (int64_t c = 0; c < d; ++c) squares += key[c] * key[c];
      inverse[i] = 1 / std::sqrt(squares);
      for (int64_t c = 0; c < d; ++c) anchor[c] += key[c] * inverse[i];
    }
    double squares = 0;
    for (const double x : anchor) squares += x * x;
    const double inverse_anchor = 1 / std::sqrt(squares);
    for (size_t i = 0; i < scores.size(); ++i) {
      const double* key = round.keys.data() + i * d;
      double product = 0;
      for (int64_t c = 0; c < d; ++c) product += key[c] * anchor[c];
      scores[i] = -product * inverse[i] * inverse_anchor;
    }
  }
};

}  // namespace

PolicyEntry keydiff_policy() {
  return {.name = "keydiff",
          .summary = "keeps the keys that are least like the others",
          .source = "Park et al. 2025, arXiv 2504.15364",
          .presets =
              {{.name = "paper",
                .meaning =
                    "the paper's: rounds of 128 tokens, nothing protected, distances of the stream",
                .fill_in =
                    [](PolicySpec& spec) {
                      spec.arguments.try_emplace("sinks", 0);
                      spec.arguments.try_emplace("recent", 0);
                      spec.arguments.try_emplace("every", 128);
                      spec.positions = Positions::original;
                    }}},
          .make = [](const Retention& retention, const PolicyArguments&) {
            return std::make_unique<Keydiff>(retention);
          }};
}

}  // namespace sinkbench
