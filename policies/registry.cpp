#include "policies/registry.h"

#include <algorithm>
#include <utility>

#include "base/error.h"

namespace sinkbench {

struct PolicyMaker {
  static std::unique_ptr<Policy> make(const PolicyEntry& entry, const PolicyArguments& arguments,
                                      Positions positions) {
    auto policy = entry.make(arguments);
    policy->positions_ = positions;
    return policy;
  }
};

const PolicyEntry& find_policy(std::string_view name) {
  std::vector<std::string> names;
  for (const PolicyEntry& entry : policy_registry()) {
    if (entry.name == name) return entry;
    names.push_back(entry.name);
  }
  throw InputError::format("unknown policy '{}'{}", name, suggestion(name, names));
}

PolicyArguments with_defaults(const PolicyEntry& entry, PolicyArguments arguments) {
  for (const PolicyParameter& parameter : entry.parameters) {
    if (parameter.fallback) arguments.try_emplace(parameter.name, *parameter.fallback);
  }
  return arguments;
}

std::unique_ptr<Policy> make_policy(std::string_view name, PolicyArguments arguments,
                                    Positions positions) {
  const PolicyEntry& entry = find_policy(name);
  std::vector<std::string> names;
  for (const PolicyParameter& parameter : entry.parameters) names.push_back(parameter.name);
  for (const auto& [key, value] : arguments) {
    if (std::find(names.begin(), names.end(), key) != names.end()) continue;
    if (names.empty()) {
      throw InputError::format("policy {}: unknown parameter '{}'; it takes none", name, key);
    }
    throw InputError::format("policy {}: unknown parameter '{}'{}", name, key,
                             suggestion(key, names));
  }
  arguments = with_defaults(entry, std::move(arguments));
  for (const PolicyParameter& parameter : entry.parameters) {
    if (!arguments.contains(parameter.name)) {
      throw InputError::format("policy {}: parameter '{}' is missing ({})", name, parameter.name,
                               parameter.meaning);
    }
    const int64_t value = arguments[parameter.name];
    if (value < parameter.minimum || value > largest_policy_argument) {
      throw InputError::format("policy {}: {} is {}; expected an integer from {} to {}", name,
                               parameter.name, value, parameter.minimum, largest_policy_argument);
    }
  }
  if (positions != Positions::cache && !entry.has_positions) {
    throw InputError::format("policy {}: 'positions' makes no difference here; leave it out", name);
  }
  return PolicyMaker::make(entry, arguments, positions);
}

std::unique_ptr<Policy> make_policy(const PolicySpec& spec) {
  return make_policy(spec.name, spec.arguments, spec.positions);
}

}  // namespace sinkbench
