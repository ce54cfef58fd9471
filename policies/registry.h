// All policies by name. To add one: write its file, declare its entry below, name it in
// registry.cpp; the property tests then run over it.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "policies/policy.h"

namespace sinkbench {

/// An integer parameter of a policy as users write it.
struct PolicyParameter {
  std::string name;
  std::string meaning;  ///< one line
  int64_t minimum = 0;
  std::optional<int64_t> fallback;  ///< the value where none is given; nothing: it must be given
};

using PolicyArguments = std::map<std::string, int64_t>;

/// No parameter is larger; keeps sums of parameters and stream places far from overflow.
inline constexpr int64_t largest_policy_argument = int64_t{1} << 40;

struct PolicyEntry {
  std::string name;
  std::string summary;  ///< one line
  std::string source;   ///< the paper or code it comes from
  std::vector<PolicyParameter> parameters;
  bool has_positions = true;  ///< whether `positions: cache|original` makes a difference
  /// Builds the policy from arguments that are complete and within bounds.
  std::function<std::unique_ptr<Policy>(const PolicyArguments&, Positions)> make;
};

/// One entry per file of this folder.
PolicyEntry dense_policy();
PolicyEntry window_policy();
PolicyEntry sinks_policy();
PolicyEntry recompute_policy();

/// Every policy, in the order in which they are listed to users.
const std::vector<PolicyEntry>& policy_registry();

/// Throws InputError naming the nearest policy where there is none of this name.
const PolicyEntry& find_policy(std::string_view name);

/// The arguments and, where one isn't given, its default; one that has none stays missing.
PolicyArguments with_defaults(const PolicyEntry& entry, PolicyArguments arguments);

/// Fills in defaults and builds. Throws InputError naming the policy, the parameter, its value
/// and what was expected: unknown, missing or below its minimum.
std::unique_ptr<Policy> make_policy(std::string_view name, PolicyArguments arguments,
                                    Positions positions = Positions::cache);

}  // namespace sinkbench
