#include "eval/run/inspect.h"

#include <ATen/ATen.h>

#include "base/error.h"
#include "datasets/tokenizer.h"
#include "eval/engines/method.h"
#include "models/checkpoint.h"
#include "models/family.h"
#include "models/gguf.h"
#include "policies/plugin.h"
#include "policies/registry.h"

namespace sinkbench {
namespace {

namespace fs = std::filesystem;
using nlohmann::ordered_json;

ordered_json positions(const DecoderConfig& config) {
  if (!config.rotaries.empty()) {
    ordered_json rotaries = ordered_json::array();
    for (size_t r = 0; r < config.rotaries.size(); ++r) {
      const RotaryConfig& rotary = config.rotaries[r];
      int64_t layers = 0;
      for (int64_t layer = 0; layer < config.layers; ++layer) {
        layers += config.rotary_index(layer) == static_cast<int>(r);
      }
      rotaries.push_back({{"layers", layers},
                          {"dims", rotary.dims},
                          {"theta", rotary.theta},
                          {"scaling", rotary.scaling}});
    }
    return {{"kind", "rotary"}, {"rotaries", rotaries}};
  }
  if (config.alibi) return {{"kind", "alibi"}};
  return {{"kind", "learned"}, {"rows", config.learned_positions}};
}

ordered_json sinks(const DecoderConfig& config) {
  ordered_json result = {{"learned_logits", config.learned_sink_logits},
                         {"constant_logit", nullptr},
                         {"token", nullptr}};
  if (config.constant_sink_logit) result["constant_logit"] = *config.constant_sink_logit;
  if (config.sink_token) result["token"] = *config.sink_token;
  return result;
}

ordered_json experts(const DecoderConfig& config) {
  if (!config.experts) return nullptr;
  const ExpertsConfig& experts = *config.experts;
  int64_t layers = 0;
  for (int64_t layer = 0; layer < config.layers; ++layer) layers += !experts.is_dense(layer);
  return {{"experts", experts.experts},
          {"chosen", experts.chosen},
          {"size", experts.size},
          {"shared_size", experts.shared_size},
          {"layers", layers}};
}

ordered_json tokenizer(const fs::path& path, const DecoderConfig& config) {
  if (!Tokenizer::is_in(path)) return nullptr;
  try {
    const Tokenizer tokenizer = Tokenizer::load(path);
    ordered_json prefix = ordered_json::array();
    for (const int32_t id : tokenizer.prefix()) {
      const std::string text = tokenizer.decode(std::vector{id});
      prefix.push_back({{"id", id}, {"content", text}});
    }
    ordered_json result = {{"kind", tokenizer.description()},
                           {"vocab_size", tokenizer.vocab_size()},
                           {"origin", tokenizer.origin()},
                           {"pre_tokenizer", tokenizer.pre_tokenizer()},
                           {"bos", tokenizer.prefix().empty() ? ordered_json() : prefix},
                           {"bos_rule", tokenizer.prefix_rule()},
                           {"notes", tokenizer.notes()},
                           {"special_tokens", ordered_json::array()},
                           {"sha256", tokenizer.sha256()}};
    for (const auto& [id, content] : tokenizer.special_tokens()) {
      result["special_tokens"].push_back({{"id", id}, {"content", content}});
    }
    if (tokenizer.vocab_size() > config.vocab_size) {
      result["notes"].push_back(fmt::format(
          "{} tokens are more than the model's {} rows: a text that has one of ids {} to "
          "{} is refused",
          tokenizer.vocab_size(), config.vocab_size, config.vocab_size,
          tokenizer.vocab_size() - 1));
    }
    return result;
  } catch (const InputError& error) {
    return {{"error", error.what()}};
  }
}

/// Null where no layer has one; else of each layer, 0 where it has none.
ordered_json local_windows(const DecoderConfig& config) {
  if (config.local_windows.empty()) return nullptr;
  return config.local_windows;
}

/// Why a model can't be run under a policy on a stream of `fed` tokens, or "".
std::string refusal(const Policy& policy, const DecoderConfig& config, int64_t fed) {
  try {
    check_policy(policy, config, fed);
    return "";
  } catch (const InputError& error) {
    const std::string reason = error.what(), subject = "policy " + policy.label() + ": ";
    return reason.starts_with(subject) ? reason.substr(subject.size()) : reason;
  }
}

/// Which models a family has.
std::string summary_of(const std::string& name) {
  for (const SupportedFamily& family : supported_families()) {
    if (family.name == name) return family.summary;
  }
  throw std::logic_error("a family that supported_families() doesn't have");
}

}  // namespace

ordered_json inspect_policies(const DecoderConfig& config) {
  constexpr int64_t any_length = int64_t{1} << 40;
  const int64_t limit = longest_sequence(config);
  ordered_json result = ordered_json::array();
  for (const PolicyEntry& entry : policy_registry()) {
    const auto policy = make_policy(entry.name, smallest_arguments(entry));
    bool allowed = true;
    std::string note = "streams of any length";
    if (const std::string reason = refusal(*policy, config, any_length); !reason.empty()) {
      allowed = limit > 0 && refusal(*policy, config, limit).empty();
      note = allowed ? fmt::format("streams of up to {} tokens", limit) : reason;
    } else if (limit > 0) {
      note += fmt::format(", a query seeing {} tokens at the most, itself among them", limit);
    }
    result.push_back({{"name", entry.name}, {"allowed", allowed}, {"note", note}});
  }
  return result;
}

ordered_json inspect_model(const fs::path& path, const std::vector<fs::path>& plugins) {
  for (const fs::path& plugin : plugins) load_plugin(plugin);
  const bool folder = fs::is_directory(path), whole = folder || is_gguf(path);
  if (!folder && !fs::exists(path)) {
    throw InputError::format("{}: no such model; expected a folder, a .gguf or a config.json",
                             path.string());
  }
  const Decoder decoder =
      whole ? Decoder::check(path) : Decoder::random(path, 0, {.device = at::kMeta});
  const DecoderConfig& config = decoder.config();
  ordered_json weights;
  const auto describe = [&](const Checkpoint& checkpoint) {
    weights = {{"bytes", checkpoint.file_bytes()},
               {"decoded_bytes", decoder.weight_bytes()},
               {"stored", checkpoint.stored()}};
  };
  if (folder) describe(SafetensorsCheckpoint(path, at::kFloat, at::kMeta));
  if (is_gguf(path)) describe(GgufCheckpoint(read_gguf(path), at::kFloat, at::kMeta));
  const auto or_null = [](int64_t value) {
    return value > 0 ? ordered_json(value) : ordered_json();
  };
  return {{"path", path.string()},
          {"family", config.family},
          {"runs_as", summary_of(config.family)},
          {"parameters", decoder.parameters()},
          {"active_parameters", decoder.parameters() - decoder.idle_parameters()},
          {"weights", weights},
          {"shape",
           {{"layers", config.layers},
            {"hidden_size", config.hidden_size},
            {"mlp_size", config.mlp_size},
            {"vocab_size", config.vocab_size},
            {"tied_head", config.tied_head}}},
          {"experts", experts(config)},
          {"attention",
           {{"heads", config.heads},
            {"kv_heads", config.kv_heads},
            {"head_dim", config.head_dim},
            {"local_windows", local_windows(config)}}},
          {"context", or_null(config.context)},
          {"positions", positions(config)},
          {"sinks", sinks(config)},
          {"notes", config.notes},
          {"kv_bytes_per_token",
           {{"float32", config.kv_bytes_per_token(4)},
            {"bfloat16", config.kv_bytes_per_token(2)},
            {"float16", config.kv_bytes_per_token(2)},
            {"float64", config.kv_bytes_per_token(8)}}},
          {"tokenizer", tokenizer(whole ? path : path.parent_path(), config)},
          {"policies", inspect_policies(config)}};
}

}  // namespace sinkbench
