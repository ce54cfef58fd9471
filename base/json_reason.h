// JSON in error lines.
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

/// The value on one line. Its text may be any bytes, as that of GGUF files: U+FFFD stands for what
/// is no UTF-8.
inline std::string json_text(const nlohmann::json& value) {
  return value.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

}  // namespace sinkbench
