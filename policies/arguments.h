// What a user chooses of a policy.
#pragma once

#include <cstdint>
#include <map>
#include <string>

#include "policies/policy.h"

namespace sinkbench {

using PolicyArguments = std::map<std::string, int64_t>;

/// No argument is larger; keeps sums of arguments and stream places far from overflow.
inline constexpr int64_t largest_policy_argument = int64_t{1} << 40;

struct PolicySpec {
  std::string name;
  PolicyArguments arguments = {};
  Positions positions = Positions::cache;
  auto operator<=>(const PolicySpec&) const = default;
};

}  // namespace sinkbench
