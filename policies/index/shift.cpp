// llama.cpp's context shift: when a cache is full, the older half of what follows its first tokens
// goes at once.
#include <fmt/format.h>

#include <algorithm>

#include "base/error.h"
#include "policies/registry.h"

namespace sinkbench {
namespace {

class Shift final : public IndexPolicy {
 public:
  Shift(int64_t capacity, int64_t sinks)
      : capacity_(capacity), sinks_(sinks), discarded_((capacity + 1 - sinks) / 2) {}

  View view(int64_t, int64_t t) const override {
    // The first shift follows the token that makes capacity + 1 entries; each frees room for as
    // many tokens as it takes away.
    const int64_t shifts = t > capacity_ ? (t - capacity_ - 1) / discarded_ + 1 : 0;
    const int64_t sinks_end = std::min(sinks_, t);
    return {{0, sinks_end}, {std::max(sinks_end, sinks_ * (shifts > 0) + shifts * discarded_), t}};
  }
  std::optional<int64_t> capacity() const override { return capacity_; }
  std::string label() const override { return fmt::format("{}/{}", sinks_, capacity_); }

 private:
  int64_t capacity_, sinks_, discarded_;
};

}  // namespace

PolicyEntry shift_policy() {
  return {.name = "shift",
          .summary = "when full, drops the older half of what follows the first `sinks` at once",
          .source = "llama.cpp's context shift (n_keep = sinks, n_discard = half of the rest)",
          .parameters = {{.name = "capacity",
                          .meaning = "entries beyond which it shifts",
                          .minimum = 2,
                          .size = true},
                         {.name = "sinks",
                          .meaning = "first tokens of the stream, kept for ever",
                          .fallback = 4}},
          .make = [](const PolicyArguments& arguments) {
            const int64_t capacity = arguments.at("capacity").integer(),
                          sinks = arguments.at("sinks").integer();
            if (sinks >= capacity) {
              throw InputError::format(
                  "policy shift: sinks is {}; expected less than the capacity, {}", sinks,
                  capacity);
            }
            return std::make_unique<Shift>(capacity, sinks);
          }};
}

}  // namespace sinkbench
