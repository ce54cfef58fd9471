// R-KV: what the last queries attend to and no later key repeats stays.
#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "policies/registry.h"
#include "policies/score_policy.h"

namespace sinkbench {
namespace {

/// How much of a key is there again: the cosines of all pairs of keys, 0 on the diagonal and, in
/// each row, where the last one above the threshold stands (the first, where there is none), for
/// each column their mean, and of these the softmax.
std::vector<double> redundancy(const Round& round, double threshold) {
  const int64_t n = std::ssize(round.place), d = round.head_dim;
  std::vector<double> unit(round.keys.begin(), round.keys.end()), mean(n), row(n);
  for (int64_t i = 0; i < n; ++i) {
    double* const key = unit.data() + i * d;
    const double inverse = 1 / (std::sqrt(dot(key, key, d)) + 1e-8);
    for (int64_t c = 0; c < d; ++c) key[c] *= inverse;
  }
  for (int64_t i = 0; i < n; ++i) {
    int64_t last = 0;
    for (int64_t j = 0; j < n; ++j) {
      row[j] = i == j ? 0 : dot(unit.data() + i * d, unit.data() + j * d, d);
      if (row[j] > threshold) last = j;
    }
    row[last] = 0;
    for (int64_t j = 0; j < n; ++j) mean[j] += row[j];
  }
  double most = -std::numeric_limits<double>::infinity(), sum = 0;
  for (double& m : mean) most = std::max(most, m /= static_cast<double>(n));
  for (double& m : mean) sum += m = std::exp(m - most);
  for (double& m : mean) m /= sum;
  return mean;
}

class Rkv final : public ScorePolicy {
 public:
  Rkv(const Retention& retention, int64_t rows, int64_t pool, double lambda, double threshold)
      : ScorePolicy(retention), rows_(rows), pool_(pool), lambda_(lambda), threshold_(threshold) {}

  Needs needs() const override { return {.rows = rows_, .keys = true}; }
  void score(const Round& round, std::span<double> scores) const override {
    const int64_t old = std::max<int64_t>(0, std::ssize(scores) - rows_);
    std::vector<double> importance(old);
    for (int64_t r = 0; r < round.row_count; ++r) {
      const double* row = round.rows[r];
      double sum = 0;  // the softmax is over the old entries
      for (int64_t i = 0; i < old; ++i) sum += row[i];
      if (sum <= 0) continue;
      sum *= static_cast<double>(round.row_count);
      for (int64_t i = 0; i < old; ++i) importance[i] += row[i] / sum;
    }
    const std::vector<double> redundant = redundancy(round, threshold_);
    std::fill(scores.begin() + old, scores.end(), std::numeric_limits<double>::infinity());
    for (int64_t i = 0; i < old; ++i) {
      const int64_t from = std::max<int64_t>(0, i - pool_ / 2),
                    to = std::min(old, i + pool_ / 2 + 1);
      const double pooled = *std::max_element(importance.begin() + from, importance.begin() + to);
      scores[i] = lambda_ * pooled - (1 - lambda_) * redundant[i];
    }
  }

 private:
  int64_t rows_, pool_;
  double lambda_, threshold_;
};

}  // namespace

PolicyEntry rkv_policy() {
  return {.name = "rkv",
          .summary = "keeps what the last `rows` queries attended to and no other key repeats",
          .source = "Cai et al. 2025, arXiv 2505.24133",
          .parameters = {{.name = "rows",
                          .meaning = "last queries that are asked; as many entries are protected",
                          .minimum = 1,
                          .fallback = 8},
                         {.name = "pool",
                          .meaning = "entries of whose attention the most counts, an odd number",
                          .minimum = 1,
                          .fallback = 7,
                          .odd = true},
                         {.name = "lambda",
                          .meaning = "share of the attention in the score; the rest is that of how "
                                     "much the key is repeated",
                          .fallback = 0.07,
                          .real = PolicyParameter::Bounds{0, 1}},
                         {.name = "threshold",
                          .meaning = "cosine from which on a key repeats another",
                          .fallback = 0.5,
                          .real = PolicyParameter::Bounds{-1, 1}}},
          .presets = {paper_preset(
              "the paper's: rounds of 128 tokens, nothing else protected, distances of the stream",
              {{"every", 128}})},
          .weights = true,
          .scope = std::nullopt,  // keys differ from head to head
          .make = [](Retention retention, const PolicyArguments& arguments) {
            const int64_t rows = arguments.at("rows").integer();
            retention.recent = std::max(retention.recent, rows);
            return std::make_unique<Rkv>(retention, rows, arguments.at("pool").integer(),
                                         arguments.at("lambda").real(),
                                         arguments.at("threshold").real());
          }};
}

}  // namespace sinkbench
