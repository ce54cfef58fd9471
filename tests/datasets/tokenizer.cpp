// What each part of a tokenizer.json means, on tokenizers small enough to follow by hand.
#include "datasets/tokenizer.h"

#include <thread>

#include "base/error.h"
#include "base/sha256.h"
#include "tests/catch.h"
#include "tests/datasets/tokenizer_files.h"
#include "tests/files.h"

using namespace sinkbench;
using namespace sinkbench::test;

namespace {

json added_token(int id, const std::string& content) {
  return {{"id", id},        {"content", content},  {"single_word", false}, {"lstrip", false},
          {"rstrip", false}, {"normalized", false}, {"special", false}};
}

json metaspace(const std::string& scheme, bool split) {
  return {
      {"type", "Metaspace"}, {"replacement", "▁"}, {"prepend_scheme", scheme}, {"split", split}};
}

}  // namespace

TEST_CASE("byte-level BPE: merges by rank, spaces go with the word, bytes for the rest") {
  const Tokenizer t = load(tokenizer_json("byte_level"));
  CHECK(t.encode("hello world") == Ids{259, 262, 'l', 'd'});
  CHECK(t.encode("hell") == Ids{258});
  CHECK(t.encode("lll") == Ids{257, 'l'});  // of equal ranks the leftmost
  CHECK(t.encode("or\n") == Ids{261, '\n'});
  CHECK(t.encode("é€") == Ids{265, 0xE2, 0x82, 0xAC});
  CHECK(t.encode("").empty());
  CHECK(t.encode("a<|end|>b<|end") == Ids{'a', 266, 'b', '<', '|', 'e', 'n', 'd'});
  CHECK(t.vocab_size() == 268);
  CHECK(t.token_id("Ġwor") == 262);
  CHECK(t.token_id("<|tool|>") == 267);
  CHECK_FALSE(t.token_id(" wor").has_value());
  CHECK(t.prefix().empty());
  CHECK(t.description() == "byte-level BPE, 268 tokens, 10 merges");
}

TEST_CASE("byte-level decoding gives the bytes back, and U+FFFD where they are no UTF-8") {
  const Tokenizer t = load(tokenizer_json("byte_level"));
  CHECK(t.decode(Ids{259, 262, 'l', 'd', 265}) == "hello world\xC3\xA9");
  CHECK(t.decode(Ids{0xE2, 0x82, 0xAC}) == "€");
  CHECK(t.decode(Ids{'a', 0xE2, 0x82, 'b'}) ==
        "a\xEF\xBF\xBD"
        "b");
  CHECK(t.decode(Ids{'a', 266, 267}) == "a<|end|><|tool|>");
  CHECK(t.decode(Ids{'a', 266, 267}, true) == "a<|tool|>");
  CHECK_THROWS_WITH(t.decode(Ids{268}), ContainsSubstring("268: no token has this id"));
  CHECK_THROWS_AS(t.decode(Ids{-1}), InputError);
}

TEST_CASE("a token without bytes of the alphabet decodes to itself") {
  json file = tokenizer_json("byte_level");
  file["added_tokens"].push_back(added_token(268, "  "));
  const Tokenizer t = load(file);
  CHECK(t.encode("a  b") == Ids{'a', 268, 'b'});
  CHECK(t.decode(Ids{'a', 268, 'b'}) == "a  b");
}

TEST_CASE("SentencePiece-style BPE: a space in front, bytes for unknown characters, BOS") {
  const Tokenizer t = load(tokenizer_json("sentencepiece"));
  CHECK(t.encode("hello world") == Ids{1, 275, 278, 266, 263});
  CHECK(t.encode("hello world", false) == Ids{275, 278, 266, 263});
  CHECK(t.encode("") == Ids{1});
  CHECK(t.encode("é€", false) == Ids{259, 270, 3 + 0xE2, 3 + 0x82, 3 + 0xAC});
  CHECK(t.encode("a    b", false) == Ids{259, 260, 280, 261});
  CHECK(t.encode("a</s>b", false) == Ids{259, 260, 2, 259, 261});
  CHECK(t.prefix() == Ids{1});
  CHECK(t.description() == "BPE with byte fallback, 281 tokens, 10 merges");
}

TEST_CASE("SentencePiece-style decoding takes the first space off and joins bytes") {
  const Tokenizer t = load(tokenizer_json("sentencepiece"));
  CHECK(t.decode(Ids{275, 278, 266, 263}) == "hello world");
  CHECK(t.decode(Ids{1, 275}) == "<s> hello");
  CHECK(t.decode(Ids{1, 275}, true) == "hello");
  CHECK(t.decode(Ids{260, 3 + 0xE2, 3 + 0x82, 3 + 0xAC}) == "a€");
  // Bytes that are no character give one U+FFFD each.
  CHECK(t.decode(Ids{3 + 0xE2, 3 + 0x82, 260}) ==
        "\xEF\xBF\xBD\xEF\xBF\xBD"
        "a");
}

TEST_CASE("unknown characters are one token each, one for a run, or nothing") {
  json file = tokenizer_json("sentencepiece");
  file["model"]["byte_fallback"] = false;
  CHECK(load(file).encode("axyb", false) == Ids{259, 260, 0, 261});
  file["model"]["fuse_unk"] = false;
  CHECK(load(file).encode("axyb", false) == Ids{259, 260, 0, 0, 261});
  file["model"]["unk_token"] = nullptr;
  CHECK(load(file).encode("axyb", false) == Ids{259, 260, 261});
  // What is left merges across the gap.
  CHECK(load(file).encode("hxello", false) == Ids{275});
  // A word, seen again, of which nothing is left.
  file = tokenizer_json("byte_level");
  file["model"] = {{"type", "BPE"}, {"vocab", {{"a", 0}}}, {"merges", json::array()}};
  file["added_tokens"] = json::array();
  CHECK(load(file).encode("xyz\nxyz\na") == Ids{0});
}

TEST_CASE("Metaspace puts its character where prepend_scheme says, and splits before each") {
  json file = tokenizer_json("sentencepiece");
  file["normalizer"] = nullptr;
  const auto encode = [&](const std::string& scheme, bool split, const std::string& text) {
    file["pre_tokenizer"] = metaspace(scheme, split);
    return load(file).encode(text, false);
  };
  const std::string text = "or</s>or";
  for (const bool split : {true, false}) {
    CHECK(encode("always", split, text) == Ids{259, 277, 2, 259, 277});
    CHECK(encode("first", split, text) == Ids{259, 277, 2, 277});
    CHECK(encode("never", split, text) == Ids{277, 2, 277});
    CHECK(encode("first", split, "</s>or") == Ids{2, 277});
    CHECK(encode("always", split, " or") == Ids{259, 277});  // there is one already
    CHECK(encode("always", split, "hello world") == Ids{275, 278, 266, 263});
  }
  CHECK(encode("always", true, "a  b") == Ids{259, 260, 259, 259, 261});
  CHECK(encode("always", false, "a  b") == Ids{259, 260, 279, 261});
}

TEST_CASE("Metaspace's decoder drops the first space unless none was put there") {
  json file = tokenizer_json("sentencepiece");
  const Ids ids = {275, 278, 266, 263};
  file["decoder"] = metaspace("always", true);
  CHECK(load(file).decode(ids) == "hello world");
  file["decoder"] = metaspace("never", true);
  CHECK(load(file).decode(ids) == " hello world");
  file["decoder"] = {{"type", "Metaspace"}, {"replacement", "▁"}, {"add_prefix_space", false}};
  CHECK(load(file).decode(ids) == " hello world");
  file["decoder"] = nullptr;
  CHECK(load(file).decode(ids) == "▁hello ▁wor l d");
}

TEST_CASE("added tokens: the leftmost, then the longest") {
  json file = tokenizer_json("byte_level");
  file["added_tokens"] = {added_token(266, "ab"), added_token(267, "abc"), added_token(268, "bcd")};
  const Tokenizer t = load(file);
  CHECK(t.encode("abcd") == Ids{267, 'd'});
  CHECK(t.encode("xbcdabd") == Ids{'x', 268, 266, 'd'});
}

TEST_CASE("added tokens: single_word stands only where no word character is beside it") {
  json file = tokenizer_json("byte_level");
  file["added_tokens"] = {added_token(266, "ab")};
  file["added_tokens"][0]["single_word"] = true;
  const Tokenizer t = load(file);
  CHECK(t.encode("ab") == Ids{266});
  CHECK(t.encode("(ab)") == Ids{'(', 266, ')'});
  CHECK(t.encode("xab") == Ids{'x', 'a', 'b'});
  CHECK(t.encode("ab_") == Ids{'a', 'b', '_'});
  CHECK(t.encode("abé") == Ids{'a', 'b', 265});
  CHECK(t.encode("€ab").back() == 266);
}

TEST_CASE("added tokens: lstrip and rstrip take the spaces beside them") {
  json file = tokenizer_json("byte_level");
  file["added_tokens"] = {added_token(266, "<l>"), added_token(267, "<r>")};
  file["added_tokens"][0]["lstrip"] = true;
  file["added_tokens"][1]["rstrip"] = true;
  const Tokenizer t = load(file);
  CHECK(t.encode("a \n<l> b") == Ids{'a', 266, ' ', 'b'});
  CHECK(t.encode("a <r> \u3000b") == Ids{'a', ' ', 267, 'b'});
  CHECK(t.encode("<r> <l>") == Ids{267, 266});
  CHECK(t.encode("  <l>") == Ids{266});
}

TEST_CASE("added tokens: normalized ones are looked for in the normalized text, others before") {
  json file = tokenizer_json("byte_level");
  file["normalizer"] = {{"type", "Lowercase"}};
  file["added_tokens"] = {added_token(266, "AB"), added_token(267, "CD")};
  file["added_tokens"][0]["normalized"] = true;
  const Tokenizer t = load(file);
  CHECK(t.encode("abAb") == Ids{266, 266});
  CHECK(t.encode("cdCD") == Ids{'c', 'd', 267});
  CHECK(t.decode(Ids{266}) == "AB");
}

TEST_CASE("the template's tokens stand around the text, unless the caller wants none") {
  json file = tokenizer_json("sentencepiece");
  const json post = file["post_processor"];
  json both = post;
  both["single"].push_back({{"SpecialToken", {{"id", "</s>"}, {"type_id", 0}}}});
  both["special_tokens"]["</s>"] = {{"id", "</s>"}, {"ids", {2}}, {"tokens", {"</s>"}}};
  const json byte_level = {
      {"type", "ByteLevel"}, {"add_prefix_space", true}, {"trim_offsets", true}};
  file["post_processor"] = {{"type", "Sequence"}, {"processors", {byte_level, both}}};
  const Tokenizer t = load(file);
  CHECK(t.encode("hello") == Ids{1, 275, 2});
  CHECK(t.encode("hello", false) == Ids{275});
  CHECK(t.prefix() == Ids{1});
  file["post_processor"] = nullptr;
  CHECK(load(file).encode("hello") == Ids{275});
  CHECK(load(file).prefix().empty());
}

TEST_CASE("ignore_merges: a word that is a token is that token") {
  json file = tokenizer_json("byte_level");
  file["model"]["vocab"]["Ġworld"] = 300;  // which no merge makes
  CHECK(load(file).encode(" world") == Ids{262, 'l', 'd'});
  file["model"]["ignore_merges"] = true;
  CHECK(load(file).encode(" world") == Ids{300});
  CHECK(load(file).encode(" worlds") == Ids{262, 'l', 'd', 's'});
  CHECK(load(file).vocab_size() == 301);  // a gap in the ids is no error
}

TEST_CASE("merges may be written as pairs or as one string; the model's type may be left out") {
  json file = tokenizer_json("byte_level");
  const std::string text = "hello world  or 1234 é";
  const Ids expected = load(file).encode(text);
  for (json& merge : file["model"]["merges"]) {
    const std::string both = merge;
    const size_t space = both.find(' ');
    merge = {both.substr(0, space), both.substr(space + 1)};
  }
  file["model"].erase("type");
  CHECK(load(file).encode(text) == expected);
}

TEST_CASE("invalid UTF-8 is encoded as U+FFFD") {
  const Tokenizer t = load(tokenizer_json("byte_level"));
  CHECK(t.encode("a\xFF"
                 "b\xE2\x82") == t.encode("a\xEF\xBF\xBD"
                                          "b\xEF\xBF\xBD"));
}

TEST_CASE("a tokenizer loads from its folder, too, and names the bytes it came from") {
  const test::TemporaryFolder temporary;
  const auto folder = temporary.path() / "sinkbench_tokenizer_folder";
  std::filesystem::create_directories(folder);
  const std::string content = read_file(data("tokenizers/byte_level.json"));
  write_file_atomically(folder / "tokenizer.json", content);
  const Tokenizer t = Tokenizer::load(folder);
  CHECK(t.encode("hello") == Ids{259});
  CHECK(t.sha256() == sha256_hex(content));
  std::filesystem::remove_all(folder);
  CHECK_THROWS_WITH(Tokenizer::load(folder), ContainsSubstring("sinkbench_tokenizer_folder"));
}

TEST_CASE("several threads may encode with one tokenizer") {
  Tokenizer loaded = load(tokenizer_json("sentencepiece"));
  const Tokenizer t = std::move(loaded);
  std::vector<std::string> texts;
  for (int i = 0; i < 200; ++i) {
    texts.push_back("hello " + std::to_string(i) + std::string(i, i % 2 ? 'l' : ' ') + " world");
  }
  std::vector<Ids> expected;
  for (const std::string& text : texts) expected.push_back(t.encode(text));
  std::vector<int> wrong(4);
  std::vector<std::thread> threads;
  for (int& count : wrong) {
    threads.emplace_back([&] {
      for (size_t i = 0; i < texts.size(); ++i) count += t.encode(texts[i]) != expected[i];
    });
  }
  for (std::thread& thread : threads) thread.join();
  CHECK(wrong == std::vector<int>(4));
}
