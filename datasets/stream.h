// The token stream: what is fed to a model, and what its scores must be divided by.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "datasets/documents.h"
#include "datasets/tokenizer.h"

namespace sinkbench {

/// Where the BOS, or whatever else the tokenizer or the source puts before a text, stands: once at
/// the start, at the start of every document, or nowhere.
enum class BosPlacement { stream, document, none };

/// Where a stream is cut into pieces, each run from an empty cache.
struct Reset {
  int64_t tokens = 0;  ///< every so many; 0: at each document
  auto operator<=>(const Reset&) const = default;
};

struct TextSource {
  std::vector<std::filesystem::path> paths;  // as DocumentReader takes them
  DocumentOptions documents = {};
  BosPlacement bos = BosPlacement::stream;
  std::optional<std::vector<int32_t>> prefix = {};      // in place of the tokenizer's own
  SpecialTokens special_tokens = SpecialTokens::parse;  // that are spelled out in the text
  std::optional<int64_t> tokens = {};  // at most so many ids are fed, the BOS included; at least 2
  std::optional<Reset> reset = {};
};

/// What was read of a text dataset. Numbers are of the documents read.
struct TextFacts {
  std::vector<std::filesystem::path> files;  // that were read, the last one perhaps in part
  int64_t documents = 0;
  int64_t characters = 0;  // code points; this and what follows as in FileFacts
  int64_t replaced_bytes = 0;
  int64_t crlf_line_ends = 0;
  int64_t byte_order_marks = 0;
  std::vector<std::string> notes;  // as DocumentReader has them
};

/// A model is fed `ids` in order and scored on every id but the first of each piece.
struct TokenStream {
  std::vector<int32_t> ids;           // at least 2
  std::vector<int64_t> pieces = {0};  // where they begin; each has at least 2 ids
  TextFacts facts;                    // of a tokens file: its name alone
  std::string ids_sha256;             // what was fed
  std::string
      content_sha256;  // of the text of the documents read, or of the bytes of a tokens file

  /// The part of the text that the scored ids stand for: all of it, but without a first token of a
  /// piece that isn't a BOS, and up to the last whole character where `tokens` cuts it off.
  struct Extent {
    int64_t bytes = 0;  // of UTF-8
    int64_t words = 0;  // as count_whitespace_words counts
    int64_t characters = 0;
    int64_t white_space = 0;  // characters

    /// Words that are words: nothing where fewer than 1 character in 20 is white space, as in
    /// Chinese or a table of numbers.
    std::optional<int64_t> sensible_words() const {
      return white_space * 20 >= characters ? std::optional(words) : std::nullopt;
    }
  };
  std::optional<Extent> scored_text;  // nothing for a tokens file, whose text isn't known
};

/// Reads documents until `source.tokens` ids are there. Each document is encoded by itself, whole
/// (so that a limited stream is a prefix of the unlimited one, whatever the tokenizer), and the ids
/// are joined. With a reset, what would be a piece of one token is left out. InputError where a
/// path is bad, as DocumentReader has it, or where there are fewer than two tokens.
TokenStream read_text_stream(const TextSource& source, const Tokenizer& tokenizer);

/// Reads a JSON array of token ids, taken as they are: nothing is added. InputError names the file
/// and the first element (index from 0, value) that isn't an id in [0, vocab_size); there are no
/// documents to reset at.
TokenStream read_token_file(const std::filesystem::path& file, int64_t vocab_size,
                            std::optional<int64_t> tokens = std::nullopt,
                            std::optional<Reset> reset = std::nullopt);

/// Whether a file is what read_token_file reads and not text: its name ends in .json, and it begins
/// as an array of numbers.
bool holds_token_ids(const std::filesystem::path& file);

/// SHA-256 of ids as little-endian uint32.
std::string ids_sha256(std::span<const int32_t> ids);

/// The number of maximal runs of characters that aren't white space (Unicode's White_Space).
int64_t count_whitespace_words(std::string_view text);

}  // namespace sinkbench
