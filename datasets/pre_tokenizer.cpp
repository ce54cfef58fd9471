#include "datasets/pre_tokenizer.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "datasets/byte_level.h"

namespace sinkbench {
namespace {

Behavior read_behavior(const JsonField& field) {
  const std::string name = field.string();
  if (name == "Removed") return Behavior::kRemoved;
  if (name == "Isolated") return Behavior::kIsolated;
  if (name == "MergedWithPrevious") return Behavior::kMergedWithPrevious;
  if (name == "MergedWithNext") return Behavior::kMergedWithNext;
  if (name == "Contiguous") return Behavior::kContiguous;
  field.fail("Removed, Isolated, MergedWithPrevious, MergedWithNext or Contiguous");
}

}  // namespace

std::vector<Span> apply_behavior(std::vector<Span> spans, Behavior behavior) {
  if (behavior == Behavior::kIsolated) return spans;
  std::vector<Span> kept;
  bool previous = false;  // whether the span before was a match
  switch (behavior) {
    case Behavior::kRemoved:
      std::erase_if(spans, [](const Span& s) { return s.is_match; });
      return spans;
    case Behavior::kContiguous:
    case Behavior::kMergedWithPrevious:
      for (const Span& s : spans) {
        const bool joins =
            behavior == Behavior::kContiguous ? s.is_match == previous : s.is_match && !previous;
        if (joins && !kept.empty()) {
          kept.back().end = s.end;
        } else {
          kept.push_back(s);
        }
        previous = s.is_match;
      }
      return kept;
    default:  // kMergedWithNext: the same from the end
      for (auto s = spans.rbegin(); s != spans.rend(); ++s) {
        if (s->is_match && !previous && !kept.empty()) {
          kept.back().begin = s->begin;
        } else {
          kept.push_back(*s);
        }
        previous = s->is_match;
      }
      std::reverse(kept.begin(), kept.end());
      return kept;
  }
}

PreTokenizer::PreTokenizer(const JsonField& field) {
  if (!field.is_null()) add(field);
  check_step_count(field, steps_.size());
  if (!byte_level_) units_from_ = steps_.size();
}

std::string PreTokenizer::description() const {
  return types_.empty() ? "none" : fmt::format("{}", fmt::join(types_, ", "));
}

void PreTokenizer::add(const JsonField& field) {
  const std::string type = field["type"].string();
  if (type != "Sequence") types_.push_back(type);
  if (type == "Sequence") {
    for (const JsonField& step : field["pretokenizers"].items()) add(step);
  } else if (type == "ByteLevel") {
    if (byte_level_) field["type"].fail("one ByteLevel at most");
    if (field["add_prefix_space"].boolean()) steps_.push_back(PrefixSpace{});
    if (field.boolean("use_regex", true)) steps_.push_back(SplitTiled<split_patterns::Gpt2>{});
    byte_level_ = true;
    units_from_ = steps_.size();
    steps_.push_back(ByteAlphabet{});
  } else if (type == "BertPreTokenizer") {
    steps_.push_back(SplitAtClass{kSpace, Behavior::kRemoved});
    steps_.push_back(SplitAtClass{kPunctuation, Behavior::kIsolated});
  } else if (type == "CharDelimiterSplit") {
    steps_.push_back(SplitAtString{field["delimiter"].character(), Behavior::kRemoved, false});
  } else if (type == "Digits") {
    const bool individual = field["individual_digits"].boolean();
    steps_.push_back(
        SplitAtClass{kNumeric, individual ? Behavior::kIsolated : Behavior::kContiguous});
  } else if (type == "FixedLength") {
    constexpr int64_t most = 1 << 20;
    const JsonField length = field["length"];
    if (length.integer(most) == 0) length.fail("an integer of 1 or more");
    steps_.push_back(SplitFixed{length.integer(most)});
  } else if (type == "Punctuation") {
    const Behavior behavior =
        field.has("behavior") ? read_behavior(field["behavior"]) : Behavior::kIsolated;
    steps_.push_back(SplitAtClass{kPunctuation, behavior});
  } else if (type == "Metaspace") {
    add_metaspace(field);
  } else if (type == "Split") {
    add_split(field);
  } else if (type == "Whitespace") {
    steps_.push_back(SplitWords{});
  } else if (type == "WhitespaceSplit") {
    steps_.push_back(SplitAtClass{kSpace, Behavior::kRemoved});
  } else {
    field["type"].fail(
        "BertPreTokenizer, ByteLevel, CharDelimiterSplit, Digits, FixedLength, Metaspace, "
        "Punctuation, Sequence, Split, Whitespace or WhitespaceSplit");
  }
}

void PreTokenizer::add_metaspace(const JsonField& field) {
  // It may depend on what came before, and what follows ByteLevel is encoded word by word.
  if (byte_level_) field["type"].fail("no Metaspace after ByteLevel");
  const std::string replacement = field["replacement"].character();
  const MetaspacePrepend prepend = read_metaspace_prepend(field);
  steps_.push_back(Metaspace{replacement, prepend});
  if (field.boolean("split", true)) {
    steps_.push_back(SplitAtString{replacement, Behavior::kMergedWithNext, false});
  }
}

void PreTokenizer::add_split(const JsonField& field) {
  const Behavior behavior = read_behavior(field["behavior"]);
  const bool invert = field["invert"].boolean();
  const JsonField pattern = field["pattern"];
  if (pattern.has("String")) {
    const std::string delimiter = pattern["String"].string();
    if (delimiter.empty()) pattern["String"].fail("a string that is not empty");
    steps_.push_back(SplitAtString{delimiter, behavior, invert});
    return;
  }
  const JsonField regex = pattern["Regex"];
  if (behavior == Behavior::kIsolated) {  // where `invert` changes nothing
    const std::string text = regex.string();
    using namespace split_patterns;
    if (text == kGpt2) return steps_.push_back(SplitTiled<Gpt2>{});
    if (text == kCl100k) return steps_.push_back(SplitTiled<Cl100k<3>>{});
    if (text == kQwen2) return steps_.push_back(SplitTiled<Cl100k<1>>{});
    if (text == kO200k) return steps_.push_back(SplitTiled<O200k>{});
  }
  steps_.push_back(SplitAtRegex{Regex(regex), behavior, invert});
}

std::string PreTokenizer::rewrite(const PrefixSpace&, std::string_view piece, bool) const {
  std::string text;
  if (!piece.starts_with(' ')) text += ' ';
  text += piece;
  return text;
}

std::string PreTokenizer::rewrite(const ByteAlphabet&, std::string_view piece, bool) const {
  std::string text;
  append_byte_alphabet(piece, text);
  return text;
}

std::string PreTokenizer::rewrite(const Metaspace& step, std::string_view piece,
                                  bool at_start) const {
  std::string text;
  const bool starts_so = piece.starts_with(' ') || piece.starts_with(step.replacement);
  const bool wanted = step.prepend == MetaspacePrepend::kAlways ||
                      (step.prepend == MetaspacePrepend::kFirst && at_start);
  if (wanted && !starts_so) text += step.replacement;
  for (const char c : piece) {
    if (c == ' ') {
      text += step.replacement;
    } else {
      text += c;
    }
  }
  return text;
}

std::vector<Span> PreTokenizer::find_string(std::string_view piece, std::string_view delimiter) {
  std::vector<Span> spans;
  size_t done = 0;
  for (size_t at; (at = piece.find(delimiter, done)) != std::string_view::npos;) {
    if (done < at) spans.push_back({done, at, false});
    done = at + delimiter.size();
    spans.push_back({at, done, true});
  }
  if (done < piece.size()) spans.push_back({done, piece.size(), false});
  return spans;
}

MetaspacePrepend read_metaspace_prepend(const JsonField& field) {
  const bool old_style = field.has("add_prefix_space") && !field["add_prefix_space"].boolean();
  if (!field.has("prepend_scheme")) {
    return old_style ? MetaspacePrepend::kNever : MetaspacePrepend::kAlways;
  }
  const JsonField scheme = field["prepend_scheme"];
  const std::string name = scheme.string();
  if (name != "never" && name != "first" && name != "always") {
    scheme.fail("never, first or always");
  }
  if (old_style && name != "never") scheme.fail("never, as add_prefix_space is false");
  return name == "never"   ? MetaspacePrepend::kNever
         : name == "first" ? MetaspacePrepend::kFirst
                           : MetaspacePrepend::kAlways;
}

}  // namespace sinkbench
