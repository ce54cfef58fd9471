// Dense attention: every earlier token is kept.
#include <fmt/format.h>

#include "policies/registry.h"

namespace sinkbench {
namespace {

class Dense final : public Policy {
 public:
  View view(int64_t t) const override { return {{0, t}}; }
  std::optional<int64_t> capacity() const override { return std::nullopt; }
  std::string label() const override { return "dense"; }
};

}  // namespace

PolicyEntry dense_policy() {
  return {.name = "dense",
          .summary = "keeps every token; cost grows with the stream",
          .source = "Vaswani et al. 2017, arXiv 1706.03762",
          .parameters = {},
          .has_positions = false,
          .make = [](const PolicyArguments&, Positions) { return std::make_unique<Dense>(); }};
}

}  // namespace sinkbench
