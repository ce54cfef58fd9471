#include "datasets/gguf_tokenizer.h"

#include <algorithm>
#include <cmath>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/gguf.h"
#include "base/json.h"
#include "base/sha256.h"
#include "base/utf8.h"
#include "datasets/gguf_pre_tokenizers.h"
#include "datasets/pieces.h"

namespace sinkbench {
namespace {

using nlohmann::json;

constexpr std::string_view kPrefix = "tokenizer.ggml.";

/// The keys of one file, and what is made of them.
class Reader {
 public:
  explicit Reader(const GgufFile& gguf) : gguf_(gguf), phi3_(is_phi3(gguf)) {
    out_.file = gguf.path().string();
    Sha256 digest;
    for (const auto& [key, value] : gguf.metadata.items()) {
      if (!key.starts_with(kPrefix)) continue;
      digest.update(key + json_text(value) + "\n");
    }
    if (phi3_) digest.update("phi-3\n");
    out_.sha256 = digest.hex();
    out_.root = {{"version", "1.0"}, {"added_tokens", json::array()}};
  }

  TokenizerJson read() {
    const std::string kind = text("model");
    if (kind != "gpt2" && kind != "llama") {
      fail("model", fmt::format("is {}; expected \"gpt2\" or \"llama\"", in_quotes(kind)));
    }
    read_tokens();
    if (kind == "gpt2") {
      read_byte_level();
    } else {
      read_sentencepiece();
    }
    return std::move(out_);
  }

 private:
  [[noreturn]] void fail(const std::string& key, const std::string& what) const {
    throw InputError::format(
        "{}: {}{}: {} (a tokenizer.json beside the file is taken in its place)", out_.file, kPrefix,
        key, what);
  }

  /// The value of a key, or nullptr.
  const json* find(const std::string& key) const {
    const auto it = gguf_.metadata.find(std::string(kPrefix) + key);
    return it == gguf_.metadata.end() ? nullptr : &*it;
  }

  std::string text(const std::string& key) const {
    const json* value = find(key);
    if (value == nullptr) fail(key, "is missing");
    if (!value->is_string()) fail(key, "expected a string");
    return to_valid_utf8(value->get<std::string>());
  }

  bool boolean(const std::string& key, bool absent) const {
    const json* value = find(key);
    if (value == nullptr) return absent;
    if (!value->is_boolean()) fail(key, "expected true or false");
    return value->get<bool>();
  }

  /// A list of strings, or of numbers, of which `count` are expected if that isn't negative.
  const json& list(const std::string& key, bool strings, int64_t count) const {
    const json* value = find(key);
    if (value == nullptr) fail(key, "is missing");
    const bool fits =
        value->is_array() && (count < 0 || value->size() == static_cast<size_t>(count));
    if (!fits) {
      fail(key, count < 0 ? "expected a list" : fmt::format("expected a list of {} values", count));
    }
    for (size_t i = 0; i < value->size(); ++i) {
      const json& element = (*value)[i];
      if (strings ? !element.is_string() : !element.is_number()) {
        fail(key, fmt::format("[{}]: expected a {}", i, strings ? "string" : "number"));
      }
    }
    return *value;
  }

  void read_tokens() {
    const json& tokens = list("tokens", true, -1);
    if (tokens.empty()) fail("tokens", "has none");
    if (tokens.size() > static_cast<size_t>(max_token_id)) {
      fail("tokens", fmt::format("has {}; at most {} are supported", tokens.size(), max_token_id));
    }
    const auto count = static_cast<int64_t>(tokens.size());
    const json* types = find("token_type") == nullptr ? nullptr : &list("token_type", false, count);
    const json* scores = find("scores") == nullptr ? nullptr : &list("scores", false, count);
    std::set<std::string_view> known;
    for (size_t i = 0; i < tokens.size(); ++i) {
      const auto& token = tokens[i].get_ref<const std::string&>();
      const auto fail_token = [&](const std::string& what) {
        fail("tokens", fmt::format("[{}]: {}: {}", i, in_quotes(to_valid_utf8(token)), what));
      };
      Piece piece{token};
      if (types != nullptr) piece.type = (*types)[i].get<int64_t>();
      if (scores != nullptr) piece.score = (*scores)[i].get<float>();
      if (piece.type < Piece::normal || piece.type > Piece::byte) {
        fail_token(fmt::format("token_type is {}; expected 1 to 6", piece.type));
      }
      if (!std::isfinite(piece.score)) fail_token("its score is not a finite number");
      // The converter of llama.cpp fills the table up so, and has called it an added token at
      // times.
      if (token == fmt::format("[PAD{}]", i)) piece.type = Piece::unused;
      if (piece.type != Piece::unused) {
        if (token.empty() || valid_utf8_prefix(token) != token.size()) {
          fail_token("expected a token of valid UTF-8");
        }
        if (!known.insert(token).second) fail_token("stands there twice");
        out_.tokens.push_back(token);
        out_.ids.push_back(static_cast<int32_t>(i));
        if (piece.type != Piece::normal && piece.type != Piece::byte) add_token(i, piece);
      }
      pieces_.push_back(piece);
    }
    out_.has_vocab = true;
  }

  /// No key says it; llama.cpp goes by the model's name. (Their tokenizer.json has it, too.)
  static bool is_phi3(const GgufFile& gguf) {
    const auto name = gguf.metadata.find("general.name");
    if (name == gguf.metadata.end() || !name->is_string()) return false;
    std::string lower = name->get<std::string>();
    for (char& c : lower) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
    return lower.find("phi-3") != std::string::npos || lower.find("phi3") != std::string::npos;
  }

  bool takes_space_after(std::string_view token) const {
    return phi3_ && token != "<unk>" && token != "<s>" && token != "<|endoftext|>";
  }

  void add_token(size_t id, const Piece& piece) {
    const bool special = piece.type != Piece::user_defined;
    out_.root["added_tokens"].push_back({{"id", id},
                                         {"content", std::string(piece.text)},
                                         {"single_word", false},
                                         {"lstrip", false},
                                         {"rstrip", takes_space_after(piece.text)},
                                         {"normalized", false},
                                         {"special", special}});
  }

  /// The token that a key names by its id, or `absent`.
  std::optional<size_t> special(const std::string& key, std::optional<size_t> absent) const {
    const json* value = find(key);
    if (value == nullptr) return absent;
    const bool fits = value->is_number_integer() && *value >= 0 && *value < pieces_.size() &&
                      pieces_[value->get<size_t>()].type != Piece::unused;
    if (!fits) fail(key, fmt::format("is {}; expected the id of a token", value->dump()));
    return value->get<size_t>();
  }

  /// What stands around every text, `bos` and `eos` where nothing is said.
  void read_frame(bool add_bos, std::optional<size_t> bos, std::optional<size_t> eos) {
    TextFrame frame;
    const auto add = [&](const char* key, bool absent, const char* id_key,
                         std::optional<size_t> absent_id, std::vector<std::string>& side) {
      if (!boolean(key, absent)) return;
      const std::optional<size_t> id = special(id_key, absent_id);
      if (!id) fail(id_key, fmt::format("is missing, although {} is true", key));
      if (*id >= pieces_.size()) fail(id_key, "is missing");
      side.emplace_back(pieces_[*id].text);
    };
    add("add_bos_token", add_bos, "bos_token_id", bos, frame.before);
    add("add_eos_token", false, "eos_token_id", eos, frame.after);
    frame.rule =
        find("add_bos_token") != nullptr
            ? fmt::format("tokenizer.ggml.add_bos_token is {}", boolean("add_bos_token", false))
            : fmt::format("no tokenizer.ggml.add_bos_token: {} as in llama.cpp",
                          add_bos ? "one" : "none");
    out_.frame = std::move(frame);
  }

  void read_byte_level() {
    const std::string name = text("pre");
    const auto& all = gguf_pre_tokenizers();
    const auto pre =
        std::find_if(all.begin(), all.end(), [&](const auto& p) { return p.name == name; });
    if (pre == all.end()) {
      fail("pre", fmt::format("is {}, which is none of those that `sinkbench list tokenizers` has",
                              in_quotes(name)));
    }
    const json& merges = list("merges", true, -1);
    for (size_t i = 0; i < merges.size(); ++i) {
      const auto& merge = merges[i].get_ref<const std::string&>();
      const size_t space = merge.find(' ');
      if (space == std::string::npos || merge.find(' ', space + 1) != std::string::npos) {
        fail("merges", fmt::format("[{}]: {}: expected two tokens and a space between them", i,
                                   in_quotes(to_valid_utf8(merge))));
      }
      out_.merges.push_back(std::string_view(merge).substr(0, space));
      out_.merges.push_back(std::string_view(merge).substr(space + 1));
    }
    out_.has_merges = true;
    out_.pre_tokenizer_name = name;
    if (!pre->doubt.empty()) {
      out_.notes.push_back(fmt::format(
          "{}: {}pre is {}: {} (a tokenizer.json beside the file is taken in its place)", out_.file,
          kPrefix, in_quotes(name), pre->doubt));
    }
    out_.root["normalizer"] = pre->normalizer;
    out_.root["pre_tokenizer"] = pre->steps;
    out_.root["decoder"] = {{"type", "ByteLevel"}};
    out_.root["model"] = {{"type", "BPE"}, {"ignore_merges", pre->ignore_merges}};
    read_frame(pre->add_bos, std::nullopt, std::nullopt);
  }

  void read_sentencepiece() {
    for (const char* key : {"scores", "token_type"}) {
      if (find(key) == nullptr) fail(key, "is missing");
    }
    if (boolean("remove_extra_whitespaces", false)) {
      fail("remove_extra_whitespaces", "is true, which is not supported");
    }
    const bool prefix = boolean("add_space_prefix", true);
    std::set<float> different;
    size_t bytes = 0;
    std::optional<size_t> unknown;
    for (size_t i = 0; i < pieces_.size(); ++i) {
      if (pieces_[i].type == Piece::normal) different.insert(pieces_[i].score);
      if (pieces_[i].type == Piece::byte) ++bytes;
      if (pieces_[i].type == Piece::unknown && !unknown) unknown = i;
    }
    if (different.size() == 1) {
      fail("scores", "are all the same, so that nothing says in which order tokens merge");
    }
    unknown = special("unknown_token_id", unknown);
    if (!unknown && bytes < 256) {
      fail("unknown_token_id", "is missing, and there are no tokens of all bytes");
    }
    add_merges(pieces_, out_);
    json normalizers = json::array();
    if (prefix) normalizers.push_back({{"type", "Prepend"}, {"prepend", kSpaceMark}});
    normalizers.push_back(
        {{"type", "Replace"}, {"pattern", {{"String", " "}}}, {"content", kSpaceMark}});
    out_.root["normalizer"] = {{"type", "Sequence"}, {"normalizers", normalizers}};
    out_.root["decoder"] = piece_decoder(prefix);
    out_.root["model"] = {
        {"type", "BPE"},
        {"unk_token", unknown ? json(std::string(pieces_[*unknown].text)) : json()},
        {"fuse_unk", true},
        {"byte_fallback", bytes > 0}};
    read_frame(true, 1, 2);
  }

  const GgufFile& gguf_;
  const bool phi3_;
  TokenizerJson out_;
  std::vector<Piece> pieces_;  // by id
};

}  // namespace

TokenizerJson read_gguf_tokenizer(const std::filesystem::path& path) {
  const GgufFile gguf = read_gguf(path);
  return Reader(gguf).read();
}

}  // namespace sinkbench
