// Attention sinks and a sliding window (StreamingLLM): the first tokens of the stream are kept
// for ever beside the most recent ones. With no sinks it is window attention.
#include <fmt/format.h>

#include <algorithm>

#include "policies/registry.h"

namespace sinkbench {
namespace {

class Sinks final : public IndexPolicy {
 public:
  Sinks(int64_t sinks, int64_t window) : sinks_(sinks), window_(window) {}

  View view(int64_t, int64_t t) const override {
    const int64_t sinks_end = std::min(sinks_, t);
    return {{0, sinks_end}, {std::max(sinks_end, t - window_), t}};
  }
  std::optional<int64_t> capacity() const override { return sinks_ + window_; }
  std::string label() const override { return fmt::format("{}+{}", sinks_, window_); }

 private:
  int64_t sinks_;
  int64_t window_;
};

}  // namespace

PolicyEntry sinks_policy() {
  return {.name = "sinks",
          .summary = "keeps the first `sinks` tokens and the last `window`",
          .source =
              "Xiao et al. 2023, Efficient Streaming Language Models with Attention Sinks, "
              "arXiv 2309.17453",
          .parameters = {{.name = "sinks",
                          .meaning = "first tokens of the stream, kept for ever",
                          .fallback = 4},
                         {.name = "window",
                          .meaning = "most recent tokens kept, the query not counted",
                          .minimum = 1,
                          .size = true}},
          .presets = {{.name = "lm-infinite",
                       .meaning = "no distance beyond the window (Han et al. 2023, arXiv "
                                  "2308.16137); 10 sinks",
                       .fill_in =
                           [](PolicySpec& spec) {
                             spec.arguments.try_emplace("sinks", 10);
                             spec.positions = Positions::capped;
                             const auto window = spec.arguments.find("window");
                             if (spec.cap == 0 && window != spec.arguments.end()) {
                               spec.cap = window->second.integer() + 1;  // theirs counts the query
                             }
                           }}},
          .make = [](const PolicyArguments& arguments) {
            return std::make_unique<Sinks>(arguments.at("sinks").integer(),
                                           arguments.at("window").integer());
          }};
}

}  // namespace sinkbench
