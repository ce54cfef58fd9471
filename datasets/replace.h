// The Replace that tokenizer.json's normalizers and decoders share.
#pragma once

#include <string>
#include <string_view>
#include <variant>

#include "datasets/regex.h"
#include "datasets/tokenizer_json.h"

namespace sinkbench {

/// Puts a text where a pattern matches, from left to right.
class Replace {
 public:
  /// `field` holds a pattern, a string or a regular expression, and its content.
  explicit Replace(const JsonField& field);

  /// Throws InputError where the text would grow out of all proportion.
  std::string apply(std::string_view text) const;

 private:
  std::variant<std::string, Regex> pattern_;
  std::string content_;
  std::string where_;  // the file and the field, for messages
};

}  // namespace sinkbench
