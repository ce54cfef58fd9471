// The split patterns of published tokenizers, matched by hand: several times as fast as a regular
// expression engine, and in time proportional to the text whatever it holds.
//
// Each pattern matches at every position, so that its matches tile the text. `Gpt2`, `Cl100k` and
// `O200k` find the end of the match at `p` < `end`, in valid UTF-8.
#pragma once

#include <string_view>

#include "datasets/unicode_classes.h"

namespace sinkbench::split_patterns {

inline constexpr std::string_view kGpt2 =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";
inline constexpr std::string_view kCl100k =  // tiktoken's cl100k_base; Llama 3
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
inline constexpr std::string_view kQwen2 =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
inline constexpr std::string_view kO200k =  // tiktoken's o200k_base; gpt-oss
    R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+)";

struct Character {
  uint16_t classes;
  int length;
  bool is(uint16_t mask) const { return (classes & mask) != 0; }
};

class Scanner {
 protected:
  // Calls for each character and word would take a quarter of the time.
  [[gnu::always_inline]] Character look(const char* p) const {
    const auto lead = static_cast<unsigned char>(*p);
    if (lead < 0x80) return {table_[lead], 1};
    const CodePoint c = decode_utf8(p);
    return {table_[c.value], c.length};
  }

  /// The end of the run of characters of one of the classes (or, below, of none of them) at `p`.
  [[gnu::always_inline]] const char* run(uint16_t mask, const char* p, const char* end) const {
    while (p < end) {
      const Character c = look(p);
      if (!c.is(mask)) break;
      p += c.length;
    }
    return p;
  }
  const char* run_without(uint16_t mask, const char* p, const char* end) const {
    while (p < end) {
      const Character c = look(p);
      if (c.is(mask)) break;
      p += c.length;
    }
    return p;
  }

  /// \p{N}{1,3} and the like, at a number.
  const char* numbers(int most, const char* p, const char* end) const {
    for (int i = 0; i < most && p < end; ++i) {
      const Character c = look(p);
      if (!c.is(kNumber)) break;
      p += c.length;
    }
    return p;
  }

  static bool is_newline(char c) { return c == '\r' || c == '\n'; }

  /// `\s*[\r\n]+|\s+(?!\S)|\s+` at a space: up to the last newline of the run of spaces; where
  /// there is none, all of it but its last character, which goes with the word that follows.
  /// Without `newlines` the first alternative is left out.
  const char* spaces(bool newlines, const char* p, const char* end) const {
    const char* last = p;  // the start of the last space so far
    const char* after_newline = nullptr;
    const char* q = p;
    while (q < end) {
      const Character c = look(q);
      if (!c.is(kSpace)) break;
      last = q;
      q += c.length;
      if (is_newline(*last)) after_newline = q;
    }
    if (newlines && after_newline != nullptr) return after_newline;
    return q == end || last == p ? q : last;
  }

  /// The length of 's, 't, 're, 've, 'm, 'll or 'd at `p`, in lower case only or in any; 0 if there
  /// is none.
  static int contraction(bool any_case, const char* p, const char* end) {
    const auto letter = [&](int i) {
      const char c = p + i < end ? p[i] : '\0';
      return any_case && c >= 'A' && c <= 'Z' ? static_cast<char>(c + ('a' - 'A')) : c;
    };
    if (*p != '\'') return 0;
    const char first = letter(1), second = letter(2);
    if (first == 's' || first == 't' || first == 'm' || first == 'd') return 2;
    if ((first == 'r' || first == 'v') && second == 'e') return 3;
    if (first == 'l' && second == 'l') return 3;
    // U+017F, the long s, is an s of another case.
    if (any_case && first == '\xC5' && second == '\xBF') return 3;
    return 0;
  }

 private:
  const uint16_t* table_ = char_classes();
};

class Gpt2 : Scanner {
 public:
  const char* operator()(const char* p, const char* end) const {
    if (const int length = contraction(false, p, end); length > 0) return p + length;
    const char* word = p;
    Character c = look(p);
    if (*p == ' ' && p + 1 < end) {
      const Character next = look(p + 1);
      if (!next.is(kSpace)) {
        ++word;
        c = next;
      }
    }
    if (c.is(kSpace)) return spaces(false, p, end);
    if (c.is(kLetter)) return run(kLetter, word + c.length, end);
    if (c.is(kNumber)) return run(kNumber, word + c.length, end);
    return run_without(kSpace | kLetter | kNumber, word + c.length, end);
  }
};

template <int kMostNumbers>
class Cl100k : Scanner {
 public:
  const char* operator()(const char* p, const char* end) const {
    if (const int length = contraction(true, p, end); length > 0) return p + length;
    const Character c = look(p);
    if (c.is(kLetter)) return run(kLetter, p + c.length, end);
    if (c.is(kNumber)) return numbers(kMostNumbers, p, end);
    const char* const second = p + c.length;
    const Character next = second < end ? look(second) : Character{kSpace, 0};
    if (next.is(kLetter) && !is_newline(*p)) return run(kLetter, second + next.length, end);
    if (!c.is(kSpace) || (*p == ' ' && !next.is(kSpace | kNumber))) {
      const char* q = run_without(kSpace | kLetter | kNumber, second, end);
      while (q < end && is_newline(*q)) ++q;
      return q;
    }
    return spaces(true, p, end);
  }
};

class O200k : Scanner {
 public:
  const char* operator()(const char* p, const char* end) const {
    const Character c = look(p);
    if (c.is(kNumber)) return numbers(3, p, end);
    // [^\r\n\p{L}\p{N}]? takes a character where it can; a mark may also start the word itself.
    const bool prefix = !c.is(kLetter) && !is_newline(*p);
    const bool plain = c.is(kLetter | kMark);
    const char* const second = p + c.length;
    const char* q = nullptr;
    if (prefix) q = mixed_word(second, end);
    if (q == nullptr && plain) q = mixed_word(p, end);
    if (q == nullptr && prefix) q = upper_word(second, end);
    if (q == nullptr && plain) q = upper_word(p, end);
    if (q != nullptr) return q < end ? q + contraction(true, q, end) : q;

    const Character next = second < end ? look(second) : Character{kSpace, 0};
    if (!c.is(kSpace) || (*p == ' ' && !next.is(kSpace | kLetter | kNumber))) {
      q = run_without(kSpace | kLetter | kNumber, second, end);
      while (q < end && (is_newline(*q) || *q == '/')) ++q;
      return q;
    }
    return spaces(true, p, end);
  }

 private:
  static constexpr uint16_t kUpper = kLu | kLt | kLm | kLo | kMark;
  static constexpr uint16_t kLower = kLl | kLm | kLo | kMark;

  /// kUpper*kLower+ at `p`, or nullptr.
  const char* mixed_word(const char* p, const char* end) const {
    const char* const upper = run(kUpper, p, end);
    const char* const lower = run(kLower, upper, end);
    if (lower > upper) return lower;
    // kUpper* gives back what it took until the last character that is also of kLower.
    for (const char* q = upper; q > p;) {
      const char* const after = q;
      q = previous_utf8(q);
      if (look(q).is(kLower)) return after;
    }
    return nullptr;
  }

  /// kUpper+kLower* at `p`, or nullptr, where mixed_word finds nothing: so no kLower follows.
  const char* upper_word(const char* p, const char* end) const {
    const char* const upper = run(kUpper, p, end);
    return upper > p ? upper : nullptr;
  }
};

}  // namespace sinkbench::split_patterns
