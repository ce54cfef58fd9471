#include "training/config.h"

#include <fmt/ranges.h>
#include <torch/cuda.h>
#include <yaml-cpp/yaml.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <nlohmann/json.hpp>
#include <set>

#include "base/error.h"
#include "base/file.h"
#include "base/sha256.h"
#include "base/text.h"
#include "base/yaml.h"

namespace sinkbench {
namespace {

namespace fs = std::filesystem;

/// A YAML mapping whose keys are read one by one; done() then refuses those nobody read.
class Section {
 public:
  Section(YAML::Node node, std::string name, const fs::path& file,
          const std::set<std::string>& overridden)
      : node_(std::move(node)), name_(std::move(name)), file_(file), overridden_(overridden) {
    if (node_.IsDefined() && !node_.IsNull() && !node_.IsMap()) {
      throw InputError::format("{}: '{}': expected a mapping of keys to values",
                               place(name_, node_), name_);
    }
  }

  Section section(const std::string& key) {
    keys_.push_back(key);
    return {get(key), path(key), file_, overridden_};
  }

  template <typename Value>
  void read(
      const std::string& key, Value& value, const char* expected,
      const std::function<bool(const Value&)>& valid = [](const Value&) { return true; }) {
    keys_.push_back(key);
    const YAML::Node node = get(key);
    if (!node.IsDefined()) return;
    Value given{};
    if (!decode(node, given) || !valid(given)) {
      throw InputError::format("{}: '{}': expected {}, found '{}'", place(path(key), node),
                               path(key), expected, node.IsScalar() ? node.Scalar() : "a list");
    }
    value = given;
  }

  template <typename Value>
  static bool decode(const YAML::Node& node, Value& value) {
    return node.IsScalar() && YAML::convert<Value>::decode(node, value);
  }
  static bool decode(const YAML::Node& node, int64_t& value) {
    const std::optional<int64_t> integer = integer_of(node);
    if (integer) value = *integer;
    return integer.has_value();
  }

  void read_count(const std::string& key, int64_t& value, int64_t lowest = 1) {
    const std::string expected = fmt::format("a whole number of at least {}", lowest);
    read<int64_t>(key, value, expected.c_str(), [=](int64_t given) { return given >= lowest; });
  }

  void read_number(const std::string& key, double& value, double lowest, double highest) {
    const std::string expected = std::isinf(highest)
                                     ? fmt::format("a number of at least {}", lowest)
                                     : fmt::format("a number from {} to {}", lowest, highest);
    read<double>(key, value, expected.c_str(), [=](double given) {
      return std::isfinite(given) && given >= lowest && given <= highest;
    });
  }

  /// The value, one of `choices`, or the first of them where there is none.
  std::string read_one_of(const std::string& key, const std::vector<std::string>& choices) {
    std::string given = choices.front();
    const std::string expected = fmt::format("{}", fmt::join(choices, " or "));
    read<std::string>(key, given, expected.c_str(), [&](const std::string& text) {
      return std::find(choices.begin(), choices.end(), text) != choices.end();
    });
    return given;
  }

  /// One string or a list of them.
  void read_strings(const std::string& key, std::vector<std::string>& values) {
    keys_.push_back(key);
    const YAML::Node node = get(key);
    if (!node.IsDefined()) return;
    values.clear();
    const auto add = [&](const YAML::Node& item) {
      if (!item.IsScalar()) {
        throw InputError::format("{}: '{}': expected a string or a list of strings",
                                 place(path(key), node), path(key));
      }
      values.push_back(item.Scalar());
    };
    if (node.IsSequence()) {
      for (const YAML::Node& item : node) add(item);
    } else {
      add(node);
    }
  }

  [[noreturn]] void fail(const std::string& key, const std::string& problem) const {
    throw InputError::format("{}: '{}': {}", place(path(key), get(key)), path(key), problem);
  }

  void done() const {
    if (!node_.IsDefined() || node_.IsNull()) return;
    for (const auto& entry : node_) {
      const std::string key = entry.first.Scalar();
      if (std::find(keys_.begin(), keys_.end(), key) != keys_.end()) continue;
      throw InputError::format("{}: unknown key '{}'{}", place(path(key), entry.first), path(key),
                               suggestion(key, keys_));
    }
  }

 private:
  YAML::Node get(const std::string& key) const {
    return node_.IsDefined() && node_.IsMap() ? node_[key] : YAML::Node(YAML::NodeType::Undefined);
  }

  std::string path(const std::string& key) const { return name_.empty() ? key : name_ + "." + key; }

  std::string place(const std::string& path, const YAML::Node& node) const {
    if (overridden_.contains(path)) return "--set " + path;
    if (!node.IsDefined()) return file_.string();
    return fmt::format("{}: line {}", file_.string(), node.Mark().line + 1);
  }

  YAML::Node node_;
  std::string name_;
  const fs::path& file_;
  const std::set<std::string>& overridden_;
  std::vector<std::string> keys_;
};

/// Puts "a.b=value" into the tree; returns "a.b".
std::string override_value(YAML::Node root, const std::string& assignment) {
  const size_t equals = assignment.find('=');
  if (equals == std::string::npos || equals == 0) {
    throw InputError::format("--set {}: expected key=value", assignment);
  }
  const std::string path = assignment.substr(0, equals);
  try {
    YAML::Node node = root;
    size_t begin = 0;
    for (size_t dot; (dot = path.find('.', begin)) != std::string::npos; begin = dot + 1) {
      node.reset(node[path.substr(begin, dot - begin)]);
    }
    node[path.substr(begin)] = YAML::Load(assignment.substr(equals + 1));
  } catch (const YAML::Exception& error) {
    throw InputError::format("--set {}: {}", assignment, error.msg);
  }
  return path;
}

}  // namespace

std::string TrainConfig::identity(const std::string& corpus_key) const {
  using json = nlohmann::ordered_json;
  const ScheduleConfig& s = schedule;
  json result = {
      {"data", {{"key", corpus_key}}},
      {"model",
       {{"layers", model.layers},
        {"hidden", model.hidden},
        {"heads", model.heads},
        {"mlp", model.mlp},
        {"vocab", model.vocab},
        {"rope_theta", model.rope_theta},
        {"norm_eps", model.norm_eps},
        {"zero_sink", model.zero_sink},
        {"initial",
         model.initial.empty() ? "" : sha256_hex(read_file(model.initial / "model.safetensors"))}}},
      {"training",
       {{"steps", s.steps},
        {"batch", s.batch},
        {"sample_tokens", s.sample_tokens},
        {"learning_rate", s.learning_rate},
        {"final_learning_rate", s.final_learning_rate},
        {"warmup_steps", s.warmup_steps},
        {"weight_decay", s.weight_decay},
        {"beta1", s.beta1},
        {"beta2", s.beta2},
        {"clip_norm", s.clip_norm},
        {"bos_probability", s.bos_probability},
        {"repeat_probability", s.repeat_probability},
        {"repeat_min_tokens", s.repeat_min_tokens},
        {"repeat_max_tokens", s.repeat_max_tokens},
        {"device", c10::DeviceTypeName(device.type(), /*lower_case=*/true)},
        {"products", s.bfloat16 ? "bfloat16" : "float32"},
        {"seed", s.seed}}}};
  // (Trainings that were begun without the field go on.)
  if (model.learned_sink_logits) result["model"]["learned_sink_logits"] = true;
  return result.dump();
}

bool has_bfloat16_products(at::Device device) {
  if (device.is_cuda()) return true;
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)
  return __builtin_cpu_supports("avx512bf16") != 0;
#else
  return false;
#endif
}

TrainConfig load_train_config(const fs::path& file, const std::vector<std::string>& overrides) {
  const YAML::Node root = parse_yaml(read_file(file), file.string());
  std::set<std::string> overridden;
  for (const std::string& assignment : overrides) {
    overridden.insert(override_value(root, assignment));
  }
  const fs::path folder = file.parent_path();
  constexpr double kAny = std::numeric_limits<double>::infinity();

  TrainConfig config;
  Section top(root, "", file, overridden);
  config.name = file.stem().string();
  top.read<std::string>("name", config.name, "a name");

  Section data = top.section("data");
  std::vector<std::string> text;
  data.read_strings("text", text);
  if (text.empty()) data.fail("text", "expected the path of a text, a folder or a .jsonl file");
  for (const std::string& path : text) {
    // A path that was given on the command line is relative to where that was typed.
    config.corpus.text.push_back(overridden.contains("data.text") ? fs::path(path)
                                                                  : without_dots(folder / path));
  }
  data.read<std::string>("text_field", config.corpus.text_field, "the name of a field");
  data.read_strings("exclude_titles", config.corpus.exclude_titles);
  for (std::string& part : config.corpus.exclude_titles) part = lower_case(part);
  data.read_number("held_out", config.corpus.held_out, 0, 0.5);
  data.done();

  Section tokenizer = top.section("tokenizer");
  std::string path;
  tokenizer.read<std::string>("path", path, "the path of a tokenizer.json");
  if (!path.empty()) {
    config.tokenizer.path =
        overridden.contains("tokenizer.path") ? fs::path(path) : without_dots(folder / path);
  }
  tokenizer.read_count("vocab", config.tokenizer.vocab, 257);
  tokenizer.read_count("sample_bytes", config.tokenizer.sample_bytes);
  tokenizer.done();

  Section model = top.section("model");
  ModelShape& shape = config.model;
  model.read_count("layers", shape.layers);
  model.read_count("hidden", shape.hidden);
  model.read_count("heads", shape.heads);
  model.read_count("mlp", shape.mlp);
  model.read_number("rope_theta", shape.rope_theta, 1, kAny);
  model.read_number("norm_eps", shape.norm_eps, 0, 1);
  model.read<bool>("zero_sink", shape.zero_sink, "true or false");
  model.read<bool>("learned_sink_logits", shape.learned_sink_logits, "true or false");
  if (shape.zero_sink && shape.learned_sink_logits) {
    model.fail("learned_sink_logits", "is set beside zero_sink; expected one of them");
  }
  std::string initial;
  model.read<std::string>("initial", initial, "the folder of a trained model");
  if (!initial.empty()) {
    shape.initial =
        overridden.contains("model.initial") ? fs::path(initial) : without_dots(folder / initial);
    if (!fs::exists(shape.initial / "model.safetensors")) {
      model.fail("initial", fmt::format("expected a folder with a model.safetensors, found '{}'",
                                        shape.initial.string()));
    }
  }
  if (shape.hidden % (2 * shape.heads) != 0) {
    model.fail("hidden", fmt::format("expected a multiple of twice the {} heads, found {}",
                                     shape.heads, shape.hidden));
  }
  model.done();
  shape.vocab = config.tokenizer.vocab;

  Section training = top.section("training");
  ScheduleConfig& schedule = config.schedule;
  training.read_count("steps", schedule.steps);
  training.read_count("batch", schedule.batch);
  training.read_count("sample_tokens", schedule.sample_tokens, 2);
  training.read_number("learning_rate", schedule.learning_rate, 0, 1);
  training.read_number("final_learning_rate", schedule.final_learning_rate, 0, 1);
  training.read_count("warmup_steps", schedule.warmup_steps, 0);
  training.read_number("weight_decay", schedule.weight_decay, 0, kAny);
  training.read_number("beta1", schedule.beta1, 0, 0.999999);
  training.read_number("beta2", schedule.beta2, 0, 0.999999);
  training.read_number("clip_norm", schedule.clip_norm, 1e-6, kAny);
  training.read_number("bos_probability", schedule.bos_probability, 0, 1);
  Section repeats = training.section("repeats");
  repeats.read_number("probability", schedule.repeat_probability, 0, 1);
  repeats.read_count("min_tokens", schedule.repeat_min_tokens);
  repeats.read_count("max_tokens", schedule.repeat_max_tokens);
  if (schedule.repeat_probability > 0 &&
      (schedule.repeat_min_tokens > schedule.repeat_max_tokens ||
       2 * schedule.repeat_max_tokens > schedule.sample_tokens)) {
    repeats.fail("max_tokens",
                 fmt::format("expected at least min_tokens ({}) and at most half of sample_tokens "
                             "({}), found {}",
                             schedule.repeat_min_tokens, schedule.sample_tokens,
                             schedule.repeat_max_tokens));
  }
  repeats.done();
  const std::string device = training.read_one_of("device", {"auto", "cpu", "cuda"});
  if (device == "cuda" && !torch::cuda::is_available()) {
    training.fail(
        "device",
        "expected cpu or auto, as this LibTorch or this machine has no CUDA; found 'cuda'");
  }
  if (device != "cpu" && torch::cuda::is_available()) config.device = at::kCUDA;
  const std::string products = training.read_one_of("products", {"auto", "bfloat16", "float32"});
  schedule.bfloat16 =
      products == "auto" ? has_bfloat16_products(config.device) : products == "bfloat16";
  training.read<uint64_t>("seed", schedule.seed, "a whole number of at least 0");
  training.read_count("checkpoint_steps", config.checkpoint_steps);
  training.read_count("validation_steps", config.validation_steps);
  training.read_count("validation_samples", config.validation_samples);
  training.done();
  config.export_bfloat16 = top.read_one_of("export", {"bfloat16", "float32"}) == "bfloat16";
  top.done();
  return config;
}

}  // namespace sinkbench
