// Fields of the files that results are kept in.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <stdexcept>

namespace sinkbench {

/// An integer; nlohmann's own conversion takes a floating-point number of any size for one. Throws
/// std::domain_error.
inline int64_t integer(const nlohmann::json& value) {
  if (!value.is_number_integer()) {
    throw std::domain_error("expected an integer, found " + value.dump());
  }
  return value.get<int64_t>();
}

/// A field that older files don't have: null.
inline const nlohmann::json& later(const nlohmann::json& object, const char* name) {
  static const nlohmann::json nothing;
  const auto it = object.find(name);
  return it == object.end() ? nothing : *it;
}

}  // namespace sinkbench
