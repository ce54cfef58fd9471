// OpenVINO GenAI's cache eviction: whole blocks of tokens, by the attention that they receive.
#include <algorithm>

#include "base/error.h"
#include "policies/registry.h"
#include "policies/score_policy.h"

namespace sinkbench {
namespace {

class Openvino final : public ScorePolicy {
 public:
  Openvino(const Retention& retention, int64_t pool, bool mean)
      : ScorePolicy(retention), pool_(pool), mean_(mean) {}

  Needs needs() const override { return {.own = 1}; }
  /// Adds to each entry the most that it and the pool_ - 1 after it receive.
  void observe(const Observation& seen, Rows<double> own) const override {
    const int64_t n = std::ssize(seen.weights);
    double* const sum = own[0];
    for (int64_t i = 0; i < n; ++i) {
      const auto from = seen.weights.begin() + i;
      sum[i] += *std::max_element(from, from + std::min(pool_, n - i));
    }
  }
  void score(const Round& round, std::span<double> scores) const override {
    const int64_t n = std::ssize(scores), block = retention().every;
    const double* const sum = round.own[0];
    for (int64_t begin = 0; begin < n; begin += block) {
      const int64_t end = std::min(begin + block, n);
      double total = 0;
      for (int64_t i = begin; i < end; ++i) total += mean_ ? sum[i] / round.seen(i) : sum[i];
      std::fill(scores.begin() + begin, scores.begin() + end, total);
    }
  }

 private:
  int64_t pool_;
  bool mean_;
};

}  // namespace

PolicyEntry openvino_policy() {
  return {
      .name = "openvino",
      .summary = "keeps the blocks of `every` tokens with the most attention",
      .source = "OpenVINO GenAI, CacheEvictionAlgorithm",
      .parameters = {{.name = "score",
                      .meaning = "of a token, of all weights so far: their sum, or that divided "
                                 "by the queries that saw it",
                      .fallback = "mean",
                      .words = {"mean", "sum"}},
                     {.name = "pool",
                      .meaning = "tokens from each on whose largest weight counts for it",
                      .minimum = 1,
                      .fallback = 7}},
      .presets =
          {{.name = "genai",
            .meaning = "its defaults: 32 first, 128 last, 672 in all, blocks of 32",
            .fill_in =
                [](PolicySpec& spec) {
                  PolicyArguments& given = spec.arguments;
                  if (!given.contains("budget.by_layer") && !given.contains("budget.by_head")) {
                    given.try_emplace("capacity", 672);
                  }
                  given.merge(PolicyArguments{{"sinks", 32}, {"recent", 128}, {"every", 32}});
                  spec.positions = Positions::original;
                }}},
      .weights = true,
      .scope = Retention::Scope::layer,  // rows come reduced over all heads
      .make = [](const Retention& retention, const PolicyArguments& arguments) {
        const auto check = [&](const char* name, int64_t value) {
          if (value % retention.every == 0) return;
          throw InputError::format(
              "policy openvino: {} is {}; expected a multiple of every, {}, the size of a "
              "block",
              name, value, retention.every);
        };
        const Budget& budget = retention.budget;
        if (budget.kind == Budget::Kind::pyramid || budget.adaptive()) {
          throw InputError(
              "policy openvino: it evicts whole blocks; expected a budget that is uniform or a "
              "list");
        }
        check("capacity", budget.capacity);
        for (const int64_t capacity : budget.each) check("capacity", capacity);
        check("sinks", retention.sinks);
        check("recent", retention.recent);
        check("prompt", retention.prompt);
        return std::make_unique<Openvino>(retention, arguments.at("pool").integer(),
                                          arguments.at("score").word() == "mean");
      }};
}

}  // namespace sinkbench
