#include "datasets/tokenizer_config.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <map>
#include <string_view>
#include <vector>

#include "base/error.h"

namespace sinkbench {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

/// What a class of transformers takes where the files say nothing.
struct ClassDefaults {
  const char *bos = nullptr, *eos = nullptr, *unk = nullptr, *pad = nullptr;
  bool frames = false;  // whether it replaces the post-processor by what add_*_token say
  bool add_bos = false;
};

ClassDefaults class_defaults(std::string_view name) {
  static constexpr const char* kEnd = "<|endoftext|>";
  if (name == "LlamaTokenizer") return {"<s>", "</s>", "<unk>", nullptr, true, true};
  if (name == "CodeLlamaTokenizer") return {"<s>", "</s>", "<unk>", nullptr, true, true};
  if (name == "GemmaTokenizer") return {"<bos>", "<eos>", "<unk>", "<pad>", true, true};
  if (name == "CohereTokenizer") {
    return {"<BOS_TOKEN>", "<|END_OF_TURN_TOKEN|>", "<UNK>", nullptr, true, true};
  }
  if (name == "GPTNeoXTokenizer") return {kEnd, kEnd, kEnd, nullptr, true, false};
  if (name == "GPT2Tokenizer" || name == "CodeGenTokenizer") return {kEnd, kEnd, kEnd};
  if (name == "Qwen2Tokenizer") return {nullptr, kEnd, kEnd, kEnd};
  return {};
}

/// The class that `AutoTokenizer` takes for a config.json where tokenizer_config.json names none.
std::string class_of_model(const JsonField& config) {
  if (config.has("tokenizer_class")) return config["tokenizer_class"].string();
  if (!config.has("model_type")) return "";
  const std::string model_type = config["model_type"].string();
  for (const char* type : {"llama", "mistral", "mixtral", "phi3"}) {
    if (model_type == type) return "LlamaTokenizer";
  }
  if (model_type.starts_with("gemma")) return "GemmaTokenizer";
  if (model_type.starts_with("cohere")) return "CohereTokenizer";
  if (model_type.starts_with("qwen2") || model_type.starts_with("qwen3")) return "Qwen2Tokenizer";
  for (const char* type : {"gpt_neox", "olmo", "olmoe", "mpt"}) {
    if (model_type == type) return "GPTNeoXTokenizer";
  }
  for (const char* type :
       {"gpt2", "gptj", "gpt_neo", "gpt_bigcode", "codegen", "opt", "phi", "starcoder2"}) {
    if (model_type == type) return "GPT2Tokenizer";
  }
  return "PreTrainedTokenizerFast";
}

/// An added token as tokenizer.json writes it, from a string or an object with some of its fields.
json added_token(const JsonField& field, bool special) {
  json token = {{"content", ""},   {"single_word", false},   {"lstrip", false},
                {"rstrip", false}, {"normalized", !special}, {"special", special}};
  if (field.is_string()) {
    token["content"] = field.string();
    return token;
  }
  token["content"] = field["content"].string();
  for (const char* flag : {"single_word", "lstrip", "rstrip", "normalized"}) {
    if (field.has(flag)) token[flag] = field[flag].boolean();
  }
  return token;
}

constexpr std::array kNamedTokens = {"bos_token", "eos_token", "unk_token", "sep_token",
                                     "pad_token", "cls_token", "mask_token"};

/// Takes away what puts a space before a text, and from what is decoded.
void drop_prefix_space(json& root) {
  const auto drop = [](json& part, const char* list, const char* type) {
    if (!part.is_object()) return;
    if (part.value("type", json()) == type) part = nullptr;
    if (!part.is_object() || !part.contains(list) || !part[list].is_array()) return;
    json left = json::array();
    for (json& step : part[list]) {
      if (!step.is_object() || step.value("type", json()) != type) left.push_back(std::move(step));
    }
    part[list] = std::move(left);
  };
  drop(root["normalizer"], "normalizers", "Prepend");
  drop(root["decoder"], "decoders", "Strip");
  const auto never = [](json& step) {
    if (!step.is_object() || step.value("type", json()) != "Metaspace") return;
    step.erase("add_prefix_space");
    step["prepend_scheme"] = "never";
  };
  for (const char* part : {"pre_tokenizer", "decoder"}) {
    json& cutting = root[part];
    never(cutting);
    const char* list = part == std::string("decoder") ? "decoders" : "pretokenizers";
    if (!cutting.is_object() || !cutting.contains(list) || !cutting[list].is_array()) continue;
    for (json& step : cutting[list]) never(step);
  }
}

}  // namespace

TokenizerConfig::TokenizerConfig(const fs::path& folder) : folder_(folder) {
  json_.file = (folder / "tokenizer_config.json").string();
  json_.root = nullptr;
  json_ = read("tokenizer_config.json");
  const bool there = !json_.root.is_null();
  if (!there) json_.root = json::object();
  if (!json_.root.is_object()) field().fail("an object");
  if (field().has("tokenizer_class")) stated_class_ = field()["tokenizer_class"].string();
  // A tokenizer.json by itself says all.
  if (stated_class_.empty() && (there || !fs::exists(folder / "tokenizer.json"))) {
    const TokenizerJson model = read("config.json");
    if (model.root.is_object()) stated_class_ = class_of_model(model.field());
  }
  class_ = stated_class_;
  if (class_.ends_with("Fast")) class_.resize(class_.size() - 4);
}

TokenizerJson TokenizerConfig::read(const char* name) const {
  const fs::path file = folder_ / name;
  if (fs::exists(file)) return read_tokenizer_json(file);
  TokenizerJson none;
  none.file = file.string();
  return none;
}

void TokenizerConfig::apply(TokenizerJson& out) const {
  if (!out.root.is_object()) out.field().fail("an object");
  if (!json_.root.empty()) out.origin.push_back("tokenizer_config.json");
  ClassDefaults defaults = class_defaults(class_);
  TokenizerJson legacy_map, legacy_added;  // which count where there is no added_tokens_decoder
  if (!field().has("added_tokens_decoder")) {
    legacy_map = read("special_tokens_map.json");
    legacy_added = read("added_tokens.json");
    if (!legacy_map.root.is_null()) out.origin.push_back("special_tokens_map.json");
    if (!legacy_added.root.is_null()) out.origin.push_back("added_tokens.json");
  }
  const auto find = [&](const char* key) -> std::optional<JsonField> {
    if (legacy_map.root.is_object() && legacy_map.root.contains(key)) {
      return legacy_map.field()[key];
    }
    if (json_.root.contains(key)) return field()[key];
    return std::nullopt;
  };

  // The named special tokens.
  std::vector<json> named;
  const auto add_named = [&](json token) {
    const auto same = [&](const json& t) { return t["content"] == token["content"]; };
    if (std::none_of(named.begin(), named.end(), same)) named.push_back(std::move(token));
  };
  std::map<std::string, std::string> text_of;  // by name
  const std::map<std::string, const char*> absent = {{"bos_token", defaults.bos},
                                                     {"eos_token", defaults.eos},
                                                     {"unk_token", defaults.unk},
                                                     {"pad_token", defaults.pad}};
  for (const char* name : kNamedTokens) {
    const std::optional<JsonField> stated = find(name);
    json token;
    if (stated && !stated->is_null()) {
      token = added_token(*stated, true);
    } else if (!stated && absent.contains(name) && absent.at(name) != nullptr) {
      token = added_token(JsonField(json(absent.at(name)), json_.file, name), true);
    } else {
      continue;
    }
    text_of[name] = token["content"];
    add_named(std::move(token));
  }
  for (const char* name : {"additional_special_tokens", "extra_special_tokens"}) {
    const std::optional<JsonField> list = find(name);
    if (!list || list->is_null()) continue;
    for (const JsonField& item : list->values()) add_named(added_token(item, true));
  }

  // The added tokens by id; those of tokenizer.json count before those of added_tokens.json.
  std::map<int64_t, json> by_id;
  const auto is_named = [&](const json& token) {
    return std::any_of(named.begin(), named.end(),
                       [&](const json& t) { return t["content"] == token["content"]; });
  };
  if (field().has("added_tokens_decoder")) {
    for (const JsonField& item : field()["added_tokens_decoder"].values()) {
      json token = added_token(item, item.boolean("special", false));
      by_id[item.key_as_integer(max_token_id)] = std::move(token);
    }
  } else {
    if (!legacy_added.root.is_null()) {
      for (const JsonField& item : legacy_added.field().values()) {
        const json content = item.key();
        json token = added_token(JsonField(content, legacy_added.file, item.path()), false);
        token["special"] = is_named(token);
        token["normalized"] = !token["special"].get<bool>();
        by_id[item.integer(max_token_id)] = std::move(token);
      }
    }
  }
  json& list = out.root["added_tokens"];
  if (list.is_null()) list = json::array();
  std::map<std::string, json> known;  // by content
  if (out.field().has("added_tokens")) {
    for (const JsonField& item : out.field()["added_tokens"].items()) {
      json token = added_token(item, item["special"].boolean());
      if (!field().has("added_tokens_decoder")) by_id[item["id"].integer(max_token_id)] = token;
      known[token["content"]] = token;
    }
  }
  const auto add = [&](json token, std::optional<int64_t> id) {
    if (token["content"].get_ref<const std::string&>().empty()) return;
    const auto there = known.find(token["content"]);
    if (there != known.end() && there->second == token) return;
    known[token["content"]] = token;
    if (id) token["id"] = static_cast<uint64_t>(*id);
    list.push_back(std::move(token));
  };
  std::vector<std::string> stated;
  for (auto& [id, token] : by_id) {
    stated.push_back(token["content"]);
    const auto there = known.find(token["content"]);
    if (there != known.end() && there->second == token) continue;
    if (is_named(token)) token["special"] = true;
    add(token, id);
  }
  for (const json& token : named) {
    const auto& content = token["content"].get_ref<const std::string&>();
    if (std::count(stated.begin(), stated.end(), content) > 0 || known.contains(content)) continue;
    add(token, std::nullopt);
  }

  // Every class of version 4 imposes what is stated here, or false, on a ByteLevel that stands
  // alone.
  json& cutting = out.root["pre_tokenizer"];
  const bool has_class = !json_.root.empty() || !class_.empty();
  if (has_class && cutting.is_object() && cutting.value("type", json()) == "ByteLevel") {
    cutting["add_prefix_space"] = boolean("add_prefix_space", false);
  }
  if (denies_prefix_space()) drop_prefix_space(out.root);
  if (boolean("split_special_tokens", false)) {
    out.notes.push_back(fmt::format(
        "{}: split_special_tokens is true: where a text spells out special tokens they are taken "
        "as such nevertheless, unless special_tokens is text",
        json_.file));
  }

  if (!defaults.frames && !out.frame) return;
  TextFrame frame;
  const auto frame_with = [&](const char* key, bool absent_value, const char* name,
                              std::vector<std::string>& side) {
    if (!boolean(key, absent_value)) return;
    if (!text_of.contains(name)) {
      throw InputError::format("{}: {}: true: expected a {} beside it", json_.file, key, name);
    }
    side.push_back(text_of[name]);
  };
  frame_with("add_bos_token", defaults.add_bos, "bos_token", frame.before);
  frame_with("add_eos_token", false, "eos_token", frame.after);
  const char* key = "add_bos_token";
  frame.rule = fmt::format("tokenizer_config.json ({}, {}{} {})", stated_class_, key,
                           field().has(key) ? "" : " is", boolean(key, defaults.add_bos));
  out.frame = std::move(frame);
}

bool TokenizerConfig::denies_prefix_space() const {
  return (class_ == "LlamaTokenizer" || class_ == "CodeLlamaTokenizer") &&
         field().has("add_prefix_space") && !boolean("add_prefix_space", true);
}

}  // namespace sinkbench
