// SentencePiece's precompiled_charsmap: what strings become when a text is normalized.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace sinkbench {

/// The format is that of normalizer.cc in https://github.com/google/sentencepiece: the size of a
/// trie in bytes, 32 bits; the trie, a double array of https://github.com/s-yata/darts-clone, whose
/// values are places in what follows: replacements that end with a NUL each. Nothing in a damaged
/// one is read out of bounds.
class CharsMap {
 public:
  /// InputError, which begins with `where`, where `blob` isn't of that format.
  CharsMap(std::string_view blob, const std::string& where);

  struct Rule {
    size_t length = 0;             // of what is replaced, in bytes; 0: there is none
    std::string_view replacement;  // may be empty
  };
  /// The rule for the longest, or the shortest, string that `text` begins with.
  Rule longest(std::string_view text) const { return find(text, false); }
  Rule shortest(std::string_view text) const { return find(text, true); }

 private:
  Rule find(std::string_view text, bool first) const;

  std::vector<uint32_t> units_;
  std::string replacements_;
};

}  // namespace sinkbench
