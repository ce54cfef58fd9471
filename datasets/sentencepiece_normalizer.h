// How SentencePiece normalizes a text: normalizer_spec of its model.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "datasets/chars_map.h"
#include "datasets/trie.h"

namespace sinkbench {

/// As Normalizer::Normalize of https://github.com/google/sentencepiece does it.
struct SentencePieceNormalizer {
  std::shared_ptr<const CharsMap> chars_map;  ///< nullptr: characters stay as they are
  Trie symbols;                  ///< user-defined ones, which stay as they are, the longest first
  bool add_dummy_prefix = true;  ///< a space in front of every text that isn't empty
  bool remove_extra_whitespaces = true;  ///< at both ends, and all but one of a run of them
  bool escape_whitespaces = true;        ///< U+2581 for every space
  bool whitespace_as_suffix = false;     ///< the dummy goes behind the text

  /// Takes and gives valid UTF-8.
  std::string apply(std::string_view text) const;
};

}  // namespace sinkbench
