// YAML, read strictly.
#pragma once

#include <yaml-cpp/yaml.h>

#include <cstdint>
#include <optional>
#include <string>

namespace sinkbench {

/// The one document in `content`; null where there is none. Throws InputError with `name` and the
/// line where it is no YAML or has several documents.
YAML::Node parse_yaml(const std::string& content, const std::string& name);

/// A scalar of decimal digits, as YAML 1.2 has integers: 010 is ten, which yaml-cpp takes for
/// octal. Nothing where it is none.
std::optional<int64_t> integer_of(const YAML::Node& node);

}  // namespace sinkbench
