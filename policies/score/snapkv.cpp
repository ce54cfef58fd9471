// SnapKV in its decoding form: what the last queries attended to stays, neighbours together.
#include <algorithm>
#include <limits>

#include "policies/registry.h"
#include "policies/score_policy.h"

namespace sinkbench {
namespace {

class Snapkv final : public ScorePolicy {
 public:
  Snapkv(const Retention& retention, int64_t rows, int64_t pool, bool average)
      : ScorePolicy(retention), rows_(rows), pool_(pool), average_(average) {}

  Needs needs() const override { return {.rows = rows_}; }
  void score(const Round& round, std::span<double> scores) const override {
    // Of the entries that all rows saw; the younger ones are protected.
    const int64_t old = std::max<int64_t>(0, static_cast<int64_t>(scores.size()) - rows_);
    std::vector<double> mean(old);
    int64_t row = 0;
    for (; row + 4 <= rows_; row += 4) {
      const double *a = round.rows[row], *b = round.rows[row + 1], *c = round.rows[row + 2],
                   *d = round.rows[row + 3];
      for (int64_t i = 0; i < old; ++i) mean[i] += (a[i] + b[i]) + (c[i] + d[i]);
    }
    for (; row < rows_; ++row) {
      for (int64_t i = 0; i < old; ++i) mean[i] += round.rows[row][i];
    }
    for (double& m : mean) m /= static_cast<double>(round.row_count);
    std::fill(scores.begin() + old, scores.end(), std::numeric_limits<double>::infinity());
    for (int64_t i = 0; i < old; ++i) {
      // Beyond the borders there are zeros, or for the maximum nothing.
      const int64_t from = std::max<int64_t>(0, i - pool_ / 2),
                    to = std::min(old, i + pool_ / 2 + 1);
      double pooled = mean[from];
      for (int64_t j = from + 1; j < to; ++j) {
        pooled = average_ ? pooled + mean[j] : std::max(pooled, mean[j]);
      }
      scores[i] = average_ ? pooled / static_cast<double>(pool_) : pooled;
    }
  }

 private:
  int64_t rows_, pool_;
  bool average_;
};

}  // namespace

PolicyEntry snapkv_policy() {
  return {
      .name = "snapkv",
      .summary = "keeps what the last `rows` queries attended to, pooled over neighbours",
      .source = "Li et al. 2024, arXiv 2404.14469, which does so once, after a prompt",
      .parameters = {{.name = "rows",
                      .meaning = "last queries that are asked; as many entries "
                                 "are protected",
                      .minimum = 1,
                      .fallback = 32},
                     {.name = "pool",
                      .meaning = "entries that are pooled, an odd number",
                      .minimum = 1,
                      .fallback = 5,
                      .odd = true},
                     {.name = "pooling",
                      .meaning = "how",
                      .fallback = "average",
                      .words = {"average", "max"}}},
      .presets = {paper_preset(
          "of the published code: 64 rows, pools of 5, distances of the stream", {{"rows", 64}})},
      .weights = true,
      .shares = true,
      .make = [](Retention retention, const PolicyArguments& arguments) {
        const int64_t rows = arguments.at("rows").integer();
        retention.recent = std::max(retention.recent, rows);
        return std::make_unique<Snapkv>(retention, rows, arguments.at("pool").integer(),
                                        arguments.at("pooling").word() == "average");
      }};
}

}  // namespace sinkbench
