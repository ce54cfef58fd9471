#include "datasets/regex_translator.h"

#include <fmt/format.h>

#include <optional>
#include <string_view>
#include <vector>

#include "datasets/code_point_set.h"
#include "datasets/unicode_classes.h"
#include "datasets/unicode_normalization.h"
#include "datasets/unicode_property.h"

namespace sinkbench {
namespace {

bool is_digit(char c) {
  return c >= '0' && c <= '9';
}

bool is_letter(uint32_t c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

/// A bracket of PCRE2 with these characters. Surrogates are none.
std::string bracket_of(const CodePointSet& set) {
  const CodePointSet scalars = set & (CodePointSet(0, 0xD7FF) | CodePointSet(0xE000, 0x10FFFF));
  if (scalars.empty()) return "(?!)";
  std::string text = "[";
  for (size_t i = 0; i < scalars.edges().size(); i += 2) {
    const uint32_t first = scalars.edges()[i], last = scalars.edges()[i + 1] - 1;
    text += fmt::format("\\x{{{:x}}}", first);
    if (last != first) text += fmt::format("-\\x{{{:x}}}", last);
  }
  return text + "]";
}

class Translator {
 public:
  explicit Translator(const JsonField& field) : field_(field), pattern_(field.string()) {}

  std::string translate() {
    while (at_ < pattern_.size()) step();
    if (groups_.size() > 1) refuse("a ( without )");
    out_.append(groups_.back().opened, ')');
    return std::move(out_);
  }

 private:
  struct Group {
    size_t begin = 0;          // where it is in `out_`
    bool ignore_case = false;  // outside of it
    size_t opened = 0;         // groups that flags within it have opened, to be closed with it
  };
  static constexpr size_t kNone = std::string::npos;

  char peek(size_t ahead = 0) const {
    return at_ + ahead < pattern_.size() ? pattern_[at_ + ahead] : '\0';
  }
  bool take(std::string_view text) {
    if (!std::string_view(pattern_).substr(at_).starts_with(text)) return false;
    at_ += text.size();
    return true;
  }

  [[noreturn]] void refuse(std::string_view what) const {
    field_.fail(fmt::format("a regular expression of the supported kind; {} is not, at byte {}",
                            what, at_));
  }

  void step() {
    const char c = peek();
    if (c == '*' || c == '+' || c == '?') return quantifier();
    if (c == '{') return interval();
    last_literal_ = std::exchange(literal_, 0);
    if (c == '|') {
      ++at_;
      out_ += '|';
      atom_ = kNone;
      return;
    }
    if (c == '(') return open();
    if (c == ')') return close();
    begin_atom();
    if (c == '[') {
      ++at_;
      put_bracket(bracket());
    } else if (c == '\\') {
      ++at_;
      escape();
    } else if (c == '.' || c == '^' || c == '$') {
      ++at_;
      out_ += c;
    } else {
      literal(next_character());
    }
  }

  void begin_atom() {
    atom_ = out_.size();
    quantified_ = false;
  }

  // ---- groups and flags

  void open() {
    begin_atom();
    for (const char* kind : {"(?:", "(?=", "(?!", "(?>", "(?<=", "(?<!"}) {
      if (take(kind)) {
        groups_.push_back({atom_, ignore_case_});
        out_ += kind;
        atom_ = kNone;
        return;
      }
    }
    if (take("(?i:") || take("(?-i:")) {
      groups_.push_back({atom_, ignore_case_});
      set_case(pattern_[at_ - 3] != '-');
    } else if (take("(?i)") || take("(?-i)")) {  // up to the end of the group, alternatives and all
      ++groups_.back().opened;
      set_case(pattern_[at_ - 3] != '-');
    } else if (peek(1) == '?') {
      refuse("this (?");
    } else {
      ++at_;
      groups_.push_back({atom_, ignore_case_});
      out_ += "(?:";  // what it captured would be of no use
    }
    atom_ = kNone;
  }

  void set_case(bool ignore) {
    ignore_case_ = ignore;
    out_ += ignore ? "(?i:" : "(?-i:";
  }

  void close() {
    if (groups_.size() == 1) refuse("a ) without (");
    ++at_;
    const Group group = groups_.back();
    groups_.pop_back();
    out_.append(group.opened + 1, ')');
    ignore_case_ = group.ignore_case;
    atom_ = group.begin;
    quantified_ = false;
  }

  // ---- quantifiers

  /// Makes room for a quantifier: one that follows another means the whole.
  void begin_quantifier() {
    literal_ = last_literal_ = 0;
    if (atom_ == kNone) refuse("a quantifier of nothing");
    if (quantified_) {
      out_.insert(atom_, "(?:");
      out_ += ')';
    }
    quantified_ = true;
  }

  void quantifier() {
    begin_quantifier();
    out_ += pattern_[at_++];
    if (peek() == '?' || peek() == '+') out_ += pattern_[at_++];  // lazy, possessive
  }

  /// {n}, {n,}, {n,m} or {,m}; what is none of these is text. A + behind it is a quantifier of its
  /// own, and so is a ? behind {n}.
  void interval() {
    size_t p = at_ + 1;
    const auto number = [&] {
      std::string digits;
      while (p < pattern_.size() && is_digit(pattern_[p])) digits += pattern_[p++];
      return digits;
    };
    const std::string low = number();
    const bool comma = p < pattern_.size() && pattern_[p] == ',';
    if (comma) ++p;
    const std::string high = comma ? number() : low;
    if ((low.empty() && high.empty()) || p >= pattern_.size() || pattern_[p] != '}') {
      last_literal_ = std::exchange(literal_, 0);
      begin_atom();
      return literal(next_character());
    }
    if (low.size() > 5 || high.size() > 5) refuse("this {n,m}");
    if (!low.empty() && !high.empty() && std::stoi(low) > std::stoi(high)) refuse("this {n,m}");
    begin_quantifier();
    at_ = p + 1;
    out_ += fmt::format("{{{}{}{}}}", low.empty() ? "0" : low, comma ? "," : "", comma ? high : "");
    if (comma && peek() == '?') out_ += pattern_[at_++];
  }

  // ---- single characters

  uint32_t next_character() {
    const CodePoint c = decode_utf8(pattern_.data() + at_);
    at_ += c.length;
    return c.value;
  }

  /// Characters beyond ASCII that case relates to one of ASCII are known to PCRE2 alike; of others,
  /// and of pairs that are one letter in another case ("ss" and "ß"), that isn't certain.
  void literal(uint32_t c) {
    if (ignore_case_) {
      if (c >= 0x80 && has_case(c)) refuse("a letter beyond ASCII whose case is ignored");
      const uint32_t low = lower_case(c);
      if (is_letter(c)) literal_ = static_cast<char>(low);
      for (const char* pair : {"ss", "ff", "fi", "fl", "st"}) {
        if (last_literal_ == pair[0] && literal_ == pair[1]) {
          refuse(fmt::format("'{}' whose case is ignored", pair));
        }
      }
    }
    if (c < 0x80 && !is_letter(c) && !is_digit(static_cast<char>(c))) {
      out_ += fmt::format("\\x{{{:x}}}", c);
    } else {
      append_utf8(c, out_);
    }
  }

  static bool has_case(uint32_t c) {
    static const CodePointSet cased = *unicode_property("uppercase") |
                                      *unicode_property("lowercase") | *unicode_property("Lt") |
                                      CodePointSet(0x345, 0x345);
    return cased.contains(c);
  }

  void escape() {
    if (at_ == pattern_.size()) refuse("a \\ at the end");
    const char c = peek();
    if (c == 'b' || c == 'B') {
      ++at_;
      const std::string word = bracket_of(word_characters());
      out_ += c == 'b' ? fmt::format("(?:(?<={0})(?!{0})|(?<!{0})(?={0}))", word)
                       : fmt::format("(?:(?<={0})(?={0})|(?<!{0})(?!{0}))", word);
    } else if (c == 'A' || c == 'z' || c == 'Z') {
      ++at_;
      out_ += '\\';
      out_ += c;
    } else if (const std::optional<CodePointSet> set = class_escape()) {
      // A class outside a bracket is not changed where case is ignored.
      out_ += ignore_case_ ? "(?-i:" + bracket_of(*set) + ")" : bracket_of(*set);
    } else {
      literal(character_escape());
    }
  }

  /// The characters of \d, \p{...} and the like, behind the backslash; nothing where it is none.
  std::optional<CodePointSet> class_escape() {
    const char c = peek();
    CodePointSet set;
    switch (c) {
      case 'd':
      case 'D':
        set = *unicode_property("Nd");
        break;
      case 's':
      case 'S':
        set = *unicode_property("space");
        break;
      case 'w':
      case 'W':
        set = word_characters();
        break;
      case 'h':
      case 'H':
        set = hexadecimal_digits();
        break;
      case 'p':
      case 'P':
        ++at_;
        return property(c == 'P');
      default:
        return std::nullopt;
    }
    ++at_;
    return c < 'a' ? ~set : set;
  }

  CodePointSet property(bool negated) {
    const size_t close = pattern_.find('}', at_);
    if (peek() != '{' || close == std::string::npos) refuse("\\p without {name}");
    std::string name = pattern_.substr(at_ + 1, close - at_ - 1);
    const std::optional<CodePointSet> set =
        unicode_property(name.starts_with('^') ? name.substr(1) : name);
    if (!set) refuse(fmt::format("\\p{{{}}}", name));
    at_ = close + 1;
    return negated != name.starts_with('^') ? ~*set : *set;
  }

  /// The character of \n, \x{...} and the like, behind the backslash.
  uint32_t character_escape() {
    const char c = peek();
    switch (c) {
      case 'n':
        return ++at_, '\n';
      case 't':
        return ++at_, '\t';
      case 'r':
        return ++at_, '\r';
      case 'f':
        return ++at_, '\f';
      case 'v':
        return ++at_, '\v';
      case 'a':
        return ++at_, '\a';
      case 'e':
        return ++at_, 0x1B;
      case 'u':
        ++at_;
        return hexadecimal(4);
      case 'x': {
        ++at_;
        if (peek() != '{') {
          const uint32_t byte = hexadecimal(2);
          if (byte >= 0x80) refuse("a byte above 7f");
          return byte;
        }
        const size_t close = pattern_.find('}', at_);
        if (close == std::string::npos || close - at_ > 9) refuse("this \\x{");
        ++at_;
        const uint32_t value = hexadecimal(close - at_);
        ++at_;
        return value;
      }
      default:
        if (is_letter(static_cast<unsigned char>(c)) || is_digit(c)) {
          ++at_;
          refuse(fmt::format("\\{}", c));
        }
        return next_character();
    }
  }

  uint32_t hexadecimal(size_t digits) {
    const std::string hex = pattern_.substr(at_, digits);
    if (hex.empty() || hex.size() != digits ||
        hex.find_first_not_of("0123456789abcdefABCDEF") != std::string::npos) {
      refuse("this hexadecimal number");
    }
    const unsigned long value = std::stoul(hex, nullptr, 16);
    if (value > 0x10FFFF || (value >= 0xD800 && value <= 0xDFFF)) refuse("this code point");
    at_ += digits;
    return static_cast<uint32_t>(value);
  }

  // ---- brackets

  void put_bracket(const CodePointSet& set) {
    if (ignore_case_ && !(set & CodePointSet(0x80, 0x10FFFF)).empty()) {
      refuse("a bracket beyond ASCII whose case is ignored");
    }
    out_ += bracket_of(set);
  }

  /// What is between a [, which is read already, and its ].
  CodePointSet bracket(int depth = 0) {
    if (depth > 16) refuse("a bracket nested so deep");
    const bool negated = take("^");
    if (peek() == ']') refuse("a bracket that starts with ]");
    std::optional<CodePointSet> both;  // what is before the last &&
    CodePointSet set;
    while (true) {
      if (at_ == pattern_.size()) refuse("a bracket without end");
      if (take("]")) break;
      if (take("&&")) {
        both = both ? *both & set : set;
        set = CodePointSet();
      } else if (take("[:")) {
        set = set | posix();
      } else if (take("[")) {
        set = set | bracket(depth + 1);
      } else {
        set = set | bracket_item();
      }
    }
    if (both) set = *both & set;
    return negated ? ~set : set;
  }

  CodePointSet posix() {
    const bool negated = take("^");
    const size_t close = pattern_.find(":]", at_);
    const std::string name = close == std::string::npos ? "" : pattern_.substr(at_, close - at_);
    const std::optional<CodePointSet> set = posix_bracket(name);
    if (!set) refuse("this [:");
    at_ = close + 2;
    return negated ? ~*set : *set;
  }

  uint32_t bracket_character() {
    if (!take("\\")) return next_character();
    if (take("b")) return '\b';
    return character_escape();
  }

  /// A class, a character or a range.
  CodePointSet bracket_item() {
    if (peek() == '\\' && at_ + 1 < pattern_.size()) {
      ++at_;
      if (const std::optional<CodePointSet> set = class_escape()) {
        refuse_hyphen();
        return *set;
      }
      --at_;
    }
    const uint32_t first = bracket_character();
    if (peek() != '-' || peek(1) == ']' || at_ + 1 >= pattern_.size()) return {first, first};
    ++at_;
    if (peek() == '[' || (peek() == '&' && peek(1) == '&')) refuse("this -");
    if (peek() == '\\') {
      ++at_;
      if (class_escape()) refuse("a range that ends with a class");
      --at_;
    }
    const uint32_t last = bracket_character();
    if (last < first) refuse("a range that ends before it begins");
    refuse_hyphen();
    return {first, last};
  }

  /// Behind a class or a range a - is text only at the end.
  void refuse_hyphen() {
    if (peek() == '-' && peek(1) != ']') refuse("this -");
  }

  const JsonField& field_;
  std::string pattern_;
  size_t at_ = 0;
  std::string out_;
  size_t atom_ = kNone;      // where the last thing is in `out_` that a quantifier may follow
  bool quantified_ = false;  // whether it has one
  bool ignore_case_ = false;
  char literal_ = 0, last_literal_ = 0;  // letters whose case is ignored, the second right before
  std::vector<Group> groups_{Group()};
};

}  // namespace

std::string translate_regex(const JsonField& field) {
  return Translator(field).translate();
}

}  // namespace sinkbench
