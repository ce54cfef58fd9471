// How a text is cut into words before each is encoded on its own: tokenizer.json's pre_tokenizer.
#pragma once

#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "datasets/regex.h"
#include "datasets/split_patterns.h"
#include "datasets/tokenizer_json.h"
#include "datasets/unicode_classes.h"

namespace sinkbench {

/// What becomes of a delimiter that a text is split at, as tokenizers' SplitDelimiterBehavior.
enum class Behavior { kRemoved, kIsolated, kMergedWithPrevious, kMergedWithNext, kContiguous };

/// The pieces that remain of `spans` (in order and without gaps); is_match is of no more use.
std::vector<Span> apply_behavior(std::vector<Span> spans, Behavior behavior);

/// Which parts of a text Metaspace puts its character before: tokenizer.json's prepend_scheme.
enum class MetaspacePrepend { kNever, kFirst, kAlways };
MetaspacePrepend read_metaspace_prepend(const JsonField& field);

/// BertPreTokenizer, ByteLevel, CharDelimiterSplit, Digits, FixedLength, Metaspace, Punctuation,
/// Split, Whitespace, WhitespaceSplit and any Sequence of these, or none.
class PreTokenizer {
 public:
  /// `field` is the file's pre_tokenizer, null for none.
  explicit PreTokenizer(const JsonField& field);

  /// The types of its steps, for people: "Digits, ByteLevel", or "none".
  std::string description() const;

  /// Whether words reach the model in the byte alphabet (datasets/byte_level.h).
  bool byte_level() const { return byte_level_; }

  /// Calls `f` on the units of a part of the text, in order: stretches whose words depend on
  /// nothing around them. `at_start` says whether the part starts the text.
  template <typename F>
  void for_each_unit(std::string_view part, bool at_start, F&& f) const {
    if (!part.empty()) run(0, units_from_, part, at_start, f);
  }

  /// Calls `f` on the words of a unit, as the model shall see them.
  template <typename F>
  void for_each_word(std::string_view unit, F&& f) const {
    run(units_from_, steps_.size(), unit, false, f);
  }

 private:
  struct PrefixSpace {};  // puts a space before what doesn't start with one
  struct ByteAlphabet {};
  struct Metaspace {
    std::string replacement;  // one character, for each space
    MetaspacePrepend prepend;
  };
  struct SplitAtClass {  // at each character of the classes
    uint16_t classes;
    Behavior behavior;
  };
  struct SplitWords {};  // runs of \w and of what is neither that nor white space, which goes
  struct SplitFixed {    // so many characters each, the last one fewer
    int64_t length;
  };
  struct SplitAtString {
    std::string delimiter;
    Behavior behavior;
    bool invert;
  };
  struct SplitAtRegex {
    Regex regex;
    Behavior behavior;
    bool invert;
  };
  template <typename Pattern>
  struct SplitTiled {  // a pattern that matches everywhere, its matches kept apart
    Pattern match;
  };
  using Step =
      std::variant<PrefixSpace, ByteAlphabet, Metaspace, SplitAtClass, SplitWords, SplitFixed,
                   SplitAtString, SplitAtRegex, SplitTiled<split_patterns::Gpt2>,
                   SplitTiled<split_patterns::Cl100k<3>>, SplitTiled<split_patterns::Cl100k<1>>,
                   SplitTiled<split_patterns::O200k>>;

  void add(const JsonField& field);
  void add_metaspace(const JsonField& field);
  void add_split(const JsonField& field);

  /// Takes `piece`, not empty, through the steps from `step` to before `last`, then to `f`.
  template <typename F>
  void run(size_t step, size_t last, std::string_view piece, bool at_start, F& f) const;

  /// What a step that keeps the piece whole makes of it.
  std::string rewrite(const PrefixSpace&, std::string_view piece, bool at_start) const;
  std::string rewrite(const ByteAlphabet&, std::string_view piece, bool at_start) const;
  std::string rewrite(const Metaspace& step, std::string_view piece, bool at_start) const;

  /// Calls `f` on the pieces that a splitting step makes.
  template <typename F>
  static void split(const SplitAtClass& step, std::string_view piece, F&& f);
  template <typename F>
  static void split(const SplitWords&, std::string_view piece, F&& f);
  template <typename F>
  static void split(const SplitFixed& step, std::string_view piece, F&& f);
  template <typename F>
  static void split(const SplitAtString& step, std::string_view piece, F&& f) {
    split_at(find_string(piece, step.delimiter), step.behavior, step.invert, piece, f);
  }
  template <typename F>
  static void split(const SplitAtRegex& step, std::string_view piece, F&& f) {
    split_at(step.regex.find_all(piece), step.behavior, step.invert, piece, f);
  }
  template <typename Pattern, typename F>
  static void split(const SplitTiled<Pattern>& step, std::string_view piece, F&& f) {
    const char* const end = piece.data() + piece.size();
    for (const char* p = piece.data(); p < end;) {
      const char* const next = step.match(p, end);
      f(std::string_view(p, static_cast<size_t>(next - p)));
      p = next;
    }
  }
  static std::vector<Span> find_string(std::string_view piece, std::string_view delimiter);
  template <typename F>
  static void split_at(std::vector<Span> spans, Behavior behavior, bool invert,
                       std::string_view piece, F& f) {
    if (invert) {
      for (Span& s : spans) s.is_match = !s.is_match;
    }
    for (const Span& s : apply_behavior(std::move(spans), behavior)) {
      if (s.begin < s.end) f(piece.substr(s.begin, s.end - s.begin));
    }
  }

  std::vector<Step> steps_;
  std::vector<std::string> types_;
  size_t units_from_ = 0;  // units are what reaches this step
  bool byte_level_ = false;
};

template <typename F>
void PreTokenizer::split(const SplitAtClass& step, std::string_view piece, F&& f) {
  const uint16_t* classes = char_classes();
  std::vector<Span> spans;
  bool inside = false;
  const bool contiguous = step.behavior == Behavior::kContiguous;
  size_t begin = 0;
  for (size_t i = 0; i < piece.size();) {
    const CodePoint c = decode_utf8(piece.data() + i);
    const bool is_match = (classes[c.value] & step.classes) != 0;
    // Contiguous needs no list of spans, which for a long text is worth sparing.
    if (is_match != inside && i > begin) {
      if (contiguous) {
        f(piece.substr(begin, i - begin));
      } else if (!inside) {
        spans.push_back({begin, i, false});
      }
      begin = i;
    }
    inside = is_match;
    i += c.length;
    if (is_match && !contiguous) {
      spans.push_back({i - c.length, i, true});
      begin = i;
    }
  }
  if (contiguous) return f(piece.substr(begin));
  if (begin < piece.size()) spans.push_back({begin, piece.size(), false});
  split_at(std::move(spans), step.behavior, false, piece, f);
}

template <typename F>
void PreTokenizer::split(const SplitWords&, std::string_view piece, F&& f) {
  const auto kind_of = [&](size_t i) {
    const uint16_t classes = char_classes()[decode_utf8(piece.data() + i).value];
    return (classes & kSpace) != 0 ? 0 : (classes & kWordCharacter) != 0 ? 1 : 2;
  };
  for (size_t begin = 0; begin < piece.size();) {
    const int kind = kind_of(begin);
    size_t end = begin;
    while (end < piece.size() && kind_of(end) == kind)
      end += decode_utf8(piece.data() + end).length;
    if (kind != 0) f(piece.substr(begin, end - begin));
    begin = end;
  }
}

template <typename F>
void PreTokenizer::split(const SplitFixed& step, std::string_view piece, F&& f) {
  for (size_t begin = 0; begin < piece.size();) {
    size_t end = begin;
    for (int64_t i = 0; i < step.length && end < piece.size(); ++i) {
      end += decode_utf8(piece.data() + end).length;
    }
    f(piece.substr(begin, end - begin));
    begin = end;
  }
}

template <typename F>
void PreTokenizer::run(size_t step, size_t last, std::string_view piece, bool at_start,
                       F& f) const {
  if (step == last) return f(piece);
  std::visit(
      [&](const auto& s) {
        if constexpr (requires { rewrite(s, piece, at_start); }) {
          const std::string rewritten = rewrite(s, piece, at_start);
          run(step + 1, last, rewritten, at_start, f);
        } else {
          split(s, piece, [&](std::string_view part) {
            if (step + 1 == last) return f(part);
            run(step + 1, last, part, at_start && part.data() == piece.data(), f);
          });
        }
      },
      steps_[step]);
}

}  // namespace sinkbench
