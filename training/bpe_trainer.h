// A byte-level BPE tokenizer trained from text (Sennrich et al. 2016; bytes as in GPT-2).
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

namespace sinkbench {

using WordCounts = std::unordered_map<std::string, int64_t>;

/// Adds to `counts` the words of `text` (valid UTF-8), cut as GPT-2's pre-tokenizer cuts: a word
/// keeps the space before it.
void count_words(std::string_view text, WordCounts& counts);

/// The pairs of byte strings to be joined, in order. Each is the most frequent pair of neighbours
/// in the words once the earlier ones are joined; of equally frequent ones the pair whose parts
/// became tokens first (the 256 bytes in their order, then each join's result). At most
/// `max_merges`; fewer where no pair of neighbours is left.
std::vector<std::pair<std::string, std::string>> train_bpe(const WordCounts& counts,
                                                           int64_t max_merges);

/// A Hugging Face tokenizer.json of these merges: <s> (id 0), which the post-processor puts before
/// every text, then the 256 bytes, then the merged tokens in order.
std::string bpe_tokenizer_json(const std::vector<std::pair<std::string, std::string>>& merges);

/// What bpe_tokenizer_json adds to the merges: 256 bytes and <s>.
inline constexpr int64_t kBpeBaseTokens = 257;

}  // namespace sinkbench
