#include "datasets/added_tokens.h"

#include <algorithm>
#include <utility>

#include "base/error.h"
#include "datasets/unicode_classes.h"

namespace sinkbench {
namespace {

/// No published token is near as long; looking for them takes this many steps a byte at worst.
constexpr size_t kMaxLength = 1024;

bool is_space(const char* p) {
  return (char_classes()[decode_utf8(p).value] & kSpace) != 0;
}

bool is_word(const char* p) {
  return (char_classes()[decode_utf8(p).value] & kWordCharacter) != 0;
}

}  // namespace

void TokenFinder::add(std::string_view text, const AddedToken& token) {
  starts_[static_cast<unsigned char>(text[0])] = true;
  uint32_t node = 0;
  for (const char c : text) {
    const auto next = static_cast<uint32_t>(tokens_.size());
    const uint64_t edge = static_cast<uint64_t>(node) << 8 | static_cast<unsigned char>(c);
    const auto [child, is_new] = children_.try_emplace(edge, next);
    if (is_new) tokens_.push_back(nullptr);
    node = child->second;
  }
  if (tokens_[node] == nullptr) tokens_[node] = &token;
}

TokenFinder::Match TokenFinder::find(std::string_view text, size_t from) const {
  if (children_.empty()) return {};
  for (size_t begin = from; begin < text.size(); ++begin) {
    if (!starts_[static_cast<unsigned char>(text[begin])]) continue;
    Match longest;
    uint32_t node = 0;
    for (size_t i = begin; i < text.size(); ++i) {
      const auto child =
          children_.find(static_cast<uint64_t>(node) << 8 | static_cast<unsigned char>(text[i]));
      if (child == children_.end()) break;
      node = child->second;
      if (tokens_[node] != nullptr) longest = {begin, i + 1, tokens_[node]};
    }
    if (longest.token != nullptr) return longest;
  }
  return {};
}

bool TokenFinder::settle(std::string_view text, size_t done, Match& match) const {
  const char* const p = text.data();
  if (match.token->single_word) {
    if (match.begin > 0 && is_word(previous_utf8(p + match.begin))) return false;
    if (match.end < text.size() && is_word(p + match.end)) return false;
  }
  if (match.token->lstrip) {
    while (match.begin > done && is_space(previous_utf8(p + match.begin))) {
      match.begin = static_cast<size_t>(previous_utf8(p + match.begin) - p);
    }
    match.begin = std::max(match.begin, done);
  }
  if (match.token->rstrip) {
    // Within the spaces that the token before took, those that follow end where they ended.
    match.end = std::max(match.end, done);
    while (match.end < text.size() && is_space(p + match.end)) {
      match.end += decode_utf8(p + match.end).length;
    }
  }
  return match.begin < match.end;  // not where the token before has taken it all
}

AddedTokens::AddedTokens(const TokenizerJson& json, const Vocabulary& vocabulary,
                         const Normalizer& normalizer) {
  const JsonField root = json.field();
  for (const int32_t id : json.symbols) {
    symbols_.emplace_back().id = id;
    normalized_.add(vocabulary.token(id), symbols_.back());
  }
  for (const auto& [id, content] : json.controls) {
    max_id_ = std::max(max_id_, id);
    by_content_.emplace(content, id);
    AddedToken& token = by_id_[id];
    token.id = id;
    token.content = content;
    token.special = true;
    token.spelled = false;
  }
  if (root.has("added_tokens")) {
    for (const JsonField& field : root["added_tokens"].items()) add(field, vocabulary);
  }
  // Of two tokens that are the same once normalized, the special one is found, else the first.
  for (const bool special : {true, false}) {
    for (const auto& [id, token] : by_id_) {
      if (token.special != special || !token.spelled) continue;
      const std::string text = token.normalized ? normalizer.apply(token.content) : token.content;
      if (text.empty()) {
        throw InputError::format(
            "{}: added_tokens: {}: expected a text of which the normalizer leaves something",
            root.file(), in_quotes(token.content));
      }
      (token.normalized ? normalized_ : raw_).add(text, token);
    }
  }
}

void AddedTokens::add(const JsonField& field, const Vocabulary& vocabulary) {
  AddedToken token;
  token.content = field["content"].string();
  token.single_word = field["single_word"].boolean();
  token.lstrip = field["lstrip"].boolean();
  token.rstrip = field["rstrip"].boolean();
  token.normalized = field["normalized"].boolean();
  token.special = field["special"].boolean();
  if (token.content.empty()) return;
  if (token.content.size() > kMaxLength) {
    field["content"].fail(fmt::format("a text of up to {} bytes", kMaxLength));
  }
  const auto count = static_cast<int32_t>(vocabulary.size());
  const auto before = by_content_.find(token.content);
  const int32_t known = vocabulary.find(token.content);
  const bool is_new = before == by_content_.end() && known < 0;
  token.id = known >= 0 ? known : is_new ? std::max(count, last_new_ + 1) : before->second;
  if (is_new) last_new_ = token.id;
  if (field.has("id")) {
    const int64_t id = field["id"].integer(max_token_id);
    if (id != token.id) {
      notes_.push_back(fmt::format("{}: {}.id: {}: {} is {}, as in the reference, which takes {}",
                                   field.file(), field.path(), id, in_quotes(token.content),
                                   token.id,
                                   known >= 0 ? "the vocabulary's id" : "the next free id"));
    }
  }
  if (token.id > max_token_id) field["content"].fail("fewer tokens");
  max_id_ = std::max(max_id_, token.id);
  by_content_.emplace(token.content, token.id);
  by_id_.insert_or_assign(token.id, std::move(token));
}

const AddedToken* AddedTokens::find(std::string_view content) const {
  const auto found = by_content_.find(std::string(content));
  return found == by_content_.end() ? nullptr : find(found->second);
}

const AddedToken* AddedTokens::find(int32_t id) const {
  const auto found = by_id_.find(id);
  return found == by_id_.end() ? nullptr : &found->second;
}

std::map<int32_t, std::string> AddedTokens::special() const {
  std::map<int32_t, std::string> result;
  for (const auto& [id, token] : by_id_) {
    if (token.special) result.emplace(id, token.content);
  }
  return result;
}

}  // namespace sinkbench
