#include "eval/experiment/ids.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>

#include "base/sha256.h"
#include "base/utf8.h"
#include "datasets/unicode_classes.h"
#include "eval/experiment/storage_spec.h"
#include "policies/registry.h"

namespace sinkbench {
namespace {

namespace fs = std::filesystem;

/// Leaves room for an extension in a file's name of 255 bytes.
constexpr size_t longest_id = 200;

/// What may be part of a file's name and is no punctuation, in any script.
bool is_plain(uint32_t c) {
  if (c < 0x80) return std::isalnum(static_cast<int>(c)) || c == '.' || c == '_' || c == '+';
  const bool space_or_format = c <= 0xA0 || c == 0xAD || (c >= 0x2000 && c <= 0x206F) ||
                               c == 0x3000 || c == 0xFEFF || (c >= 0xFFF0 && c <= 0xFFFF);
  return !space_or_format && !(c >= 0xE000 && c <= 0xF8FF) && c < 0xE0000;
}

/// An id as it is; of a text what a file's name may hold, and what tells it from others.
std::string token_slug(const std::string& token) {
  const bool plain =
      std::all_of(token.begin(), token.end(), [](char c) { return c >= '0' && c <= '9'; });
  return plain ? token : slug(token) + "." + short_hash(token);
}

}  // namespace

std::string short_hash(const std::string& text) {
  return sha256_hex(text).substr(0, 8);
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

std::string path_slug(const fs::path& path) {
  const fs::path clean = path.has_filename() ? path : path.parent_path();
  return slug(clean.stem().string());
}

std::string model_slug(const fs::path& path) {
  return slug((path.has_filename() ? path : path.parent_path()).filename().string());
}

std::string sources_of(const Cell& cell) {
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

std::string policy_id(const PolicySpec& policy) {
  const std::string label = policy_label(policy);
  std::string result = slug(label.starts_with(policy.name) ? label : policy.name + "-" + label);
  for (const auto& [name, value] : policy.arguments) {
    if (value.is_list()) result += "-" + short_hash(to_string(value));  // labels sum it up
  }
  return policy.positions == Positions::cache ? result
                                              : result + "-" + slug(positions_label(policy));
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
  id += "-" + policy_id(cell.policy);
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

}  // namespace sinkbench
