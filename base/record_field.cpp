#include "base/record_field.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>

#include "base/json.h"

namespace sinkbench {
namespace {

std::string range(const std::string& kind, const std::string& minimum, const std::string& maximum) {
  if (minimum.empty() && maximum.empty()) return kind;
  if (maximum.empty()) return fmt::format("{} of {} or more", kind, minimum);
  if (minimum.empty()) return fmt::format("{} of {} or less", kind, maximum);
  return fmt::format("{} from {} to {}", kind, minimum, maximum);
}

template <typename Json>
const Json& nothing() {
  static const Json null;
  return null;
}

}  // namespace

template <typename Json>
void BasicRecordField<Json>::refuse(const std::string& expected) const {
  std::string found = json_->dump(-1, ' ', false, Json::error_handler_t::replace);
  constexpr size_t longest = 80;
  if (found.size() > longest) {  // at the end of a character
    size_t end = longest;
    while (end > 0 && (static_cast<unsigned char>(found[end]) & 0xC0) == 0x80) --end;
    found = found.substr(0, end) + "...";
  }
  throw JsonError(
      fmt::format("{} is {}; expected {}", path_.empty() ? "the file" : path_, found, expected));
}

template <typename Json>
BasicRecordField<Json> BasicRecordField<Json>::later(const std::string& name) const {
  if (!json_->is_object()) refuse("an object");
  const auto found = json_->find(name);
  return BasicRecordField(found == json_->end() ? nothing<Json>() : *found,
                          path_.empty() ? name : path_ + "." + name);
}

template <typename Json>
BasicRecordField<Json> BasicRecordField<Json>::at(const std::string& name) const {
  BasicRecordField field = later(name);
  if (&field.json() == &nothing<Json>()) {
    throw JsonError(path_.empty()
                        ? fmt::format("expected '{}', which isn't there", name)
                        : fmt::format("{}: expected '{}', which isn't there", path_, name));
  }
  return field;
}

template <typename Json>
std::vector<BasicRecordField<Json>> BasicRecordField<Json>::elements() const {
  if (!json_->is_array()) refuse("a list");
  std::vector<BasicRecordField> fields;
  for (size_t i = 0; i < json_->size(); ++i) {
    fields.emplace_back((*json_)[i], fmt::format("{}[{}]", path_, i));
  }
  return fields;
}

template <typename Json>
std::vector<std::pair<std::string, BasicRecordField<Json>>> BasicRecordField<Json>::members()
    const {
  if (!json_->is_object()) refuse("an object");
  std::vector<std::pair<std::string, BasicRecordField>> fields;
  for (const auto& [name, value] : json_->items()) {
    fields.emplace_back(name, BasicRecordField(value, path_.empty() ? name : path_ + "." + name));
  }
  return fields;
}

template <typename Json>
int64_t BasicRecordField<Json>::integer(int64_t minimum, int64_t maximum) const {
  const bool fits = json_->is_number_unsigned()
                        ? std::in_range<int64_t>(json_->template get<uint64_t>())
                        : json_->is_number_integer();
  const int64_t value = fits ? json_->template get<int64_t>() : 0;
  if (!fits || value < minimum || value > maximum) {
    refuse(range("an integer", minimum == least ? "" : std::to_string(minimum),
                 maximum == most ? "" : std::to_string(maximum)));
  }
  return value;
}

template <typename Json>
double BasicRecordField<Json>::number(double minimum, double maximum) const {
  const double value = json_->is_number() ? json_->template get<double>() : std::nan("");
  if (!(value >= minimum && value <= maximum) || !std::isfinite(value)) {
    refuse(range("a number", minimum == -infinity ? "" : fmt::format("{}", minimum),
                 maximum == infinity ? "" : fmt::format("{}", maximum)));
  }
  return value;
}

template <typename Json>
double BasicRecordField<Json>::number_or_nan(double minimum, double maximum) const {
  return is_null() ? std::nan("") : number(minimum, maximum);
}

template <typename Json>
std::vector<int64_t> BasicRecordField<Json>::integers(int64_t minimum, int64_t maximum) const {
  std::vector<int64_t> values;
  for (const BasicRecordField& field : elements())
    values.push_back(field.integer(minimum, maximum));
  return values;
}

template <typename Json>
std::vector<double> BasicRecordField<Json>::numbers(double minimum) const {
  std::vector<double> values;
  for (const BasicRecordField& field : elements()) values.push_back(field.number(minimum));
  return values;
}

template <typename Json>
std::vector<double> BasicRecordField<Json>::numbers_or_nan() const {
  std::vector<double> values;
  for (const BasicRecordField& field : elements()) values.push_back(field.number_or_nan());
  return values;
}

template <typename Json>
bool BasicRecordField<Json>::flag() const {
  if (!json_->is_boolean()) refuse("true or false");
  return json_->template get<bool>();
}

template <typename Json>
std::string BasicRecordField<Json>::text() const {
  if (!json_->is_string()) refuse("a text");
  return json_->template get<std::string>();
}

template <typename Json>
std::vector<std::string> BasicRecordField<Json>::texts() const {
  std::vector<std::string> values;
  for (const BasicRecordField& field : elements()) values.push_back(field.text());
  return values;
}

template <typename Json>
std::map<std::string, std::string> BasicRecordField<Json>::text_map() const {
  std::map<std::string, std::string> values;
  for (const auto& [name, field] : members()) values[name] = field.text();
  return values;
}

template <typename Json>
std::map<std::string, int64_t> BasicRecordField<Json>::integer_map() const {
  std::map<std::string, int64_t> values;
  for (const auto& [name, field] : members()) values[name] = field.integer();
  return values;
}

template <typename Json>
size_t BasicRecordField<Json>::index_in(std::span<const std::string> words) const {
  const std::string word = text();
  const auto found = std::find(words.begin(), words.end(), word);
  if (found == words.end()) {
    refuse(fmt::format("{}{}", words.size() == 1 ? "" : "one of ", fmt::join(words, ", ")));
  }
  return static_cast<size_t>(found - words.begin());
}

template class BasicRecordField<nlohmann::json>;
template class BasicRecordField<nlohmann::ordered_json>;

}  // namespace sinkbench
