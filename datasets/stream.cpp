#include "datasets/stream.h"

#include <algorithm>
#include <fstream>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/file.h"
#include "base/json.h"
#include "base/sha256.h"
#include "base/utf8.h"
#include "datasets/text_folder.h"

namespace sinkbench {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kReplacement = "\xEF\xBF\xBD";  // U+FFFD

void check_limit(const std::optional<int64_t>& tokens) {
  if (tokens && *tokens < 2) {
    throw InputError::format("tokens: expected at least 2 (the first is not scored), found {}",
                             *tokens);
  }
}

/// Bytes of the white-space character that `text` begins with, or 0.
size_t leading_white_space(std::string_view text) {
  const auto byte = [&](size_t i) {
    return i < text.size() ? static_cast<unsigned char>(text[i]) : 0u;
  };
  if (byte(0) == ' ' || (byte(0) >= '\t' && byte(0) <= '\r')) return 1;
  if (byte(0) == 0xC2) return byte(1) == 0x85 || byte(1) == 0xA0 ? 2 : 0;  // U+0085, U+00A0
  const unsigned point = (byte(0) & 0xF) << 12 | (byte(1) & 0x3F) << 6 | (byte(2) & 0x3F);
  const bool space = (byte(0) & 0xF0) == 0xE0 &&
                     (point == 0x1680 || (point >= 0x2000 && point <= 0x200A) || point == 0x2028 ||
                      point == 0x2029 || point == 0x202F || point == 0x205F || point == 0x3000);
  return space ? 3 : 0;
}

/// `ids` is a prefix of the encoding of `text`: the part of the text that it stands for.
std::string covered(const Tokenizer& tokenizer, std::span<const int32_t> ids,
                    std::string_view text) {
  std::string decoded = tokenizer.decode(ids);
  // The bytes of a character that the cut has split come out as replacements.
  while (decoded.ends_with(kReplacement) && !text.starts_with(decoded)) {
    decoded.resize(decoded.size() - kReplacement.size());
  }
  return decoded;
}

/// Pieces of `tokens` ids; what is left at the end is one too, if it has two.
void cut(TokenStream& stream, int64_t tokens) {
  const auto size = static_cast<int64_t>(stream.ids.size());
  for (int64_t begin = tokens; begin < size; begin += tokens) {
    if (size - begin < 2) {
      stream.ids.pop_back();
      return;
    }
    stream.pieces.push_back(begin);
  }
}

struct Words {
  int64_t words = 0;
  int64_t white_space = 0;  // characters between them
};

Words count_words(std::string_view text) {
  Words count;
  bool inside = false;
  for (size_t i = 0; i < text.size();) {
    const size_t space = leading_white_space(text.substr(i, 3));
    if (space == 0 && !inside) ++count.words;
    if (space > 0) ++count.white_space;
    inside = space == 0;
    i += std::max<size_t>(1, space);
  }
  return count;
}

void add(TokenStream::Extent& extent, std::string_view text) {
  const Words count = count_words(text);
  extent.bytes += static_cast<int64_t>(text.size());
  extent.words += count.words;
  extent.characters += count_characters(text);
  extent.white_space += count.white_space;
}

TextFacts facts_of(const DocumentReader& reader) {
  TextFacts facts;
  for (const FileFacts& file : reader.read()) {
    facts.files.push_back(file.file);
    facts.documents += file.documents;
    facts.characters += file.characters;
    facts.replaced_bytes += file.replaced_bytes;
    facts.crlf_line_ends += file.crlf_line_ends;
    facts.byte_order_marks += file.byte_order_marks;
  }
  facts.notes = reader.notes();
  return facts;
}

/// Says so where many of the scored ids are a BOS before a document: they cost a model many nats
/// each, and the text doesn't have them.
void note_scored_prefixes(TokenStream& stream, const std::vector<bool>& is_prefix) {
  auto count = std::count(is_prefix.begin(), is_prefix.end(), true);
  for (const int64_t piece : stream.pieces) count -= is_prefix[static_cast<size_t>(piece)];
  const int64_t scored = std::ssize(stream.ids) - std::ssize(stream.pieces);
  if (count * 100 < scored) return;
  stream.facts.notes.push_back(
      fmt::format("{} of {} scored tokens are the BOS before a document: perplexity counts them",
                  count, scored));
}

/// Says so where a stream is shorter than was asked for.
void note_shortness(TokenStream& stream, std::optional<int64_t> tokens) {
  if (!tokens || std::ssize(stream.ids) >= *tokens) return;
  stream.facts.notes.push_back(
      fmt::format("the text ends after {} of the {} tokens asked for", stream.ids.size(), *tokens));
}

/// Of what is scored where there are several pieces: each is decoded without its first id.
/// `is_prefix` says which ids stand for no text.
TokenStream::Extent extent_of_pieces(const TokenStream& stream, const Tokenizer& tokenizer,
                                     const std::vector<bool>& is_prefix) {
  TokenStream::Extent extent;
  for (size_t i = 0; i < stream.pieces.size(); ++i) {
    const auto end = i + 1 < stream.pieces.size() ? static_cast<size_t>(stream.pieces[i + 1])
                                                  : stream.ids.size();
    const auto begin = static_cast<size_t>(stream.pieces[i]);
    std::vector<int32_t> scored;
    for (size_t at = begin + 1; at < end; ++at) {
      if (!is_prefix[at]) scored.push_back(stream.ids[at]);
    }
    std::string text = tokenizer.decode(scored);
    // A decoder that takes the space at a text's begin away must not take one from its middle.
    if (!is_prefix[begin]) {
      const int32_t first = stream.ids[begin];
      const std::string unscored = tokenizer.decode({&first, 1});
      scored.insert(scored.begin(), first);
      const std::string whole = tokenizer.decode(scored);
      if (whole.starts_with(unscored)) text = whole.substr(unscored.size());
    }
    add(extent, text);
  }
  return extent;
}

}  // namespace

std::string ids_sha256(std::span<const int32_t> ids) {
  std::string bytes;
  bytes.reserve(4 * ids.size());
  for (const int32_t id : ids) {
    for (int shift = 0; shift < 32; shift += 8) {
      bytes.push_back(static_cast<char>(static_cast<uint32_t>(id) >> shift));
    }
  }
  return sha256_hex(bytes);
}

int64_t count_whitespace_words(std::string_view text) {
  return count_words(text).words;
}

TokenStream read_text_stream(const TextSource& source, const Tokenizer& tokenizer) {
  check_limit(source.tokens);
  std::vector<int32_t> prefix;
  if (source.bos != BosPlacement::none) prefix = source.prefix.value_or(tokenizer.prefix());
  const auto limit = static_cast<size_t>(source.tokens.value_or(INT64_MAX));

  TokenStream stream;
  TokenStream::Extent extent;
  std::vector<bool> is_prefix;  // of each id
  Sha256 content;
  DocumentReader reader(source.paths, source.documents);
  while (stream.ids.size() < limit) {
    const std::optional<Document> document = reader.next();
    if (!document) break;
    const size_t begin = stream.ids.size();
    std::string_view text = document->text;
    content.update(text);
    if (stream.ids.empty() || source.bos == BosPlacement::document) {
      const size_t fits = std::min(prefix.size(), limit - stream.ids.size());
      stream.ids.insert(stream.ids.end(), prefix.begin(), prefix.begin() + fits);
      is_prefix.resize(stream.ids.size(), true);
    }
    std::vector<int32_t> ids =
        tokenizer.encode(text, /*add_special_tokens=*/false, source.special_tokens);

    // What the scored ones of this document's ids stand for.
    const size_t room = limit - stream.ids.size();
    std::string fitting;
    if (ids.size() > room) {
      ids.resize(room);
      fitting = covered(tokenizer, ids, text);
      text = fitting;
    }
    if (stream.ids.empty() && !ids.empty()) {
      const size_t unscored = tokenizer.decode(std::span(ids).first(1)).size();
      text.remove_prefix(std::min(unscored, text.size()));
    }
    if (stream.ids.empty()) {
      stream.ids = std::move(ids);
    } else {
      stream.ids.insert(stream.ids.end(), ids.begin(), ids.end());
    }
    is_prefix.resize(stream.ids.size(), false);
    if (source.reset && source.reset->tokens == 0) {
      if (stream.ids.size() - begin < 2 || is_prefix.back()) {
        stream.ids.resize(begin);  // nothing to score
        is_prefix.resize(begin);
        continue;
      }
      if (begin > 0) stream.pieces.push_back(static_cast<int64_t>(begin));
    }
    add(extent, text);
  }
  reader.finish();
  stream.facts = facts_of(reader);
  note_shortness(stream, source.tokens);
  if (source.reset && source.reset->tokens > 0) cut(stream, source.reset->tokens);
  if (stream.ids.size() < 2) {
    throw InputError::format("{}: expected a text of at least 2 tokens, found {}",
                             source.paths.empty() ? "text" : source.paths.front().string(),
                             stream.ids.size());
  }
  note_scored_prefixes(stream, is_prefix);
  stream.ids_sha256 = ids_sha256(stream.ids);
  stream.content_sha256 = content.hex();
  stream.scored_text =
      stream.pieces.size() > 1 ? extent_of_pieces(stream, tokenizer, is_prefix) : extent;
  return stream;
}

bool holds_token_ids(const fs::path& file) {
  if (text_name(file) != TextName::json) return false;
  std::ifstream stream(file);
  char bracket = 0, element = 0;
  stream >> bracket >> element;  // without white space
  return bracket == '[' && (element == '-' || (element >= '0' && element <= '9') || element == ']');
}

TokenStream read_token_file(const fs::path& file, int64_t vocab_size, std::optional<int64_t> tokens,
                            std::optional<Reset> reset) {
  check_limit(tokens);
  if (reset && reset->tokens == 0) {
    throw InputError::format(
        "{}: dataset.reset is 'document', and a file of token ids has no "
        "documents; expected a number of tokens",
        file.string());
  }
  const MappedFile bytes(file);
  nlohmann::json array;
  try {
    array = parse_json(bytes.text());
  } catch (const nlohmann::json::exception& error) {
    throw InputError::format("{}: expected a JSON array of token ids: {}", file.string(),
                             json_reason(error));
  }
  if (!array.is_array()) {
    throw InputError::format("{}: expected a JSON array of token ids, found another JSON value: {}",
                             file.string(), array.type_name());
  }
  TokenStream stream;
  stream.facts.files = {file};
  for (size_t i = 0; i < array.size(); ++i) {
    const nlohmann::json& id = array[i];
    // As unsigned: a negative number is then too large, and none wraps around.
    if (!id.is_number_unsigned() || id.get<uint64_t>() >= static_cast<uint64_t>(vocab_size)) {
      throw InputError::format("{}: element {}: expected a token id from 0 to {}, found {}",
                               file.string(), i, vocab_size - 1, id.dump());
    }
    stream.ids.push_back(id.get<int32_t>());
  }
  if (tokens && static_cast<size_t>(*tokens) < stream.ids.size()) {
    stream.ids.resize(static_cast<size_t>(*tokens));
  }
  note_shortness(stream, tokens);
  if (reset) cut(stream, reset->tokens);
  if (stream.ids.size() < 2) {
    throw InputError::format("{}: expected at least 2 token ids, found {}", file.string(),
                             stream.ids.size());
  }
  stream.ids_sha256 = ids_sha256(stream.ids);
  stream.content_sha256 = sha256_hex(bytes.text());
  return stream;
}

}  // namespace sinkbench
