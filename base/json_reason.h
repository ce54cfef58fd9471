// Why nlohmann's library could not take a JSON text, for error lines.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

namespace sinkbench {

/// The exception's message without its number, "[json.exception.parse_error.101] ".
inline std::string json_reason(const nlohmann::json::exception& error) {
  const std::string text = error.what();
  const size_t end = text.find("] ");
  return text.starts_with("[json.exception.") && end != text.npos ? text.substr(end + 2) : text;
}

}  // namespace sinkbench
