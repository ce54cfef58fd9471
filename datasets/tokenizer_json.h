// tokenizer.json as it lies on disk: read fast, checked field by field.
#pragma once

#include <cstdint>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "datasets/sentencepiece_normalizer.h"

namespace sinkbench {

/// A value of a JSON file that knows where it lies, so that every complaint can say so. Valid as
/// long as the document it came from.
class JsonField {
 public:
  JsonField(const nlohmann::json& value, const std::string& file, std::string path)
      : value_(&value), file_(&file), path_(std::move(path)) {}

  bool is_null() const { return value_->is_null(); }
  bool is_string() const { return value_->is_string(); }
  bool is_zero() const { return value_->is_number() && value_->get<double>() == 0; }
  /// Whether the object holds `key` with a value other than null.
  bool has(const char* key) const;
  /// The object's `key`; InputError where this is no object or lacks it.
  JsonField operator[](const char* key) const;
  std::vector<JsonField> items() const;
  /// The values of an object or a list.
  std::vector<JsonField> values() const;

  bool boolean() const;
  /// `key`'s boolean, or `absent` where the object has no such key or a null there.
  bool boolean(const char* key, bool absent) const;
  std::string string() const;
  /// A string of exactly one character.
  std::string character() const;
  /// A non-negative integer up to `max`.
  int64_t integer(int64_t max) const;
  /// Of a value of an object: the key it has there.
  const std::string& key() const { return key_; }
  /// The key as an integer, written plainly.
  int64_t key_as_integer(int64_t max) const;

  const std::string& file() const { return *file_; }
  const std::string& path() const { return path_; }

  /// "FILE: PATH: VALUE: expected WHAT"
  [[noreturn]] void fail(std::string_view expected) const;

 private:
  const nlohmann::json* value_;
  const std::string* file_;
  std::string path_;
  std::string key_;
};

/// Refuses a normalizer, pre-tokenizer or decoder, which `field` holds, of more steps than any real
/// one has.
void check_step_count(const JsonField& field, size_t steps);

/// `text` as a JSON string, cut short where it is long, for messages.
std::string in_quotes(std::string_view text);

/// Many short strings in one piece of memory.
class StringList {
 public:
  void push_back(std::string_view text) {
    bytes_ += text;
    ends_.push_back(bytes_.size());
  }
  size_t size() const { return ends_.size(); }
  std::string_view operator[](size_t i) const {
    const size_t begin = i == 0 ? 0 : ends_[i - 1];
    return std::string_view(bytes_).substr(begin, ends_[i] - begin);
  }

 private:
  std::string bytes_;
  std::vector<size_t> ends_;
};

/// What stands around every text, where a class of transformers decides that in place of the
/// post-processor: tokens by their text.
struct TextFrame {
  std::vector<std::string> before, after;
  std::string rule;  // for people: who said so
};

/// What a unigram model (datasets/unigram.h) has beside its vocabulary.
struct UnigramScores {
  std::vector<double> scores;     // by id, from 0 on without a gap; NaN of what no text holds
  double unknown_score = 0.0;     // of a character that is no token
  bool single_precision = false;  // whether sums are rounded to it, as SentencePiece does
};

/// The whole file: the two long lists apart, all else in `root`.
struct TokenizerJson {
  std::string file;     // the path, for messages
  std::string sha256;   // of the file's bytes
  nlohmann::json root;  // without model.vocab (where it is an object) and model.merges
  bool has_vocab = false;
  bool has_merges = false;
  StringList tokens;                  // model.vocab's keys, in the file's order
  std::vector<int32_t> ids;           // and their ids, each in [0, max_token_id]
  StringList merges;                  // left and right of each of model.merges, in turn
  std::vector<uint32_t> merge_ranks;  // of each, none lower than the one before; empty: its place
  std::optional<UnigramScores> unigram;  // of a model that is no BPE
  std::optional<TextFrame> frame;        // in place of post_processor
  std::vector<std::string> origin;       // names of the files that say what this tokenizer is

  // Of what tokenizer.json has no words for:
  std::optional<SentencePieceNormalizer> normalizer;      // in place of `root`'s
  std::vector<std::pair<int32_t, std::string>> controls;  // special tokens that no text spells
  std::vector<int32_t> symbols;  // looked for in the normalized text, as the vocabulary spells them
  std::vector<std::string> notes;  // what the user should be told
  std::string pre_tokenizer_name;  // for people

  JsonField field() const { return {root, file, ""}; }
};

/// No published vocabulary comes near; a bound keeps a broken file from taking all memory.
constexpr int64_t max_token_id = (1 << 22) - 1;

/// `path` is the file or the folder that holds "tokenizer.json". InputError where it can't be
/// read, isn't JSON, repeats a key or nests deeper than any real one.
TokenizerJson read_tokenizer_json(const std::filesystem::path& path);

/// A vocab.json, an object of tokens and their ids alone: as model.vocab of what is returned.
TokenizerJson read_vocab_json(const std::filesystem::path& path);

}  // namespace sinkbench
