// Dense attention: every earlier token is kept.
#include "policies/registry.h"

namespace sinkbench {
namespace {

class Dense final : public IndexPolicy {
 public:
  View view(int64_t, int64_t t) const override { return {{0, t}}; }
  std::optional<int64_t> capacity() const override { return std::nullopt; }
  bool keeps_all() const override { return true; }
  std::string label() const override { return "dense"; }
};

}  // namespace

PolicyEntry dense_policy() {
  return {.name = "dense",
          .summary = "keeps every token; cost grows with the stream",
          .source = "Vaswani et al. 2017, arXiv 1706.03762",
          .positions = {Positions::capped},
          .prompt = false,
          .make = [](const PolicyArguments&) { return std::make_unique<Dense>(); }};
}

}  // namespace sinkbench
