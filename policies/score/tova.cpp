// TOVA: what the last query attended to stays.
#include <algorithm>

#include "policies/registry.h"
#include "policies/score_policy.h"

namespace sinkbench {
namespace {

class Tova final : public ScorePolicy {
 public:
  using ScorePolicy::ScorePolicy;
  Needs needs() const override { return {.last = true}; }
  void score(const Round& round, std::span<double> scores) const override {
    std::copy(round.last.begin(), round.last.end(), scores.begin());
  }
};

}  // namespace

PolicyEntry tova_policy() {
  return {.name = "tova",
          .summary = "keeps what the last query attended to",
          .source = "Oren et al. 2024, arXiv 2401.06104",
          .presets = {paper_preset("the paper's: nothing protected, distances of the stream")},
          .weights = true,
          .shares = true,
          .scope = Retention::Scope::layer,  // the same tokens for all heads, as in the paper
          .make = [](const Retention& retention, const PolicyArguments&) {
            return std::make_unique<Tova>(retention);
          }};
}

}  // namespace sinkbench
