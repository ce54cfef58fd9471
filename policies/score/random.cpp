// A random sample of the past: what choosing by content has to beat.
#include <algorithm>

#include "policies/registry.h"
#include "policies/score_policy.h"

namespace sinkbench {
namespace {

class Random final : public ScorePolicy {
 public:
  Random(const Retention& retention, bool fresh) : ScorePolicy(retention), fresh_(fresh) {}
  Needs needs() const override { return {.entry_score = !fresh_}; }
  double enter(const Entry& entry) const override {
    return draw(entry.layer, entry.head, entry.place, 0);
  }
  void score(const Round& round, std::span<double> scores) const override {
    if (!fresh_) {
      std::copy(round.entry_score.begin(), round.entry_score.end(), scores.begin());
      return;
    }
    for (size_t i = 0; i < scores.size(); ++i) {
      scores[i] = draw(round.layer, round.head, round.place[i], round.next);
    }
  }

 private:
  double draw(int64_t layer, int64_t head, int64_t place, int64_t round) const {
    return uniform(retention().seed, layer, head, place, round);
  }

  bool fresh_;
};

}  // namespace

PolicyEntry random_policy() {
  return {.name = "random",
          .summary = "keeps a random sample",
          .source = "a baseline; reservoir: Vitter 1985",
          .parameters = {{.name = "score",
                          .meaning = "fresh: drawn anew at each round, so that the past fades; "
                                     "reservoir: once for each token, a uniform sample of the past",
                          .fallback = "reservoir",
                          .words = {"fresh", "reservoir"}}},
          .make = [](const Retention& retention, const PolicyArguments& arguments) {
            return std::make_unique<Random>(retention, arguments.at("score").word() == "fresh");
          }};
}

}  // namespace sinkbench
