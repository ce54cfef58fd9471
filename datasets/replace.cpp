#include "datasets/replace.h"

#include "base/error.h"

namespace sinkbench {
namespace {

std::variant<std::string, Regex> read_pattern(const JsonField& pattern) {
  if (!pattern.has("String")) return Regex(pattern["Regex"]);
  const JsonField text = pattern["String"];
  if (text.string().empty()) text.fail("a string that is not empty");
  return text.string();
}

}  // namespace

Replace::Replace(const JsonField& field)
    : pattern_(read_pattern(field["pattern"])),
      content_(field["content"].string()),
      where_(field.file() + ": " + field.path()) {
  if (std::holds_alternative<Regex>(pattern_) && content_.find('$') != std::string::npos) {
    field["content"].fail("a text without $: groups of the pattern are not supported");
  }
}

std::string Replace::apply(std::string_view text) const {
  // A few steps of a broken file could make terabytes of a line.
  const size_t limit = 1024 + 64 * text.size();
  std::string out;
  out.reserve(text.size());
  const auto put = [&](std::string_view part) {
    if (out.size() + part.size() > limit) {
      throw InputError::format("{}: makes more than {} bytes of a text of {}", where_, limit,
                               text.size());
    }
    out += part;
  };
  if (const auto* regex = std::get_if<Regex>(&pattern_)) {
    for (const Span& s : regex->find_all(text)) {
      put(s.is_match ? content_ : text.substr(s.begin, s.end - s.begin));
    }
    return out;
  }
  const std::string& pattern = std::get<std::string>(pattern_);
  size_t done = 0;
  for (size_t at; (at = text.find(pattern, done)) != std::string_view::npos;
       done = at + pattern.size()) {
    put(text.substr(done, at - done));
    put(content_);
  }
  put(text.substr(done));
  return out;
}

}  // namespace sinkbench
