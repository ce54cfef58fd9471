// Sliding window with recomputation: for every query the model runs afresh on the last `window`
// tokens (the query among them), positions from 0. Nothing is cached; it costs a full forward
// pass per scored token and is the quality to compare a cache with.
#include <fmt/format.h>

#include <algorithm>

#include "policies/registry.h"

namespace sinkbench {
namespace {

class Recompute final : public Policy {
 public:
  Recompute(int64_t window, int64_t stride) : window_(window), stride_(stride) {}

  View view(int64_t t) const override { return {{std::max<int64_t>(0, t + 1 - window_), t}}; }
  std::optional<int64_t> capacity() const override { return window_ - 1; }
  bool recomputes() const override { return true; }
  int64_t stride() const override { return stride_; }
  std::string label() const override {
    return stride_ == 1 ? fmt::format("recompute {}", window_)
                        : fmt::format("recompute {} (1 in {})", window_, stride_);
  }

 private:
  int64_t window_;
  int64_t stride_;
};

}  // namespace

PolicyEntry recompute_policy() {
  return {.name = "recompute",
          .summary = "runs afresh on the last `window` tokens for every scored token",
          .source = "Xiao et al. 2023, arXiv 2309.17453, figure 1(c)",
          .parameters = {{"window", "tokens of each pass, the query counted", 1, std::nullopt},
                         {"stride", "score every stride-th token only", 1, 1}},
          .has_positions = false,
          .make = [](const PolicyArguments& arguments, Positions) {
            return std::make_unique<Recompute>(arguments.at("window"), arguments.at("stride"));
          }};
}

}  // namespace sinkbench
