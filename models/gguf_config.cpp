// The keys of GGUF that describe a model, as fields of a config.json.
#include <algorithm>
#include <cmath>
#include <limits>

#include "base/error.h"
#include "base/json.h"
#include "models/ggml_blocks.h"
#include "models/gguf.h"

namespace sinkbench {
namespace {

using nlohmann::json;

/// The keys that begin so: without a copy of the tokenizer's long lists.
ConfigReader keys_below(const GgufFile& gguf, const std::string& prefix) {
  json keys = json::object();
  for (const auto& [key, value] : gguf.metadata.items()) {
    if (key.starts_with(prefix)) keys[key] = value;
  }
  return ConfigReader(gguf.path(), keys, "");
}

bool has_experts(const GgufArchitecture& architecture) {
  return std::any_of(architecture.keys.begin(), architecture.keys.end(), [](const auto& pair) {
    return std::string_view(pair.second) == "expert_count";
  });
}

/// `reader`: of the keys below "general.".
const Family& family_of(const GgufFile& gguf, const ConfigReader& reader) {
  const std::string architecture = reader.text({"general.architecture"});
  // Mixtral is written as a llama with experts.
  const auto experts = gguf.metadata.find(architecture + ".expert_count");
  const bool any = experts != gguf.metadata.end() && *experts != 0;
  std::string names;
  const Family* found = nullptr;
  for (const Family& family : family_registry()) {
    if (family.gguf.name.empty()) continue;
    if (family.gguf.name == architecture) {
      if (found == nullptr || has_experts(family.gguf) == any) found = &family;
    }
    names += (names.empty() ? "" : ", ") + family.gguf.name;
  }
  if (found != nullptr) return *found;
  reader.fail("general.architecture",
              fmt::format("'{}' is not supported; expected one of {}", architecture, names));
}

/// Takes the architecture's keys one by one, and refuses those that are left.
class Keys {
 public:
  Keys(const GgufFile& gguf, const Family& family)
      : prefix_(family.gguf.name + "."), reader_(keys_below(gguf, prefix_)) {}

  /// Null where the key is absent.
  json raw(const std::string& key) {
    return reader_.has(full(key).c_str()) ? reader_.json().at(full(key)) : json();
  }

  /// A number, a string or a bool; of a list with a value for each layer the one value that all
  /// have; null where the key is absent.
  json take(const std::string& key) {
    const json value = raw(key);
    if (!value.is_array()) return value;
    if (value.empty()) fail(key, "is an empty list");
    if (std::any_of(value.begin(), value.end(),
                    [&](const json& v) { return v != value.front(); })) {
      fail(key, "differs from layer to layer, which is not supported");
    }
    return value.front();
  }

  double number(const std::string& key, double absent) {
    const json value = take(key);
    if (value.is_null()) return absent;
    if (!value.is_number() || !std::isfinite(value.get<double>())) {
      fail(key, fmt::format("is {}; expected a number", json_text(value)));
    }
    return value.get<double>();
  }

  json required(const std::string& key) {
    json value = take(key);
    if (value.is_null()) fail(key, "is missing");
    return value;
  }

  /// Refuses what isn't `harmless` where it is there.
  void expect(const std::string& key, const json& harmless) {
    const json value = take(key);
    if (value.is_null() || value == harmless) return;
    fail(key, fmt::format("is {}, which is not supported; expected {}", json_text(value),
                          json_text(harmless)));
  }

  void refuse_rest() const {
    reader_.refuse_unread({}, "; the key is not known, and could change what the model computes");
  }

  [[noreturn]] void fail(const std::string& key, const std::string& text) const {
    reader_.fail(full(key), text);
  }

  std::string full(const std::string& key) const { return prefix_ + key; }

 private:
  std::string prefix_;
  ConfigReader reader_;
};

/// Sets "a.b" within `config`.
void set(json& config, const std::string& field, json value) {
  json* at = &config;
  size_t begin = 0;
  for (size_t dot; (dot = field.find('.', begin)) != std::string::npos; begin = dot + 1) {
    at = &(*at)[field.substr(begin, dot - begin)];
  }
  (*at)[field.substr(begin)] = std::move(value);
}

/// The part of each head that is rotated, so that the product with the head's size, rounded down,
/// is `dims`.
double fraction_of(int64_t dims, int64_t head_dim) {
  double fraction = static_cast<double>(dims) / static_cast<double>(head_dim);
  while (static_cast<int64_t>(static_cast<double>(head_dim) * fraction) < dims) {
    fraction = std::nextafter(fraction, 2.0);
  }
  return fraction;
}

/// llama.cpp's scaling of rotary frequencies (llama_model::load_hparams, and llama_context for
/// YaRN) as a dictionary of transformers.
json rope_scaling(const GgufFile& gguf, Keys& keys) {
  json scaling = json::object();
  json type = keys.take("rope.scaling.type");
  const double old_factor = keys.number("rope.scale_linear", 0.0);
  double factor = keys.number("rope.scaling.factor", 0.0);
  if (factor == 0.0) factor = old_factor;
  const json original = keys.take("rope.scaling.original_context_length");
  const double magnitude = keys.number("rope.scaling.attn_factor", 1.0);
  keys.take("rope.scaling.finetuned");
  keys.expect("rope.scaling.alpha", 0.0);
  keys.expect("rope.scaling.yarn_log_multiplier", 0.0);
  if (type.is_null()) {
    // Without a type it is linear, and longrope where the file holds its factors.
    type = gguf.tensors.contains("rope_factors_short.weight") ? "longrope" : "linear";
  }
  if (magnitude != 1.0 && (type == "none" || type == "linear")) {
    keys.fail("rope.scaling.attn_factor",
              fmt::format("is {:g}, which is not supported without yarn or longrope", magnitude));
  }
  if (type == "none" || (type == "linear" && (factor == 0.0 || factor == 1.0))) return nullptr;
  scaling["rope_type"] = type;
  if (!original.is_null()) scaling["original_max_position_embeddings"] = original;
  if (type == "linear") {
    scaling["factor"] = factor;
  } else if (type == "yarn") {
    if (factor == 0.0) keys.fail("rope.scaling.factor", "is missing");
    scaling["factor"] = factor;
    keys.expect("rope.scaling.yarn_ext_factor", 1.0);
    for (const auto& [field, key] : {std::pair("beta_fast", "rope.scaling.yarn_beta_fast"),
                                     std::pair("beta_slow", "rope.scaling.yarn_beta_slow")}) {
      const double value = keys.number(key, 0.0);
      if (value != 0.0) scaling[field] = value;
    }
    const double own = 0.1 * std::log(factor) + 1.0;
    const double stated = keys.number("rope.scaling.yarn_attn_factor", 1.0);
    // llama.cpp writes transformers' attention_factor there, and reads it as a factor more.
    if (stated != 1.0 && std::abs(stated - own) > 1e-4) {
      keys.fail(
          "rope.scaling.yarn_attn_factor",
          fmt::format("is {:g}, which is not supported; expected YaRN's own, {:g}", stated, own));
    }
    if (magnitude != 1.0) scaling["attention_factor"] = own * magnitude;
  } else if (type == "longrope") {
    scaling["short_factor"] = gguf_factors(gguf, "rope_factors_short.weight");
    scaling["long_factor"] = gguf_factors(gguf, "rope_factors_long.weight");
    scaling["attention_factor"] = magnitude;
  } else {
    keys.fail("rope.scaling.type", fmt::format("is {}, which is not supported; expected none, "
                                               "linear, yarn or longrope",
                                               json_text(type)));
  }
  return scaling;
}

}  // namespace

std::vector<float> gguf_factors(const GgufFile& gguf, const std::string& name) {
  const auto fail = [&](const std::string& text) {
    throw InputError::format("{}: tensor {}: {}", gguf.path().string(), name, text);
  };
  const auto it = gguf.tensors.find(name);
  if (it == gguf.tensors.end()) fail("is missing, which longrope needs");
  const GgufFile::Tensor& tensor = it->second;
  if (tensor.shape.size() != 1 || tensor.type->id != GgmlType::f32) {
    fail("expected a vector in F32, a factor for each frequency");
  }
  std::vector<float> factors(static_cast<size_t>(tensor.shape[0]));
  decode_blocks(*tensor.type, tensor.data.data(), tensor.shape[0], factors.data());
  return factors;
}

ConfigReader gguf_config(const GgufFile& gguf) {
  const std::filesystem::path& path = gguf.path();
  const ConfigReader general = keys_below(gguf, "general.");
  if (const std::string kind = general.text({"general.type"}, "model"); kind != "model") {
    general.fail("general.type", fmt::format("is '{}'; expected 'model'", kind));
  }
  const Family& family = family_of(gguf, general);
  const GgufArchitecture& architecture = family.gguf;
  Keys keys(gguf, family);
  json config = {{"model_type", family.name}};
  std::map<std::string, std::string> names;  // of a field in the file, for errors
  const auto field = [&](const std::string& name, const std::string& key, json value) {
    names[name] = keys.full(key);
    if (!value.is_null()) set(config, name, std::move(value));
  };
  for (const auto& [name, key] :
       {std::pair("hidden_size", "embedding_length"), std::pair("num_hidden_layers", "block_count"),
        std::pair("num_attention_heads", "attention.head_count")}) {
    field(name, key, keys.required(key));
  }
  json mlp_size = keys.required("feed_forward_length");
  const auto up = gguf.tensors.find("blk.0.ffn_up.weight");
  if (architecture.mlp_by_tensor && up != gguf.tensors.end() && !up->second.shape.empty()) {
    mlp_size = up->second.shape.front();
  }
  field("intermediate_size", "feed_forward_length", mlp_size);
  field("num_key_value_heads", "attention.head_count_kv", keys.take("attention.head_count_kv"));
  field("max_position_embeddings", "context_length", keys.take("context_length"));
  const std::string epsilon = std::string(architecture.epsilon) == "rms_norm_eps"
                                  ? "attention.layer_norm_rms_epsilon"
                                  : "attention.layer_norm_epsilon";
  field(architecture.epsilon, epsilon, keys.required(epsilon));
  for (const auto& [name, key] : architecture.keys) {
    json value = std::string_view(key) == "feed_forward_length" ? mlp_size : keys.take(key);
    // llama.cpp writes 0 where there is no window.
    if (std::string(name) == "sliding_window" && value == 0) value = nullptr;
    field(name, key, value);
  }

  const ConfigReader checked(path, config, names);
  const int64_t layers = checked.integer({"num_hidden_layers"}, 1);
  const int64_t heads = checked.integer({"num_attention_heads"}, 1);
  const int64_t hidden = checked.integer({"hidden_size"}, 1);
  field("head_dim", "attention.key_length", keys.take("attention.key_length"));
  if (!config.contains("head_dim") && hidden % heads == 0) config["head_dim"] = hidden / heads;
  const int64_t head_dim = ConfigReader(path, config, names).integer({"head_dim"}, 1);
  keys.expect("attention.value_length", head_dim);

  // Which layers have a window: every n-th has none, or a list.
  const json pattern = keys.raw("attention.sliding_window_pattern");
  if (!pattern.is_null()) {
    json types = json::array();
    const auto add = [&](bool local) {
      types.push_back(local ? "sliding_attention" : "full_attention");
    };
    if (pattern.is_number_unsigned() && pattern > 0) {
      for (int64_t i = 1; i <= layers; ++i) add(i % pattern.get<int64_t>() != 0);
    } else if (pattern.is_array()) {
      for (const json& local : pattern) add(local == true || local == 1);
    } else {
      keys.fail("attention.sliding_window_pattern", "expected a number or a list");
    }
    field("layer_types", "attention.sliding_window_pattern", types);
  }

  // (Families without rotary embeddings ask for none of these.)
  field("rope_theta", "rope.freq_base", keys.number("rope.freq_base", 10000.0));
  const double rotated = keys.number("rope.dimension_count", static_cast<double>(head_dim));
  if (rotated < 1 || rotated > static_cast<double>(head_dim)) {
    keys.fail("rope.dimension_count",
              fmt::format("is {:g}; expected 1 to {}, a head's size", rotated, head_dim));
  }
  if (architecture.paired && rotated != static_cast<double>(head_dim)) {
    keys.fail("rope.dimension_count",
              fmt::format("is {:g} of a head's {}; expected all of them in the architecture {}",
                          rotated, head_dim, architecture.name));
  }
  field("partial_rotary_factor", "rope.dimension_count",
        fraction_of(static_cast<int64_t>(rotated), head_dim));
  const json scaling = rope_scaling(gguf, keys);
  field("rope_scaling", "rope.scaling.type", scaling);
  for (const auto& [name, key] :
       {std::pair("factor", "factor"), std::pair("beta_fast", "yarn_beta_fast"),
        std::pair("beta_slow", "yarn_beta_slow"), std::pair("attention_factor", "attn_factor"),
        std::pair("original_max_position_embeddings", "original_context_length")}) {
    names[std::string("rope_scaling.") + name] = keys.full(std::string("rope.scaling.") + key);
  }

  const auto embedding = gguf.tensors.find("token_embd.weight");
  if (embedding == gguf.tensors.end() || embedding->second.shape.size() != 2) {
    throw InputError::format("{}: tensor token_embd.weight is missing, or no matrix",
                             path.string());
  }
  config["vocab_size"] = embedding->second.shape[0];
  config["tie_word_embeddings"] = !gguf.tensors.contains("output.weight");
  // The names that families have for what shows in the tensors.
  const bool attention_bias =
      gguf.tensors.contains("blk.0.attn_q.bias") || gguf.tensors.contains("blk.0.attn_qkv.bias");
  config["attention_bias"] = config["use_bias"] = config["bias"] = attention_bias;
  config["no_bias"] = !attention_bias;
  config["mlp_bias"] = gguf.tensors.contains("blk.0.ffn_up.bias");

  if (!has_experts(architecture)) {
    keys.expect("expert_count", 0);
    keys.expect("expert_used_count", 0);
  }
  keys.expect("attention.causal", true);
  keys.take("vocab_size");          // the embedding's rows count
  keys.take("tensor_data_layout");  // of the conversion
  if (architecture.adapt != nullptr) architecture.adapt(gguf, config);
  keys.refuse_rest();
  return ConfigReader(path, config, names);
}

}  // namespace sinkbench
