#include "eval/tasks/rendering.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/error.h"
#include "base/utf8.h"

namespace sinkbench {

void Rendering::add(std::string_view part) {
  const std::vector<int32_t> before =
      context_.empty() ? std::vector<int32_t>{} : tokenizer_.encode(context_, false);
  context_ += part;
  const std::vector<int32_t> both = tokenizer_.encode(context_, false);
  if (both.size() < before.size() || !std::equal(before.begin(), before.end(), both.begin())) {
    throw InputError::format(
        "the tokenizer can't render it: a token is shared by '{}' and '{}', which follows it",
        excerpt(last_.size() > 20 ? std::string_view(last_).substr(last_.size() - 20) : last_),
        excerpt(part, 20));
  }
  ids_.insert(ids_.end(), both.begin() + static_cast<std::ptrdiff_t>(before.size()), both.end());
  text_ += part;
  context_ = last_ + std::string(part);
  last_ = part;
}

std::vector<int32_t> Rendering::finish() const {
  if (tokenizer_.encode(text_, false) != ids_) {
    throw InputError::format(
        "the tokenizer can't render it: ids of '{}...' depend on text far before them",
        excerpt(text_));
  }
  return ids_;
}

std::string excerpt(std::string_view text, size_t longest) {
  std::string result;
  for (const char c : to_valid_utf8(text.substr(0, longest))) {
    if (c == '\n') {
      result += "\\n";
    } else if (static_cast<unsigned char>(c) < 0x20 || c == 0x7F) {
      result += fmt::format("\\x{:02x}", static_cast<unsigned char>(c));
    } else {
      result += c;
    }
  }
  return result;
}

int64_t token_count(const Tokenizer& tokenizer, std::string_view text) {
  const std::string line = "\n";
  return static_cast<int64_t>(tokenizer.encode(line + std::string(text), false).size()) -
         static_cast<int64_t>(tokenizer.encode(line, false).size());
}

}  // namespace sinkbench
