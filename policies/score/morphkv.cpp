// MorphKV: what the last queries attend to stays, by the most that one of them gives it or by all.
#include <algorithm>
#include <limits>

#include "policies/registry.h"
#include "policies/score_policy.h"

namespace sinkbench {
namespace {

class Morphkv final : public ScorePolicy {
 public:
  Morphkv(const Retention& retention, int64_t rows, bool largest)
      : ScorePolicy(retention), rows_(rows), largest_(largest) {}

  Needs needs() const override { return {.rows = rows_}; }
  void score(const Round& round, std::span<double> scores) const override {
    // Of the entries that all rows saw; the younger ones are protected.
    const int64_t old = std::max<int64_t>(0, std::ssize(scores) - rows_);
    std::fill(scores.begin(), scores.begin() + old, 0.0);
    std::fill(scores.begin() + old, scores.end(), std::numeric_limits<double>::infinity());
    for (int64_t r = 0; r < round.row_count; ++r) {
      const double* row = round.rows[r];
      double sum = 0;  // the softmax is over the old entries
      for (int64_t i = 0; i < old; ++i) sum += row[i];
      if (sum <= 0) continue;
      for (int64_t i = 0; i < old; ++i) {
        const double weight = row[i] / sum;
        scores[i] = largest_ ? std::max(scores[i], weight) : scores[i] + weight;
      }
    }
  }

 private:
  int64_t rows_;
  bool largest_;
};

}  // namespace

PolicyEntry morphkv_policy() {
  return {.name = "morphkv",
          .summary = "keeps what the last `rows` queries attended to, each by its own shares",
          .source = "Ghadia et al. 2025, arXiv 2503.00979",
          .parameters = {{.name = "rows",
                          .meaning = "last queries that are asked; as many entries are protected",
                          .minimum = 1,
                          .fallback = 32},
                         {.name = "fusion",
                          .meaning = "of what they give an entry",
                          .fallback = "max",
                          .words = {"max", "sum"}}},
          .presets = {paper_preset("of the published scripts: 3 rows, distances of the stream",
                                   {{"rows", 3}})},
          .weights = true,
          .shares = true,
          .make = [](Retention retention, const PolicyArguments& arguments) {
            const int64_t rows = arguments.at("rows").integer();
            retention.recent = std::max(retention.recent, rows);
            return std::make_unique<Morphkv>(retention, rows,
                                             arguments.at("fusion").word() == "max");
          }};
}

}  // namespace sinkbench
