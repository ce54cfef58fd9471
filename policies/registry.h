// All policies by name. Each file of index/ defines one, NAME.cpp the function NAME_policy(); the
// build finds it, the property tests run over it, and experiments can use it.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string_view>

#include "policies/arguments.h"

namespace sinkbench {

/// An integer parameter of a policy as users write it.
struct PolicyParameter {
  std::string name;
  std::string meaning;  ///< one line
  int64_t minimum = 0;
  std::optional<int64_t> fallback = {};  ///< the value where none is given; nothing: it must be
  bool size = false;  ///< the cache's size: along it, results of one policy are one line
};

struct PolicyEntry {
  std::string name;
  std::string summary;  ///< one line
  std::string source;   ///< the paper or code it comes from
  std::vector<PolicyParameter> parameters = {};
  bool has_positions = true;  ///< whether `positions: cache|original` makes a difference
  /// Builds the policy from arguments that are complete and within bounds.
  std::function<std::unique_ptr<Policy>(const PolicyArguments&)> make;
};

/// Every policy, by name.
const std::vector<PolicyEntry>& policy_registry();

/// Throws InputError naming the nearest policy where there is none of this name.
const PolicyEntry& find_policy(std::string_view name);

/// The arguments and, where one isn't given, its default; one that has none stays missing.
PolicyArguments with_defaults(const PolicyEntry& entry, PolicyArguments arguments);

/// Fills in defaults and builds. Throws InputError naming the policy, the parameter, its value
/// and what was expected: unknown, missing or below its minimum.
std::unique_ptr<Policy> make_policy(const PolicySpec& spec);
std::unique_ptr<Policy> make_policy(std::string_view name, PolicyArguments arguments,
                                    Positions positions = Positions::cache);

}  // namespace sinkbench
