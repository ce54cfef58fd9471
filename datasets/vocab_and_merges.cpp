#include "datasets/vocab_and_merges.h"

#include <string>
#include <string_view>

#include "base/error.h"
#include "base/file.h"
#include "base/placeholder.h"
#include "base/sha256.h"
#include "datasets/split_patterns.h"
#include "base/utf8.h"

namespace sinkbench {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

/// Lines of two tokens with a space between them.
void read_merges(const fs::path& path, TokenizerJson& out) {
  const std::string text = read_file(path);
  refuse_placeholder(path, text);
  if (valid_utf8_prefix(text) != text.size()) {
    throw InputError::format("{}: not valid UTF-8 at byte {}", path.string(),
                             valid_utf8_prefix(text));
  }
  int64_t number = 0;
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = std::min(text.find('\n', begin), text.size());
    std::string_view line = std::string_view(text).substr(begin, end - begin);
    begin = end + 1;
    ++number;
    if (line.ends_with('\r')) line.remove_suffix(1);
    if (line.empty() || line.starts_with("#version")) continue;
    const size_t space = line.find(' ');
    if (space == std::string_view::npos || line.find(' ', space + 1) != std::string_view::npos) {
      throw InputError::format("{}:{}: {}: expected two tokens with a space between them",
                               path.string(), number, in_quotes(line));
    }
    out.merges.push_back(line.substr(0, space));
    out.merges.push_back(line.substr(space + 1));
  }
  out.has_merges = true;
  out.sha256 = sha256_hex(out.sha256 + sha256_hex(text));
}

}  // namespace

bool holds_vocab_and_merges(const fs::path& folder) {
  return fs::exists(folder / "vocab.json") && fs::exists(folder / "merges.txt");
}

TokenizerJson read_vocab_and_merges(const fs::path& folder, const TokenizerConfig& config) {
  const std::string& name = config.tokenizer_class();
  const bool qwen = name == "Qwen2Tokenizer";
  if (!qwen && !name.empty() && name != "GPT2Tokenizer" && name != "CodeGenTokenizer") {
    throw InputError::format(
        "{}: tokenizer_class: {}: expected GPT2Tokenizer, CodeGenTokenizer or Qwen2Tokenizer "
        "beside "
        "a vocab.json and a merges.txt, or a tokenizer.json in place of the two",
        (folder / "tokenizer_config.json").string(), in_quotes(name));
  }
  TokenizerJson out = read_vocab_json(folder / "vocab.json");
  if (!out.has_vocab) out.field().fail("an object of tokens and their ids");
  read_merges(folder / "merges.txt", out);
  const json byte_level = {{"type", "ByteLevel"},
                           {"add_prefix_space", config.boolean("add_prefix_space", false)},
                           {"trim_offsets", true},
                           {"use_regex", !qwen}};
  out.root = {{"model", {{"type", "BPE"}}},
              {"pre_tokenizer", byte_level},
              {"decoder", {{"type", "ByteLevel"}}}};
  if (qwen) {
    const json split = {{"type", "Split"},
                        {"pattern", {{"Regex", split_patterns::kQwen2}}},
                        {"behavior", "Isolated"},
                        {"invert", false}};
    out.root["normalizer"] = {{"type", "NFC"}};
    out.root["pre_tokenizer"] = {{"type", "Sequence"}, {"pretokenizers", {split, byte_level}}};
  }
  out.frame = TextFrame();  // which the configuration fills
  out.origin = {"merges.txt"};
  return out;
}

}  // namespace sinkbench
