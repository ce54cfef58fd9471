#include "datasets/normalizer.h"

#include <utf8proc.h>

#include <algorithm>

#include "datasets/unicode_classes.h"

namespace sinkbench {
namespace {

bool is_ascii(char c) {
  return static_cast<unsigned char>(c) < 0x80;
}

/// Appends the normalized `run` to `out`. `code_points` is a buffer.
void append_normalized(std::string_view run, NormalizationForm form,
                       std::vector<utf8proc_int32_t>& code_points, std::string& out) {
  const bool compatible = form == NormalizationForm::kNfkc || form == NormalizationForm::kNfkd;
  const bool compose = form == NormalizationForm::kNfc || form == NormalizationForm::kNfkc;
  const auto options = static_cast<utf8proc_option_t>(UTF8PROC_STABLE | UTF8PROC_DECOMPOSE |
                                                      (compatible ? UTF8PROC_COMPAT : 0));
  code_points.clear();
  for (size_t i = 0; i < run.size();) {
    const CodePoint c = decode_utf8(run.data() + i);
    i += c.length;
    utf8proc_int32_t parts[32];  // the longest decomposition has 18
    int boundary = 0;
    const auto count = utf8proc_decompose_char(static_cast<utf8proc_int32_t>(c.value), parts, 32,
                                               options, &boundary);
    code_points.insert(code_points.end(), parts, parts + count);
  }
  // utf8proc's own ordering of marks takes quadratic time.
  const auto mark_class = [](utf8proc_int32_t c) {
    return utf8proc_get_property(c)->combining_class;
  };
  for (auto p = code_points.begin(); p != code_points.end();) {
    const auto is_starter = [&](utf8proc_int32_t c) { return mark_class(c) == 0; };
    const auto marks = std::find_if_not(p, code_points.end(), is_starter);
    p = std::find_if(marks, code_points.end(), is_starter);
    std::stable_sort(marks, p, [&](auto a, auto b) { return mark_class(a) < mark_class(b); });
  }
  auto length = static_cast<utf8proc_ssize_t>(code_points.size());
  if (compose) {
    length = utf8proc_normalize_utf32(
        code_points.data(), length,
        static_cast<utf8proc_option_t>(UTF8PROC_STABLE | UTF8PROC_COMPOSE));
  }
  for (utf8proc_ssize_t i = 0; i < length; ++i) {
    append_utf8(static_cast<uint32_t>(code_points[i]), out);
  }
}

}  // namespace

std::string normalize_unicode(std::string_view text, NormalizationForm form) {
  // No ASCII character joins with what is before it, nor changes by itself; so what is ASCII up to
  // the last one before another character can be copied.
  std::string out;
  out.reserve(text.size());
  std::vector<utf8proc_int32_t> code_points;
  for (size_t i = 0; i < text.size();) {
    const auto foreign = std::find_if_not(text.begin() + i, text.end(), is_ascii);
    size_t begin = static_cast<size_t>(foreign - text.begin());
    if (begin < text.size() && begin > i) --begin;
    out += text.substr(i, begin - i);
    if (begin == text.size()) break;
    const auto end = std::find_if(text.begin() + begin + 1, text.end(), is_ascii);
    i = static_cast<size_t>(end - text.begin());
    append_normalized(text.substr(begin, i - begin), form, code_points, out);
  }
  return out;
}

Normalizer::Normalizer(const JsonField& field) {
  if (!field.is_null()) add(field);
  check_step_count(field, steps_.size());
}

void Normalizer::add(const JsonField& field) {
  const std::string type = field["type"].string();
  if (type == "Sequence") {
    for (const JsonField& step : field["normalizers"].items()) add(step);
  } else if (type == "NFC") {
    steps_.push_back(NormalizationForm::kNfc);
  } else if (type == "NFD") {
    steps_.push_back(NormalizationForm::kNfd);
  } else if (type == "NFKC") {
    steps_.push_back(NormalizationForm::kNfkc);
  } else if (type == "NFKD") {
    steps_.push_back(NormalizationForm::kNfkd);
  } else if (type == "Lowercase") {
    steps_.push_back(Lowercase{});
  } else if (type == "Prepend") {
    steps_.push_back(Prepend{field["prepend"].string()});
  } else if (type == "Replace") {
    steps_.push_back(Replace(field));
  } else if (type == "Strip") {
    steps_.push_back(Strip{field["strip_left"].boolean(), field["strip_right"].boolean()});
  } else {
    field["type"].fail("Lowercase, NFC, NFD, NFKC, NFKD, Prepend, Replace, Sequence or Strip");
  }
}

std::string Normalizer::apply(std::string_view text) const {
  std::string out(text);
  for (const Step& step : steps_) {
    out = std::visit([&](const auto& s) { return apply(s, std::move(out)); }, step);
  }
  return out;
}

std::string Normalizer::apply(NormalizationForm form, std::string text) {
  if (std::all_of(text.begin(), text.end(), is_ascii)) return text;
  return normalize_unicode(text, form);
}

std::string Normalizer::apply(const Lowercase&, std::string text) {
  std::string out;
  for (size_t i = 0; i < text.size();) {
    const CodePoint c = decode_utf8(text.data() + i);
    i += c.length;
    if (c.value == 0x130) {  // the one character whose lower case is two
      out += "i\xCC\x87";
    } else {
      append_utf8(static_cast<uint32_t>(utf8proc_tolower(static_cast<int32_t>(c.value))), out);
    }
  }
  return out;
}

std::string Normalizer::apply(const Prepend& step, std::string text) {
  if (!text.empty()) text.insert(0, step.content);
  return text;
}

std::string Normalizer::apply(const Replace& step, std::string text) {
  return step.apply(text);
}

std::string Normalizer::apply(const Strip& step, std::string text) {
  const auto is_space = [](const char* p) {
    return (char_classes()[decode_utf8(p).value] & kSpace) != 0;
  };
  const char* begin = text.data();
  const char* end = begin + text.size();
  while (step.left && begin < end && is_space(begin)) begin += decode_utf8(begin).length;
  while (step.right && begin < end && is_space(previous_utf8(end))) end = previous_utf8(end);
  return {begin, end};
}

}  // namespace sinkbench
