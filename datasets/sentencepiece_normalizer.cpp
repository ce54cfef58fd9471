#include "datasets/sentencepiece_normalizer.h"

#include <utility>

#include "datasets/pieces.h"
#include "datasets/unicode_classes.h"

namespace sinkbench {

std::string SentencePieceNormalizer::apply(std::string_view text) const {
  /// What the text's first stretch becomes, and its length.
  const auto first = [&](std::string_view rest) -> std::pair<std::string_view, size_t> {
    if (const size_t length = symbols.longest_prefix(rest); length > 0) {
      return {rest.substr(0, length), length};
    }
    if (chars_map != nullptr) {
      const CharsMap::Rule rule = chars_map->longest(rest);
      if (rule.length > 0) return {rule.replacement, rule.length};
    }
    const auto length = static_cast<size_t>(decode_utf8(rest.data()).length);
    return {rest.substr(0, length), length};
  };
  const std::string_view space = escape_whitespaces ? kSpaceMark : " ";
  if (remove_extra_whitespaces) {
    while (!text.empty()) {
      const auto [part, length] = first(text);
      if (part != " ") break;
      text.remove_prefix(length);
    }
  }
  std::string out;
  if (text.empty()) return out;
  out.reserve(text.size() + text.size() / 2);
  if (add_dummy_prefix && !whitespace_as_suffix) out += space;
  bool after_space = remove_extra_whitespaces;
  while (!text.empty()) {
    auto [part, length] = first(text);
    while (after_space && part.starts_with(' ')) part.remove_prefix(1);
    for (const char c : part) {
      if (c == ' ') {
        out += space;
      } else {
        out += c;
      }
    }
    if (!part.empty()) after_space = remove_extra_whitespaces && part.ends_with(' ');
    text.remove_prefix(length);
  }
  if (remove_extra_whitespaces) {
    while (out.ends_with(space)) out.resize(out.size() - space.size());
  }
  if (add_dummy_prefix && whitespace_as_suffix) out += space;
  return out;
}

}  // namespace sinkbench
