#include "datasets/tokenizer_json.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <utility>

#include "base/error.h"
#include "base/file.h"
#include "base/json.h"
#include "base/placeholder.h"
#include "base/sha256.h"
#include "base/utf8.h"
#include "datasets/unicode_classes.h"

namespace sinkbench {
namespace {

using nlohmann::json;

/// At most `limit` bytes of `text` and on one line, for messages.
std::string shortened(std::string text, size_t limit) {
  if (text.size() > limit) text = text.substr(0, limit) + "...";
  std::replace(text.begin(), text.end(), '\n', ' ');
  return to_valid_utf8(text);
}

/// Takes the parser's events: the vocabulary and the merges go straight to their lists, since a
/// JSON value each would cost more time and memory than all else; the rest becomes `root`.
class Handler : public nlohmann::json_sax<json> {
 public:
  /// `vocabulary`: the whole is a vocabulary and nothing else.
  explicit Handler(TokenizerJson& out, bool vocabulary = false)
      : out_(out), vocabulary_(vocabulary) {}

  bool null() override { return value(nullptr); }
  bool boolean(bool b) override { return value(b); }
  bool number_integer(int64_t i) override { return is_score(static_cast<double>(i)) || value(i); }
  bool number_unsigned(uint64_t u) override {
    if (place_ == Place::kVocab && u <= static_cast<uint64_t>(max_token_id)) {
      out_.tokens.push_back(key_);
      out_.ids.push_back(static_cast<int32_t>(u));
      return true;
    }
    return is_score(static_cast<double>(u)) || value(u);
  }
  bool number_float(double d, const std::string&) override { return is_score(d) || value(d); }
  bool binary(json::binary_t&) override { return false; }  // JSON text has none

  bool string(std::string& s) override {
    if (place_ == Place::kMerges) {
      const size_t space = s.find(' ');
      if (s.rfind("#version", 0) == 0) return true;  // a comment, as in merges.txt
      if (space == std::string::npos || s.find(' ', space + 1) != std::string::npos) {
        fail_merge(s);
      }
      out_.merges.push_back(std::string_view(s).substr(0, space));
      out_.merges.push_back(std::string_view(s).substr(space + 1));
      return true;
    }
    if (place_ == Place::kScore && in_pair_ == 0) {
      ++in_pair_;
      out_.ids.push_back(static_cast<int32_t>(out_.tokens.size()));
      out_.tokens.push_back(s);
      return true;
    }
    if (place_ == Place::kPair) {
      if (in_pair_ == 2) fail_merge("a list of three or more");
      ++in_pair_;
      out_.merges.push_back(s);
      return true;
    }
    return value(std::move(s));
  }

  bool start_object(size_t) override {
    if (at_model("vocab") || (vocabulary_ && open_.empty() && !out_.has_vocab)) {
      place_ = Place::kVocab;
      out_.has_vocab = true;
      return true;
    }
    return open(json::object());
  }
  bool start_array(size_t) override {
    if (place_ == Place::kScores) {
      place_ = Place::kScore;
      return true;
    }
    if (at_model("vocab")) {
      place_ = Place::kScores;
      out_.unigram.emplace();
      return true;
    }
    if (place_ == Place::kMerges) {
      place_ = Place::kPair;
      return true;
    }
    if (at_model("merges")) {
      place_ = Place::kMerges;
      out_.has_merges = true;
      return true;
    }
    return open(json::array());
  }
  bool key(std::string& k) override {
    key_ = std::move(k);
    if (place_ == Place::kRoot) {
      json& object = *open_.back();
      const bool list_read = at_model("vocab") ? out_.has_vocab || out_.unigram
                                               : at_model("merges") && out_.has_merges;
      if (object.contains(key_) || list_read) {
        throw InputError::format("{}: {}: given twice", out_.file, path());
      }
    }
    return true;
  }
  bool end_object() override { return close(); }
  bool end_array() override { return close(); }

  bool parse_error(size_t position, const std::string&, const json::exception& error) override {
    const std::string what = error.what();
    const size_t reason = what.find(": ");
    throw InputError::format(
        "{}: not valid JSON at byte {}: {}", out_.file, position,
        shortened(reason == std::string::npos ? what : what.substr(reason + 2), 120));
  }

 private:
  enum class Place { kRoot, kVocab, kMerges, kPair, kScores, kScore };

  /// Takes the score of a token of a unigram model, if that is what is to come.
  bool is_score(double score) {
    if (place_ != Place::kScore || in_pair_ != 1 || !std::isfinite(score)) return false;
    ++in_pair_;
    out_.unigram->scores.push_back(score);
    return true;
  }

  /// Whether the value to come is `model`'s `name`.
  bool at_model(std::string_view name) const {
    return place_ == Place::kRoot && open_.size() == 2 && keys_.back() == "model" && key_ == name;
  }

  /// The key to come, with those above it.
  std::string path() const {
    std::string path;
    for (const std::string& k : keys_) path += k.empty() ? "" : k + ".";
    return shortened(path + key_, 200);
  }

  [[noreturn]] void fail_merge(const std::string& what) const {
    throw InputError::format("{}: model.merges[{}]: {}: expected \"a b\" or [\"a\", \"b\"]",
                             out_.file, (out_.merges.size() - in_pair_) / 2, shortened(what, 80));
  }

  [[noreturn]] void fail_score(const std::string& what) const {
    throw InputError::format("{}: model.vocab[{}]: {}: expected a token and its score", out_.file,
                             out_.unigram->scores.size(), shortened(what, 80));
  }

  /// Puts a value where the parser stands and returns it.
  json& place(json v) {
    if (place_ == Place::kVocab) {
      throw InputError::format("{}: model.vocab[{}]: {}: expected an id of 0 to {}", out_.file,
                               in_quotes(key_), shortened(v.dump(), 80), max_token_id);
    }
    if (place_ == Place::kScores || place_ == Place::kScore) fail_score(v.dump());
    if (place_ != Place::kRoot) fail_merge(v.dump());
    if (open_.empty()) return out_.root = std::move(v);
    json& parent = *open_.back();
    if (parent.is_array()) {
      parent.push_back(std::move(v));
      return parent.back();
    }
    return parent[key_] = std::move(v);
  }

  bool value(json v) {
    place(std::move(v));
    return true;
  }

  bool open(json v) {
    if (open_.size() >= largest_json_depth) {
      throw InputError::format("{}: {}: nested more than {} deep", out_.file, path(),
                               largest_json_depth);
    }
    json& placed = place(std::move(v));
    // Values in arrays lie under no key of their own.
    keys_.push_back(open_.empty() || open_.back()->is_array() ? "" : key_);
    open_.push_back(&placed);
    return true;
  }

  bool close() {
    if (place_ == Place::kPair) {
      if (in_pair_ != 2) fail_merge("a list of fewer than two");
      in_pair_ = 0;
      place_ = Place::kMerges;
    } else if (place_ == Place::kScore) {
      if (in_pair_ != 2) fail_score("a list of fewer than two");
      in_pair_ = 0;
      place_ = Place::kScores;
    } else if (place_ != Place::kRoot) {
      place_ = Place::kRoot;
    } else {
      open_.pop_back();
      keys_.pop_back();
    }
    return true;
  }

  TokenizerJson& out_;
  bool vocabulary_;
  Place place_ = Place::kRoot;
  size_t in_pair_ = 0;             // strings read of the pair at hand
  std::string key_;                // the last key read
  std::vector<json*> open_;        // the objects and arrays around the parser
  std::vector<std::string> keys_;  // and the key each lies under
};

}  // namespace

void check_step_count(const JsonField& field, size_t steps) {
  constexpr size_t most = 16;
  if (steps > most) field.fail(fmt::format("at most {} steps, found {}", most, steps));
}

std::string in_quotes(std::string_view text) {
  return shortened(json_text(text), 80);
}

void JsonField::fail(std::string_view expected) const {
  // The head of an object or array would be its braces: its kind says more.
  const std::string value = value_->is_structured() ? std::string("an ") + value_->type_name()
                                                    : shortened(json_text(*value_), 80);
  throw InputError::format("{}: {}: {}: expected {}", *file_,
                           path_.empty() ? "the whole file" : path_, value, expected);
}

bool JsonField::has(const char* key) const {
  if (!value_->is_object()) fail("an object");
  const auto found = value_->find(key);
  return found != value_->end() && !found->is_null();
}

JsonField JsonField::operator[](const char* key) const {
  if (!value_->is_object()) fail("an object");
  const auto found = value_->find(key);
  const std::string path = path_.empty() ? key : path_ + "." + key;
  if (found == value_->end()) throw InputError::format("{}: {}: missing", *file_, path);
  return {*found, *file_, path};
}

std::vector<JsonField> JsonField::items() const {
  if (!value_->is_array()) fail("a list");
  std::vector<JsonField> items;
  for (size_t i = 0; i < value_->size(); ++i) {
    items.emplace_back((*value_)[i], *file_, fmt::format("{}[{}]", path_, i));
  }
  return items;
}

std::vector<JsonField> JsonField::values() const {
  if (value_->is_array()) return items();
  if (!value_->is_object()) fail("an object or a list");
  std::vector<JsonField> values;
  for (const auto& [key, value] : value_->items()) {
    values.emplace_back(value, *file_, fmt::format("{}[{}]", path_, in_quotes(key)));
    values.back().key_ = key;
  }
  return values;
}

bool JsonField::boolean() const {
  if (!value_->is_boolean()) fail("true or false");
  return value_->get<bool>();
}

bool JsonField::boolean(const char* key, bool absent) const {
  return has(key) ? (*this)[key].boolean() : absent;
}

std::string JsonField::string() const {
  if (!value_->is_string()) fail("a string");
  return value_->get<std::string>();
}

std::string JsonField::character() const {
  const std::string text = string();
  if (text.empty() || static_cast<size_t>(decode_utf8(text.data()).length) != text.size()) {
    fail("a string of one character");
  }
  return text;
}

int64_t JsonField::integer(int64_t max) const {
  if (!value_->is_number_unsigned() || value_->get<uint64_t>() > static_cast<uint64_t>(max)) {
    fail(fmt::format("an integer of 0 to {}", max));
  }
  return value_->get<int64_t>();
}

int64_t JsonField::key_as_integer(int64_t max) const {
  int64_t number = -1;
  const char* const end = key_.data() + key_.size();
  const auto [stop, error] = std::from_chars(key_.data(), end, number);
  if (error != std::errc() || stop != end || number < 0 || number > max) {
    throw InputError::format("{}: {}: expected an integer of 0 to {} as the key", *file_, path_,
                             max);
  }
  return number;
}

namespace {

TokenizerJson read_json(const std::filesystem::path& path, bool vocabulary) {
  const MappedFile file(path);
  refuse_placeholder(path, file.text());
  TokenizerJson out;
  out.file = file.path().string();
  Handler handler(out, vocabulary);
  json::sax_parse(file.text(), &handler);
  out.sha256 = sha256_hex(file.text());
  if (out.unigram && !out.unigram->scores.empty()) {
    const auto& scores = out.unigram->scores;
    out.unigram->unknown_score = *std::min_element(scores.begin(), scores.end()) - 10.0;
  }
  return out;
}

}  // namespace

TokenizerJson read_tokenizer_json(const std::filesystem::path& path) {
  std::error_code ignored;  // MappedFile tells what is wrong
  const bool folder = std::filesystem::is_directory(path, ignored);
  return read_json(folder ? path / "tokenizer.json" : path, false);
}

TokenizerJson read_vocab_json(const std::filesystem::path& path) {
  return read_json(path, true);
}

}  // namespace sinkbench
