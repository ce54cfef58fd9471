// The regular expressions of tokenizer.json, written for Oniguruma, matched by PCRE2.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "datasets/tokenizer_json.h"

namespace sinkbench {

/// A stretch of a text: matched by a pattern, or between two matches. Offsets in bytes.
struct Span {
  size_t begin, end;
  bool is_match;
};

class Regex {
 public:
  /// The pattern that `field` holds. What Oniguruma and PCRE2 read differently is translated where
  /// that can be exact (regex_translator.h); the rest is an InputError.
  explicit Regex(const JsonField& field);
  /// Matches what readers take for one character, with its accents: the extended grapheme clusters
  /// of https://unicode.org/reports/tr29/, as PCRE2's version of Unicode has them.
  static Regex grapheme_clusters();

  /// Cuts `text`, valid UTF-8, into matches and what lies between, in order, without gaps. Throws
  /// InputError where the pattern needs more steps than PCRE2 allows.
  std::vector<Span> find_all(std::string_view text) const;

 private:
  struct Code;
  explicit Regex(std::shared_ptr<const Code> code) : code_(std::move(code)) {}

  std::shared_ptr<const Code> code_;
};

}  // namespace sinkbench
