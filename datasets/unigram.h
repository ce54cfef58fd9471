// The unigram model (Kudo 2018, https://arxiv.org/abs/1804.10959): of all ways to cut a text into
// tokens the one whose scores, logarithms of probabilities, have the highest sum.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "datasets/tokenizer_json.h"
#include "datasets/trie.h"
#include "datasets/vocabulary.h"

namespace sinkbench {

/// Found by the algorithm of Viterbi, as SentencePiece's EncodeOptimized and tokenizers' Unigram do
/// it, ties and rounding included.
class Unigram {
 public:
  /// Buffers of one encoding thread, kept to be used again.
  struct Scratch {
    struct Best {  // of the ways to a byte of the text, which ends there
      double score = 0.0;
      int32_t id = -1;
      int64_t begin = -1;  // of the last token, -1 where the byte isn't reached
    };
    std::vector<Best> best;
    std::vector<size_t> ends;  // of the tokens of the best way, from the last
  };

  /// Takes the vocabulary out of `json`, which has `unigram`.
  explicit Unigram(TokenizerJson& json);

  /// Appends the ids of `text`. Time and memory are proportional to its length.
  void encode(std::string_view text, Scratch& scratch, std::vector<int32_t>& ids) const;

  /// Calls `f` on the whole text: nothing says where it may be cut.
  template <typename F>
  void for_each_piece(std::string_view text, F&& f) const {
    f(text);
  }

  const Vocabulary& vocabulary() const { return vocabulary_; }
  bool byte_fallback() const { return byte_fallback_; }

 private:
  void append_unknown(std::string_view text, std::vector<int32_t>& ids) const;

  Vocabulary vocabulary_;
  Trie trie_;                   // the ids of the tokens that a text may hold
  std::vector<double> scores_;  // by id; NaN of those that no text holds
  double unknown_score_ = 0.0;
  bool single_precision_ = false;
  bool byte_fallback_ = false;
  int32_t unk_id_ = -1;
  std::array<int32_t, 256> byte_ids_;  // of "<0x00>" to "<0xFF>", -1 where there is none
  std::string file_;                   // for messages
};

}  // namespace sinkbench
