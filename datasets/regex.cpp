#include "datasets/regex.h"

#include <cctype>

#include "base/error.h"
#include "datasets/unicode_classes.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

namespace sinkbench {
namespace {

/// The classes of a Unicode property that unicode_classes.h knows, or 0.
uint16_t property_classes(std::string_view name) {
  if (name == "L") return kLetter;
  if (name == "Lu") return kLu;
  if (name == "Lt") return kLt;
  if (name == "Ll") return kLl;
  if (name == "Lm") return kLm;
  if (name == "Lo") return kLo;
  if (name == "M") return kMark;
  if (name == "N") return kNumber;
  return 0;
}

/// Writes an Oniguruma (Ruby) pattern as one for PCRE2 with UTF, UCP and MULTILINE.
class Translator {
 public:
  explicit Translator(const JsonField& field) : field_(field), pattern_(field.string()) {}

  std::string translate() {
    while (at_ < pattern_.size()) {
      const char c = pattern_[at_++];
      if (c == '\\') {
        escape();
      } else if (c == '[') {
        bracket();
      } else if (c == '(') {
        group();
      } else if (c == '{' && peek() == ',') {
        refuse("{,n}");
      } else if (c == '}' && peek() == '+') {
        refuse("a + after {n,m}");
      } else {
        out_ += c;
      }
    }
    return std::move(out_);
  }

 private:
  char peek() const { return at_ < pattern_.size() ? pattern_[at_] : '\0'; }

  [[noreturn]] void refuse(std::string_view what) const {
    field_.fail(fmt::format("a regular expression of the supported kind; {} is not, at byte {}",
                            what, at_));
  }

  void group() {
    out_ += '(';
    if (peek() != '?') return;
    for (const char* kind : {"?:", "?i:", "?=", "?!", "?>", "?<=", "?<!"}) {
      if (std::string_view(pattern_).substr(at_).starts_with(kind)) {
        out_ += kind;
        at_ += std::string_view(kind).size();
        return;
      }
    }
    refuse("this (?");
  }

  void bracket() {
    in_bracket_ = true;
    out_ += '[';
    if (peek() == '^') out_ += pattern_[at_++];
    if (peek() == ']') refuse("a bracket that starts with ]");
    while (true) {
      if (at_ == pattern_.size()) refuse("a bracket without end");
      const char c = pattern_[at_++];
      if (c == '[') refuse("a bracket within a bracket");
      if (c == '&' && peek() == '&') refuse("&&");
      if (c == '\\') {
        escape();
      } else {
        out_ += c;
      }
      if (c == ']') break;
    }
    in_bracket_ = false;
  }

  /// The characters of some classes: within a bracket as ranges, else as a bracket of its own.
  void classes(uint16_t mask, bool negated) {
    if (in_bracket_) {
      out_ += class_ranges(mask, negated);
    } else {
      out_ += (negated ? "[^" : "[") + class_ranges(mask, false) + "]";
    }
  }

  void escape() {
    if (at_ == pattern_.size()) refuse("a \\ at the end");
    const char c = pattern_[at_++];
    switch (c) {
      case 's':
      case 'S':
        return classes(kSpace, c == 'S');
      case 'p':
      case 'P':
        return property(c == 'P');
      case 'v':  // in PCRE2 any vertical space
        out_ += "\\x0b";
        return;
      case 'u':
        out_ += "\\x{" + hexadecimal(4) + "}";
        return;
      case 'x':
        return code_point();
      case 'd':
      case 'D':
      case 'r':
      case 'n':
      case 't':
      case 'f':
      case 'a':
      case 'e':
        out_ += '\\';
        out_ += c;
        return;
      case 'A':
      case 'z':
        if (in_bracket_) break;
        out_ += '\\';
        out_ += c;
        return;
      default:
        if (static_cast<unsigned char>(c) < 0x80 && std::isalnum(static_cast<unsigned char>(c)))
          break;
        out_ += '\\';
        out_ += c;
        return;
    }
    refuse(fmt::format("\\{}", c));
  }

  void property(bool negated) {
    const size_t close = pattern_.find('}', at_);
    if (peek() != '{' || close == std::string::npos) refuse("\\p without {name}");
    std::string name = pattern_.substr(at_ + 1, close - at_ - 1);
    at_ = close + 1;
    if (name.starts_with('^')) {
      negated = !negated;
      name.erase(0, 1);
    }
    if (const uint16_t mask = property_classes(name); mask != 0) return classes(mask, negated);
    out_ += (negated ? "\\P{" : "\\p{") + name + "}";  // PCRE2 refuses names it doesn't know
  }

  std::string hexadecimal(size_t digits) {
    const std::string hex = pattern_.substr(at_, digits);
    if (hex.size() != digits ||
        hex.find_first_not_of("0123456789abcdefABCDEF") != std::string::npos) {
      refuse("this hexadecimal number");
    }
    at_ += digits;
    return hex;
  }

  void code_point() {
    if (peek() != '{') {
      const std::string hex = hexadecimal(2);
      if (hex[0] >= '8') refuse("a byte above 7f");
      out_ += "\\x" + hex;
      return;
    }
    const size_t close = pattern_.find('}', at_);
    if (close == std::string::npos) refuse("\\x{ without }");
    ++at_;
    out_ += "\\x{" + hexadecimal(close - at_) + "}";
    ++at_;
  }

  const JsonField& field_;
  std::string pattern_;
  size_t at_ = 0;
  bool in_bracket_ = false;
  std::string out_;
};

}  // namespace

struct Regex::Code {
  std::unique_ptr<pcre2_code, decltype(&pcre2_code_free)> code;
  std::string where;  // the file and the field, for messages
};

Regex::Regex(const JsonField& field) {
  const std::string pattern = Translator(field).translate();
  int error = 0;
  PCRE2_SIZE at = 0;
  pcre2_compile_context* context = pcre2_compile_context_create(nullptr);
  pcre2_set_newline(context, PCRE2_NEWLINE_LF);
  std::unique_ptr<pcre2_code, decltype(&pcre2_code_free)> code(
      pcre2_compile(reinterpret_cast<PCRE2_SPTR>(pattern.data()), pattern.size(),
                    PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE, &error, &at, context),
      pcre2_code_free);
  pcre2_compile_context_free(context);
  if (code == nullptr) {
    PCRE2_UCHAR reason[128];
    pcre2_get_error_message(error, reason, sizeof(reason));
    field.fail(fmt::format("a regular expression: {}", reinterpret_cast<const char*>(reason)));
  }
  pcre2_jit_compile(code.get(),
                    PCRE2_JIT_COMPLETE);  // where this machine has no JIT, it is interpreted
  code_ = std::make_shared<Code>(Code{std::move(code), field.file() + ": " + field.path()});
}

std::vector<Span> Regex::find_all(std::string_view text) const {
  std::vector<Span> spans;
  const pcre2_code* code = code_->code.get();
  const auto subject = reinterpret_cast<PCRE2_SPTR>(text.data());
  const std::unique_ptr<pcre2_match_data, decltype(&pcre2_match_data_free)> data(
      pcre2_match_data_create_from_pattern(code, nullptr), pcre2_match_data_free);
  const PCRE2_SIZE* match = pcre2_get_ovector_pointer(data.get());
  size_t done = 0;    // up to here `spans` cover the text
  size_t search = 0;  // where the next search starts
  bool after_match = false;
  while (search <= text.size()) {
    int rc =
        pcre2_match(code, subject, text.size(), search, PCRE2_NO_UTF_CHECK, data.get(), nullptr);
    if (rc == PCRE2_ERROR_JIT_STACKLIMIT) {  // the interpreter has no such limit
      rc = pcre2_match(code, subject, text.size(), search, PCRE2_NO_UTF_CHECK | PCRE2_NO_JIT,
                       data.get(), nullptr);
    }
    if (rc == PCRE2_ERROR_NOMATCH) break;
    if (rc < 0) {
      PCRE2_UCHAR reason[128];
      pcre2_get_error_message(rc, reason, sizeof(reason));
      throw InputError::format("{}: cannot match this pattern on the text: {}", code_->where,
                               reinterpret_cast<const char*>(reason));
    }
    const size_t begin = match[0], end = match[1];
    const bool empty = begin == end;
    if (!(empty && after_match && begin == done)) {  // not again where a match has just ended
      if (done != begin) spans.push_back({done, begin, false});
      spans.push_back({begin, end, true});
      done = end;
      after_match = true;
    }
    search = end;
    if (empty) search += end < text.size() ? decode_utf8(text.data() + end).length : 1;
  }
  if (done != text.size()) spans.push_back({done, text.size(), false});
  return spans;
}

}  // namespace sinkbench
