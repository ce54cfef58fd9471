// Ways to break a tokenizer.json: each gives one line that names the file and the place.
#include <functional>

#include "base/error.h"
#include "datasets/tokenizer_json.h"
#include "tests/catch.h"
#include "tests/datasets/tokenizer_files.h"

using namespace sinkbench;
using namespace sinkbench::test;

namespace {

/// The message of the error that loading `content` gives.
std::string message_of(const std::string& content) {
  try {
    load_text(content);
  } catch (const InputError& error) {
    return error.what();
  }
  return "no error";
}

struct Break {
  const char* base;
  std::function<void(json&)> change;
  const char* expected;  // part of the message
};

json split(const std::string& regex) {
  return {{"type", "Split"},
          {"pattern", {{"Regex", regex}}},
          {"behavior", "Isolated"},
          {"invert", false}};
}

const std::vector<Break> kBreaks = {
    {"byte_level", [](json& j) { j = json::array(); },
     "the whole file: an array: expected an object"},
    {"byte_level", [](json& j) { j["version"] = "2.0"; }, "version: \"2.0\": expected \"1.0\""},
    // model
    {"byte_level", [](json& j) { j.erase("model"); }, "model: missing"},
    {"byte_level", [](json& j) { j["model"] = 3; }, "model: 3: expected an object"},
    {"byte_level", [](json& j) { j["model"]["type"] = "WordPiece"; },
     "model.type: \"WordPiece\": expected BPE"},
    {"byte_level", [](json& j) { j["model"]["type"] = 1; }, "model.type: 1: expected a string"},
    {"byte_level", [](json& j) { j["model"].erase("vocab"); }, "model.vocab: missing"},
    {"byte_level", [](json& j) { j["model"]["vocab"] = json::array(); },
     "model.vocab: a list: expected an object"},
    {"byte_level", [](json& j) { j["model"].erase("merges"); }, "model.merges: missing"},
    {"byte_level", [](json& j) { j["model"]["merges"] = "a b"; },
     "model.merges: \"a b\": expected a list"},
    {"byte_level", [](json& j) { j["model"]["dropout"] = 0.1; },
     "model.dropout: 0.1: expected null"},
    {"byte_level", [](json& j) { j["model"]["end_of_word_suffix"] = "</w>"; },
     "model.end_of_word_suffix: \"</w>\""},
    {"byte_level", [](json& j) { j["model"]["continuing_subword_prefix"] = "##"; },
     "model.continuing_subword_prefix: \"##\""},
    {"byte_level", [](json& j) { j["model"]["byte_fallback"] = "yes"; },
     "model.byte_fallback: \"yes\": expected true or false"},
    // vocabulary
    {"byte_level", [](json& j) { j["model"]["vocab"]["he"] = 104; }, ": already the id of \""},
    {"byte_level", [](json& j) { j["model"]["vocab"]["he"] = -1; },
     "model.vocab[\"he\"]: -1: expected an id of 0 to 4194303"},
    {"byte_level", [](json& j) { j["model"]["vocab"]["he"] = 4000000000; },
     "model.vocab[\"he\"]: 4000000000"},
    {"byte_level", [](json& j) { j["model"]["vocab"]["he"] = 1e300; },
     "model.vocab[\"he\"]: 1e+300"},
    {"byte_level", [](json& j) { j["model"]["vocab"]["he"] = "256"; },
     "model.vocab[\"he\"]: \"256\""},
    {"byte_level", [](json& j) { j["model"]["vocab"]["he"] = json::array(); },
     "model.vocab[\"he\"]: []"},
    // merges
    {"byte_level", [](json& j) { j["model"]["vocab"].erase("hello"); },
     "model.merges[3]: \"hell\" + \"o\": \"hello\" is not in model.vocab"},
    {"byte_level", [](json& j) { j["model"]["merges"][0] = "h €"; },
     "model.merges[0]: \"h\" + \"€\": \"€\" is not in"},
    {"byte_level", [](json& j) { j["model"]["merges"][2] = "h e l"; },
     "model.merges[2]: h e l: expected"},
    {"byte_level", [](json& j) { j["model"]["merges"][2] = "hel"; },
     "model.merges[2]: hel: expected"},
    {"byte_level", [](json& j) { j["model"]["merges"][2] = {"h"}; },
     "model.merges[2]: a list of fewer than two"},
    {"byte_level",
     [](json& j) {
       j["model"]["merges"][2] = {"h", "e", "l"};
     },
     "model.merges[2]: a list of three or more"},
    {"byte_level",
     [](json& j) {
       j["model"]["merges"][2] = {"h", 1};
     },
     "model.merges[2]: 1: expected"},
    {"byte_level", [](json& j) { j["model"]["merges"][2] = json::object(); },
     "model.merges[2]: {}: expected"},
    {"byte_level",
     [](json& j) {
       j["model"]["merges"][2] = {"", "h"};
     },
     "model.merges[2]: \"\" + \"h\""},
    // added tokens
    {"byte_level", [](json& j) { j["added_tokens"] = 1; }, "added_tokens: 1: expected a list"},
    {"byte_level", [](json& j) { j["added_tokens"][0].erase("lstrip"); },
     "added_tokens[0].lstrip: missing"},
    {"byte_level", [](json& j) { j["added_tokens"][0]["id"] = -5; },
     "added_tokens[0].id: -5: expected an integer"},
    {"byte_level", [](json& j) { j["added_tokens"][0]["content"] = std::string(2000, 'x'); },
     "expected a text of up to 1024 bytes"},
    {"byte_level",
     [](json& j) {
       j["normalizer"] = {{"type", "Strip"}, {"strip_left", true}, {"strip_right", true}};
       j["added_tokens"][1]["content"] = "  ";
       j["added_tokens"][1]["normalized"] = true;
     },
     "added_tokens: \"  \": expected a text of which the normalizer leaves something"},
    // normalizer
    {"byte_level",
     [](json& j) {
       j["normalizer"] = {{"type", "Mine"}};
     },
     "normalizer.type: \"Mine\": expected BertNormalizer"},
    {"byte_level",
     [](json& j) {
       j["normalizer"] = {{"type", "Precompiled"}, {"precompiled_charsmap", "AA*="}};
     },
     "normalizer.precompiled_charsmap: \"AA*=\": expected a map of characters in Base64"},
    {"byte_level",
     [](json& j) {
       j["normalizer"] = {{"type", "Precompiled"}, {"precompiled_charsmap", "/////wAA"}};
     },
     "normalizer.precompiled_charsmap: expected a map of characters, found a damaged one"},
    {"byte_level", [](json& j) { j["normalizer"] = "NFC"; },
     "normalizer: \"NFC\": expected an object"},
    {"sentencepiece", [](json& j) { j["normalizer"]["normalizers"][1]["pattern"]["String"] = ""; },
     "normalizer.normalizers[1].pattern.String: \"\""},
    {"sentencepiece",
     [](json& j) {
       j["normalizer"]["normalizers"][1]["pattern"] = {{"Regex", "(a)"}};
       j["normalizer"]["normalizers"][1]["content"] = "$1";
     },
     "normalizer.normalizers[1].content: \"$1\""},
    // pre-tokenizer
    {"byte_level", [](json& j) { j["pre_tokenizer"]["type"] = "UnicodeScripts"; },
     "pre_tokenizer.type: \"UnicodeScripts\": expected BertPreTokenizer"},
    {"byte_level", [](json& j) { j["pre_tokenizer"].erase("add_prefix_space"); },
     "pre_tokenizer.add_prefix_space: missing"},
    {"byte_level", [](json& j) { j["pre_tokenizer"] = split("(a"); },
     "pre_tokenizer.pattern.Regex: \"(a\": expected a regular expression of the supported kind; a "
     "( "
     "without ) is not, at byte 2"},
    {"byte_level", [](json& j) { j["pre_tokenizer"] = split("\\Gx"); }, "\\G is not, at byte 2"},
    {"byte_level", [](json& j) { j["pre_tokenizer"] = split("[[:alfa:]]"); }, "this [:"},
    {"byte_level", [](json& j) { j["pre_tokenizer"] = split("[\\w-b]"); }, "this -"},
    {"byte_level", [](json& j) { j["pre_tokenizer"] = split("(?x)a"); }, "this (?"},
    {"byte_level", [](json& j) { j["pre_tokenizer"] = split("[a"); }, "a bracket without end"},
    {"byte_level", [](json& j) { j["pre_tokenizer"] = split("(?i)[\u00e4]"); },
     "a bracket beyond ASCII whose case is ignored"},
    {"byte_level", [](json& j) { j["pre_tokenizer"] = split("(?i)\u00e4"); },
     "a letter beyond ASCII whose case is ignored"},
    {"byte_level", [](json& j) { j["pre_tokenizer"] = split("a{3,2}"); }, "this {n,m}"},
    {"byte_level", [](json& j) { j["pre_tokenizer"] = split("*a"); }, "a quantifier of nothing"},
    {"byte_level", [](json& j) { j["pre_tokenizer"] = split("a)"); }, "a ) without ("},
    {"byte_level", [](json& j) { j["pre_tokenizer"] = split("(a)\\1"); }, "\\1 is not"},
    {"byte_level", [](json& j) { j["pre_tokenizer"] = split("a\\"); }, "a \\ at the end"},
    {"byte_level", [](json& j) { j["pre_tokenizer"] = split("(?i)stra\u00dfe"); },
     "'st' whose case is ignored"},
    {"byte_level", [](json& j) { j["pre_tokenizer"] = split("\\p{Klingon}"); },
     "\\p{Klingon} is not, at byte 2"},
    {"byte_level",
     [](json& j) {
       j["pre_tokenizer"] = split("a");
       j["pre_tokenizer"]["behavior"] = "Kept";
     },
     "pre_tokenizer.behavior: \"Kept\": expected Removed"},
    {"byte_level",
     [](json& j) {
       j["pre_tokenizer"] = split("a");
       j["pre_tokenizer"].erase("invert");
     },
     "pre_tokenizer.invert: missing"},
    {"byte_level",
     [](json& j) {
       const json byte_level = j["pre_tokenizer"];
       j["pre_tokenizer"] = {{"type", "Sequence"}, {"pretokenizers", {byte_level, byte_level}}};
     },
     "pre_tokenizer.pretokenizers[1].type: \"ByteLevel\": expected one ByteLevel at most"},
    {"byte_level",
     [](json& j) {
       j["pre_tokenizer"] = {{"type", "Sequence"}, {"pretokenizers", json::array()}};
       for (int i = 0; i < 17; ++i) j["pre_tokenizer"]["pretokenizers"].push_back(split("a"));
     },
     "expected at most 16 steps, found 17"},
    {"sentencepiece",
     [](json& j) {
       j["pre_tokenizer"] = {{"type", "Metaspace"}, {"replacement", "__"}};
     },
     "pre_tokenizer.replacement: \"__\": expected a string of one character"},
    {"sentencepiece",
     [](json& j) {
       j["pre_tokenizer"] = {
           {"type", "Metaspace"}, {"replacement", "▁"}, {"prepend_scheme", "last"}};
     },
     "pre_tokenizer.prepend_scheme: \"last\": expected never, first or always"},
    {"sentencepiece",
     [](json& j) {
       j["pre_tokenizer"] = {{"type", "Metaspace"},
                             {"replacement", "▁"},
                             {"prepend_scheme", "first"},
                             {"add_prefix_space", false}};
     },
     "pre_tokenizer.prepend_scheme: \"first\": expected never, as add_prefix_space is false"},
    // decoder and post-processor
    {"byte_level", [](json& j) { j["decoder"]["type"] = "WordPiece"; },
     "decoder.type: \"WordPiece\": expected ByteFallback"},
    {"sentencepiece", [](json& j) { j["decoder"]["decoders"][3]["start"] = -1; },
     "decoder.decoders[3].start: -1: expected an integer"},
    {"byte_level", [](json& j) { j["post_processor"]["type"] = "Mirror"; },
     "post_processor.type: \"Mirror\": expected BertProcessing"},
    {"sentencepiece", [](json& j) { j["post_processor"]["special_tokens"] = json::object(); },
     "post_processor.special_tokens.<s>: missing"},
    {"sentencepiece", [](json& j) { j["post_processor"]["special_tokens"]["<s>"]["ids"] = {999}; },
     "post_processor: 999: expected the id of a token"},
    {"sentencepiece", [](json& j) { j["post_processor"]["single"].erase(1); },
     "post_processor.single: an array: expected a list with the Sequence A"},
    {"sentencepiece", [](json& j) { j["post_processor"]["single"][1]["Sequence"]["id"] = "B"; },
     "post_processor.single[1].Sequence.id: \"B\": expected A, once"},
};

}  // namespace

TEST_CASE("what is no UTF-8 is quoted with U+FFFD") {
  CHECK(in_quotes("a\xC3") == "\"a\uFFFD\"");
}

TEST_CASE("each way to break a tokenizer.json gives one line that names file, place and value") {
  for (const Break& b : kBreaks) {
    json file = tokenizer_json(b.base);
    b.change(file);
    const std::string message = message_of(file.dump());
    CHECK_THAT(message, ContainsSubstring(b.expected));
    CHECK_THAT(message, ContainsSubstring("sinkbench_tokenizer_"));
    CHECK(message.find('\n') == std::string::npos);
  }
}

TEST_CASE("a file that is no JSON, or breaks off anywhere, is an error") {
  const std::string whole = tokenizer_json("sentencepiece").dump();
  CHECK_THAT(message_of(""), ContainsSubstring("not valid JSON at byte 1"));
  CHECK_THAT(message_of("{\"model\": {\"vocab\": {\"a\xFF\": 1}}}"),
             ContainsSubstring("ill-formed UTF-8"));
  CHECK_THAT(message_of(whole + "]"), ContainsSubstring("not valid JSON"));
  for (size_t length = 1; length < whole.size(); length += 37) {
    CHECK_THAT(message_of(whole.substr(0, length)), ContainsSubstring("not valid JSON"));
  }
}

TEST_CASE("deep nesting is refused wherever it stands") {
  const std::string deep(100000, '[');
  for (const char* before : {"", "{\"x\": ", "{\"normalizer\": ", "{\"model\": {\"x\": "}) {
    CHECK_THAT(message_of(before + deep), ContainsSubstring("nested more than 64 deep"));
  }
  CHECK_THAT(message_of("{\"model\": {\"merges\": " + deep), ContainsSubstring("model.merges[0]"));
  CHECK_THAT(message_of("{\"model\": {\"vocab\": {\"a\": " + deep),
             ContainsSubstring("model.vocab[\"a\"]"));
}

TEST_CASE("a key given twice is an error, in the long lists too") {
  CHECK_THAT(message_of(R"({"model": 1, "model": 2})"), ContainsSubstring("model: given twice"));
  CHECK_THAT(message_of(R"({"model": {"vocab": {}, "vocab": {}}})"),
             ContainsSubstring("model.vocab: given twice"));
  CHECK_THAT(message_of(R"({"model": {"vocab": {"a": 1, "a": 2}, "merges": []}})"),
             ContainsSubstring("model.vocab[\"a\"]: given twice"));
}

TEST_CASE("replacements that multiply the text without bound are stopped") {
  json file = tokenizer_json("sentencepiece");
  const json grow = {
      {"type", "Replace"}, {"pattern", {{"String", "a"}}}, {"content", std::string(900, 'a')}};
  file["normalizer"] = {{"type", "Sequence"}, {"normalizers", {grow, grow, grow, grow}}};
  const Tokenizer t = load(file);
  CHECK_THROWS_WITH(t.encode(std::string(100, 'a')),
                    ContainsSubstring("normalizer.normalizers[0]: makes more than"));
}

TEST_CASE("a pattern that needs too many steps is an error, not a hang") {
  json file = tokenizer_json("byte_level");
  file["pre_tokenizer"] = split("(a+)+(?=b)");
  const Tokenizer t = load(file);
  CHECK_THROWS_WITH(t.encode(std::string(60, 'a')),
                    ContainsSubstring("pre_tokenizer.pattern.Regex: cannot match this pattern"));
}
