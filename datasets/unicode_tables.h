// Unicode as the reference tokenizers see it, whatever version of it the system's libraries follow:
// a word boundary that moves changes the ids. scripts/unicode-tables.py asks the reference.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <utility>

namespace sinkbench {

struct UnicodeTables {
  using Numbers = std::span<const uint32_t>;

  // Where each run of characters with the same value begins: begin << BITS | value.
  static constexpr int kClassBits = 11, kCategoryBits = 5, kScriptBits = 8, kCombiningBits = 8;
  Numbers classes;     // of CharClass (unicode_classes.h)
  Numbers categories;  // a place in category_names
  Numbers scripts;     // a place in script_names
  Numbers combining;   // canonical combining class

  std::span<const std::string_view> category_names;  // "Lu"
  std::span<const std::string_view> script_names;    // "Old_Italic"
  std::span<const std::pair<std::string_view, std::string_view>> short_script_names;

  // Sets, by where their stretches begin and end.
  Numbers alphabetic, uppercase, lowercase, white_space, emoji, ideographic, extended_pictographic;
  Numbers accents;                                   // that StripAccents leaves out
  Numbers bert_accents, bert_controls, bert_spaces;  // BertNormalizer
  Numbers nmt_controls, nmt_spaces;                  // Nmt

  Numbers canonical, compatible;  // a character, how many it becomes, and these
  Numbers composed;               // two characters and the one they become
  Numbers lower;                  // a character and its lower case
};

const UnicodeTables& unicode_tables();

}  // namespace sinkbench
