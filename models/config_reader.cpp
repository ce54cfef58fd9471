#include "models/config_reader.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "base/file.h"
#include "base/json.h"
#include "base/placeholder.h"

namespace sinkbench {
namespace {

/// No size in a real config comes near; keeps products of sizes far from overflow.
constexpr int64_t largest_integer = int64_t{1} << 31;

/// A JSON value as it reads in an error, cut where long.
std::string shown(const nlohmann::json& value) {
  std::string text = json_text(value);
  if (text.size() > 60) text = text.substr(0, 57) + "...";
  return text;
}

/// Python writes Infinity and NaN, which JSON hasn't, as bare words. As strings they harm no one in
/// a field that nobody reads, and are no numbers in others.
std::string with_quoted_constants(std::string_view text) {
  std::string result;
  bool in_string = false;
  for (size_t i = 0; i < text.size(); ++i) {
    if (in_string && text[i] == '\\' && i + 1 < text.size()) {
      result += text[i++];
    } else if (text[i] == '"') {
      in_string = !in_string;
    } else if (!in_string) {
      const char* constants[] = {"Infinity", "-Infinity", "NaN"};
      const auto it = std::find_if(std::begin(constants), std::end(constants),
                                   [&](const char* c) { return text.substr(i).starts_with(c); });
      if (it != std::end(constants)) {
        result += fmt::format("\"{}\"", *it);
        i += std::string_view(*it).size() - 1;
        continue;
      }
    }
    result += text[i];
  }
  return result;
}

}  // namespace

ConfigReader::ConfigReader(const std::filesystem::path& path) : path_(path) {
  const MappedFile file(path);
  refuse_placeholder(path, file.text());
  try {
    object_ = parse_json(with_quoted_constants(file.text()));
  } catch (const nlohmann::json::exception& error) {
    throw InputError::format("{}: not valid JSON: {}", path.string(), json_reason(error));
  }
  if (!object_.is_object()) {
    throw InputError::format("{}: expected a JSON object, found {}", path.string(),
                             object_.type_name());
  }
}

ConfigReader::ConfigReader(std::filesystem::path path, nlohmann::json object, std::string where)
    : path_(std::move(path)), object_(std::move(object)), where_(std::move(where)) {}

ConfigReader::ConfigReader(std::filesystem::path path, nlohmann::json object,
                           std::map<std::string, std::string> names)
    : path_(std::move(path)),
      object_(std::move(object)),
      names_(std::make_shared<const std::map<std::string, std::string>>(std::move(names))) {}

void ConfigReader::fail(const std::string& field, const std::string& text) const {
  std::string full = where_.empty() ? field : where_ + "." + field;
  if (names_ != nullptr) {
    if (const auto it = names_->find(full); it != names_->end()) full = it->second;
  }
  throw InputError::format("{}: {}: {}", path_.string(), full, text);
}

const nlohmann::json* ConfigReader::find(Names names) const {
  const nlohmann::json* found = nullptr;
  for (const char* name : names) {
    read_->insert(name);
    const auto it = object_.find(name);
    if (found == nullptr && it != object_.end() && !it->is_null()) found = &*it;
  }
  return found;
}

std::string ConfigReader::field(Names names) const {
  for (const char* name : names) {
    const auto it = object_.find(name);
    if (it != object_.end() && !it->is_null()) return name;
  }
  return *names.begin();
}

bool ConfigReader::has(const char* name) const {
  return find({name}) != nullptr;
}

void ConfigReader::refuse_unread(std::initializer_list<const char*> harmless,
                                 const std::string& text) const {
  for (const auto& [name, value] : object_.items()) {
    if (value.is_null() || was_read(name)) continue;
    if (std::find(harmless.begin(), harmless.end(), name) != harmless.end()) continue;
    fail(name, fmt::format("is {}{}", shown(value), text));
  }
}

int64_t ConfigReader::integer(Names names, int64_t minimum, std::optional<int64_t> fallback) const {
  const nlohmann::json* value = find(names);
  if (value == nullptr) {
    if (fallback) return *fallback;
    fail(field(names), "is missing; expected an integer");
  }
  if (!value->is_number_integer() ||
      (value->is_number_unsigned() && value->get<uint64_t>() > uint64_t{largest_integer}) ||
      value->get<int64_t>() < minimum || value->get<int64_t>() > largest_integer) {
    fail(field(names), fmt::format("is {}; expected an integer from {} to {}", shown(*value),
                                   minimum, largest_integer));
  }
  return value->get<int64_t>();
}

double ConfigReader::number(Names names, std::optional<double> fallback) const {
  const nlohmann::json* value = find(names);
  if (value == nullptr) {
    if (fallback) return *fallback;
    fail(field(names), "is missing; expected a number");
  }
  if (!value->is_number() || !std::isfinite(value->get<double>())) {
    fail(field(names), fmt::format("is {}; expected a number", shown(*value)));
  }
  return value->get<double>();
}

bool ConfigReader::boolean(Names names, std::optional<bool> fallback) const {
  const nlohmann::json* value = find(names);
  if (value == nullptr) {
    if (fallback) return *fallback;
    fail(field(names), "is missing; expected true or false");
  }
  if (!value->is_boolean()) {
    fail(field(names), fmt::format("is {}; expected true or false", shown(*value)));
  }
  return value->get<bool>();
}

std::string ConfigReader::text(Names names, std::optional<std::string> fallback) const {
  const nlohmann::json* value = find(names);
  if (value == nullptr) {
    if (fallback) return *fallback;
    fail(field(names), "is missing; expected a string");
  }
  if (!value->is_string()) {
    fail(field(names), fmt::format("is {}; expected a string", shown(*value)));
  }
  return value->get<std::string>();
}

std::vector<double> ConfigReader::numbers(const char* name, int64_t count) const {
  const nlohmann::json* value = find({name});
  if (value == nullptr) fail(name, fmt::format("is missing; expected {} numbers", count));
  std::vector<double> result;
  if (value->is_array()) {
    for (const nlohmann::json& number : *value) {
      if (number.is_number()) result.push_back(number.get<double>());
    }
  }
  if (!value->is_array() || value->size() != result.size() ||
      static_cast<int64_t>(result.size()) != count) {
    fail(name, fmt::format("is {}; expected {} numbers", shown(*value), count));
  }
  return result;
}

std::optional<ConfigReader> ConfigReader::object(Names names) const {
  const nlohmann::json* value = find(names);
  if (value == nullptr) return std::nullopt;
  if (!value->is_object()) {
    fail(field(names), fmt::format("is {}; expected an object", shown(*value)));
  }
  ConfigReader inner(path_, *value, where_.empty() ? field(names) : where_ + "." + field(names));
  inner.names_ = names_;
  return inner;
}

}  // namespace sinkbench
