// Attention sinks and a sliding window (StreamingLLM): the first tokens of the stream are kept
// for ever beside the most recent ones. With no sinks it is window attention.
#include <fmt/format.h>

#include <algorithm>

#include "policies/registry.h"

namespace sinkbench {
namespace {

class Sinks final : public Policy {
 public:
  Sinks(int64_t sinks, int64_t window, Positions positions)
      : sinks_(sinks), window_(window), positions_(positions) {}

  View view(int64_t t) const override {
    const int64_t sinks_end = std::min(sinks_, t);
    return {{0, sinks_end}, {std::max(sinks_end, t - window_), t}};
  }
  std::optional<int64_t> capacity() const override { return sinks_ + window_; }
  Positions positions() const override { return positions_; }
  std::string label() const override { return fmt::format("{}+{}", sinks_, window_); }

 private:
  int64_t sinks_;
  int64_t window_;
  Positions positions_;
};

const PolicyParameter window_parameter = {
    "window", "most recent tokens kept, the query not counted", 1, std::nullopt};

}  // namespace

PolicyEntry sinks_policy() {
  return {.name = "sinks",
          .summary = "keeps the first `sinks` tokens and the last `window`",
          .source =
              "Xiao et al. 2023, Efficient Streaming Language Models with Attention Sinks, "
              "arXiv 2309.17453",
          .parameters = {{"sinks", "first tokens of the stream, kept for ever", 0, 4},
                         window_parameter},
          .make = [](const PolicyArguments& arguments, Positions positions) {
            return std::make_unique<Sinks>(arguments.at("sinks"), arguments.at("window"),
                                           positions);
          }};
}

PolicyEntry window_policy() {
  return {.name = "window",
          .summary = "keeps the last `window` tokens",
          .source = "Beltagy et al. 2020, Longformer, arXiv 2004.05150",
          .parameters = {window_parameter},
          .has_positions = false,  // one range: both rules count the same distances
          .make = [](const PolicyArguments& arguments, Positions) {
            return std::make_unique<Sinks>(0, arguments.at("window"), Positions::cache);
          }};
}

}  // namespace sinkbench
