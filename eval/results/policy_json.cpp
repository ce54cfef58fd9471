#include "eval/results/policy_json.h"

#include <nlohmann/json.hpp>

#include "base/record_field.h"
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

PolicyArguments arguments_from_json(const RecordField& object, const std::string& group) {
  PolicyArguments arguments;
  for (const auto& [name, field] : object.members()) {
    const json& value = field.json();
    if (value.is_object() && group.empty()) {
      arguments.merge(arguments_from_json(field, name + "."));
    } else if (value.is_string()) {
      arguments[group + name] = field.text();
    } else if (value.is_array()) {
      arguments[group + name] = field.integers();
    } else if (value.is_number_float()) {
      arguments[group + name] = field.number();
    } else {
      arguments[group + name] = field.integer();
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

PolicySpec policy_from_json(const RecordField& policy) {
  PolicySpec spec;
  spec.name = policy.at("name").text();
  spec.arguments = arguments_from_json(policy.at("parameters"));
  if (const PolicyEntry* entry = policy_named(spec.name)) {
    // Older results don't have the parameters that came later.
    spec.arguments = with_defaults(*entry, std::move(spec.arguments));
  }
  spec.positions = static_cast<Positions>(policy.at("positions").index_in(positions_names()));
  if (const RecordField cap = policy.later("cap"); !cap.is_null()) spec.cap = cap.integer(0);
  if (const RecordField plugin = policy.later("plugin"); !plugin.is_null()) {
    spec.plugin = {.file = plugin.at("file").text(),
                   .sha256 = plugin.at("sha256").text(),
                   .version = plugin.at("version").text()};
  }
  return spec;
}

}  // namespace sinkbench
