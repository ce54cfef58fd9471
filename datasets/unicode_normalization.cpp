#include "datasets/unicode_normalization.h"

#include <algorithm>
#include <unordered_map>
#include <vector>

#include "datasets/unicode_classes.h"
#include "datasets/unicode_tables.h"

namespace sinkbench {
namespace {

constexpr uint32_t kCodePoints = 0x110000;

// Hangul syllables are made and unmade by arithmetic: section 3.12 of the Unicode Standard.
constexpr uint32_t kSyllables = 0xAC00, kLeading = 0x1100, kVowels = 0x1161, kTrailing = 0x11A7;
constexpr uint32_t kLeadingCount = 19, kVowelCount = 21, kTrailingCount = 28;
constexpr uint32_t kSyllableCount = kLeadingCount * kVowelCount * kTrailingCount;

class Tables {
 public:
  Tables() : canonical_(kCodePoints), compatible_(kCodePoints), combining_(kCodePoints) {
    const UnicodeTables& tables = unicode_tables();
    index(tables.canonical, canonical_);
    index(tables.compatible, compatible_);
    const auto runs = tables.combining;
    for (size_t i = 0; i < runs.size(); ++i) {
      const uint32_t begin = runs[i] >> UnicodeTables::kCombiningBits;
      const uint32_t end =
          i + 1 < runs.size() ? runs[i + 1] >> UnicodeTables::kCombiningBits : kCodePoints;
      std::fill(combining_.begin() + begin, combining_.begin() + end,
                static_cast<uint8_t>(runs[i] & 0xFF));
    }
    for (size_t i = 0; i < tables.composed.size(); i += 3) {
      composed_.emplace(pair(tables.composed[i], tables.composed[i + 1]), tables.composed[i + 2]);
    }
  }

  uint8_t combining(uint32_t c) const { return combining_[c]; }

  void decompose(uint32_t c, bool compatible, std::vector<uint32_t>& out) const {
    if (const uint32_t syllable = c - kSyllables; syllable < kSyllableCount) {
      out.push_back(kLeading + syllable / (kVowelCount * kTrailingCount));
      out.push_back(kVowels + syllable / kTrailingCount % kVowelCount);
      if (syllable % kTrailingCount != 0) out.push_back(kTrailing + syllable % kTrailingCount);
      return;
    }
    UnicodeTables::Numbers table = unicode_tables().compatible;
    uint16_t at = compatible ? compatible_[c] : 0;
    if (at == 0) {
      table = unicode_tables().canonical;
      at = canonical_[c];
    }
    if (at == 0) return out.push_back(c);
    out.insert(out.end(), table.begin() + at + 1, table.begin() + at + 1 + table[at]);
  }

  /// The character that two become, or 0.
  uint32_t compose(uint32_t first, uint32_t second) const {
    const uint32_t leading = first - kLeading, vowel = second - kVowels;
    if (leading < kLeadingCount && vowel < kVowelCount) {
      return kSyllables + (leading * kVowelCount + vowel) * kTrailingCount;
    }
    const uint32_t syllable = first - kSyllables, trailing = second - kTrailing;
    if (syllable < kSyllableCount && syllable % kTrailingCount == 0 && trailing > 0 &&
        trailing < kTrailingCount) {
      return first + trailing;
    }
    const auto found = composed_.find(pair(first, second));
    return found == composed_.end() ? 0 : found->second;
  }

 private:
  static uint64_t pair(uint32_t first, uint32_t second) {
    return static_cast<uint64_t>(first) << 32 | second;
  }
  /// Of each character the place of its count in `table`, or 0.
  static void index(UnicodeTables::Numbers table, std::vector<uint16_t>& places) {
    for (size_t i = 0; i < table.size(); i += 2 + table[i + 1]) {
      places[table[i]] = static_cast<uint16_t>(i + 1);
    }
  }

  std::vector<uint16_t> canonical_, compatible_;
  std::vector<uint8_t> combining_;
  std::unordered_map<uint64_t, uint32_t> composed_;
};

const Tables& tables() {
  static const Tables tables;
  return tables;
}

/// Puts marks after a character into the order of their classes.
void reorder(std::vector<uint32_t>& text) {
  const auto is_starter = [](uint32_t c) { return tables().combining(c) == 0; };
  for (auto p = text.begin(); p != text.end();) {
    const auto marks = std::find_if_not(p, text.end(), is_starter);
    p = std::find_if(marks, text.end(), is_starter);
    std::stable_sort(marks, p, [](uint32_t a, uint32_t b) {
      return tables().combining(a) < tables().combining(b);
    });
  }
}

/// Each mark or character joins the last one without a class where nothing between blocks it.
void compose(std::vector<uint32_t>& text) {
  size_t size = 0;
  size_t starter = 0;
  bool has_starter = false;
  uint8_t before = 0;  // the class of what was kept since the starter, the last of it
  for (const uint32_t c : text) {
    const uint8_t own = tables().combining(c);
    if (has_starter && (size == starter + 1 || before < own)) {
      if (const uint32_t joined = tables().compose(text[starter], c); joined != 0) {
        text[starter] = joined;
        continue;
      }
    }
    if (own == 0) {
      starter = size;
      has_starter = true;
    }
    before = own;
    text[size++] = c;
  }
  text.resize(size);
}

void append_normalized(std::string_view run, NormalizationForm form, std::vector<uint32_t>& buffer,
                       std::string& out) {
  const bool compatible = form == NormalizationForm::kNfkc || form == NormalizationForm::kNfkd;
  buffer.clear();
  for (size_t i = 0; i < run.size();) {
    const CodePoint c = decode_utf8(run.data() + i);
    i += c.length;
    tables().decompose(c.value, compatible, buffer);
  }
  reorder(buffer);
  if (form == NormalizationForm::kNfc || form == NormalizationForm::kNfkc) compose(buffer);
  for (const uint32_t c : buffer) append_utf8(c, out);
}

}  // namespace

std::string normalize_unicode(std::string_view text, NormalizationForm form) {
  // No ASCII character joins with what is before it, nor changes by itself; so what is ASCII up to
  // the last one before another character can be copied.
  std::string out;
  out.reserve(text.size());
  std::vector<uint32_t> buffer;
  for (size_t i = 0; i < text.size();) {
    const auto foreign = std::find_if_not(text.begin() + i, text.end(), is_ascii);
    size_t begin = static_cast<size_t>(foreign - text.begin());
    if (begin < text.size() && begin > i) --begin;
    out += text.substr(i, begin - i);
    if (begin == text.size()) break;
    const auto end = std::find_if(text.begin() + begin + 1, text.end(), is_ascii);
    i = static_cast<size_t>(end - text.begin());
    append_normalized(text.substr(begin, i - begin), form, buffer, out);
  }
  return out;
}

uint32_t lower_case(uint32_t c) {
  static const std::unordered_map<uint32_t, uint32_t> lower = [] {
    std::unordered_map<uint32_t, uint32_t> map;
    const auto pairs = unicode_tables().lower;
    for (size_t i = 0; i < pairs.size(); i += 2) map.emplace(pairs[i], pairs[i + 1]);
    return map;
  }();
  if (c < 0x80) return c >= 'A' && c <= 'Z' ? c + 32 : c;
  const auto found = lower.find(c);
  return found == lower.end() ? c : found->second;
}

}  // namespace sinkbench
