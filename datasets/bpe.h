// Byte-pair encoding of one word (Sennrich et al. 2016, https://arxiv.org/abs/1508.07909), as
// tokenizers' BPE model does it: of the adjacent pairs that have a merge, the one of the lowest
// rank goes first, the leftmost where several have it, until none is left.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "datasets/tokenizer_json.h"
#include "datasets/unicode_classes.h"
#include "datasets/vocabulary.h"

namespace sinkbench {

class Bpe {
 public:
  /// Buffers of one encoding thread, kept to be used again.
  struct Scratch {
    struct Symbol {
      int32_t id;
      int32_t previous, next;  // among the symbols, -1 for none
      uint32_t rank;           // of the merge with the next symbol
    };
    std::vector<int32_t> ids;
    std::vector<Symbol> symbols;
    std::vector<uint64_t> queue;
  };

  /// Takes vocabulary and merges out of `json`. InputError where they contradict each other or the
  /// model's options aren't supported.
  explicit Bpe(TokenizerJson& json);

  /// Appends the ids of one word. The time is O(n log n) in its length, at worst.
  void encode(std::string_view word, Scratch& scratch, std::vector<int32_t>& ids) const;

  /// Calls `f` on consecutive pieces of `text` whose ids, one after the other, are those of the
  /// whole `text` as one word: it is cut only between characters that no merge ever joins.
  template <typename F>
  void for_each_piece(std::string_view text, F&& f) const;

  const Vocabulary& vocabulary() const { return vocabulary_; }
  size_t merge_count() const { return merge_count_; }
  bool byte_fallback() const { return byte_fallback_; }

 private:
  static constexpr uint32_t kNoMerge = ~uint32_t{0};
  struct Merge {
    uint64_t pair = ~uint64_t{0};  // left id << 32 | right id; this value where the slot is free
    uint32_t rank = kNoMerge;
    int32_t id = -1;  // of the merged token
  };
  /// Kinds of characters that for_each_piece tells apart: ASCII, U+2581 (which stands for a space
  /// in SentencePiece's vocabularies) and all others.
  static constexpr int kMetaspace = 128, kOther = 129, kKinds = 130;

  void read_options(const JsonField& model);
  void read_merges(const TokenizerJson& json);
  void find_cuts(const TokenizerJson& json);

  const Merge& merge_of(int32_t left, int32_t right) const;
  void append_symbols(std::string_view word, std::vector<int32_t>& symbols) const;
  void merge_short(std::vector<int32_t>& symbols) const;
  void merge_long(Scratch& scratch) const;

  Vocabulary vocabulary_;
  size_t merge_count_ = 0;
  std::vector<Merge> merges_;  // open addressing, a power of two of them
  bool ignore_merges_ = false;
  bool byte_fallback_ = false;
  bool fuse_unk_ = false;
  int32_t unk_id_ = -1;
  std::string no_unk_;                 // the complaint where there is an unk_token that is no token
  std::array<int32_t, 256> byte_ids_;  // of "<0x00>" to "<0xFF>", -1 where there is none
  bool cuts_ = false;                  // whether may_cut_ has any
  std::array<std::array<bool, kKinds>, kKinds> may_cut_{};  // [left][right]
};

template <typename F>
void Bpe::for_each_piece(std::string_view text, F&& f) const {
  if (!cuts_) return f(text);
  const char* begin = text.data();
  const char* const end = begin + text.size();
  const char* p = begin;
  int left = -1;
  while (p < end) {
    const CodePoint c = decode_utf8(p);
    const int right = c.value < 128       ? static_cast<int>(c.value)
                      : c.value == 0x2581 ? kMetaspace
                                          : kOther;
    if (left >= 0 && may_cut_[left][right]) {
      f(std::string_view(begin, static_cast<size_t>(p - begin)));
      begin = p;
    }
    left = right;
    p += c.length;
  }
  if (begin < end) f(std::string_view(begin, static_cast<size_t>(end - begin)));
}

}  // namespace sinkbench
