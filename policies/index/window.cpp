// A sliding window: the most recent tokens are kept.
#include <fmt/format.h>

#include <algorithm>

#include "policies/registry.h"

namespace sinkbench {
namespace {

class Window final : public IndexPolicy {
 public:
  explicit Window(int64_t window) : window_(window) {}

  View view(int64_t, int64_t t) const override { return {{std::max<int64_t>(0, t - window_), t}}; }
  std::optional<int64_t> capacity() const override { return window_; }
  std::string label() const override { return fmt::format("0+{}", window_); }

 private:
  int64_t window_;
};

}  // namespace

PolicyEntry window_policy() {
  return {.name = "window",
          .summary = "keeps the last `window` tokens",
          .source = "Beltagy et al. 2020, Longformer, arXiv 2004.05150",
          .parameters = {{.name = "window",
                          .meaning = "most recent tokens kept, the query not counted",
                          .minimum = 1,
                          .size = true}},
          // Its entries are neighbours: by place in the cache or in the stream is the same.
          .positions = {Positions::frozen, Positions::capped},
          .make = [](const PolicyArguments& arguments) {
            return std::make_unique<Window>(arguments.at("window").integer());
          }};
}

}  // namespace sinkbench
