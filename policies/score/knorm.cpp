// K-norm: keys of small norm stay, which queries attend to the most.
#include <algorithm>
#include <cmath>

#include "policies/registry.h"
#include "policies/score_policy.h"

namespace sinkbench {
namespace {

class Knorm final : public ScorePolicy {
 public:
  using ScorePolicy::ScorePolicy;
  Needs needs() const override { return {.entry_score = true}; }
  double enter(const Entry& entry) const override {
    return -std::sqrt(dot(entry.key.data(), entry.key.data(), std::ssize(entry.key)));
  }
  void score(const Round& round, std::span<double> scores) const override {
    std::copy(round.entry_score.begin(), round.entry_score.end(), scores.begin());
  }
};

}  // namespace

PolicyEntry knorm_policy() {
  return {.name = "knorm",
          .summary = "keeps the keys of smallest norm",
          .source = "Devoto et al. 2024, arXiv 2406.11430",
          .presets = {paper_preset("the paper's: nothing protected, distances of the stream")},
          .make = [](const Retention& retention, const PolicyArguments&) {
            return std::make_unique<Knorm>(retention);
          }};
}

}  // namespace sinkbench
