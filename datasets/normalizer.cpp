#include "datasets/normalizer.h"

#include <algorithm>
#include <optional>

#include "datasets/base64.h"
#include "datasets/byte_level.h"
#include "datasets/unicode_classes.h"
#include "datasets/unicode_tables.h"

namespace sinkbench {
namespace {

CodePointSet set_of(UnicodeTables::Numbers edges) {
  return CodePointSet(std::vector<uint32_t>(edges.begin(), edges.end()));
}

}  // namespace

Normalizer::Normalizer(const JsonField& field) {
  if (!field.is_null()) add(field);
  check_step_count(field, steps_.size());
}

void Normalizer::add(const JsonField& field) {
  const std::string type = field["type"].string();
  if (type == "Sequence") {
    for (const JsonField& step : field["normalizers"].items()) add(step);
  } else if (type == "BertNormalizer") {
    add_bert(field);
  } else if (type == "ByteLevel") {
    steps_.push_back(ByteLevel{});
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
  } else if (type == "Nmt") {
    const UnicodeTables& tables = unicode_tables();
    steps_.push_back(Filter{set_of(tables.nmt_controls), set_of(tables.nmt_spaces)});
  } else if (type == "Precompiled") {
    const JsonField map = field["precompiled_charsmap"];
    const std::optional<std::string> bytes = from_base64(map.string());
    if (!bytes) map.fail("a map of characters in Base64");
    steps_.push_back(
        Precompiled{std::make_shared<const CharsMap>(*bytes, map.file() + ": " + map.path()),
                    Regex::grapheme_clusters()});
  } else if (type == "Prepend") {
    steps_.push_back(Prepend{field["prepend"].string()});
  } else if (type == "Replace") {
    steps_.push_back(Replace(field));
  } else if (type == "Strip") {
    steps_.push_back(Strip{field["strip_left"].boolean(), field["strip_right"].boolean()});
  } else if (type == "StripAccents") {
    steps_.push_back(Filter{set_of(unicode_tables().accents), {}});
  } else {
    field["type"].fail(
        "BertNormalizer, ByteLevel, Lowercase, NFC, NFD, NFKC, NFKD, Nmt, Precompiled, "
        "Prepend, Replace, Sequence, Strip or StripAccents");
  }
}

void Normalizer::add_bert(const JsonField& field) {
  const UnicodeTables& tables = unicode_tables();
  const bool lowercase = field["lowercase"].boolean();
  if (field["clean_text"].boolean()) {
    steps_.push_back(Filter{set_of(tables.bert_controls), set_of(tables.bert_spaces)});
  }
  if (field["handle_chinese_chars"].boolean()) steps_.push_back(SpacedIdeographs{});
  if (field.boolean("strip_accents", lowercase)) {
    steps_.push_back(NormalizationForm::kNfd);
    steps_.push_back(Filter{set_of(tables.bert_accents), {}});
  }
  if (lowercase) steps_.push_back(Lowercase{});
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
      append_utf8(lower_case(c.value), out);
    }
  }
  return out;
}

std::string Normalizer::apply(const Prepend& step, std::string text) {
  if (!text.empty()) text.insert(0, step.content);
  return text;
}

std::string Normalizer::apply(const Precompiled& step, std::string text) {
  std::string out;
  out.reserve(text.size());
  for (const Span& span : step.clusters.find_all(text)) {
    const std::string_view cluster =
        std::string_view(text).substr(span.begin, span.end - span.begin);
    // A rule for what a short cluster begins with stands for all of it, accents included.
    const CharsMap::Rule rule = cluster.size() < 6 ? step.map->shortest(cluster) : CharsMap::Rule();
    if (rule.length > 0) {
      out += rule.replacement;
      continue;
    }
    for (size_t i = 0; i < cluster.size();) {
      const auto length = static_cast<size_t>(decode_utf8(cluster.data() + i).length);
      const CharsMap::Rule one = step.map->shortest(cluster.substr(i, length));
      out += one.length > 0 ? one.replacement : cluster.substr(i, length);
      i += length;
    }
  }
  return out;
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

std::string Normalizer::apply(const Filter& step, std::string text) {
  std::string out;
  for (size_t i = 0; i < text.size();) {
    const CodePoint c = decode_utf8(text.data() + i);
    if (step.spaces.contains(c.value)) {
      out += ' ';
    } else if (!step.dropped.contains(c.value)) {
      out.append(text, i, c.length);
    }
    i += c.length;
  }
  return out;
}

std::string Normalizer::apply(const SpacedIdeographs&, std::string text) {
  // As BERT's own tokenizer lists them: the unified and the compatibility ideographs.
  static const CodePointSet ideographs({0x3400, 0x4DC0, 0x4E00, 0xA000, 0xF900, 0xFB00, 0x20000,
                                        0x2A6E0, 0x2A700, 0x2B820, 0x2B920, 0x2CEB0, 0x2F800,
                                        0x2FA20});
  std::string out;
  for (size_t i = 0; i < text.size();) {
    const CodePoint c = decode_utf8(text.data() + i);
    const bool spaced = ideographs.contains(c.value);
    if (spaced) out += ' ';
    out.append(text, i, c.length);
    if (spaced) out += ' ';
    i += c.length;
  }
  return out;
}

std::string Normalizer::apply(const ByteLevel&, std::string text) {
  std::string out;
  append_byte_alphabet(text, out);
  return out;
}

}  // namespace sinkbench
