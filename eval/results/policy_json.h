// A policy as results and kits have it in JSON.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>

#include "base/record_field.h"
#include "policies/arguments.h"

namespace sinkbench {

/// As in an experiment: those of a group stand under its name.
nlohmann::json arguments_to_json(const PolicyArguments& arguments);
/// The way back. Throws nlohmann::json::exception for what is no parameters.
PolicyArguments arguments_from_json(const RecordField& object, const std::string& group = "");

/// {"name", "parameters", "positions", "cap", "plugin"}
nlohmann::json policy_to_json(const PolicySpec& policy);
/// The way back, with the defaults of parameters that older files don't have.
PolicySpec policy_from_json(const RecordField& object);

}  // namespace sinkbench
