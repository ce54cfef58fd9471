// A place in an experiment's YAML: values read with errors that name file, line, key and value, and
// the grid that lists of values make.
#pragma once

#include <yaml-cpp/yaml.h>

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "policies/arguments.h"

namespace sinkbench {

/// Whether an experiment comes through a pipe or a device: it has no name and no place.
bool is_stream(const std::filesystem::path& yaml);

/// The file's one YAML document, a mapping.
YAML::Node read_yaml(const std::filesystem::path& yaml);

/// Puts a value of --set, "key=value", into the tree and its key into `set_keys`.
void apply_override(YAML::Node root, const std::string& assignment,
                    std::vector<std::string>& set_keys);

/// A place in the configuration: a node, the dotted key that leads to it, and how to speak of it.
class Place {
 public:
  Place(YAML::Node node, std::string key, const std::filesystem::path& file,
        const std::vector<std::string>& set_keys)
      : node_(node), key_(std::move(key)), file_(file), set_keys_(set_keys) {}

  const YAML::Node& node() const { return node_; }
  const std::string& key() const { return key_; }

  /// Whether this value, or one that it is part of, comes from the command line.
  bool from_command_line() const;

  [[noreturn]] void fail(const std::string& text) const;

  /// "window" as a person would point at it.
  std::string shown() const;

  Place at(const std::string& name) const;
  Place at(size_t index) const;
  bool has(const std::string& name) const;

  /// The mapping's keys, each of which must be one of `valid` and stand once.
  void check_keys(const std::vector<std::string>& valid) const;

  /// Its elements where it is a list, else itself alone: any scalar may be a list.
  std::vector<Place> each() const;

  int64_t integer(int64_t minimum, int64_t maximum = largest_policy_argument) const;
  bool yes() const;
  double positive() const;
  double number(double least, double most, const char* what = "number") const;
  std::string text() const;
  std::string choice(const std::vector<std::string>& valid) const;
  /// Text in which ${NAME} is the value of an environment variable.
  std::string expanded() const;
  std::filesystem::path path() const;

 private:
  YAML::Node node_;
  std::string key_;
  const std::filesystem::path& file_;
  const std::vector<std::string>& set_keys_;
};

/// Throws where a list, part of the grid, has grown too long. Aliases let a small file make a long
/// one.
void check_size(size_t size, const Place& place);

/// All combinations of the values of several keys, the first key varying slowest.
using Values = std::map<std::string, Place>;
std::vector<Values> product(const Place& mapping, const std::vector<std::string>& keys);

}  // namespace sinkbench
