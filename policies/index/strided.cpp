// Sinks, a window, and of what left the window every stride-th token: a dilated memory of the past.
#include <fmt/format.h>

#include <algorithm>

#include "policies/registry.h"

namespace sinkbench {
namespace {

class Strided final : public IndexPolicy {
 public:
  Strided(int64_t sinks, int64_t window, int64_t stride, int64_t kept)
      : sinks_(sinks), window_(window), stride_(stride), kept_(kept) {}

  View view(int64_t, int64_t t) const override {
    const int64_t sinks_end = std::min(sinks_, t);
    const int64_t begin = std::max(sinks_end, t - window_);  // of the window
    View view = {{0, sinks_end}};
    const int64_t end = (begin + stride_ - 1) / stride_;  // multiples of the stride before it
    const int64_t first = (sinks_end + stride_ - 1) / stride_;
    for (int64_t i = kept_ > 0 ? std::max(first, end - kept_) : first; i < end; ++i) {
      view.push_back({i * stride_, i * stride_ + 1});
    }
    view.push_back({begin, t});
    return view;
  }
  std::optional<int64_t> capacity() const override {
    return kept_ > 0 ? std::optional(sinks_ + window_ + kept_) : std::nullopt;
  }
  std::string label() const override {
    return fmt::format("{}+{}/{}+{}", sinks_, kept_ > 0 ? std::to_string(kept_) : "all", stride_,
                       window_);
  }
  std::string cache() const override { return label(); }

 private:
  int64_t sinks_, window_, stride_, kept_;
};

}  // namespace

PolicyEntry strided_policy() {
  return {
      .name = "strided",
      .summary = "keeps sinks, a window, and every `stride`-th of what left the window",
      .source = "as the strided pattern of Child et al. 2019, arXiv 1904.10509",
      .parameters = {{"sinks", "first tokens of the stream, kept for ever", 0, 4},
                     {.name = "window",
                      .meaning = "most recent tokens kept, the query not counted",
                      .minimum = 1,
                      .size = true},
                     {"stride", "of what left the window, tokens at multiples of it stay", 1, 8},
                     {"kept", "at most so many of these, the latest; 0: all for ever", 0, 0}},
      .make = [](const PolicyArguments& a) {
        return std::make_unique<Strided>(a.at("sinks").integer(), a.at("window").integer(),
                                         a.at("stride").integer(), a.at("kept").integer());
      }};
}

}  // namespace sinkbench
