#include "training/bpe_trainer.h"

#include <nlohmann/json.hpp>
#include <queue>
#include <tuple>
#include <unordered_set>

#include "datasets/byte_level.h"
#include "datasets/split_patterns.h"

namespace sinkbench {
namespace {

using Merges = std::vector<std::pair<std::string, std::string>>;

constexpr std::string_view kBos = "<s>";

/// The words as sequences of token ids (bytes, then 256 + the merge's number), and for each pair
/// of neighbouring ids how often it occurs and in which words.
class PairIndex {
 public:
  using Pair = std::pair<int32_t, int32_t>;

  explicit PairIndex(const WordCounts& counts) {
    for (const auto& [word, count] : counts) {
      Word entry{{}, count};
      for (const char c : word) entry.ids.push_back(static_cast<unsigned char>(c));
      words_.push_back(std::move(entry));
    }
    for (size_t w = 0; w < words_.size(); ++w) count_pairs(w, +1);
    refresh_queue();
  }

  /// The most frequent pair, the smaller one of equally frequent ones; false where none is left.
  bool best(Pair& pair) {
    while (!queue_.empty()) {
      const auto [count, left, right] = queue_.top();
      pair = {-left, -right};
      // An entry from before the count changed is stale; the change pushed another.
      const auto entry = pairs_.find(key(pair));
      if (entry != pairs_.end() && entry->second.count == count && count > 0) return true;
      queue_.pop();
    }
    return false;
  }

  void merge(Pair pair, int32_t merged) {
    // Only the words that hold the pair change, and with them only their own pairs' counts.
    const std::vector<size_t> words = std::move(pairs_.at(key(pair)).words);
    for (const size_t w : words) {
      std::vector<int32_t>& ids = words_[w].ids;
      const auto at_pair = [&](size_t i) {
        return i + 1 < ids.size() && Pair(ids[i], ids[i + 1]) == pair;
      };
      size_t found = 0;
      while (found < ids.size() && !at_pair(found)) ++found;
      if (found == ids.size()) continue;
      count_pairs(w, -1);
      size_t kept = 0;
      for (size_t i = 0; i < ids.size(); ++kept) {
        const bool here = at_pair(i);
        ids[kept] = here ? merged : ids[i];
        i += here ? 2 : 1;
      }
      ids.resize(kept);
      count_pairs(w, +1);
    }
    pairs_.erase(key(pair));
    refresh_queue();
  }

 private:
  struct Word {
    std::vector<int32_t> ids;
    int64_t count;
  };
  struct PairEntry {
    int64_t count = 0;
    std::vector<size_t> words;  // all that hold the pair, and perhaps some that no longer do
  };

  static uint64_t key(Pair pair) {
    return static_cast<uint64_t>(pair.first) << 32 | static_cast<uint32_t>(pair.second);
  }

  void count_pairs(size_t w, int sign) {
    const Word& word = words_[w];
    for (size_t i = 0; i + 1 < word.ids.size(); ++i) {
      const Pair pair{word.ids[i], word.ids[i + 1]};
      PairEntry& entry = pairs_[key(pair)];
      entry.count += sign * word.count;
      if (sign > 0 && (entry.words.empty() || entry.words.back() != w)) entry.words.push_back(w);
      changed_.insert(key(pair));
    }
  }

  void refresh_queue() {
    for (const uint64_t changed : changed_) {
      const auto entry = pairs_.find(changed);
      if (entry == pairs_.end() || entry->second.count == 0) continue;
      queue_.push({entry->second.count, -static_cast<int32_t>(changed >> 32),
                   -static_cast<int32_t>(changed & 0xFFFFFFFF)});
    }
    changed_.clear();
  }

  std::vector<Word> words_;
  std::unordered_map<uint64_t, PairEntry> pairs_;
  std::unordered_set<uint64_t>
      changed_;  // pairs whose counts changed since the queue was refreshed
  std::priority_queue<std::tuple<int64_t, int32_t, int32_t>> queue_;  // count, -left, -right
};

}  // namespace

void count_words(std::string_view text, WordCounts& counts) {
  const split_patterns::Gpt2 end_of_word;
  const char* const end = text.data() + text.size();
  for (const char* word = text.data(); word < end;) {
    const char* const next = end_of_word(word, end);
    ++counts[std::string(word, next)];
    word = next;
  }
}

Merges train_bpe(const WordCounts& counts, int64_t max_merges) {
  std::vector<std::string> tokens;
  for (int byte = 0; byte < 256; ++byte) tokens.push_back({static_cast<char>(byte)});
  PairIndex index(counts);
  Merges merges;
  PairIndex::Pair pair;
  while (static_cast<int64_t>(merges.size()) < max_merges && index.best(pair)) {
    index.merge(pair, static_cast<int32_t>(tokens.size()));
    merges.emplace_back(tokens[pair.first], tokens[pair.second]);
    tokens.push_back(merges.back().first + merges.back().second);
  }
  return merges;
}

std::string bpe_tokenizer_json(const Merges& merges) {
  using json = nlohmann::ordered_json;
  const auto spelled = [](std::string_view bytes) {
    std::string text;
    append_byte_alphabet(bytes, text);
    return text;
  };
  json vocab{{kBos, 0}};
  const auto add = [&](std::string_view bytes) {
    const size_t id = vocab.size();
    vocab[spelled(bytes)] = id;
  };
  for (int byte = 0; byte < 256; ++byte) add(std::string(1, static_cast<char>(byte)));
  json rules = json::array();
  for (const auto& [left, right] : merges) {
    add(left + right);
    rules.push_back({spelled(left), spelled(right)});
  }
  const json bos{{"SpecialToken", {{"id", kBos}, {"type_id", 0}}}};
  const json byte_level{{"type", "ByteLevel"},
                        {"add_prefix_space", false},
                        {"trim_offsets", true},
                        {"use_regex", true}};
  const json tokenizer{
      {"version", "1.0"},
      {"truncation", nullptr},
      {"padding", nullptr},
      {"added_tokens",
       {{{"id", 0},
         {"content", kBos},
         {"single_word", false},
         {"lstrip", false},
         {"rstrip", false},
         {"normalized", false},
         {"special", true}}}},
      {"normalizer", nullptr},
      {"pre_tokenizer", byte_level},
      {"post_processor",
       {{"type", "TemplateProcessing"},
        {"single", {bos, {{"Sequence", {{"id", "A"}, {"type_id", 0}}}}}},
        {"pair",
         {bos,
          {{"Sequence", {{"id", "A"}, {"type_id", 0}}}},
          bos,
          {{"Sequence", {{"id", "B"}, {"type_id", 1}}}}}},
        {"special_tokens",
         {{std::string(kBos), {{"id", kBos}, {"ids", {0}}, {"tokens", {kBos}}}}}}}},
      {"decoder", byte_level},
      {"model",
       {{"type", "BPE"},
        {"dropout", nullptr},
        {"unk_token", nullptr},
        {"continuing_subword_prefix", nullptr},
        {"end_of_word_suffix", nullptr},
        {"fuse_unk", false},
        {"byte_fallback", false},
        {"ignore_merges", false},
        {"vocab", vocab},
        {"merges", rules}}}};
  return tokenizer.dump(1) + "\n";
}

}  // namespace sinkbench
