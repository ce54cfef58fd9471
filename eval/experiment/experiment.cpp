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
#include "eval/experiment/engine_names.h"
#include "eval/experiment/ids.h"
#include "eval/experiment/inputs.h"
#include "eval/experiment/place.h"
#include "policies/plugin.h"
#include "policies/registry.h"

namespace sinkbench {
namespace {

namespace fs = std::filesystem;

constexpr int64_t most_steps = 1'000'000;  // that are timed
constexpr int64_t most_seconds = 30;       // of one cell's timed steps, which end there
constexpr int64_t most_threads = 4096;

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
  place.check_keys({"keys", "values", "both", "turboquant", "rotate", "interleave", "zero_values"});
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
  if (place.has("zero_values")) storage.zero_values = place.at("zero_values").integer(0);
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

LatencySpec read_latency(const Place& place) {
  place.check_keys({"warmup", "samples", "seconds", "lengths"});
  LatencySpec latency;
  if (place.has("warmup")) latency.warmup = place.at("warmup").integer(0, most_steps);
  if (place.has("samples")) latency.samples = place.at("samples").integer(1, most_steps);
  if (place.has("seconds"))
    latency.seconds = place.at("seconds").number(0, most_seconds, "number of seconds");
  if (place.has("lengths")) {
    for (const Place& length : place.at("lengths").each()) {
      latency.lengths.push_back(length.integer(1));
    }
  }
  return latency;
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
    names.push_back(policy_id(policies[i]));
    if (name == names.back() || name == policy_label(policies[i])) found.push_back(i);
  }
  for (size_t i = 0; found.empty() && i < cells.size(); ++i) {
    is_cell = is_cell || cells[i].id == name;
    if (cells[i].id == name && cells.size() == policies.size()) found.push_back(i);
  }
  if (found.size() > 1) {  // a label may be several's, an id is one's: dense beside a capped one
    const auto own = std::find(names.begin(), names.end(), name);
    if (own != names.end()) return static_cast<size_t>(own - names.begin());
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
    if (node[key].IsDefined()) {
      throw InputError::format("--policy {}: '{}' stands twice", words,
                               assignment.substr(0, equals));
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
  for (const std::string& assignment : overrides.set) apply_override(root, assignment, set_keys);
  return make_experiment(root, yaml, std::move(set_keys), overrides);
}

namespace {

Experiment make_experiment(YAML::Node root, const fs::path& yaml, std::vector<std::string> set_keys,
                           const Overrides& overrides) {
  const Place top(root, "", yaml, set_keys);
  if (top.has("sinks") && !top.has("policies")) {
    top.at("sinks").fail("measures sinks and runs no policies; expected `sinkbench sinks`");
  }
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
            cell.id += fmt::format("-{}", short_hash(sources_of(cell)));
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
