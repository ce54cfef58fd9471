// Tokens that are looked for in the text before it is cut into words, such as "<|endoftext|>".
#pragma once

#include <cstdint>
#include <list>
#include <map>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "datasets/normalizer.h"
#include "datasets/tokenizer_json.h"
#include "datasets/vocabulary.h"

namespace sinkbench {

struct AddedToken {
  int32_t id = 0;
  std::string content;
  bool single_word = false;  // not where a letter or the like is beside it
  bool lstrip = false;       // takes the spaces before it
  bool rstrip = false;       // and after it
  bool normalized = false;   // looked for in the normalized text, itself normalized
  bool special = false;      // decoding can leave it out
  bool spelled = true;       // whether a text can spell it out
};

/// Finds tokens in a text: the leftmost first, the longest of those that start there.
class TokenFinder {
 public:
  /// Adds what to look for, not empty; where it is there already, the first stays. `token` must
  /// outlive this.
  void add(std::string_view text, const AddedToken& token);

  /// Calls `on_text` on each part of `text` between tokens, if not empty, and `on_token` on each
  /// token's id, in order. Without `special` the special ones are text as any other.
  template <typename OnText, typename OnToken>
  void split(std::string_view text, bool special, OnText&& on_text, OnToken&& on_token) const;

 private:
  struct Match {
    size_t begin = 0, end = 0;
    const AddedToken* token = nullptr;  // nullptr where nothing is found
  };
  /// The first match at or after `from`.
  Match find(std::string_view text, size_t from) const;
  /// Whether a match stands where its token may stand, with the spaces it takes.
  bool settle(std::string_view text, size_t done, Match& match) const;

  bool starts_[256] = {};  // whether a token starts with the byte
  // A trie; node 0 is the root.
  std::unordered_map<uint64_t, uint32_t> children_;  // of node << 8 | byte
  std::vector<const AddedToken*> tokens_{nullptr};   // that end at each node, if one does
};

/// tokenizer.json's added_tokens (and what SentencePiece has beside them), put together as
/// tokenizers' add_tokens does it: of a token that comes again the last counts, and an empty one is
/// passed over.
class AddedTokens {
 public:
  /// A token's id is that of `vocabulary` if it is there, else the next free one whatever the file
  /// says: from the number of the vocabulary's tokens upwards.
  AddedTokens(const TokenizerJson& json, const Vocabulary& vocabulary,
              const Normalizer& normalizer);
  AddedTokens(const AddedTokens&) = delete;
  AddedTokens& operator=(const AddedTokens&) = delete;

  const TokenFinder& raw() const { return raw_; }                // in the text as it is given
  const TokenFinder& normalized() const { return normalized_; }  // in the normalized text

  const AddedToken* find(std::string_view content) const;
  const AddedToken* find(int32_t id) const;
  int32_t max_id() const { return max_id_; }
  /// The special ones, by id.
  std::map<int32_t, std::string> special() const;
  size_t size() const { return by_id_.size(); }
  /// What the user should be told: ids that are not those of the file.
  const std::vector<std::string>& notes() const { return notes_; }

 private:
  void add(const JsonField& field, const Vocabulary& vocabulary);

  std::map<int32_t, AddedToken> by_id_;
  std::unordered_map<std::string, int32_t> by_content_;
  int32_t max_id_ = -1;
  int32_t last_new_ = -1;  // the last id of a token that the vocabulary lacks
  std::vector<std::string> notes_;
  std::list<AddedToken> symbols_;  // of which the finder knows the ids
  TokenFinder raw_, normalized_;
};

template <typename OnText, typename OnToken>
void TokenFinder::split(std::string_view text, bool special, OnText&& on_text,
                        OnToken&& on_token) const {
  size_t done = 0;
  size_t search = 0;
  for (Match match; (match = find(text, search)).token != nullptr;) {
    search = match.end;  // the spaces that a token takes may hold the next token all the same
    if (match.token->special && !special) continue;
    if (!settle(text, done, match)) continue;
    if (done < match.begin) on_text(text.substr(done, match.begin - done));
    on_token(match.token->id);
    done = match.end;
  }
  if (done < text.size()) on_text(text.substr(done));
}

}  // namespace sinkbench
