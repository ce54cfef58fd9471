// Scissorhands: what was above the average most often stays.
#include <algorithm>
#include <cstdint>

#include "policies/registry.h"
#include "policies/score_policy.h"

namespace sinkbench {
namespace {

constexpr int64_t bits_of_number = 48;  // a float64 holds them exactly

class Scissorhands final : public ScorePolicy {
 public:
  Scissorhands(const Retention& retention, int64_t window)
      : ScorePolicy(retention), window_(window) {}

  /// The count, and of the last queries one bit each.
  Needs needs() const override {
    return {.own = 1 + (window_ + bits_of_number - 1) / bits_of_number};
  }
  void observe(const Observation& seen, Rows<double> own) const override {
    const size_t n = seen.weights.size();
    // In float32, so that weights that are all alike are above or below together.
    const auto average = static_cast<float>(1.0 / static_cast<double>(n));
    const int64_t at = window_ > 0 ? seen.t % window_ : 0;
    double* const count = own[0];
    double* const bits = window_ > 0 ? own[1 + at / bits_of_number] : nullptr;
    const uint64_t bit = uint64_t{1} << (at % bits_of_number);
    for (size_t i = 0; i < n; ++i) {
      const bool above = static_cast<float>(seen.weights[i]) >= average;
      if (above) ++count[i];
      if (bits == nullptr) continue;
      auto word = static_cast<uint64_t>(bits[i]);
      if ((word & bit) != 0) --count[i];
      word = above ? word | bit : word & ~bit;
      bits[i] = static_cast<double>(word);
    }
  }
  void score(const Round& round, std::span<double> scores) const override {
    std::copy_n(round.own[0], scores.size(), scores.begin());
  }

 private:
  int64_t window_;
};

}  // namespace

PolicyEntry scissorhands_policy() {
  return {.name = "scissorhands",
          .summary = "keeps what most often had more than average attention",
          .source = "Liu et al. 2023, arXiv 2305.17118",
          .parameters = {{.name = "window",
                          .meaning = "last queries that count; 0: all",
                          .fallback = 400}},
          .presets = {{.name = "paper",
                       .meaning = "half of the cache goes at once, the last 10 stay; distances of "
                                  "the stream",
                       .fill_in =
                           [](PolicySpec& spec) {
                             spec.arguments.try_emplace("sinks", 0);
                             spec.arguments.try_emplace("recent", 10);
                             spec.positions = Positions::original;
                             const auto capacity = spec.arguments.find("capacity");
                             if (capacity == spec.arguments.end()) return;
                             spec.arguments.try_emplace(
                                 "every", std::max<int64_t>(1, capacity->second.integer()));
                           }}},
          .weights = true,
          .shares = true,
          .make = [](const Retention& retention, const PolicyArguments& arguments) {
            return std::make_unique<Scissorhands>(retention, arguments.at("window").integer());
          }};
}

}  // namespace sinkbench
