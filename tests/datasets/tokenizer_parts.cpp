// Each fast part beside a slow, obviously right twin, and the parts' own rules one by one.
#include <algorithm>
#include <ctime>
#include <functional>
#include <map>
#include <random>

#include "base/error.h"
#include "base/utf8.h"
#include "datasets/normalizer.h"
#include "datasets/pre_tokenizer.h"
#include "datasets/unicode_classes.h"
#include "tests/catch.h"
#include "tests/datasets/tokenizer_files.h"

using namespace sinkbench;
using namespace sinkbench::test;

namespace {

using Words = std::vector<std::string>;

std::vector<std::string> characters_of(const std::string& text) {
  std::vector<std::string> characters;
  for (size_t i = 0; i < text.size(); i += characters.back().size()) {
    characters.push_back(text.substr(i, decode_utf8(text.data() + i).length));
  }
  return characters;
}

/// `length` characters drawn from `pool`.
std::string random_text(std::mt19937& random, const Words& pool, size_t length) {
  std::string text;
  for (size_t i = 0; i < length; ++i) text += pool[random() % pool.size()];
  return text;
}

Words words(const json& pre_tokenizer, const std::string& text) {
  const std::string file = "test";
  const PreTokenizer p(JsonField(pre_tokenizer, file, "pre_tokenizer"));
  Words out;
  p.for_each_unit(text, true, [&](std::string_view unit) {
    p.for_each_word(unit, [&](std::string_view word) { out.emplace_back(word); });
  });
  return out;
}

std::string normalized(const json& normalizer, const std::string& text) {
  const std::string file = "test";
  return Normalizer(JsonField(normalizer, file, "normalizer")).apply(text);
}

json split(const std::string& kind, const std::string& pattern, const std::string& behavior,
           bool invert = false) {
  return {{"type", "Split"},
          {"pattern", {{kind, pattern}}},
          {"behavior", behavior},
          {"invert", invert}};
}

json sequence(const char* key, const json& steps) {
  return {{"type", "Sequence"}, {key, steps}};
}

/// A tokenizer without normalizer, pre-tokenizer and the like.
json bare_bpe(const json& vocab, const json& merges) {
  return {{"model", {{"vocab", vocab}, {"merges", merges}}}};
}

/// BPE by its definition: all pairs looked at for every merge.
Words naive_bpe(Words symbols, const std::map<std::pair<std::string, std::string>, size_t>& ranks) {
  while (true) {
    size_t best = ranks.size(), at = 0;
    for (size_t i = 0; i + 1 < symbols.size(); ++i) {
      const auto found = ranks.find({symbols[i], symbols[i + 1]});
      if (found == ranks.end() || found->second >= best) continue;
      best = found->second;
      at = i;
    }
    if (best == ranks.size()) return symbols;
    symbols[at] += symbols[at + 1];
    symbols.erase(symbols.begin() + static_cast<std::ptrdiff_t>(at) + 1);
  }
}

}  // namespace

TEST_CASE("UTF-8: every maximal subpart of an ill-formed sequence is one U+FFFD") {
  // The Unicode Standard 15, tables 3-8 to 3-11; '?' stands for U+FFFD.
  const std::vector<std::pair<std::string, std::string>> cases = {
      {"\xC0\xAF\xE0\x80\xBF\xF0\x81\x82\x41", "????????A"},
      {"\xED\xA0\x80\xED\xBF\xBF\xED\xAF\x41", "????????A"},
      {"\xF4\x91\x92\x93\xFF\x41\x80\xBF\x42", "?????A??B"},
      {"\xE1\x80\xE2\xF0\x91\x92\xF1\xBF\x41", "????A"},
      {"\xF0\x9F\x98", "?"},
      {"12345678\xFF"
       "12345678\xE2\x82\xAC",
       "12345678?12345678\xE2\x82\xAC"},
      {"", ""}};
  for (const auto& [bytes, shown] : cases) {
    std::string expected;
    for (const char c : shown) {
      if (c == '?') {
        expected += "\xEF\xBF\xBD";
      } else {
        expected += c;
      }
    }
    CHECK(to_valid_utf8(bytes) == expected);
    CHECK(valid_utf8_prefix(expected) == expected.size());
  }
  CHECK(valid_utf8_prefix("12345678\xE2\x82") == 8);
}

TEST_CASE("UTF-8: encoding and decoding of characters undo each other") {
  for (uint32_t c = 0; c < 0x110000; c += c < 0x900 ? 1 : 61) {
    if (c >= 0xD800 && c <= 0xDFFF) continue;
    std::string text;
    append_utf8(c, text);
    const CodePoint back = decode_utf8(text.data());
    if (back.value != c || static_cast<size_t>(back.length) != text.size()) FAIL(c);
    if (valid_utf8_prefix(text) != text.size()) FAIL(c);
    if (previous_utf8(text.data() + text.size()) != text.data()) FAIL(c);
  }
}

TEST_CASE("BPE, fast, equals its definition on random vocabularies and texts") {
  std::mt19937 random(1);
  for (int round = 0; round < 300; ++round) {
    // Characters of each kind that texts are cut at: ASCII, U+2581, others; some are unknown.
    const Words pool = {"a", "b", "c", "▁", "é", "€"};
    const size_t known = round % 3 == 0 ? pool.size() - 1 : pool.size();
    const bool unk = round % 2 == 0;
    Words tokens(pool.begin(), pool.begin() + static_cast<std::ptrdiff_t>(known));
    json vocab = {{"<unk>", 0}};
    for (const std::string& t : tokens) vocab[t] = vocab.size();
    json merges = json::array();
    std::map<std::pair<std::string, std::string>, size_t> ranks;
    for (size_t i = 0; i < random() % 40; ++i) {
      const std::string left = tokens[random() % tokens.size()];
      const std::string right = tokens[random() % tokens.size()];
      if (left.size() + right.size() > 12 || ranks.contains({left, right})) continue;
      ranks.emplace(std::pair(left, right), ranks.size());
      merges.push_back({left, right});
      if (vocab.contains(left + right)) continue;
      tokens.push_back(left + right);
      vocab[left + right] = vocab.size();
    }
    json file = bare_bpe(vocab, merges);
    if (unk) file["model"]["unk_token"] = "<unk>";
    const bool fuse = file["model"]["fuse_unk"] = round % 4 == 0;
    // With ignore_merges a text is never cut, so that long ones reach the queue whole.
    const bool whole = file["model"]["ignore_merges"] = round % 5 < 2;
    const Tokenizer t = load(file);
    for (int i = 0; i < 20; ++i) {
      const std::string text = random_text(random, pool, random() % 120);
      Words symbols;
      for (const std::string& c : characters_of(text)) {
        if (vocab.contains(c)) {
          symbols.push_back(c);
        } else if (unk && !(fuse && !symbols.empty() && symbols.back() == "<unk>")) {
          symbols.push_back("<unk>");
        }
      }
      if (whole && vocab.contains(text)) symbols = {text};
      Ids expected;
      for (const std::string& s : naive_bpe(symbols, ranks)) expected.push_back(vocab[s]);
      INFO(text << "\n" << file.dump());
      REQUIRE(t.encode(text) == expected);
    }
  }
}

TEST_CASE("the split patterns matched by hand equal PCRE2's matches on random texts") {
  using namespace split_patterns;
  // Of each class of characters the patterns tell apart, and what contractions are made of.
  const Words pool = {
      "a",      "s",      "S", "t", "re", "VE", "ll", "Ll", "d",      "M",      "A",      "Z",
      "é",      "É",      "ǅ", "ʰ", "ª",  "中", "ſ",  "K",  "\u0301", "\u0903", "1",      "23",
      "٣",      "²",      "Ⅷ", " ", " ",  " ",  "\n", "\r", "\t",     "\v",     "\u00A0", "\u3000",
      "\u2028", "\u0085", "'", "'", "!",  "/",  "_",  "€",  "😀",      "\u200B", "\u180E"};
  std::mt19937 random(2);
  for (const std::string_view pattern : {kGpt2, kCl100k, kQwen2, kO200k}) {
    const json fast = split("Regex", std::string(pattern), "Isolated");
    // In a group it is another string, which the fast way doesn't know.
    const json slow = split("Regex", "(?:" + std::string(pattern) + ")", "Isolated");
    const std::string file = "test";
    const PreTokenizer by_hand(JsonField(fast, file, "")), by_pcre2(JsonField(slow, file, ""));
    for (int round = 0; round < 3000; ++round) {
      const std::string text = random_text(random, pool, 1 + random() % 40);
      Words expected, found;
      by_pcre2.for_each_unit(text, true, [&](std::string_view w) { expected.emplace_back(w); });
      by_hand.for_each_unit(text, true, [&](std::string_view w) { found.emplace_back(w); });
      INFO(pattern << "\n" << json(text));
      REQUIRE(found == expected);
    }
  }
}

TEST_CASE("classes in regular expressions are the reference's, within brackets and without") {
  std::string all;
  std::vector<uint32_t> characters;
  for (uint32_t c = 0; c < 0x110000; ++c) {
    if (c >= 0xD800 && c <= 0xDFFF) continue;
    append_utf8(c, all);
    characters.push_back(c);
  }
  const std::vector<std::pair<std::string, std::function<bool(uint16_t)>>> cases = {
      {R"(\p{L})", [](uint16_t c) { return (c & kLetter) != 0; }},
      {R"([\p{Lu}\p{M}])", [](uint16_t c) { return (c & (kLu | kMark)) != 0; }},
      {R"(\s)", [](uint16_t c) { return (c & kSpace) != 0; }},
      {R"(\P{N})", [](uint16_t c) { return (c & kNumber) == 0; }},
      {R"([^\S\p{N}])", [](uint16_t c) { return (c & kSpace) != 0 && (c & kNumber) == 0; }}};
  for (const auto& [pattern, inside] : cases) {
    INFO(pattern);
    const json value = pattern;
    const std::string file = "test";
    const Regex regex(JsonField(value, file, ""));
    std::string expected, found;
    for (const uint32_t c : characters) {
      if (inside(char_classes()[c])) append_utf8(c, expected);
    }
    for (const Span& s : regex.find_all(all)) {
      if (s.is_match) found.append(all, s.begin, s.end - s.begin);
    }
    CHECK(found == expected);
  }
}

TEST_CASE("Split keeps, drops or joins its delimiters") {
  const std::string text = "a--b-";
  CHECK(words(split("String", "-", "Isolated"), text) == Words{"a", "-", "-", "b", "-"});
  CHECK(words(split("String", "-", "Removed"), text) == Words{"a", "b"});
  CHECK(words(split("String", "-", "Contiguous"), text) == Words{"a", "--", "b", "-"});
  CHECK(words(split("String", "-", "MergedWithPrevious"), text) == Words{"a-", "-", "b-"});
  CHECK(words(split("String", "-", "MergedWithNext"), text) == Words{"a", "-", "-b", "-"});
  CHECK(words(split("Regex", "[ab]", "Removed", true), text) == Words{"a", "b"});
  CHECK(words(split("Regex", "-+", "MergedWithNext"), text) == Words{"a", "--b", "-"});
  CHECK(words(split("Regex", "x*", "Isolated"), "axb") == Words{"a", "x", "b"});
  CHECK(words(split("Regex", "(?<=a)", "Isolated"), "aab") == Words{"a", "a", "b"});
  CHECK(words(split("Regex", "^b$", "Isolated"), "a\nb\nc") == Words{"a\n", "b", "\nc"});
  CHECK(words(split("Regex", R"(\u0062|\x63|\x{e9})", "Isolated"), "abcéd") ==
        Words{"a", "b", "c", "é", "d"});
  CHECK(words(split("String", "-", "Isolated"), "").empty());
}

TEST_CASE("Digits, Punctuation, ByteLevel and their Sequence") {
  json digits = {{"type", "Digits"}, {"individual_digits", true}};
  CHECK(words(digits, "a12²b") == Words{"a", "1", "2", "²", "b"});
  digits["individual_digits"] = false;
  CHECK(words(digits, "a12²b") == Words{"a", "12²", "b"});
  json punctuation = {{"type", "Punctuation"}};
  CHECK(words(punctuation, "a,,b$¿") == Words{"a", ",", ",", "b", "$", "¿"});
  punctuation["behavior"] = "Contiguous";
  CHECK(words(punctuation, "a,,b€") == Words{"a", ",,", "b€"});
  json byte_level = {{"type", "ByteLevel"}, {"add_prefix_space", true}, {"trim_offsets", true}};
  CHECK(words(byte_level, "a b\n") == Words{"Ġa", "Ġb", "Ċ"});
  CHECK(words(byte_level, " a") == Words{"Ġa"});
  byte_level["use_regex"] = false;
  byte_level["add_prefix_space"] = false;
  CHECK(words(byte_level, "a b") == Words{"aĠb"});
  // What follows ByteLevel sees its alphabet: the second byte of é is written as ©, that of ò as
  // ², which is numeric.
  CHECK(words(sequence("pretokenizers", {byte_level, digits}), "éò3") == Words{"Ã©Ã", "²3"});
}

TEST_CASE("normalization forms: composition, decomposition and the order of marks") {
  using enum NormalizationForm;
  CHECK(normalize_unicode("Ame\u0301lie \u00E9", kNfc) == "Am\u00E9lie \u00E9");
  CHECK(normalize_unicode("Am\u00E9lie", kNfd) == "Ame\u0301lie");
  CHECK(normalize_unicode("\uFB01 \u00B2", kNfkc) == "fi 2");
  CHECK(normalize_unicode("\uFB01 \u00E9", kNfkd) == "fi e\u0301");
  CHECK(normalize_unicode("\uFB01 \u212B", kNfc) == "\uFB01 \u00C5");
  CHECK(normalize_unicode("\uAC01", kNfd) == "\u1100\u1161\u11A8");  // Hangul
  CHECK(normalize_unicode("\u1100\u1161\u11A8", kNfc) == "\uAC01");
  // Dots below come before dots above, and both compose with the letter.
  CHECK(normalize_unicode("q\u0307\u0323", kNfd) == "q\u0323\u0307");
  CHECK(normalize_unicode("s\u0307\u0323", kNfc) == "\u1E69");
  CHECK(normalize_unicode("\u0344", kNfc) == "\u0308\u0301");  // excluded from composition
  CHECK(normalize_unicode("", kNfc).empty());
  CHECK(normalize_unicode("plain", kNfkd) == "plain");
}

TEST_CASE("normalizers: Lowercase, Prepend, Replace, Strip and their Sequence") {
  CHECK(normalized({{"type", "Lowercase"}}, "ÀBΣİ") == "àbσi\u0307");
  CHECK(normalized({{"type", "Prepend"}, {"prepend", "▁"}}, "a") == "▁a");
  CHECK(normalized({{"type", "Prepend"}, {"prepend", "▁"}}, "").empty());
  const json replace = {{"type", "Replace"}, {"pattern", {{"String", "aa"}}}, {"content", "b"}};
  CHECK(normalized(replace, "aaaa a") == "bb a");
  const json regex = {{"type", "Replace"}, {"pattern", {{"Regex", "\\s+"}}}, {"content", " "}};
  CHECK(normalized(regex, "a \n b ") == "a b ");
  json strip = {{"type", "Strip"}, {"strip_left", true}, {"strip_right", false}};
  CHECK(normalized(strip, " \u3000a ") == "a ");
  strip = {{"type", "Strip"}, {"strip_left", false}, {"strip_right", true}};
  CHECK(normalized(strip, " a \u3000") == " a");
  CHECK(normalized(sequence("normalizers", {replace, strip}), "aa ") == "b");
  CHECK(normalized(nullptr, " A") == " A");
  CHECK(normalized({{"type", "NFKC"}}, "\uFB01") == "fi");
}

TEST_CASE("encoding takes time proportional to the text, whatever it repeats") {
  json byte_level = tokenizer_json("byte_level");
  byte_level["normalizer"] = {{"type", "NFC"}};
  byte_level["added_tokens"][1]["content"] = "   ";
  byte_level["added_tokens"][1]["rstrip"] = true;
  json o200k = byte_level;
  o200k["pre_tokenizer"]["use_regex"] = false;
  o200k["pre_tokenizer"] =
      sequence("pretokenizers", {split("Regex", std::string(split_patterns::kO200k), "Isolated"),
                                 byte_level["pre_tokenizer"]});
  json regex = o200k;
  regex["pre_tokenizer"]["pretokenizers"][0]["pattern"]["Regex"] =
      "(?:" + std::string(split_patterns::kO200k) + ")";
  const json sentencepiece = tokenizer_json("sentencepiece");

  // Of the processor, which others may be using at the same time.
  const auto seconds = [](const Tokenizer& t, const std::string& text) {
    double best = 1e9;
    for (int i = 0; i < 3; ++i) {
      const std::clock_t start = std::clock();
      t.encode(text);
      best = std::min(best, static_cast<double>(std::clock() - start) / CLOCKS_PER_SEC);
    }
    return best;
  };
  for (const json& file : {byte_level, o200k, regex, sentencepiece}) {
    const Tokenizer t = load(file);
    for (const std::string unit : {"a", "A", "l", " ", "\n", "'", "<", "1", " h", "ªA", "中",
                                   "\u0301\u0323", "\xFF", "<|end|>"}) {
      std::string text;
      while (text.size() < 8'000) text += unit;
      const double once = seconds(t, text);
      std::string longer;
      for (int i = 0; i < 64; ++i) longer += text;
      // Quadratic time would give 4096; a logarithm, the caches and a busy machine stay below 512.
      INFO(json(unit).dump(-1, ' ', true, json::error_handler_t::replace));
      CHECK(seconds(t, longer) < 512 * once);
    }
  }
}
