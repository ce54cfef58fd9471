// What vocabularies that know no merges have in common: SentencePiece's, in a file of its own or in
// GGUF, and tiktoken's.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string_view>
#include <vector>

#include "datasets/tokenizer_json.h"

namespace sinkbench {

/// U+2581, which stands for a space.
inline constexpr std::string_view kSpaceMark = "\xE2\x96\x81";

/// A token of SentencePiece.
struct Piece {
  /// As sentencepiece_model.proto and llama.cpp number them.
  enum Type : int64_t { normal = 1, unknown, control, user_defined, unused, byte };
  std::string_view text;
  float score = 0.0f;
  int64_t type = normal;
};

/// Two pieces that lie side by side become one where that is a piece itself, that of the highest
/// score first, the leftmost of the same score. This says so by merges: every way to put one of
/// `pieces`, the normal ones, together from two others, by falling score; those of the same score
/// have the same rank.
void add_merges(const std::vector<Piece>& pieces, TokenizerJson& out);

/// The decoder, as tokenizer.json writes it: spaces for their mark. Without the one that starts the
/// text if `prefix` says that encoding puts it there; without any at its start if `remove`.
nlohmann::json piece_decoder(bool prefix, bool remove = false);

}  // namespace sinkbench
