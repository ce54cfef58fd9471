#include "eval/experiment/place.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <set>

#include "base/error.h"
#include "base/file.h"
#include "base/yaml.h"

namespace sinkbench {
namespace {

namespace fs = std::filesystem;

constexpr size_t most_cells = 10'000;

/// A node of its own with the same children: what an alias shares is not changed.
YAML::Node unshared(const YAML::Node& node) {
  YAML::Node copy;
  if (node.IsSequence()) {
    for (const YAML::Node& child : node) copy.push_back(child);
  } else if (node.IsMap()) {
    for (const auto& entry : node) copy[entry.first] = entry.second;
  } else {
    copy = YAML::Clone(node);
  }
  return copy;
}

}  // namespace

bool is_stream(const fs::path& yaml) {
  std::error_code error;
  const fs::file_status status = fs::status(yaml, error);
  return yaml == "-" ||
         (fs::exists(status) && !fs::is_regular_file(status) && !fs::is_directory(status));
}

bool Place::from_command_line() const {
  return std::any_of(set_keys_.begin(), set_keys_.end(), [&](const std::string& set) {
    return key_ == set || key_.starts_with(set + ".");
  });
}

void Place::fail(const std::string& text) const {
  if (from_command_line()) throw InputError::format("--set {}: {}", key_, text);
  // What --set has put a value into has no line of its own.
  const YAML::Mark mark = node_.Mark();
  throw InputError::format("{}{}: {}{}", file_ == "-" ? "the experiment" : file_.string(),
                           mark.is_null() ? "" : fmt::format(":{}", mark.line + 1),
                           key_.empty() ? "" : key_ + ": ", text);
}

std::string Place::shown() const {
  if (node_.IsScalar()) return "'" + node_.Scalar() + "'";
  if (node_.IsSequence()) return "a list";
  if (node_.IsMap()) return "a mapping";
  return "nothing";
}

Place Place::at(const std::string& name) const {
  return Place(node_[name], key_.empty() ? name : key_ + "." + name, file_, set_keys_);
}

Place Place::at(size_t index) const {
  return Place(node_[index], key_ + "." + std::to_string(index), file_, set_keys_);
}

bool Place::has(const std::string& name) const {
  const YAML::Node child = node_[name];
  return child.IsDefined() && !child.IsNull();
}

void Place::check_keys(const std::vector<std::string>& valid) const {
  if (!node_.IsMap()) fail(fmt::format("is {}; expected a mapping", shown()));
  std::set<std::string> seen;
  for (const auto& entry : node_) {
    if (!entry.first.IsScalar()) fail("has a key that is no word");
    const std::string name = entry.first.Scalar();
    const Place child(entry.first, key_.empty() ? name : key_ + "." + name, file_, set_keys_);
    if (key_.empty() && name.starts_with("x-")) continue;  // a place for anchors
    if (name == "<<") {
      child.fail("merge keys are not supported; expected an alias for the whole mapping");
    }
    if (std::find(valid.begin(), valid.end(), name) == valid.end()) {
      child.fail(fmt::format("unknown key '{}'{}", name, suggestion(name, valid)));
    }
    if (!seen.insert(name).second) child.fail(fmt::format("key '{}' stands twice", name));
  }
}

std::vector<Place> Place::each() const {
  if (!node_.IsSequence()) return {*this};
  std::vector<Place> result;
  for (size_t i = 0; i < node_.size(); ++i) result.push_back(at(i));
  if (result.empty()) fail("is an empty list; expected at least one value");
  return result;
}

int64_t Place::integer(int64_t minimum, int64_t maximum) const {
  const std::optional<int64_t> value = integer_of(node_);
  if (!value || *value < minimum) {
    fail(fmt::format("is {}; expected an integer of {} or more", shown(), minimum));
  }
  if (*value > maximum) {
    fail(fmt::format("is {}; expected an integer of {} or less", shown(), maximum));
  }
  return *value;
}

bool Place::yes() const {
  bool value = false;
  if (!node_.IsScalar() || !YAML::convert<bool>::decode(node_, value)) {
    fail(fmt::format("is {}; expected true or false", shown()));
  }
  return value;
}

double Place::positive() const {
  double value = 0;
  if (!node_.IsScalar() || !YAML::convert<double>::decode(node_, value) || !(value > 0) ||
      std::isinf(value)) {
    fail(fmt::format("is {}; expected a number above 0", shown()));
  }
  return value;
}

double Place::number(double least, double most, const char* what) const {
  double value = 0;
  if (!node_.IsScalar() || !YAML::convert<double>::decode(node_, value) ||
      !(value >= least && value <= most)) {
    fail(fmt::format("is {}; expected a {} from {} to {}", shown(), what, least, most));
  }
  return value;
}

std::string Place::text() const {
  if (!node_.IsScalar() || node_.Scalar().empty()) {
    fail(fmt::format("is {}; expected a word", shown()));
  }
  return node_.Scalar();
}

std::string Place::choice(const std::vector<std::string>& valid) const {
  const std::string value = text();
  if (std::find(valid.begin(), valid.end(), value) == valid.end()) {
    fail(fmt::format("is '{}'{}", value, suggestion(value, valid)));
  }
  return value;
}

std::string Place::expanded() const {
  std::string rest = text(), result;
  for (size_t begin; (begin = rest.find("${")) != rest.npos;) {
    const size_t end = rest.find('}', begin);
    if (end == rest.npos) fail(fmt::format("is {}; expected '}}' after '${{'", shown()));
    const std::string name = rest.substr(begin + 2, end - begin - 2);
    const char* value = std::getenv(name.c_str());
    if (value == nullptr || *value == '\0') {
      fail(
          fmt::format("is {}, but the environment variable {} is not set; expected a folder: "
                      "export {}=FOLDER",
                      shown(), name, name));
    }
    result += rest.substr(0, begin) + value;
    rest.erase(0, end + 1);
  }
  result += rest;
  if (result == "~" || result.starts_with("~/")) {
    const char* home = std::getenv("HOME");
    if (home != nullptr && *home != '\0') result.replace(0, 1, home);
  }
  return result;
}

std::filesystem::path Place::path() const {
  const fs::path value = expanded();
  if (value.is_absolute()) return without_dots(value);
  const fs::path base = from_command_line() || is_stream(file_) ? fs::current_path()
                                                                : fs::absolute(file_).parent_path();
  return without_dots(base / value);
}

void check_size(size_t size, const Place& place) {
  if (size > most_cells) {
    place.fail(fmt::format("makes too large a grid; expected no more than {} cells", most_cells));
  }
}

std::vector<Values> product(const Place& mapping, const std::vector<std::string>& keys) {
  std::vector<Values> result = {{}};
  for (const std::string& key : keys) {
    if (!mapping.has(key)) continue;
    std::vector<Values> longer;
    for (const Values& values : result) {
      for (const Place& value : mapping.at(key).each()) {
        longer.push_back(values);
        longer.back().emplace(key, value);
        check_size(longer.size(), mapping.at(key));
      }
    }
    result = std::move(longer);
  }
  return result;
}

void apply_override(YAML::Node root, const std::string& assignment,
                    std::vector<std::string>& set_keys) {
  const size_t equals = assignment.find('=');
  if (equals == std::string::npos || equals == 0) {
    throw InputError::format("--set {}: expected key=value, such as dataset.tokens=4096",
                             assignment);
  }
  const std::string key = assignment.substr(0, equals);
  YAML::Node value;
  try {
    value = YAML::Load(assignment.substr(equals + 1));
  } catch (const YAML::Exception& error) {
    throw InputError::format("--set {}: the value is not valid YAML: {}", assignment, error.msg);
  }
  YAML::Node node = root;
  for (size_t begin = 0; begin <= key.size();) {
    const size_t dot = std::min(key.find('.', begin), key.size());
    const std::string part = key.substr(begin, dot - begin);
    if (part.empty()) throw InputError::format("--set {}: the key has an empty part", assignment);
    const bool last = dot == key.size();
    const bool number =
        std::all_of(part.begin(), part.end(), [](char c) { return c >= '0' && c <= '9'; });
    if (node.IsSequence()) {
      if (!number || part.size() > 6 || std::stoul(part) >= node.size()) {
        throw InputError::format("--set {}: '{}' is no index into a list of {} elements",
                                 assignment, part, node.size());
      }
      const size_t index = std::stoul(part);
      node[index] = last ? value : unshared(node[index]);
      if (!last) node.reset(node[index]);
    } else {
      if (node.IsScalar()) {
        throw InputError::format("--set {}: '{}' stands below a value that is no mapping",
                                 assignment, part);
      }
      if (number && !node.IsMap()) {
        throw InputError::format(
            "--set {}: there is no list to have an element {}; expected {}=[...]", assignment, part,
            key.substr(0, begin - 1));
      }
      node[part] = last ? value : unshared(node[part]);
      if (!last) node.reset(node[part]);
    }
    begin = dot + 1;
  }
  set_keys.push_back(key);
}

YAML::Node read_yaml(const fs::path& yaml) {
  const std::string content = is_stream(yaml) ? read_stream(yaml) : read_file(yaml);
  const YAML::Node root = parse_yaml(content, yaml.string());
  if (!root.IsMap()) {
    throw InputError::format("{}: expected a mapping of keys such as model, dataset and policies",
                             yaml.string());
  }
  return root;
}

}  // namespace sinkbench
