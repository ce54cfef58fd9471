// Expected Attention: what queries to come are expected to attend to stays.
#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "policies/registry.h"
#include "policies/score_policy.h"

namespace sinkbench {
namespace {

/// The mean of the rotations at `count` places from `first` on: by dimension pair a multiple of a
/// rotation, [cosine, sine]. That of angles in equal steps is the one in the middle, shortened.
std::vector<std::pair<double, double>> mean_rotation(const Rotation& rotation, int64_t first,
                                                     int64_t count) {
  std::vector<std::pair<double, double>> mean;
  const auto n = static_cast<double>(count);
  for (const double frequency : rotation.frequencies) {
    const double sine = std::sin(frequency / 2);
    const double length = sine == 0.0 ? 1.0 : std::sin(n * frequency / 2) / (n * sine);
    const double middle = (static_cast<double>(first) + (n - 1) / 2) * frequency;
    const double scale = rotation.magnitude * length;
    mean.emplace_back(std::cos(middle) * scale, std::sin(middle) * scale);
  }
  return mean;
}

/// x of stride `stride` becomes R x.
void rotate(const std::vector<std::pair<double, double>>& r, double* x, int64_t stride) {
  const int64_t half = std::ssize(r);
  for (int64_t c = 0; c < half; ++c) {
    double &a = x[c * stride], &b = x[(c + half) * stride];
    const double turned = a * r[c].first - b * r[c].second;
    b = b * r[c].first + a * r[c].second;
    a = turned;
  }
}

class ExpectedAttention final : public ScorePolicy {
 public:
  ExpectedAttention(const Retention& retention, int64_t future, bool covariance, double epsilon)
      : ScorePolicy(retention), future_(future), covariance_(covariance), epsilon_(epsilon) {}

  Needs needs() const override { return {.keys = true, .values = true, .queries = true}; }
  void score(const Round& round, std::span<double> scores) const override {
    const int64_t n = std::ssize(scores), d = round.head_dim;
    const int64_t group = std::ssize(round.queries.sum) / d;
    const int64_t first = unprotected(retention(), round).first;
    std::fill(scores.begin(), scores.begin() + first, std::numeric_limits<double>::infinity());
    std::fill(scores.begin() + first, scores.end(), 0.0);
    const auto rotation = mean_rotation(round.rotation, round.next, future_);
    const double count = static_cast<double>(round.queries.count), scale = round.queries.scale;
    std::vector<double> mean(d), covariance(d * d), product(d), expected(n);
    for (int64_t g = 0; g < group; ++g) {
      for (int64_t c = 0; c < d; ++c) mean[c] = round.queries.sum[g * d + c] / count;
      for (int64_t c = 0; covariance_ && c < d; ++c) {
        for (int64_t e = 0; e < d; ++e) {
          covariance[c * d + e] =
              round.queries.products[(g * d + c) * d + e] / count - mean[c] * mean[e];
        }
      }
      rotate(rotation, mean.data(), 1);
      for (int64_t c = 0; covariance_ && c < d; ++c) rotate(rotation, covariance.data() + c, d);
      for (int64_t c = 0; covariance_ && c < d; ++c) rotate(rotation, covariance.data() + c * d, 1);
      double most = -std::numeric_limits<double>::infinity(), sum = 0;
      for (int64_t i = first; i < n; ++i) {
        const double* key = round.keys.data() + i * d;
        expected[i] = scale * dot(key, mean.data(), d);
        if (covariance_) {
          std::fill(product.begin(), product.end(), 0.0);
          for (int64_t c = 0; c < d; ++c) {
            add_scaled(key[c], covariance.data() + c * d, product.data(), d);
          }
          expected[i] += scale * scale * dot(key, product.data(), d) / 2;
        }
        most = std::max(most, expected[i]);
      }
      for (int64_t i = first; i < n; ++i) sum += expected[i] = std::exp(expected[i] - most);
      for (int64_t i = first; i < n; ++i) {
        scores[i] += expected[i] / sum / static_cast<double>(group);
      }
    }
    for (int64_t i = first; i < n; ++i) {
      const double* value = round.values.data() + i * d;
      scores[i] = (scores[i] + epsilon_) * std::sqrt(dot(value, value, d));
    }
  }

 private:
  int64_t future_;
  bool covariance_;
  double epsilon_;
};

}  // namespace

PolicyEntry expected_attention_policy() {
  return {
      .name = "expected_attention",
      .summary = "keeps what queries to come are expected to attend to, by those so far",
      .source = "Devoto et al. 2025, arXiv 2510.00636",
      .parameters = {{.name = "future",
                      .meaning = "places to come over whose rotations is averaged",
                      .minimum = 1,
                      .fallback = 512},
                     {.name = "moments",
                      .meaning = "of the queries: mean and covariance, or the mean alone",
                      .fallback = "covariance",
                      .words = {"covariance", "mean"}},
                     {.name = "epsilon",
                      .meaning = "added to the expected attention before it is multiplied by the "
                                 "norm of the value",
                      .fallback = 0.0,
                      .real = PolicyParameter::Bounds{0, 1}}},
      .presets = {paper_preset(
          "the paper's while decoding: rounds of 512 tokens, 4 first, distances of the stream",
          {{"sinks", 4}, {"every", 512}})},
      .make = [](const Retention& retention, const PolicyArguments& arguments) {
        return std::make_unique<ExpectedAttention>(retention, arguments.at("future").integer(),
                                                   arguments.at("moments").word() == "covariance",
                                                   arguments.at("epsilon").real());
      }};
}

}  // namespace sinkbench
