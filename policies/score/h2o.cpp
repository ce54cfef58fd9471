// Heavy hitters (H2O): what has received the most attention so far stays.
#include <cmath>

#include "policies/registry.h"
#include "policies/score_policy.h"

namespace sinkbench {
namespace {

class H2o final : public ScorePolicy {
 public:
  H2o(const Retention& retention, bool mean, double decay)
      : ScorePolicy(retention), mean_(mean), decay_(decay) {}

  Needs needs() const override { return {.sum = true, .decay = decay_}; }
  void score(const Round& round, std::span<double> scores) const override {
    for (size_t i = 0; i < scores.size(); ++i) {
      scores[i] = mean_ ? round.sum[i] / round.seen(i) : round.sum[i];
    }
  }

 private:
  bool mean_;
  double decay_;
};

}  // namespace

PolicyEntry h2o_policy() {
  return {.name = "h2o",
          .summary = "keeps what has received the most attention",
          .source = "Zhang et al. 2023, arXiv 2306.14048",
          .parameters = {{.name = "score",
                          .meaning = "of all weights so far: their sum, mean, or a sum that halves "
                                     "every half_life tokens",
                          .fallback = "sum",
                          .words = {"sum", "mean", "ema"}},
                         {.name = "half_life",
                          .meaning = "tokens after which a weight counts half, with score: ema",
                          .minimum = 1,
                          .only_with = PolicyParameter::Condition{"score", "ema"}}},
          .presets = {{.name = "paper",
                       .meaning = "half of the cache for heavy hitters, half for the last tokens",
                       .fill_in =
                           [](PolicySpec& spec) {
                             spec.arguments.try_emplace("sinks", 0);
                             const auto capacity = spec.arguments.find("capacity");
                             if (capacity == spec.arguments.end()) return;
                             spec.arguments.try_emplace("recent", capacity->second.integer() / 2);
                           }}},
          .weights = true,
          .shares = true,
          .make = [](const Retention& retention, const PolicyArguments& arguments) {
            const std::string& score = arguments.at("score").word();
            const double decay =
                score == "ema"
                    ? std::exp2(-1.0 / static_cast<double>(arguments.at("half_life").integer()))
                    : 1.0;
            return std::make_unique<H2o>(retention, score == "mean", decay);
          }};
}

}  // namespace sinkbench
