// Reads fields of a config.json with errors that name file, field, value and what was expected.
#pragma once

#include <filesystem>
#include <initializer_list>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

namespace sinkbench {

class ConfigReader {
 public:
  /// Throws InputError where the file is missing or no JSON object.
  explicit ConfigReader(const std::filesystem::path& path);
  /// A nested object of a reader's file; `where` is its field name.
  ConfigReader(std::filesystem::path path, nlohmann::json object, std::string where);

  /// Each takes the field's names in order of preference (real checkpoints carry several
  /// spellings); a field that is absent or null gives `fallback`, or an error where there is none.
  using Names = std::initializer_list<const char*>;
  int64_t integer(Names names, int64_t minimum, std::optional<int64_t> fallback = {}) const;
  double number(Names names, std::optional<double> fallback = {}) const;
  bool boolean(Names names, std::optional<bool> fallback = {}) const;
  std::string text(Names names, std::optional<std::string> fallback = {}) const;
  /// An array of so many numbers.
  std::vector<double> numbers(const char* name, int64_t count) const;
  /// The nested object, or nothing where absent or null.
  std::optional<ConfigReader> object(Names names) const;
  bool has(const char* name) const;

  const nlohmann::json& json() const { return object_; }
  const std::filesystem::path& path() const { return path_; }
  /// InputError about a field: "config.json: field: text".
  [[noreturn]] void fail(const std::string& field, const std::string& text) const;

 private:
  const nlohmann::json* find(Names names) const;
  std::string field(Names names) const;

  std::filesystem::path path_;
  nlohmann::json object_;
  std::string where_;
};

}  // namespace sinkbench
