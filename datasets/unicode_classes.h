// Character classes exactly as the reference tokenizers see them (datasets/unicode_tables.h), for
// what looks at every character of a text.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace sinkbench {

/// Bits of a character's classes. \p{X} and \s are those of the reference's regular expressions;
/// then comes what its Punctuation and Digits pre-tokenizers split on, and what beside a
/// single_word token makes it none (\w of Rust's regular expressions).
enum CharClass : uint16_t {
  kLu = 1,
  kLt = 2,
  kLl = 4,
  kLm = 8,
  kLo = 16,
  kLetter = kLu | kLt | kLl | kLm | kLo,
  kMark = 32,
  kNumber = 64,
  kSpace = 128,
  kPunctuation = 256,
  kNumeric = 512,
  kWordCharacter = 1024,
};

/// The classes of every code point: 0x110000 entries, of CharClass bits.
const uint16_t* char_classes();

/// One character of valid UTF-8.
struct CodePoint {
  uint32_t value;
  int length;  // bytes
};

/// The character that starts at `p`, which must be valid UTF-8.
inline CodePoint decode_utf8(const char* p) {
  const auto byte = [p](int i) { return static_cast<uint32_t>(static_cast<unsigned char>(p[i])); };
  const uint32_t lead = byte(0);
  if (lead < 0x80) return {lead, 1};
  if (lead < 0xE0) return {(lead & 0x1F) << 6 | (byte(1) & 0x3F), 2};
  if (lead < 0xF0) {
    return {(lead & 0x0F) << 12 | (byte(1) & 0x3F) << 6 | (byte(2) & 0x3F), 3};
  }
  return {(lead & 0x07) << 18 | (byte(1) & 0x3F) << 12 | (byte(2) & 0x3F) << 6 | (byte(3) & 0x3F),
          4};
}

inline bool is_ascii(char c) {
  return static_cast<unsigned char>(c) < 0x80;
}

/// The start of the character before `p`, which must not be the start of the text.
inline const char* previous_utf8(const char* p) {
  do {
    --p;
  } while ((static_cast<unsigned char>(*p) & 0xC0) == 0x80);
  return p;
}

/// Appends the UTF-8 of a Unicode scalar value.
void append_utf8(uint32_t code_point, std::string& text);

}  // namespace sinkbench
