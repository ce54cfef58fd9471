#include "eval/experiment/experiment.h"

#include <yaml-cpp/yaml.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdlib>
#include <functional>
#include <limits>
#include <map>
#include <sstream>

#include "base/error.h"
#include "base/file.h"
#include "base/sha256.h"
#include "base/utf8.h"
#include "base/yaml.h"
#include "datasets/unicode_classes.h"
#include "eval/experiment/engine_names.h"
#include "policies/plugin.h"
#include "policies/registry.h"

namespace sinkbench {
namespace {

namespace fs = std::filesystem;

constexpr size_t most_cells = 10'000;
constexpr size_t most_texts = 100'000;     // of all cells together
constexpr int64_t most_steps = 1'000'000;  // that are timed
constexpr int64_t most_seconds = 30;       // of one cell's timed steps, which end there
constexpr int64_t most_threads = 4096;
constexpr int64_t largest_seed = std::numeric_limits<int64_t>::max();

/// Whether an experiment comes through a pipe or a device: it has no name and no place.
bool is_stream(const fs::path& yaml) {
  std::error_code error;
  const fs::file_status status = fs::status(yaml, error);
  return yaml == "-" ||
         (fs::exists(status) && !fs::is_regular_file(status) && !fs::is_directory(status));
}

/// The path without "." and "..", which above a symbolic link is where the link leads.
fs::path without_dots(const fs::path& path) {
  fs::path result;
  for (const fs::path& part : path) {
    if (part == "..") {
      std::error_code error;
      if (fs::is_symlink(result, error)) {
        const fs::path target = fs::canonical(result, error);
        if (!error) result = target;
      }
      result = result.parent_path();
    } else if (part != ".") {
      result /= part;
    }
  }
  return result;
}

/// A place in the configuration: a node, the dotted key that leads to it, and how to speak of it.
class Place {
 public:
  Place(YAML::Node node, std::string key, const fs::path& file,
        const std::vector<std::string>& set_keys)
      : node_(node), key_(std::move(key)), file_(file), set_keys_(set_keys) {}

  const YAML::Node& node() const { return node_; }
  const std::string& key() const { return key_; }

  /// Whether this value, or one that it is part of, comes from the command line.
  bool from_command_line() const {
    return std::any_of(set_keys_.begin(), set_keys_.end(), [&](const std::string& set) {
      return key_ == set || key_.starts_with(set + ".");
    });
  }

  [[noreturn]] void fail(const std::string& text) const {
    if (from_command_line()) throw InputError::format("--set {}: {}", key_, text);
    // What --set has put a value into has no line of its own.
    const YAML::Mark mark = node_.Mark();
    throw InputError::format("{}{}: {}{}", file_ == "-" ? "the experiment" : file_.string(),
                             mark.is_null() ? "" : fmt::format(":{}", mark.line + 1),
                             key_.empty() ? "" : key_ + ": ", text);
  }

  /// "window" as a person would point at it.
  std::string shown() const {
    if (node_.IsScalar()) return "'" + node_.Scalar() + "'";
    if (node_.IsSequence()) return "a list";
    if (node_.IsMap()) return "a mapping";
    return "nothing";
  }

  Place at(const std::string& name) const {
    return Place(node_[name], key_.empty() ? name : key_ + "." + name, file_, set_keys_);
  }
  Place at(size_t index) const {
    return Place(node_[index], key_ + "." + std::to_string(index), file_, set_keys_);
  }
  bool has(const std::string& name) const {
    const YAML::Node child = node_[name];
    return child.IsDefined() && !child.IsNull();
  }

  /// The mapping's keys, each of which must be one of `valid` and stand once.
  void check_keys(const std::vector<std::string>& valid) const {
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

  /// Its elements where it is a list, else itself alone: any scalar may be a list.
  std::vector<Place> each() const {
    if (!node_.IsSequence()) return {*this};
    std::vector<Place> result;
    for (size_t i = 0; i < node_.size(); ++i) result.push_back(at(i));
    if (result.empty()) fail("is an empty list; expected at least one value");
    return result;
  }

  int64_t integer(int64_t minimum, int64_t maximum = largest_policy_argument) const {
    const std::optional<int64_t> value = integer_of(node_);
    if (!value || *value < minimum) {
      fail(fmt::format("is {}; expected an integer of {} or more", shown(), minimum));
    }
    if (*value > maximum) {
      fail(fmt::format("is {}; expected an integer of {} or less", shown(), maximum));
    }
    return *value;
  }
  bool yes() const {
    bool value = false;
    if (!node_.IsScalar() || !YAML::convert<bool>::decode(node_, value)) {
      fail(fmt::format("is {}; expected true or false", shown()));
    }
    return value;
  }
  double positive() const {
    double value = 0;
    if (!node_.IsScalar() || !YAML::convert<double>::decode(node_, value) || !(value > 0) ||
        std::isinf(value)) {
      fail(fmt::format("is {}; expected a number above 0", shown()));
    }
    return value;
  }
  double number(double least, double most, const char* what = "number") const {
    double value = 0;
    if (!node_.IsScalar() || !YAML::convert<double>::decode(node_, value) ||
        !(value >= least && value <= most)) {
      fail(fmt::format("is {}; expected a {} from {} to {}", shown(), what, least, most));
    }
    return value;
  }
  double seconds() const { return number(0, most_seconds, "number of seconds"); }
  std::string text() const {
    if (!node_.IsScalar() || node_.Scalar().empty()) {
      fail(fmt::format("is {}; expected a word", shown()));
    }
    return node_.Scalar();
  }
  std::string choice(const std::vector<std::string>& valid) const {
    const std::string value = text();
    if (std::find(valid.begin(), valid.end(), value) == valid.end()) {
      fail(fmt::format("is '{}'{}", value, suggestion(value, valid)));
    }
    return value;
  }
  /// Text in which ${NAME} is the value of an environment variable.
  std::string expanded() const {
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
  fs::path path() const {
    const fs::path value = expanded();
    if (value.is_absolute()) return without_dots(value);
    const fs::path base = from_command_line() || is_stream(file_)
                              ? fs::current_path()
                              : fs::absolute(file_).parent_path();
    return without_dots(base / value);
  }

 private:
  YAML::Node node_;
  std::string key_;
  const fs::path& file_;
  const std::vector<std::string>& set_keys_;
};

/// Throws where a list, part of the grid, has grown too long. Aliases let a small file make a long
/// one.
void check_size(size_t size, const Place& place) {
  if (size > most_cells) {
    place.fail(fmt::format("makes too large a grid; expected no more than {} cells", most_cells));
  }
}

void check_texts(size_t texts, const Place& place) {
  if (texts > most_texts) {
    place.fail(fmt::format("names too many texts; expected no more than {} in all cells together",
                           most_texts));
  }
}

/// All combinations of the values of several keys, the first key varying slowest.
using Values = std::map<std::string, Place>;
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

std::vector<ModelSpec> read_models(const Place& place) {
  std::vector<ModelSpec> models;
  for (const Place& entry : place.each()) {
    check_size(models.size(), place);
    if (!entry.node().IsMap()) {
      models.push_back({.path = entry.path()});
      continue;
    }
    entry.check_keys({"path", "get", "config", "weights", "seed", "decoded_mib"});
    if (entry.has("path")) {
      if (entry.has("config")) entry.fail("has both 'path' and 'config'; expected one");
      if (entry.has("seed")) entry.at("seed").fail("has no meaning beside 'path'; leave it out");
      for (const Values& values : product(entry, {"path", "weights"})) {
        const bool as_stored = values.contains("weights") &&
                               values.at("weights").choice({"decoded", "as-stored"}) == "as-stored";
        models.push_back({.path = values.at("path").path(), .as_stored = as_stored});
        if (entry.has("get")) models.back().get = entry.at("get").expanded();
        if (!entry.has("decoded_mib")) continue;
        if (!as_stored) {
          entry.at("decoded_mib").fail("has no meaning without 'weights: as-stored'; leave it out");
        }
        models.back().decoded_mib = entry.at("decoded_mib").integer(0, int64_t{1} << 30);
      }
      continue;
    }
    for (const char* key : {"get", "decoded_mib"}) {
      if (entry.has(key)) entry.at(key).fail("has no meaning without 'path'; leave it out");
    }
    if (!entry.has("config"))
      entry.fail("expected 'path' (a checkpoint's folder), or 'config' and 'weights: random'");
    if (!entry.has("weights")) entry.fail("expected 'weights: random' beside 'config'");
    entry.at("weights").choice({"random"});
    for (const Values& values : product(entry, {"config", "seed"})) {
      models.push_back(
          {.path = values.at("config").path(),
           .random = true,
           .seed = values.contains("seed")
                       ? static_cast<uint64_t>(values.at("seed").integer(0, largest_seed))
                       : 0});
    }
  }
  return models;
}

std::vector<DatasetSpec> read_datasets(const Place& place, const std::optional<int64_t>& limit) {
  std::vector<DatasetSpec> datasets;
  size_t texts = 0;
  for (const Place& entry : place.each()) {
    check_size(datasets.size(), place);
    entry.check_keys({"text", "tokens_file", "field", "subfolders", "invalid", "bos", "bos_token",
                      "special_tokens", "tokens", "reset", "get"});
    if (entry.has("text") == entry.has("tokens_file")) {
      entry.fail("expected either 'text' (a file, a folder or a list of them) or 'tokens_file'");
    }
    DatasetSpec base;
    if (entry.has("text")) {
      for (const Place& text : entry.at("text").each()) base.texts.push_back(text.path());
      if (entry.has("field")) base.documents.field = entry.at("field").text();
      if (entry.has("subfolders")) base.documents.subfolders = entry.at("subfolders").yes();
      if (entry.has("invalid") && entry.at("invalid").choice({"refuse", "replace"}) == "replace") {
        base.documents.invalid = InvalidBytes::replace;
      }
      if (entry.has("get")) base.get = entry.at("get").expanded();
    } else {
      for (const char* key :
           {"field", "subfolders", "invalid", "bos", "bos_token", "special_tokens", "get"}) {
        if (entry.has(key)) entry.at(key).fail("has no meaning beside 'tokens_file'; leave it out");
      }
    }
    for (const Values& values :
         product(entry, {"tokens_file", "bos", "bos_token", "special_tokens", "tokens", "reset"})) {
      DatasetSpec dataset = base;
      if (values.contains("tokens_file")) dataset.tokens_file = values.at("tokens_file").path();
      if (values.contains("bos")) {
        const std::string bos = values.at("bos").choice({"stream", "document", "none"});
        dataset.bos = bos == "stream"     ? BosPlacement::stream
                      : bos == "document" ? BosPlacement::document
                                          : BosPlacement::none;
      }
      if (values.contains("bos_token")) {
        const std::string token = values.at("bos_token").text();
        if (token.empty()) values.at("bos_token").fail("is ''; expected a token's text or its id");
        if (dataset.bos != BosPlacement::none) dataset.bos_token = token;
      }
      if (values.contains("special_tokens")) {
        const std::string spelled = values.at("special_tokens").choice({"parse", "text"});
        dataset.special_tokens = spelled == "text" ? SpecialTokens::text : SpecialTokens::parse;
      }
      if (values.contains("tokens")) dataset.tokens = values.at("tokens").integer(2);
      if (values.contains("reset")) {
        const Place& place = values.at("reset");
        const auto reset = reset_from_string(place.text());
        if (!reset) {
          place.fail(fmt::format("is {}; expected a number of tokens, 2 or more, or 'document'",
                                 place.shown()));
        }
        if (reset->tokens == 0 && dataset.texts.empty()) {
          place.fail(
              "is 'document', and a file of token ids has none; expected a number of tokens");
        }
        dataset.reset = reset;
      }
      if (limit && *limit < dataset.tokens.value_or(*limit + 1)) dataset.tokens = *limit;
      // Several lengths may be cut to the same one, and without a BOS it doesn't matter which.
      const bool may_repeat =
          limit || (dataset.bos == BosPlacement::none && values.contains("bos_token"));
      if (may_repeat && std::find(datasets.begin(), datasets.end(), dataset) != datasets.end()) {
        continue;
      }
      datasets.push_back(std::move(dataset));
      check_texts(texts += base.texts.size(), place);
    }
  }
  return datasets;
}

/// {bits: 3, rotation: hadamard32}
std::string read_turboquant(const Place& turboquant) {
  turboquant.check_keys({"bits", "rotation"});
  if (!turboquant.has("bits")) turboquant.fail("key 'bits' is missing");
  const std::string name = fmt::format("turboquant{}", turboquant.at("bits").integer(2, 4));
  const bool whole = !turboquant.has("rotation") ||
                     turboquant.at("rotation").choice({"random", "hadamard32"}) == "random";
  return whole ? name : name + "_wht32";
}

/// "q8_0", or {turboquant: {bits: 3, rotation: hadamard32}}
std::string read_format(const Place& place) {
  if (!place.node().IsMap()) return place.choice(storage_formats());
  place.check_keys({"turboquant"});
  if (!place.has("turboquant"))
    place.fail("expected a form, such as q8_0 or {turboquant: {bits: 3}}");
  return read_turboquant(place.at("turboquant"));
}

constexpr int64_t most_residual = 1 << 16;

/// {kivi: {bits: 2, group: 32, residual: 128}}
StorageSpec read_kivi(const Place& place) {
  place.check_keys({"bits", "group", "residual"});
  if (!place.has("bits")) place.fail("key 'bits' is missing");
  const int64_t bits = place.at("bits").integer(2, 8);
  if (bits != 2 && bits != 4 && bits != 8) {
    place.at("bits").fail(fmt::format("is {}; expected 2, 4 or 8", bits));
  }
  StorageSpec storage;
  storage.keys = storage.values = fmt::format("kivi{}", bits);
  storage.kivi = usual_kivi_groups;
  if (place.has("group")) storage.kivi.group = place.at("group").integer(1, most_residual);
  if (place.has("residual")) storage.kivi.residual = place.at("residual").integer(1, most_residual);
  if (storage.kivi.residual % storage.kivi.group != 0) {
    place.fail(fmt::format("has a residual of {}; expected a multiple of the group, {}",
                           storage.kivi.residual, storage.kivi.group));
  }
  if (storage.kivi.group * bits % 8 != 0) {
    place.fail(fmt::format("has groups of {} times {} bits; expected whole bytes",
                           storage.kivi.group, bits));
  }
  return storage;
}

/// A form of both keys and values, or {keys: ..., values: ..., rotate: true}, {turboquant: ...,
/// rotate: true}.
StorageSpec read_storage(const Place& place) {
  StorageSpec storage;
  // Also without a value, which is an error and not the native form.
  const auto names = [&](const char* form) {
    return place.node().IsMap() && place.node()[form].IsDefined();
  };
  if (names("kivi")) {
    place.check_keys({"kivi"});
    return read_kivi(place.at("kivi"));
  }
  const auto is_kivi = [](const std::string& form) { return form.starts_with("kivi"); };
  if (!place.node().IsMap()) {
    storage.keys = storage.values = read_format(place);
    if (is_kivi(storage.keys)) storage.kivi = usual_kivi_groups;
    return storage;
  }
  place.check_keys({"keys", "values", "both", "turboquant", "rotate", "interleave"});
  if (names("turboquant")) {
    for (const char* other : {"keys", "values", "both"}) {
      if (place.has(other))
        place.at(other).fail("stands beside 'turboquant'; expected one of them");
    }
    storage.keys = storage.values = read_turboquant(place.at("turboquant"));
  }
  if (place.has("both")) {
    if (place.has("keys") || place.has("values")) {
      place.at("both").fail("stands beside 'keys' or 'values'; expected it alone");
    }
    storage.keys = storage.values = read_format(place.at("both"));
  }
  if (place.has("keys")) storage.keys = read_format(place.at("keys"));
  if (place.has("values")) storage.values = read_format(place.at("values"));
  if (is_kivi(storage.keys) || is_kivi(storage.values)) {
    place.fail("has kivi beside something else; expected kv: {kivi: {bits: ...}}, both together");
  }
  if (place.has("rotate")) storage.rotate = place.at("rotate").yes();
  if (place.has("interleave")) storage.interleave = place.at("interleave").yes();
  if (storage.interleave && storage.keys == "native") {
    place.at("interleave").fail("keys aren't quantised; expected 'keys' or 'both'");
  }
  if (storage.rotate && storage.keys == "native" && storage.values == "native") {
    place.at("rotate").fail("there is nothing that is quantised; expected 'keys' or 'values'");
  }
  return storage;
}

PolicyValue read_task_argument(const TaskParameter& parameter, const Place& place) {
  if (!parameter.words.empty()) return place.choice(parameter.words);
  if (!parameter.fallback.is_list()) return place.integer(parameter.minimum, parameter.maximum);
  std::vector<int64_t> list;
  for (const Place& element : place.each()) {
    list.push_back(element.integer(parameter.minimum, parameter.maximum));
    if (std::find(list.begin(), list.end() - 1, list.back()) != list.end() - 1) {
      element.fail(fmt::format("is {}, which the list has already", element.shown()));
    }
  }
  return list;
}

/// Each a name, or a name with parameters.
std::vector<DatasetSpec> read_tasks(const Place& place) {
  std::vector<std::string> names;
  for (const TaskEntry& entry : task_registry()) names.push_back(entry.name);
  std::vector<DatasetSpec> tasks;
  for (const Place& task : place.each()) {
    check_size(tasks.size(), place);
    const bool has_parameters = task.node().IsMap();
    if (has_parameters && task.node().size() != 1) {
      task.fail(
          "expected one task: its name, a colon and its parameters, such as "
          "copy: {tokens: 32, gap: [0, 64]}");
    }
    const std::string name =
        has_parameters ? task.node().begin()->first.Scalar() : task.choice(names);
    const TaskEntry* entry = task_named(name);
    if (entry == nullptr)
      task.fail(fmt::format("unknown task '{}'{}", name, suggestion(name, names)));
    DatasetSpec dataset;
    dataset.task.name = name;
    if (has_parameters && !task.at(name).node().IsNull()) {
      const Place parameters = task.at(name);
      std::vector<std::string> keys;
      for (const TaskParameter& parameter : entry->parameters) keys.push_back(parameter.name);
      if (entry->texts != TaskTexts::none) keys.insert(keys.end(), {"text", "get"});
      parameters.check_keys(keys);
      for (const TaskParameter& parameter : entry->parameters) {
        if (!parameters.has(parameter.name)) continue;
        dataset.task.arguments[parameter.name] =
            read_task_argument(parameter, parameters.at(parameter.name));
      }
      if (parameters.has("text")) {
        for (const Place& text : parameters.at("text").each()) {
          dataset.texts.push_back(text.path());
        }
      }
      if (parameters.has("get")) dataset.get = parameters.at("get").expanded();
    }
    if (entry->texts == TaskTexts::required && dataset.texts.empty()) {
      task.fail(fmt::format("{} is made from a file; expected 'text'", name));
    }
    dataset.task.arguments = with_defaults(*entry, std::move(dataset.task.arguments));
    tasks.push_back(std::move(dataset));
  }
  return tasks;
}

/// "budget" of "budget.by_layer"
std::string group_of(const std::string& parameter) {
  return parameter.substr(0, parameter.find('.'));
}

/// What may stand under a policy's name.
std::vector<std::string> policy_keys(const PolicyEntry& entry) {
  std::vector<std::string> keys;
  for (const PolicyParameter& parameter : entry.parameters) {
    const std::string key = group_of(parameter.name);
    if (std::find(keys.begin(), keys.end(), key) == keys.end()) keys.push_back(key);
  }
  if (!entry.positions.empty()) keys.insert(keys.end(), {"positions", "cap"});
  if (!entry.presets.empty()) keys.push_back("preset");
  return keys;
}

PolicyValue read_argument(const PolicyParameter& parameter, const Place& place) {
  if (!parameter.words.empty()) return place.choice(parameter.words);
  if (parameter.real) return place.number(parameter.real->least, parameter.real->most);
  if (!parameter.list) return place.integer(parameter.minimum);
  std::vector<int64_t> list;
  for (const Place& element : place.each()) list.push_back(element.integer(parameter.minimum));
  return list;
}

/// The capacities of a file: a line for each layer, a number for each key head, or `all`.
std::vector<int64_t> read_capacities(const fs::path& file) {
  std::vector<int64_t> capacities;
  size_t heads = 0, number = 0;
  std::istringstream lines(read_file(file));
  for (std::string line; std::getline(lines, line);) {
    ++number;
    std::istringstream words(line.substr(0, line.find('#')));
    size_t count = 0;
    for (std::string word; words >> word; ++count) {
      int64_t capacity = 0;
      const char* const end = word.data() + word.size();
      const auto [last, error] = std::from_chars(word.data(), end, capacity);
      if (word == "all") {
        capacity = largest_policy_argument;
      } else if (error != std::errc() || last != end || capacity < 1 ||
                 capacity > largest_policy_argument) {
        throw InputError::format(
            "{}: line {} has '{}'; expected the capacity of a key head, 1 or more, or 'all'",
            file.string(), number, to_valid_utf8(word));
      }
      capacities.push_back(capacity);
    }
    if (count == 0) continue;
    if (heads == 0) heads = count;
    if (count != heads) {
      throw InputError::format(
          "{}: line {} has {} capacities, those before it {}; expected one for each key head",
          file.string(), number, count, heads);
    }
  }
  if (capacities.empty()) {
    throw InputError::format(
        "{}: there is nothing in it; expected a line for each layer, a capacity for each key head",
        file.string());
  }
  return capacities;
}

/// uniform | {by_layer: [...]} | {by_head: [[...], ...]} | {file: PATH} | {pyramid: {beta: B}} |
/// {adaptive: {floor: F}}
void read_budget(const Place& place, PolicyArguments& arguments) {
  const char* const expected =
      "expected uniform, {pyramid: {beta: 20}}, {adaptive: {floor: 0.2}}, {by_layer: [...]}, "
      "{by_head: [[...], ...]} or {file: PATH}";
  if (!place.node().IsMap()) {
    if (!place.node().IsScalar() || place.text() != "uniform") place.fail(expected);
    return;
  }
  place.check_keys({"by_layer", "by_head", "file", "pyramid", "adaptive"});
  if (place.node().size() != 1) place.fail(expected);
  const auto integers = [](const Place& list, std::vector<int64_t>& to) {
    for (const Place& element : list.each()) to.push_back(element.integer(1));
  };
  std::vector<int64_t> list;
  if (place.has("by_layer")) {
    integers(place.at("by_layer"), list);
    arguments["budget.by_layer"] = list;
  } else if (place.has("by_head")) {
    size_t heads = 0;
    for (const Place& layer : place.at("by_head").each()) {
      const size_t before = list.size();
      integers(layer, list);
      if (heads == 0) heads = list.size();
      if (list.size() - before != heads) {
        layer.fail(fmt::format("has {} capacities, the first layer {}; expected as many",
                               list.size() - before, heads));
      }
    }
    arguments["budget.by_head"] = list;
  } else if (place.has("file")) {
    const Place file = place.at("file");
    try {
      arguments["budget.by_head"] = read_capacities(file.path());
    } catch (const InputError& error) {
      file.fail(error.what());
    }
  } else if (place.has("pyramid")) {
    const Place pyramid = place.at("pyramid");
    if (pyramid.node().IsMap()) pyramid.check_keys({"beta"});
    arguments["budget.pyramid.beta"] = pyramid.node().IsMap() && pyramid.has("beta")
                                           ? pyramid.at("beta").integer(1)
                                           : Budget().beta;
  } else if (place.has("adaptive")) {
    const Place adaptive = place.at("adaptive");
    if (adaptive.node().IsMap()) adaptive.check_keys({"floor"});
    arguments["budget.adaptive.floor"] = adaptive.node().IsMap() && adaptive.has("floor")
                                             ? adaptive.at("floor").number(0, 1)
                                             : Budget().floor;
  } else {
    place.fail(expected);
  }
}

PolicySpec read_policy(const PolicyEntry& entry, const Values& values) {
  PolicySpec policy{.name = entry.name, .arguments = {}};
  const auto given = [&](const char* key) {
    const auto it = values.find(key);
    return it == values.end() ? nullptr : &it->second;
  };
  for (const PolicyParameter& parameter : entry.parameters) {
    const std::string group = group_of(parameter.name);
    const Place* place = given(group.c_str());
    if (place != nullptr && group == parameter.name) {
      policy.arguments[parameter.name] = read_argument(parameter, *place);
    }
  }
  if (const Place* budget = given("budget")) read_budget(*budget, policy.arguments);
  if (const Place* cap = given("cap")) policy.cap = cap->integer(1);
  if (const Place* name = given("preset")) {
    std::vector<std::string> names;
    for (const PolicyPreset& preset : entry.presets) names.push_back(preset.name);
    const std::string chosen = name->choice(names);
    for (const PolicyPreset& preset : entry.presets) {
      if (preset.name == chosen) preset.fill_in(policy);
    }
  }
  if (const Place* positions = given("positions")) {
    const std::vector<std::string>& names = positions_names();
    const std::string rule = positions->choice(names);
    policy.positions =
        static_cast<Positions>(std::find(names.begin(), names.end(), rule) - names.begin());
    if (policy.positions != Positions::capped && given("cap") == nullptr) policy.cap = 0;
  }
  return policy;
}

/// A policy of a plug-in that isn't loaded: its arguments are what they look like.
PolicySpec read_unknown_policy(const std::string& name, const Values& values,
                               const std::string& plugins) {
  PolicySpec policy{.name = name, .arguments = {}};
  policy.plugin.file = plugins;
  for (const auto& [key, place] : values) {
    const YAML::Node node = place.node();
    if (key == "positions") {
      const std::vector<std::string>& rules = positions_names();
      policy.positions = static_cast<Positions>(
          std::find(rules.begin(), rules.end(), place.choice(rules)) - rules.begin());
    } else if (key == "cap") {
      policy.cap = place.integer(1);
    } else if (key == "budget") {
      read_budget(place, policy.arguments);
    } else if (const std::optional<int64_t> integer = integer_of(node)) {
      policy.arguments[key] = *integer;
    } else if (double real = 0; node.IsScalar() && YAML::convert<double>::decode(node, real)) {
      policy.arguments[key] = real;
    } else {
      policy.arguments[key] = place.text();
    }
  }
  return policy;
}

/// @param plugins that were not loaded, for people; empty: every policy is known
std::vector<PolicySpec> read_policies(const Place& place, const std::string& plugins) {
  std::vector<std::string> names;
  for (const PolicyEntry& entry : policy_registry()) names.push_back(entry.name);
  std::vector<PolicySpec> policies;
  for (const Place& entry : place.each()) {
    check_size(policies.size(), place);
    std::string name;
    std::vector<Values> grid = {{}};
    if (entry.node().IsMap()) {
      if (entry.node().size() != 1) {
        entry.fail(
            "expected one policy: its name, a colon and its parameters, such as "
            "sinks: {sinks: 4, window: 252}");
      }
      name = entry.node().begin()->first.Scalar();
      const bool known = std::find(names.begin(), names.end(), name) != names.end();
      if (!known && plugins.empty()) {
        entry.fail(fmt::format("unknown policy '{}'{}", name, suggestion(name, names)));
      }
      const Place parameters = entry.at(name);
      if (!parameters.node().IsNull()) {
        std::vector<std::string> keys;
        if (known) {
          keys = policy_keys(find_policy(name));
        } else if (parameters.node().IsMap()) {
          for (const auto& pair : parameters.node()) keys.push_back(pair.first.Scalar());
        }
        parameters.check_keys(keys);
        grid = product(parameters, keys);
      }
    } else {
      name = plugins.empty() ? entry.choice(names) : entry.text();
    }
    for (const Values& values : grid) {
      if (policy_named(name) == nullptr) {
        policies.push_back(read_unknown_policy(name, values, plugins));
        continue;
      }
      PolicySpec policy = read_policy(find_policy(name), values);
      try {
        make_policy(policy);
      } catch (const InputError& error) {
        entry.fail(error.what());
      }
      policy.arguments = with_defaults(find_policy(name), std::move(policy.arguments));
      policy.plugin = find_policy(name).plugin;
      policies.push_back(std::move(policy));
    }
  }
  return policies;
}

CollapseSpec read_collapse(const Place& place) {
  place.check_keys({"window", "margin"});
  CollapseSpec collapse;
  if (place.has("window")) collapse.window = place.at("window").integer(1);
  if (place.has("margin")) collapse.margin = place.at("margin").positive();
  return collapse;
}

std::string short_hash(const std::string& text) {
  return sha256_hex(text).substr(0, 8);
}

LatencySpec read_latency(const Place& place) {
  place.check_keys({"warmup", "samples", "seconds", "lengths"});
  LatencySpec latency;
  if (place.has("warmup")) latency.warmup = place.at("warmup").integer(0, most_steps);
  if (place.has("samples")) latency.samples = place.at("samples").integer(1, most_steps);
  if (place.has("seconds")) latency.seconds = place.at("seconds").seconds();
  if (place.has("lengths")) {
    for (const Place& length : place.at("lengths").each()) {
      latency.lengths.push_back(length.integer(1));
    }
  }
  return latency;
}

/// What may be part of a file's name and is no punctuation, in any script.
bool is_plain(uint32_t c) {
  if (c < 0x80) return std::isalnum(static_cast<int>(c)) || c == '.' || c == '_' || c == '+';
  const bool space_or_format = c <= 0xA0 || c == 0xAD || (c >= 0x2000 && c <= 0x206F) ||
                               c == 0x3000 || c == 0xFEFF || (c >= 0xFFF0 && c <= 0xFFFF);
  return !space_or_format && !(c >= 0xE000 && c <= 0xF8FF) && c < 0xE0000;
}

std::string slug(const std::string& text) {
  std::string result;
  const std::string valid = to_valid_utf8(text);
  for (size_t at = 0; at < valid.size();) {
    const CodePoint c = decode_utf8(valid.data() + at);
    if (is_plain(c.value))
      result += valid.substr(at, static_cast<size_t>(c.length));
    else if (!result.empty() && result.back() != '-')
      result += '-';
    at += static_cast<size_t>(c.length);
  }
  while (!result.empty() && (result.back() == '-' || result.back() == '.')) result.pop_back();
  while (!result.empty() && (result.front() == '-' || result.front() == '.')) result.erase(0, 1);
  return result.empty() ? "unnamed." + short_hash(text) : result;
}

/// The last part of a path that says something: not "" of "models/tiny/", not the extension.
std::string path_slug(const fs::path& path) {
  const fs::path clean = path.has_filename() ? path : path.parent_path();
  return slug(clean.stem().string());
}

/// The name of a checkpoint's folder or file.
std::string model_slug(const fs::path& path) {
  return slug((path.has_filename() ? path : path.parent_path()).filename().string());
}

/// Leaves room for an extension in a file's name of 255 bytes.
constexpr size_t longest_id = 200;

/// What the paths' last parts, which an id shows, leave unsaid.
std::string sources(const Cell& cell) {
  std::string result = cell.model.path.string() + "\n" + cell.dataset.tokens_file.string() + "\n" +
                       cell.dataset.documents.field;
  for (const fs::path& text : cell.dataset.texts) result += "\n" + text.string();
  if (cell.dataset.documents.subfolders) result += "\nsubfolders";
  return result + "\n" + to_string(cell.dataset.documents.invalid);
}

std::string policy_label(const PolicySpec& policy) {
  if (policy_named(policy.name) != nullptr) return make_policy(policy)->label();
  std::string label = policy.name;
  for (const auto& [name, value] : policy.arguments) {
    label += fmt::format(" {} {}", name, to_string(value));
  }
  return label;
}

/// A policy's part of an id.
std::string policy_slug(const PolicySpec& policy) {
  const std::string label = policy_label(policy);
  std::string result = slug(label.starts_with(policy.name) ? label : policy.name + "-" + label);
  for (const auto& [name, value] : policy.arguments) {
    if (value.is_list()) result += "-" + short_hash(to_string(value));  // labels sum it up
  }
  return policy.positions == Positions::cache ? result
                                              : result + "-" + slug(positions_label(policy));
}

/// An id as it is; of a text what a file's name may hold, and what tells it from others.
std::string token_slug(const std::string& token) {
  const bool plain =
      std::all_of(token.begin(), token.end(), [](char c) { return c >= '0' && c <= '9'; });
  return plain ? token : slug(token) + "." + short_hash(token);
}

std::string cell_id(const Cell& cell) {
  const fs::path& model = cell.model.path;
  std::string id;
  if (cell.model.random) {
    id = model.filename() == "config.json" ? path_slug(model.parent_path()) : path_slug(model);
    id += fmt::format("-random{}", cell.model.seed);
  } else {
    id = model_slug(model) + (cell.model.as_stored ? "-as-stored" : "");
  }
  if (cell.dataset.is_task()) {
    id += "-" + slug(task_label(cell.dataset.task));
    if (!cell.dataset.texts.empty()) id += "-" + path_slug(cell.dataset.texts.front());
  } else {
    id += "-" + path_slug(cell.dataset.texts.empty() ? cell.dataset.tokens_file
                                                     : cell.dataset.texts.front());
  }
  if (cell.dataset.texts.size() > 1) id += fmt::format("+{}", cell.dataset.texts.size() - 1);
  if (cell.dataset.tokens) id += fmt::format("-{}", *cell.dataset.tokens);
  if (cell.dataset.bos != BosPlacement::stream) id += "-bos." + to_string(cell.dataset.bos);
  if (!cell.dataset.bos_token.empty()) id += "-bos." + token_slug(cell.dataset.bos_token);
  if (cell.dataset.special_tokens == SpecialTokens::text) id += "-special.text";
  if (cell.dataset.reset) id += "-reset." + to_string(*cell.dataset.reset);
  id += "-" + policy_slug(cell.policy);
  id += "-" + cell.dtype;
  if (!cell.kv.is_native()) id += "-kv." + slug(storage_label(cell.kv));
  if (cell.engine != Cell().engine) id += "-" + cell.engine;
  if (cell.chunk != 0) id += fmt::format("-chunk{}", cell.chunk);
  if (cell.device != Cell().device) id += "-" + slug(cell.device);
  if (id.size() <= longest_id) return id;
  size_t end = longest_id - 9;
  while ((static_cast<unsigned char>(id[end]) & 0xC0) == 0x80) --end;  // at a whole character
  return id.substr(0, end) + "-" + short_hash(id);
}

/// Which of the policies `reference` names: by label, by its part of an id, or by the id of a cell.
size_t find_reference(const Place& top, const std::vector<PolicySpec>& policies,
                      const std::vector<Cell>& cells) {
  const bool given = top.has("reference");
  const std::string name = given ? top.at("reference").text() : "dense";
  std::vector<size_t> found;
  std::vector<std::string> names;
  bool is_cell = false;
  for (size_t i = 0; i < policies.size(); ++i) {
    names.push_back(policy_slug(policies[i]));
    if (name == names.back() || name == policy_label(policies[i])) found.push_back(i);
  }
  for (size_t i = 0; found.empty() && i < cells.size(); ++i) {
    is_cell = is_cell || cells[i].id == name;
    if (cells[i].id == name && cells.size() == policies.size()) found.push_back(i);
  }
  if (found.size() == 1) return found.front();
  if (!given) {
    top.at("metrics").fail(
        "divergence is measured against dense, which is not among the policies; expected it there, "
        "or 'reference: POLICY'");
  }
  if (!found.empty()) {
    top.at("reference")
        .fail(fmt::format("'{}' is the label of {} policies of the grid{}", name, found.size(),
                          suggestion(name, names)));
  }
  if (is_cell) {
    top.at("reference")
        .fail(fmt::format("'{}' is one of several cells of its policy, each of which is the "
                          "reference of those that "
                          "differ from it in their policy alone{}",
                          name, suggestion(name, names)));
  }
  top.at("reference")
      .fail(fmt::format("'{}' is no policy of the grid{}", name, suggestion(name, names)));
}

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

/// Puts the values of --set into the tree.
void apply(YAML::Node root, const std::string& assignment, std::vector<std::string>& set_keys) {
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

/// The file's one YAML document, a mapping.
YAML::Node read_yaml(const fs::path& yaml) {
  const std::string content = is_stream(yaml) ? read_stream(yaml) : read_file(yaml);
  const YAML::Node root = parse_yaml(content, yaml.string());
  if (!root.IsMap()) {
    throw InputError::format("{}: expected a mapping of keys such as model, dataset and policies",
                             yaml.string());
  }
  return root;
}

}  // namespace

std::string to_string(Metric metric) {
  switch (metric) {
    case Metric::perplexity:
      return "perplexity";
    case Metric::latency:
      return "latency";
    case Metric::memory:
      return "memory";
    case Metric::divergence:
      return "divergence";
    case Metric::evicted_mass:
      return "evicted_mass";
  }
  return "";
}

std::string nll_name(const Cell& cell) {
  return cell.id + (cell.dtype == "float64" ? ".f64" : ".f32");
}

std::string to_string(Reset reset) {
  return reset.tokens == 0 ? "document" : std::to_string(reset.tokens);
}

std::optional<Reset> reset_from_string(const std::string& text) {
  if (text == "document") return Reset{};
  int64_t tokens = 0;
  const char* end = text.data() + text.size();
  if (std::from_chars(text.data(), end, tokens) != std::from_chars_result{end, std::errc()} ||
      tokens < 2 || tokens > largest_policy_argument) {
    return std::nullopt;
  }
  return Reset{tokens};
}

std::string to_string(InvalidBytes invalid) {
  return invalid == InvalidBytes::refuse ? "refuse" : "replace";
}

std::string to_string(BosPlacement bos) {
  switch (bos) {
    case BosPlacement::stream:
      return "stream";
    case BosPlacement::document:
      return "document";
    case BosPlacement::none:
      return "none";
  }
  return "";
}

std::string to_string(SpecialTokens special_tokens) {
  return special_tokens == SpecialTokens::parse ? "parse" : "text";
}

std::string positions_label(const PolicySpec& policy) {
  const std::string name = to_string(policy.positions);
  return policy.positions == Positions::capped ? fmt::format("{} {}", name, policy.cap) : name;
}

const std::vector<std::string>& dtype_names() {
  static const std::vector<std::string> names = {"float32", "bfloat16", "float16", "float64"};
  return names;
}

namespace {

/// "sinks:sinks=4,window=[60,508]" as {sinks: {sinks: 4, window: [60, 508]}}; "budget.floor=0.2" as
/// {budget: {floor: 0.2}}.
YAML::Node policy_in_words(const std::string& words) {
  const size_t colon = words.find(':');
  const std::string name = words.substr(0, colon);
  if (colon == std::string::npos) return YAML::Node(name);
  YAML::Node parameters(YAML::NodeType::Map);
  size_t begin = colon + 1;
  int depth = 0;  // of brackets, in which commas are part of a value
  for (size_t i = begin; i <= words.size(); ++i) {
    const char c = i < words.size() ? words[i] : ',';
    depth += c == '[' || c == '{' ? 1 : c == ']' || c == '}' ? -1 : 0;
    if (c != ',' || (depth > 0 && i < words.size())) continue;
    const std::string assignment = words.substr(begin, i - begin);
    begin = i + 1;
    const size_t equals = assignment.find('=');
    if (equals == std::string::npos || equals == 0) {
      throw InputError::format(
          "--policy {}: '{}'; expected NAME:KEY=VALUE,KEY=VALUE, such as sinks:sinks=4,window=508",
          words, assignment);
    }
    YAML::Node node = parameters;
    std::string key = assignment.substr(0, equals);
    const auto check = [&] {
      if (!node.IsScalar() && !node.IsSequence()) return;
      throw InputError::format("--policy {}: '{}' stands below a value that is no mapping", words,
                               assignment);
    };
    for (size_t dot; (dot = key.find('.')) != std::string::npos; key.erase(0, dot + 1)) {
      node.reset(node[key.substr(0, dot)]);
      check();
    }
    node[key] = parse_yaml(assignment.substr(equals + 1), "--policy " + words);
  }
  YAML::Node policy;
  policy[name] = parameters;
  return policy;
}

Experiment make_experiment(YAML::Node root, const fs::path& yaml, std::vector<std::string> set_keys,
                           const Overrides& overrides);

}  // namespace

Experiment quick_experiment(const QuickExperiment& quick, const Overrides& overrides) {
  YAML::Node root;
  root["name"] = fmt::format("eval-{}-{}", model_slug(quick.model), path_slug(quick.text));
  if (quick.weights.empty()) {
    root["model"] = quick.model;
  } else {
    root["model"]["path"] = quick.model;
    root["model"]["weights"] = quick.weights;
  }
  root["dataset"]["text"] = quick.text;
  root["dataset"]["tokens"] = quick.tokens;
  for (const std::string& words : quick.policies)
    root["policies"].push_back(policy_in_words(words));
  for (const std::string& metric : quick.metrics) root["metrics"].push_back(metric);
  if (!quick.dtype.empty()) root["dtype"] = quick.dtype;
  if (!quick.engine.empty()) root["engine"] = quick.engine;
  if (!quick.kv.empty()) root["kv"] = parse_yaml(quick.kv, "--kv " + quick.kv);
  return make_experiment(root, "-", {}, overrides);
}

Experiment load_experiment(const fs::path& yaml, const Overrides& overrides) {
  YAML::Node root = read_yaml(yaml);
  std::vector<std::string> set_keys;
  for (const std::string& assignment : overrides.set) apply(root, assignment, set_keys);
  return make_experiment(root, yaml, std::move(set_keys), overrides);
}

namespace {

Experiment make_experiment(YAML::Node root, const fs::path& yaml, std::vector<std::string> set_keys,
                           const Overrides& overrides) {
  const Place top(root, "", yaml, set_keys);
  top.check_keys({"name", "model", "dataset", "policies", "engine", "dtype", "device", "threads",
                  "chunk", "metrics", "latency", "reference", "collapse", "evicted_mass",
                  "decisions", "plugins", "tasks", "kv"});
  for (const char* key : {"model", "policies"}) {
    if (!top.has(key)) top.fail(fmt::format("key '{}' is missing", key));
  }
  Experiment experiment;
  experiment.name = top.has("name")   ? top.at("name").text()
                    : is_stream(yaml) ? "experiment"
                                      : slug(yaml.stem().string());
  if (experiment.name != slug(experiment.name)) {
    top.at("name").fail(
        fmt::format("is '{}'; expected letters, digits, '-', '_', '+' and '.', since "
                    "the results' folder is named after it",
                    experiment.name));
  }

  const std::vector<ModelSpec> models = read_models(top.at("model"));
  if (!top.has("dataset") && !top.has("tasks")) top.fail("key 'dataset' is missing, or 'tasks'");
  std::vector<DatasetSpec> datasets;
  if (top.has("dataset")) datasets = read_datasets(top.at("dataset"), overrides.limit);
  if (top.has("tasks")) {
    for (DatasetSpec& task : read_tasks(top.at("tasks"))) {
      if (std::find(datasets.begin(), datasets.end(), task) != datasets.end()) {
        top.at("tasks").fail(fmt::format("task '{}' stands twice", task_label(task.task)));
      }
      datasets.push_back(std::move(task));
    }
  }
  experiment.plugins = overrides.plugins;
  if (top.has("plugins")) {
    for (const Place& plugin : top.at("plugins").each()) {
      const fs::path file = plugin.path();
      if (!overrides.load_plugins) {
        experiment.plugins.push_back(file);
        continue;
      }
      try {
        load_plugin(file);
      } catch (const InputError& error) {
        plugin.fail(error.what());
      }
      experiment.plugins.push_back(file);
    }
  }
  std::string not_loaded;
  for (const fs::path& plugin : experiment.plugins) {
    if (overrides.load_plugins) {
      load_plugin(plugin);
    } else if (!fs::exists(plugin)) {
      throw InputError::format("{}: there is no such file; expected a plug-in, a shared library",
                               plugin.string());
    } else {
      not_loaded += (not_loaded.empty() ? "" : ", ") + plugin.string();
    }
  }
  const std::vector<PolicySpec> policies = read_policies(top.at("policies"), not_loaded);
  Cell base;
  if (top.has("metrics")) {
    base.metrics.clear();
    for (const Place& metric : top.at("metrics").each()) {
      std::vector<std::string> names;
      for (const Metric m : all_metrics) names.push_back(to_string(m));
      const std::string name = metric.choice(names);
      base.metrics.insert(all_metrics[std::find(names.begin(), names.end(), name) - names.begin()]);
    }
    if (top.has("tasks") && !base.metrics.contains(Metric::perplexity)) {
      top.at("metrics").fail("tasks are scored with perplexity; expected it, too");
    }
    if (base.metrics.contains(Metric::divergence) && !base.metrics.contains(Metric::perplexity)) {
      top.at("metrics").fail("divergence is measured with perplexity; expected both");
    }
  }
  if (top.has("decisions")) base.decisions = top.at("decisions").yes();
  if (top.has("evicted_mass")) {
    const Place place = top.at("evicted_mass");
    place.check_keys({"tokens"});
    if (place.has("tokens")) base.evicted_mass_tokens = place.at("tokens").integer(1);
  }
  if (top.node()["collapse"].IsDefined()) {  // `collapse:` alone has the defaults
    experiment.collapse = top.has("collapse") ? read_collapse(top.at("collapse")) : CollapseSpec{};
  }
  if (top.has("latency")) base.latency = read_latency(top.at("latency"));
  if (top.has("threads")) base.threads = top.at("threads").integer(0, most_threads);
  if (overrides.threads) base.threads = *overrides.threads;
  if (overrides.device) base.device = *overrides.device;

  std::vector<std::string> varied = {"dtype", "kv", "engine", "chunk"};
  if (!overrides.device) varied.push_back("device");
  const std::vector<Values> settings = product(top, varied);
  size_t cells = 1;  // no factor is above 2 * most_cells, so no step overflows
  for (const size_t factor : {models.size(), datasets.size(), settings.size(), policies.size()}) {
    check_size(cells *= factor, top);
  }
  size_t texts = 0;
  for (const DatasetSpec& dataset : datasets) texts += dataset.texts.size();
  check_texts(texts * models.size() * settings.size() * policies.size(), top);

  std::map<std::string, Cell> by_id;
  for (const ModelSpec& model : models) {
    for (const DatasetSpec& dataset : datasets) {
      for (const Values& values : settings) {
        for (const PolicySpec& policy : policies) {
          Cell cell = base;
          cell.model = model;
          cell.dataset = dataset;
          cell.policy = policy;
          // A task says what is recalled; what a step takes, a text says as well.
          if (dataset.is_task() && !top.has("metrics")) cell.metrics.erase(Metric::latency);
          if (values.contains("dtype")) cell.dtype = values.at("dtype").choice(dtype_names());
          if (values.contains("kv")) cell.kv = read_storage(values.at("kv"));
          if (values.contains("engine")) cell.engine = values.at("engine").choice(engine_names());
          if (values.contains("chunk")) cell.chunk = values.at("chunk").integer(1);
          if (values.contains("device")) {
            const Place& device = values.at("device");
            cell.device = device.text();
            if (!is_device(cell.device)) {
              device.fail(fmt::format("is '{}'; expected {}", cell.device, device_names));
            }
          }
          cell.id = cell_id(cell);
          const auto [it, is_new] = by_id.emplace(cell.id, cell);
          if (!is_new) {
            const auto key = [](const Cell& c) {
              return std::tie(c.model, c.dataset, c.policy, c.engine, c.dtype, c.kv, c.device,
                              c.chunk);
            };
            if (key(it->second) == key(cell)) {
              top.at("policies").fail(fmt::format("cell {} stands twice in the grid", cell.id));
            }
            // Two folders of one name: told apart by what is behind the name.
            cell.id += fmt::format("-{}", short_hash(sources(cell)));
            if (!by_id.emplace(cell.id, cell).second) {
              top.at("policies").fail(fmt::format("cell {} stands twice in the grid", cell.id));
            }
          }
          experiment.cells.push_back(std::move(cell));
        }
      }
    }
  }
  const bool has_reset = std::any_of(datasets.begin(), datasets.end(),
                                     [](const DatasetSpec& d) { return d.reset.has_value(); });
  if (has_reset && experiment.collapse) {
    top.at("collapse")
        .fail(
            "looks for one place along a stream, which dataset.reset cuts into "
            "pieces; leave one of the two out");
  }
  if (top.has("reference") || base.metrics.contains(Metric::divergence)) {
    // The policies are the grid's innermost axis.
    const size_t reference = find_reference(top, policies, experiment.cells);
    for (size_t i = 0; i < experiment.cells.size(); ++i) {
      const size_t group = i / policies.size() * policies.size();
      experiment.cells[i].reference = experiment.cells[group + reference].id;
      experiment.cells[i].reference_policy = policies[reference];
    }
    if (!experiment.collapse && !has_reset) experiment.collapse.emplace();
  }
  experiment.sha256 = sha256_hex(YAML::Dump(root));
  return experiment;
}

}  // namespace

bool is_experiment(const fs::path& yaml) {
  return read_yaml(yaml)["policies"].IsDefined();
}

}  // namespace sinkbench
