// Fields of the files that results are kept in.
#pragma once

#include <nlohmann/json.hpp>

namespace sinkbench {

/// A field that older files don't have: null.
inline const nlohmann::json& later(const nlohmann::json& object, const char* name) {
  static const nlohmann::json nothing;
  const auto it = object.find(name);
  return it == object.end() ? nothing : *it;
}

}  // namespace sinkbench
