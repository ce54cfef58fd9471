// The oracle: what the next queries will attend to most stays. It shows how far policies that have
// to guess are from what is possible at their size.
#include <algorithm>

#include "policies/registry.h"
#include "policies/score_policy.h"

namespace sinkbench {
namespace {

class Oracle final : public ScorePolicy {
 public:
  Oracle(const Retention& retention, int64_t ahead) : ScorePolicy(retention), ahead_(ahead) {}
  Needs needs() const override { return {.ahead = ahead_}; }
  void score(const Round& round, std::span<double> scores) const override {
    std::copy(round.ahead.begin(), round.ahead.end(), scores.begin());
  }

 private:
  int64_t ahead_;
};

}  // namespace

PolicyEntry oracle_policy() {
  return {.name = "oracle",
          .summary = "keeps what the next `ahead` queries will attend to most: an upper bound",
          .source = "this project; Belady 1966 for caches whose future is known",
          .parameters = {{.name = "ahead",
                          .meaning = "queries that are looked at before they come",
                          .minimum = 1,
                          .fallback = 128}},
          .weights = true,
          .bound = "sees queries before they come, and so has no latency",
          .shares = true,
          .make = [](const Retention& retention, const PolicyArguments& arguments) {
            return std::make_unique<Oracle>(retention, arguments.at("ahead").integer());
          }};
}

}  // namespace sinkbench
