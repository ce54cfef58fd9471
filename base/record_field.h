// Reading the JSON files that the program writes and anybody may have changed: each value knows the
// way to it, so that an error names the field, what it has and what was expected.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <limits>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

namespace sinkbench {

/// A value below `json`, which outlives it. What isn't as expected throws a JsonError such as
/// "cells[3].latency[0].p50_ms is -1; expected a number of 0 or more".
template <typename Json>
class BasicRecordField {
 public:
  static constexpr int64_t least = std::numeric_limits<int64_t>::min();
  static constexpr int64_t most = std::numeric_limits<int64_t>::max();
  static constexpr double infinity = std::numeric_limits<double>::infinity();

  explicit BasicRecordField(const Json& json, std::string path = {})
      : json_(&json), path_(std::move(path)) {}

  const Json& json() const { return *json_; }
  bool is_null() const { return json_->is_null(); }
  /// From the file's top: "cells[3].latency"; empty for the top itself.
  const std::string& path() const { return path_; }

  /// A field of this object.
  BasicRecordField at(const std::string& name) const;
  /// One that older files don't have: null.
  BasicRecordField later(const std::string& name) const;
  /// Those of this list.
  std::vector<BasicRecordField> elements() const;
  /// Those of this object, in their order.
  std::vector<std::pair<std::string, BasicRecordField>> members() const;

  int64_t integer(int64_t minimum = least, int64_t maximum = most) const;
  std::vector<int64_t> integers(int64_t minimum = least, int64_t maximum = most) const;
  double number(double minimum = -infinity, double maximum = infinity) const;
  std::vector<double> numbers(double minimum = -infinity) const;
  /// NaN for null: JSON has no other word for what isn't finite.
  double number_or_nan(double minimum = -infinity, double maximum = infinity) const;
  std::vector<double> numbers_or_nan() const;
  bool flag() const;
  std::string text() const;
  std::vector<std::string> texts() const;
  std::map<std::string, std::string> text_map() const;
  std::map<std::string, int64_t> integer_map() const;

  /// The one of the values whose to_string this is.
  template <typename Value>
  Value one_of(std::initializer_list<Value> values) const {
    std::vector<std::string> words;
    for (const Value& value : values) words.push_back(to_string(value));
    return values.begin()[index_in(words)];
  }
  /// Which of the words this is.
  size_t index_in(std::span<const std::string> words) const;

  /// Throws the JsonError that what is here isn't what was expected.
  [[noreturn]] void refuse(const std::string& expected) const;

 private:
  const Json* json_;
  std::string path_;
};

extern template class BasicRecordField<nlohmann::json>;
extern template class BasicRecordField<nlohmann::ordered_json>;

using RecordField = BasicRecordField<nlohmann::json>;
using OrderedRecordField = BasicRecordField<nlohmann::ordered_json>;

}  // namespace sinkbench
