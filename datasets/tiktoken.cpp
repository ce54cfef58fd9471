#include "datasets/tiktoken.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/error.h"
#include "base/file.h"
#include "base/sha256.h"
#include "datasets/base64.h"
#include "datasets/byte_level.h"
#include "datasets/pieces.h"
#include "datasets/split_patterns.h"

namespace sinkbench {
namespace {

using nlohmann::json;

/// A line of tiktoken's file, or nothing where it is none.
struct Rank {
  std::string bytes;
  int64_t rank = 0;
};

std::optional<Rank> parse_line(std::string_view line) {
  if (line.ends_with('\r')) line.remove_suffix(1);
  const size_t space = line.find(' ');
  if (space == std::string_view::npos) return std::nullopt;
  std::optional<std::string> bytes = from_base64(line.substr(0, space));
  int64_t rank = -1;
  const char* const end = line.data() + line.size();
  const auto [stop, error] = std::from_chars(line.data() + space + 1, end, rank);
  if (!bytes || error != std::errc() || stop != end || rank < 0) return std::nullopt;
  return Rank{*std::move(bytes), rank};
}

/// The tokens of `ranks`, whose ids are the rank + `first`, as byte-level BPE that is cut into
/// words by `pre_tokenizer`. A word that is a token is that token, as with tiktoken.
void add_ranks(const std::vector<Rank>& ranks, int32_t first, json pre_tokenizer,
               TokenizerJson& out) {
  std::vector<std::string> texts;
  texts.reserve(ranks.size());
  std::array<bool, 256> is_token{};
  for (const Rank& rank : ranks) {
    append_byte_alphabet(rank.bytes, texts.emplace_back());
    if (rank.bytes.size() == 1) is_token[static_cast<unsigned char>(rank.bytes[0])] = true;
  }
  const auto missing = std::find(is_token.begin(), is_token.end(), false);
  if (missing != is_token.end()) {
    throw InputError::format("{}: no token of the byte 0x{:02X}; expected one of each byte",
                             out.file, missing - is_token.begin());
  }
  std::vector<Piece> pieces;
  for (size_t i = 0; i < ranks.size(); ++i) {
    if (ranks[i].rank > max_token_id - first) {
      throw InputError::format("{}: rank {}; at most {} are supported", out.file, ranks[i].rank,
                               max_token_id - first);
    }
    out.tokens.push_back(texts[i]);
    out.ids.push_back(static_cast<int32_t>(ranks[i].rank) + first);
    pieces.push_back({texts[i], -static_cast<float>(ranks[i].rank)});
  }
  out.has_vocab = true;
  add_merges(pieces, out);
  out.root = {{"version", "1.0"},
              {"model", {{"type", "BPE"}, {"ignore_merges", true}}},
              {"pre_tokenizer",
               {{"type", "Sequence"},
                {"pretokenizers",
                 {std::move(pre_tokenizer),
                  {{"type", "ByteLevel"}, {"add_prefix_space", false}, {"use_regex", false}}}}}},
              {"decoder", {{"type", "ByteLevel"}}}};
}

/// Llama 3.1's, from 128000 on; the tokenizer of 3.0, the same file, has names for fewer of them.
std::vector<std::string> llama3_specials() {
  std::vector<std::string> names = {"<|begin_of_text|>",
                                    "<|end_of_text|>",
                                    "<|reserved_special_token_0|>",
                                    "<|reserved_special_token_1|>",
                                    "<|finetune_right_pad_id|>",
                                    "<|reserved_special_token_2|>",
                                    "<|start_header_id|>",
                                    "<|end_header_id|>",
                                    "<|eom_id|>",
                                    "<|eot_id|>",
                                    "<|python_tag|>"};
  for (int i = 3; names.size() < 256; ++i) {
    names.push_back(fmt::format("<|reserved_special_token_{}|>", i));
  }
  return names;
}

}  // namespace

bool is_tiktoken(const std::filesystem::path& path) {
  const MappedFile file(path);
  const std::string_view text = file.text().substr(0, 4096);
  const size_t end = text.find('\n');
  return end != std::string_view::npos && parse_line(text.substr(0, end)).has_value();
}

TokenizerJson read_tiktoken(const std::filesystem::path& path) {
  const MappedFile file(path);
  TokenizerJson out;
  out.file = path.string();
  out.sha256 = sha256_hex(file.text());
  constexpr std::string_view llama3 =
      "82e9d31979e92ab929cd544440f129d9ecd797b69e327f80f17e1c50d5551b55";
  std::vector<Rank> ranks;
  std::string_view rest = file.text();
  for (int64_t line = 1; !rest.empty(); ++line) {
    const size_t end = std::min(rest.find('\n'), rest.size());
    std::optional<Rank> rank = parse_line(rest.substr(0, end));
    if (!rank) {
      throw InputError::format(
          "{}: line {}: expected a byte string in Base64 and its rank, as in the lines before "
          "(tiktoken's format)",
          out.file, line);
    }
    ranks.push_back(*std::move(rank));
    rest.remove_prefix(std::min(end + 1, rest.size()));
  }
  if (out.sha256 != llama3) {
    throw InputError::format(
        "{}: tiktoken's format, {} tokens: it says neither how texts are cut into words nor which "
        "special tokens there are, and is not Llama 3's; put the model's tokenizer.json beside it",
        out.file, ranks.size());
  }
  add_ranks(ranks, 0,
            {{"type", "Split"},
             {"pattern", {{"Regex", split_patterns::kCl100k}}},
             {"behavior", "Isolated"},
             {"invert", false}},
            out);
  auto id = static_cast<int32_t>(ranks.size());
  for (std::string& name : llama3_specials()) out.controls.emplace_back(id++, std::move(name));
  out.frame = TextFrame{
      .before = {out.controls.front().second}, .after = {}, .rule = "Llama 3 begins every text so"};
  return out;
}

TokenizerJson read_tekken(const std::filesystem::path& path) {
  TokenizerJson out = read_tokenizer_json(path);
  const json whole = std::move(out.root);
  const JsonField root(whole, out.file, "");
  const JsonField config = root["config"];
  const int64_t size = config["default_vocab_size"].integer(max_token_id);
  const int64_t specials = config["default_num_special_tokens"].integer(size);
  const JsonField vocab = root["vocab"];
  std::vector<Rank> ranks;
  for (const JsonField& field : vocab.items()) {
    const int64_t rank = field["rank"].integer(max_token_id);
    if (rank >= size - specials) continue;
    std::optional<std::string> bytes = from_base64(field["token_bytes"].string());
    if (!bytes) field["token_bytes"].fail("a byte string in Base64");
    ranks.push_back({*std::move(bytes), rank});
  }
  if (static_cast<int64_t>(ranks.size()) != size - specials) {
    vocab.fail(fmt::format("the {} ranks below {} once each", size - specials, size - specials));
  }
  // tiktoken passes over what the pattern doesn't match.
  add_ranks(ranks, static_cast<int32_t>(specials),
            {{"type", "Split"},
             {"pattern", {{"Regex", config["pattern"].string()}}},
             {"behavior", "Removed"},
             {"invert", true}},
            out);
  // Where the file names none, these are the first ones.
  std::vector<std::string> names = {"<unk>",
                                    "<s>",
                                    "</s>",
                                    "[INST]",
                                    "[/INST]",
                                    "[AVAILABLE_TOOLS]",
                                    "[/AVAILABLE_TOOLS]",
                                    "[TOOL_RESULTS]",
                                    "[/TOOL_RESULTS]",
                                    "[TOOL_CALLS]",
                                    "[IMG]",
                                    "<pad>",
                                    "[IMG_BREAK]",
                                    "[IMG_END]",
                                    "[PREFIX]",
                                    "[MIDDLE]",
                                    "[SUFFIX]",
                                    "[SYSTEM_PROMPT]",
                                    "[/SYSTEM_PROMPT]",
                                    "[TOOL_CONTENT]"};
  if (root.has("special_tokens")) {
    names.clear();
    for (const JsonField& field : root["special_tokens"].items()) {
      if (field["rank"].integer(max_token_id) != static_cast<int64_t>(names.size())) {
        field["rank"].fail(fmt::format("{}: special tokens by rank", names.size()));
      }
      names.push_back(field["token_str"].string());
    }
  }
  if (static_cast<int64_t>(names.size()) > specials) {
    config["default_num_special_tokens"].fail(fmt::format("at least {}", names.size()));
  }
  for (int32_t id = 0; id < specials; ++id) {
    const bool named = static_cast<size_t>(id) < names.size();
    out.controls.emplace_back(id, named ? names[id] : fmt::format("<SPECIAL_{}>", id));
  }
  out.frame = TextFrame{.before = {"<s>"}, .after = {}, .rule = "Mistral begins every text so"};
  return out;
}

}  // namespace sinkbench
