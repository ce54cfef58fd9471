// Reads fields of a config.json with errors that name file, field, value and what was expected.
#pragma once

#include <filesystem>
#include <initializer_list>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <string>
#include <vector>

namespace sinkbench {

class ConfigReader {
 public:
  /// Throws InputError where the file is missing or no JSON object.
  explicit ConfigReader(const std::filesystem::path& path);
  /// A nested object of a reader's file; `where` is its field name.
  ConfigReader(std::filesystem::path path, nlohmann::json object, std::string where);
  /// Of a file that says the same under other names, which errors then use: full field to name.
  ConfigReader(std::filesystem::path path, nlohmann::json object,
               std::map<std::string, std::string> names);

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
  /// InputError naming the first field that none of the above was asked for, is not null and is
  /// none of `harmless`: for objects whose every field changes what is computed. `text`, which
  /// follows the value, says why.
  void refuse_unread(std::initializer_list<const char*> harmless, const std::string& text) const;
  bool was_read(const std::string& name) const { return read_->contains(name); }

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
  std::shared_ptr<const std::map<std::string, std::string>> names_;  // null: the fields' own
  /// Names that were asked for, by this reader or a copy of it.
  std::shared_ptr<std::set<std::string>> read_ = std::make_shared<std::set<std::string>>();
};

}  // namespace sinkbench
