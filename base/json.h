// Reading JSON that anybody may have written, and JSON in error lines.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace sinkbench {

/// Lists and objects within each other, at the most. Deeper values would be parsed, but copying or
/// printing one takes a stack frame for each level.
inline constexpr int largest_json_depth = 64;

/// Whether lists and objects stand deeper within each other, if it is JSON.
bool is_nested_deeper(std::string_view json, int depth);

/// What the library doesn't refuse itself, caught as its own.
struct JsonError : nlohmann::json::exception {
  explicit JsonError(const std::string& reason) : nlohmann::json::exception(0, reason.c_str()) {}
};

/// Json::parse within largest_json_depth. Throws nlohmann::json::exception.
template <typename Json = nlohmann::json>
Json parse_json(std::string_view text, const typename Json::parser_callback_t& callback = nullptr) {
  if (is_nested_deeper(text, largest_json_depth)) {
    throw JsonError("nested more than " + std::to_string(largest_json_depth) + " deep");
  }
  return Json::parse(text, callback);
}

/// An integer; the library's own conversion takes a floating-point number, or one beyond int64_t,
/// for one. Throws nlohmann::json::exception.
template <typename Json>
int64_t integer(const Json& value) {
  const bool fits = value.is_number_unsigned()
                        ? std::in_range<int64_t>(value.template get<uint64_t>())
                        : value.is_number_integer();
  if (!fits) throw JsonError("expected an integer, found " + value.dump());
  return value.template get<int64_t>();
}

template <typename Json>
std::vector<int64_t> integers(const Json& list) {
  if (!list.is_array()) throw JsonError("expected a list of integers, found " + list.dump());
  std::vector<int64_t> values;
  values.reserve(list.size());
  for (const Json& value : list) values.push_back(integer(value));
  return values;
}

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
