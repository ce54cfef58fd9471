// Text put together from parts, whose places in the ids are known.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "datasets/tokenizer.h"

namespace sinkbench {

/// The ids of a text that is given in parts, each of which begins with a token of its own.
class Rendering {
 public:
  explicit Rendering(const Tokenizer& tokenizer) : tokenizer_(tokenizer) {}

  /// Adds a part. InputError where a token would be part of it and of what stands before it.
  void add(std::string_view part);
  /// Ids so far: where the next part begins.
  int64_t size() const { return static_cast<int64_t>(ids_.size()); }

  /// The ids, which are those of the whole text as the tokenizer has them; else InputError.
  std::vector<int32_t> finish() const;

 private:
  const Tokenizer& tokenizer_;
  std::string text_, last_;
  std::string context_;  // the last two parts, beside which the next one is read
  std::vector<int32_t> ids_;
};

/// Text for people, in which what isn't text is escaped, cut to about `longest` bytes.
std::string excerpt(std::string_view text, size_t longest = 40);

/// Ids of the text by itself, as they would follow a line's end: how long it is, about.
int64_t token_count(const Tokenizer& tokenizer, std::string_view text);

}  // namespace sinkbench
