// A window by score: what comes last stays. For budgets that differ by head, such as
// DuoAttention's; with one capacity for all, `sinks` is the same and faster.
#include <algorithm>

#include "policies/registry.h"
#include "policies/score_policy.h"

namespace sinkbench {
namespace {

class Latest final : public ScorePolicy {
 public:
  using ScorePolicy::ScorePolicy;
  Needs needs() const override { return {}; }
  void score(const Round& round, std::span<double> scores) const override {
    std::copy(round.place.begin(), round.place.end(), scores.begin());
  }
};

}  // namespace

PolicyEntry latest_policy() {
  return {.name = "latest",
          .summary = "keeps what comes last: a window whose size may differ by head",
          .source = "Xiao et al. 2024, arXiv 2410.10819, with budget: {file: ...}",
          .make = [](const Retention& retention, const PolicyArguments&) {
            return std::make_unique<Latest>(retention);
          }};
}

}  // namespace sinkbench
