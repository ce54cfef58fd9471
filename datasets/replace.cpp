#include "datasets/replace.h"

namespace sinkbench {
namespace {

std::variant<std::string, Regex> read_pattern(const JsonField& pattern) {
  if (!pattern.has("String")) return Regex(pattern["Regex"]);
  const JsonField text = pattern["String"];
  if (text.string().empty()) text.fail("a string that is not empty");
  return text.string();
}

}  // namespace

std::string replace_all(std::string_view text, std::string_view pattern, std::string_view content) {
  std::string out;
  out.reserve(text.size());
  size_t done = 0;
  for (size_t at; (at = text.find(pattern, done)) != std::string_view::npos;
       done = at + pattern.size()) {
    out.append(text, done, at - done).append(content);
  }
  return out.append(text, done);
}

Replace::Replace(const JsonField& field)
    : pattern_(read_pattern(field["pattern"])), content_(field["content"].string()) {
  if (std::holds_alternative<Regex>(pattern_) && content_.find('$') != std::string::npos) {
    field["content"].fail("a text without $: groups of the pattern are not supported");
  }
}

std::string Replace::apply(std::string_view text) const {
  if (const auto* plain = std::get_if<std::string>(&pattern_)) {
    return replace_all(text, *plain, content_);
  }
  std::string out;
  for (const Span& s : std::get<Regex>(pattern_).find_all(text)) {
    if (s.is_match) {
      out += content_;
    } else {
      out.append(text, s.begin, s.end - s.begin);
    }
  }
  return out;
}

}  // namespace sinkbench
