#include "datasets/regex.h"

#include "base/error.h"
#include "datasets/regex_translator.h"
#include "datasets/unicode_classes.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

namespace sinkbench {

struct Regex::Code {
  Code(const std::string& pattern, std::string where);

  std::unique_ptr<pcre2_code, decltype(&pcre2_code_free)> code;  // nullptr where it can't be
  std::string error;                                             // which this says why
  std::string where;                                             // for messages
};

Regex::Code::Code(const std::string& pattern, std::string where)
    : code(nullptr, pcre2_code_free), where(std::move(where)) {
  int number = 0;
  PCRE2_SIZE at = 0;
  pcre2_compile_context* context = pcre2_compile_context_create(nullptr);
  pcre2_set_newline(context, PCRE2_NEWLINE_LF);
  code.reset(pcre2_compile(reinterpret_cast<PCRE2_SPTR>(pattern.data()), pattern.size(),
                           PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE, &number, &at, context));
  pcre2_compile_context_free(context);
  if (code == nullptr) {
    PCRE2_UCHAR reason[128];
    pcre2_get_error_message(number, reason, sizeof(reason));
    error = reinterpret_cast<const char*>(reason);
    return;
  }
  pcre2_jit_compile(code.get(),
                    PCRE2_JIT_COMPLETE);  // where this machine has no JIT, it is interpreted
}

Regex::Regex(const JsonField& field)
    : code_(std::make_shared<Code>(translate_regex(field), field.file() + ": " + field.path())) {
  if (code_->code == nullptr) field.fail("a regular expression: " + code_->error);
}

Regex Regex::grapheme_clusters() {
  // PCRE2's \X doesn't break between two pictographs, and does between a regional indicator and
  // what extends it, the other way round than Unicode's rules GB9 to GB13.
  static const char* const pattern =
      "(?:\\p{RI}\\p{RI}?|\\p{ExtPict}(?:[\\p{GrExt}\\p{EMod}]*\\x{200D}\\p{ExtPict})*)"
      "[\\p{GrExt}\\p{EMod}\\p{Mc}\\x{200D}]*|\\X";
  return Regex(std::make_shared<Code>(pattern, "grapheme clusters"));
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
