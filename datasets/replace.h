// The Replace that tokenizer.json's normalizers and decoders share.
#pragma once

#include <string>
#include <string_view>
#include <variant>

#include "datasets/regex.h"
#include "datasets/tokenizer_json.h"

namespace sinkbench {

/// `text` with each `pattern`, which isn't empty, replaced, from left to right.
std::string replace_all(std::string_view text, std::string_view pattern, std::string_view content);

class Replace {
 public:
  /// `field` holds a pattern, a string or a regular expression, and its content.
  explicit Replace(const JsonField& field);

  std::string apply(std::string_view text) const;

 private:
  std::variant<std::string, Regex> pattern_;
  std::string content_;
};

}  // namespace sinkbench
