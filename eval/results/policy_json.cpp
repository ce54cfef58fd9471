#include "eval/results/policy_json.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <stdexcept>

#include "base/json.h"
#include "eval/results/json_fields.h"
#include "policies/registry.h"

namespace sinkbench {

using nlohmann::json;

json arguments_to_json(const PolicyArguments& arguments) {
  json object = json::object();
  for (const auto& [name, value] : arguments) {
    const size_t dot = name.find('.');
    json& place =
        dot == name.npos ? object[name] : object[name.substr(0, dot)][name.substr(dot + 1)];
    if (value.is_integer()) place = value.integer();
    if (value.is_real()) place = value.real();
    if (value.is_word()) place = value.word();
    if (value.is_list()) place = value.list();
  }
  return object;
}

PolicyArguments arguments_from_json(const json& object, const std::string& group) {
  if (!object.is_object()) throw std::domain_error("expected parameters, found " + object.dump());
  PolicyArguments arguments;
  for (const auto& [name, value] : object.items()) {
    if (value.is_object() && group.empty()) {
      arguments.merge(arguments_from_json(value, name + "."));
    } else if (value.is_string()) {
      arguments[group + name] = value.get<std::string>();
    } else if (value.is_array()) {
      std::vector<int64_t> list;
      for (const json& element : value) list.push_back(integer(element));
      arguments[group + name] = list;
    } else if (value.is_number_float()) {
      arguments[group + name] = value.get<double>();
    } else {
      arguments[group + name] = integer(value);
    }
  }
  return arguments;
}

json policy_to_json(const PolicySpec& policy) {
  const PolicyPlugin& from = policy.plugin;
  return {{"name", policy.name},
          {"parameters", arguments_to_json(policy.arguments)},
          {"positions", to_string(policy.positions)},
          {"cap", policy.cap > 0 ? json(policy.cap) : json(nullptr)},
          {"plugin",
           from.file.empty()
               ? json(nullptr)
               : json({{"file", from.file}, {"sha256", from.sha256}, {"version", from.version}})}};
}

PolicySpec policy_from_json(const json& policy) {
  PolicySpec spec;
  spec.name = policy.at("name").get<std::string>();
  spec.arguments = arguments_from_json(policy.at("parameters"));
  if (const PolicyEntry* entry = policy_named(spec.name)) {
    // Older results don't have the parameters that came later.
    spec.arguments = with_defaults(*entry, std::move(spec.arguments));
  }
  const std::string positions = policy.at("positions").get<std::string>();
  const auto rule = std::find(positions_names().begin(), positions_names().end(), positions);
  if (rule == positions_names().end()) {
    throw std::domain_error("unknown positions '" + positions + "'");
  }
  spec.positions = static_cast<Positions>(rule - positions_names().begin());
  if (const json& cap = later(policy, "cap"); !cap.is_null()) spec.cap = integer(cap);
  if (const json& plugin = later(policy, "plugin"); !plugin.is_null()) {
    spec.plugin = {.file = plugin.at("file").get<std::string>(),
                   .sha256 = plugin.at("sha256").get<std::string>(),
                   .version = plugin.at("version").get<std::string>()};
  }
  return spec;
}

}  // namespace sinkbench
