#include "training/bpe_trainer.h"

#include <unistd.h>

#include <filesystem>
#include <map>
#include <random>

#include "base/error.h"
#include "base/file.h"
#include "datasets/tokenizer.h"
#include "tests/catch.h"

using namespace sinkbench;
namespace fs = std::filesystem;

namespace {

using Merges = std::vector<std::pair<std::string, std::string>>;

/// The definition, counting all pairs anew for every merge.
Merges naive_bpe(const WordCounts& counts, int64_t max_merges) {
  std::vector<std::string> tokens;
  for (int byte = 0; byte < 256; ++byte) tokens.push_back({static_cast<char>(byte)});
  std::vector<std::pair<std::vector<int>, int64_t>> words;
  for (const auto& [word, count] : counts) {
    words.push_back({std::vector<int>(), count});
    for (const char c : word) words.back().first.push_back(static_cast<unsigned char>(c));
  }
  Merges merges;
  for (; static_cast<int64_t>(merges.size()) < max_merges;) {
    std::map<std::pair<int, int>, int64_t> pairs;
    for (const auto& [ids, count] : words) {
      for (size_t i = 1; i < ids.size(); ++i) pairs[{ids[i - 1], ids[i]}] += count;
    }
    // In the map's order, so that the first of equally frequent pairs is the smallest.
    std::pair<int, int> best;
    int64_t highest = 0;
    for (const auto& [pair, count] : pairs) {
      if (count > highest) std::tie(best, highest) = std::pair(pair, count);
    }
    if (highest == 0) break;
    for (auto& [ids, count] : words) {
      for (size_t i = 1; i < ids.size(); ++i) {
        if (std::pair(ids[i - 1], ids[i]) == best) {
          ids[i - 1] = static_cast<int>(tokens.size());
          ids.erase(ids.begin() + static_cast<std::ptrdiff_t>(i));
        }
      }
    }
    merges.emplace_back(tokens[best.first], tokens[best.second]);
    tokens.push_back(merges.back().first + merges.back().second);
  }
  return merges;
}

}  // namespace

TEST_CASE("words are cut as GPT-2 cuts them and cover the text") {
  WordCounts counts;
  count_words("It's  a caf\xC3\xA9, it's 42!\n\n", counts);
  const WordCounts expected{{"It", 1}, {"'s", 2},  {" ", 1},   {" a", 1}, {" caf\xC3\xA9", 1},
                            {",", 1},  {" it", 1}, {" 42", 1}, {"!", 1},  {"\n\n", 1}};
  CHECK(counts == expected);
  count_words("It", counts);
  CHECK(counts.at("It") == 2);
}

TEST_CASE("the BPE trainer joins what its definition joins") {
  // Few letters and short counts: many ties, runs of one letter, and words used up to the last
  // pair.
  const auto seed = GENERATE(range(1u, 21u));
  std::mt19937 random(seed);
  WordCounts counts;
  for (int w = 0; w < 40; ++w) {
    std::string word;
    for (unsigned length = 1 + random() % 12; length > 0; --length) {
      word += static_cast<char>('a' + random() % (2 + seed % 3));
    }
    counts[word] += 1 + random() % 5;
  }
  CHECK(train_bpe(counts, 25) == naive_bpe(counts, 25));
  CHECK(train_bpe(counts, 10000) == naive_bpe(counts, 10000));
}

TEST_CASE("a trained tokenizer loads, puts its BOS first and gives every byte back") {
  WordCounts counts;
  const std::string text =
      "the cat and the hat and the bat; that cat's hat. th\xC3\xA9 \xF0\x9F\x98\x80\n";
  count_words(text, counts);
  const Merges merges = train_bpe(counts, 12);
  REQUIRE(merges.size() == 12);
  const fs::path file =
      fs::temp_directory_path() / fmt::format("sinkbench-bpe-{}.json", ::getpid());
  write_file_atomically(file, bpe_tokenizer_json(merges));
  const Tokenizer tokenizer = Tokenizer::load(file);
  fs::remove(file);

  CHECK(tokenizer.vocab_size() == kBpeBaseTokens + 12);
  CHECK(tokenizer.prefix() == std::vector<int32_t>{0});
  const std::vector<int32_t> ids = tokenizer.encode(text);
  CHECK(ids.front() == 0);
  CHECK(std::count(ids.begin(), ids.end(), 0) == 1);
  CHECK(tokenizer.decode(ids, true) == text);
  CHECK(ids.size() < text.size());
  // The first merge is the first id after the bytes.
  CHECK(tokenizer.encode(merges[0].first + merges[0].second, false) ==
        std::vector<int32_t>{static_cast<int32_t>(kBpeBaseTokens)});
  // The 256 bytes follow the BOS in their order.
  CHECK(tokenizer.encode("\n", false) == std::vector<int32_t>{1 + '\n'});
}
