#include "training/corpus.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <chrono>
#include <nlohmann/json.hpp>
#include <optional>

#include "base/error.h"
#include "base/sha256.h"
#include "base/text.h"
#include "datasets/documents.h"
#include "datasets/tokenizer.h"
#include "training/bpe_trainer.h"

namespace sinkbench {
namespace {

namespace fs = std::filesystem;
using Say = std::function<void(const std::string&)>;

static_assert(std::endian::native == std::endian::little, "ids are kept as they are in memory");

bool excluded(const std::string& title, const std::vector<std::string>& parts) {
  const std::string lower = lower_case(title);
  return std::any_of(parts.begin(), parts.end(), [&](const std::string& part) {
    return lower.find(part) != std::string::npos;
  });
}

/// Where a document falls in [0, 1), by its text alone.
double place_of(const std::string& text) {
  return static_cast<double>(std::stoul(sha256_hex(text).substr(0, 8), nullptr, 16)) / 4294967296.0;
}

/// Calls visit(document, held out?) until it returns false. Returns what there is to know of the
/// texts, where all were read.
template <typename Visit>
std::vector<std::string> each_document(const CorpusConfig& corpus, const Visit& visit) {
  DocumentReader reader(corpus.text, {.field = corpus.text_field});
  while (const std::optional<Document> document = reader.next()) {
    if (excluded(document->title, corpus.exclude_titles)) continue;
    if (!visit(*document, place_of(document->text) < corpus.held_out)) return {};
  }
  return reader.notes();
}

std::string key_of(const nlohmann::json& settings) {
  return sha256_hex(settings.dump()).substr(0, 16);
}

void train_tokenizer(const CorpusConfig& corpus, const TokenizerConfig& config,
                     const fs::path& path, const Say& say) {
  WordCounts counts;
  int64_t bytes = 0;
  each_document(corpus, [&](const Document& document, bool held_out) {
    if (held_out) return true;
    count_words(document.text, counts);
    bytes += static_cast<int64_t>(document.text.size());
    return bytes < config.sample_bytes;
  });
  say(fmt::format("tokenizer: {} different words in {:.1f} MB of text", counts.size(),
                  static_cast<double>(bytes) / 1e6));
  const auto merges = train_bpe(counts, config.vocab - kBpeBaseTokens);
  if (static_cast<int64_t>(merges.size()) + kBpeBaseTokens < config.vocab) {
    throw InputError::format(
        "{}: too little text for a vocabulary of {}: only {} tokens can be made",
        corpus.text.front().string(), config.vocab, merges.size() + kBpeBaseTokens);
  }
  write_file_atomically(path, bpe_tokenizer_json(merges));
}

}  // namespace

Corpus::Corpus(const fs::path& train, const fs::path& held_out, const fs::path& tokenizer_json,
               std::string key)
    : train_(train), held_out_(held_out), tokenizer_json_(tokenizer_json), key_(std::move(key)) {}

std::span<const uint16_t> Corpus::ids(const MappedFile& file) {
  return {reinterpret_cast<const uint16_t*>(file.bytes().data()),
          file.bytes().size() / sizeof(uint16_t)};
}

Corpus prepare_corpus(const CorpusConfig& corpus, const TokenizerConfig& tokenizer,
                      const fs::path& cache, const Say& say) {
  for (const fs::path& path : corpus.text) {
    if (fs::exists(path)) continue;
    throw InputError::format(
        "{}: no such file or folder; expected the corpus, which isn't part of sinkbench: a .jsonl "
        "or .jsonl.zst file with a book in the field '{}' of each line, or a folder of .txt files "
        "(data.text of the configuration, or --set data.text=PATH)",
        path.string(), corpus.text_field);
  }
  fs::create_directories(cache);
  Sha256 content;
  const DocumentReader reader(corpus.text, {.field = corpus.text_field});
  for (const fs::path& file : reader.files()) {
    content.update(MappedFile(file).bytes());
  }
  nlohmann::json settings{{"format", 1},
                          {"content", content.hex()},
                          {"text_field", corpus.text_field},
                          {"exclude_titles", corpus.exclude_titles},
                          {"held_out", corpus.held_out}};

  fs::path tokenizer_json = tokenizer.path;
  if (tokenizer_json.empty()) {
    nlohmann::json with_tokenizer = settings;
    with_tokenizer["vocab"] = tokenizer.vocab;
    with_tokenizer["sample_bytes"] = tokenizer.sample_bytes;
    tokenizer_json = cache / fmt::format("tokenizer-{}.json", key_of(with_tokenizer));
    if (!fs::exists(tokenizer_json)) train_tokenizer(corpus, tokenizer, tokenizer_json, say);
  }

  const Tokenizer encoder = Tokenizer::load(tokenizer_json);
  if (encoder.vocab_size() > 65536) {
    throw InputError::format("{}: expected at most 65536 tokens, found {}", tokenizer_json.string(),
                             encoder.vocab_size());
  }
  settings["tokenizer"] = encoder.sha256();
  const std::string key = key_of(settings);
  const fs::path train = cache / fmt::format("train-{}.u16", key);
  const fs::path held_out = cache / fmt::format("held-out-{}.u16", key);
  if (!fs::exists(train) || !fs::exists(held_out)) {
    std::string train_bytes, held_out_bytes;
    int64_t documents = 0;
    auto said = std::chrono::steady_clock::now();
    const auto notes = each_document(corpus, [&](const Document& document, bool is_held_out) {
      const std::vector<int32_t> ids = encoder.encode(document.text, false);
      const std::vector<uint16_t> narrow(ids.begin(), ids.end());
      (is_held_out ? held_out_bytes : train_bytes)
          .append(reinterpret_cast<const char*>(narrow.data()), narrow.size() * sizeof(uint16_t));
      ++documents;
      if (const auto now = std::chrono::steady_clock::now();
          now - said > std::chrono::seconds(10)) {
        say(fmt::format("encoding: {} documents, {:.1f} million tokens", documents,
                        static_cast<double>(train_bytes.size() + held_out_bytes.size()) / 2e6));
        said = now;
      }
      return true;
    });
    for (const std::string& note : notes) say(note);
    write_file_atomically(held_out, held_out_bytes);
    write_file_atomically(train, train_bytes);
  }
  return Corpus(train, held_out, tokenizer_json, key);
}

}  // namespace sinkbench
