// Sliding window with recomputation: for every query the model runs afresh on the last `window`
// tokens (the query among them), positions from 0. Nothing is cached; it costs a full forward
// pass per scored token and is the quality to compare a cache with. A model whose sink is a token
// that began every training sample needs that token before each window: `sinks` keeps it there.
#include <fmt/format.h>

#include <algorithm>

#include "policies/registry.h"

namespace sinkbench {
namespace {

class Recompute final : public RecomputePolicy {
 public:
  Recompute(int64_t sinks, int64_t window, int64_t stride)
      : sinks_(sinks), window_(window), stride_(stride) {}

  View view(int64_t t) const override {
    const int64_t sinks_end = std::min(sinks_, t);
    return {{0, sinks_end}, {std::max(sinks_end, t + 1 - window_), t}};
  }
  std::optional<int64_t> capacity() const override { return sinks_ + window_ - 1; }
  int64_t stride() const override { return stride_; }
  std::string label() const override {
    return stride_ == 1 ? fmt::format("recompute {}", cache())
                        : fmt::format("recompute {} (1 in {})", cache(), stride_);
  }
  std::string cache() const override {
    return sinks_ == 0 ? std::to_string(window_) : fmt::format("{}+{}", sinks_, window_);
  }

 private:
  int64_t sinks_;
  int64_t window_;
  int64_t stride_;
};

}  // namespace

PolicyEntry recompute_policy() {
  return {.name = "recompute",
          .summary = "for every scored token, runs afresh on the first `sinks` and last `window`",
          .source = "Xiao et al. 2023, arXiv 2309.17453, figure 1(c)",
          .parameters = {{"sinks", "first tokens of the stream, before each window", 0, 0},
                         {.name = "window",
                          .meaning = "last tokens, the query counted",
                          .minimum = 1,
                          .size = true},
                         {"stride", "score every stride-th token only", 1, 1}},
          .positions = {},
          .prompt = false,
          .make = [](const PolicyArguments& arguments) {
            return std::make_unique<Recompute>(arguments.at("sinks").integer(),
                                               arguments.at("window").integer(),
                                               arguments.at("stride").integer());
          }};
}

}  // namespace sinkbench
