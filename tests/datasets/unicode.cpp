// Unicode as the reference sees it: tests/data/tokenizers/unicode_goldens.py asked about all
// characters.
#include "base/sha256.h"
#include "datasets/normalizer.h"
#include "datasets/regex.h"
#include "datasets/unicode_classes.h"
#include "tests/catch.h"
#include "tests/datasets/tokenizer_files.h"

using namespace sinkbench;
using namespace sinkbench::test;

namespace {

std::string every_character() {
  std::string all;
  for (uint32_t c = 0; c < 0x110000; ++c) {
    if (c < 0xD800 || c > 0xDFFF) append_utf8(c, all);
  }
  return all;
}

size_t characters(std::string_view text) {
  return static_cast<size_t>(
      std::count_if(text.begin(), text.end(), [](char c) { return (c & 0xC0) != 0x80; }));
}

}  // namespace

TEST_CASE("grapheme clusters are Unicode's") {  // UAX 29, GB3 to GB999
  const auto clusters = [](std::string_view text) {
    std::vector<std::string> found;
    for (const Span& span : Regex::grapheme_clusters().find_all(text)) {
      found.emplace_back(text.substr(span.begin, span.end - span.begin));
    }
    return found;
  };
  using Texts = std::vector<std::string>;
  CHECK(clusters("a\u2122\u00AEb") == Texts{"a", "\u2122", "\u00AE", "b"});
  CHECK(clusters("\U0001F642\u2122\u0300") == Texts{"\U0001F642", "\u2122\u0300"});
  CHECK(clusters("\U0001F1E6\u0344\u0301") == Texts{"\U0001F1E6\u0344\u0301"});
  CHECK(clusters("\U0001F1E6\U0001F1E7\U0001F1E8") == Texts{"\U0001F1E6\U0001F1E7", "\U0001F1E8"});
  const std::string family = "\U0001F468\u200D\U0001F469\u200D\U0001F467";
  CHECK(clusters(family + "\U0001F467") == Texts{family, "\U0001F467"});
  CHECK(clusters("\U0001F44D\U0001F3FDx") == Texts{"\U0001F44D\U0001F3FD", "x"});
  CHECK(clusters("e\u0301\r\n\u1100\u1161\u11A8") ==
        Texts{"e\u0301", "\r\n", "\u1100\u1161\u11A8"});
}

TEST_CASE(
    "properties, normalization forms and lower case are the reference's, for all of Unicode") {
  const std::string all = every_character();
  const std::string file = "test";
  const json goldens = json::parse(read_file(data("tokenizers") / "unicode_goldens.json"));
  for (const auto& [pattern, golden] : goldens["patterns"].items()) {
    INFO(pattern);
    const json value = pattern;
    const Regex regex(JsonField(value, file, ""));
    std::string found;
    for (const Span& s : regex.find_all(all)) {
      if (s.is_match) found.append(all, s.begin, s.end - s.begin);
    }
    CHECK(characters(found) == golden[0].get<size_t>());
    CHECK(sha256_hex(found) == golden[1].get<std::string>());
  }
  for (const auto& [type, golden] : goldens["normalizers"].items()) {
    INFO(type);
    const json value = {{"type", type}};
    const std::string made = Normalizer(JsonField(value, file, "")).apply(all);
    CHECK(characters(made) == golden[0].get<size_t>());
    CHECK(sha256_hex(made) == golden[1].get<std::string>());
  }
}
