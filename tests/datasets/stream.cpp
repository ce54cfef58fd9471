#include "datasets/stream.h"

#include <filesystem>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/file.h"
#include "base/sha256.h"
#include "tests/catch.h"
#include "tests/datasets/tokenizer_files.h"

using namespace sinkbench;
using nlohmann::json;
namespace fs = std::filesystem;

namespace {

/// Files of one test: a byte-level tokenizer of a few characters, with a BOS, and texts.
class Files {
 public:
  Files() : path_(fs::temp_directory_path() / fmt::format("sinkbench-stream-{}", ::getpid())) {
    fs::create_directories(path_);
  }
  ~Files() { fs::remove_all(path_); }

  fs::path write(const std::string& name, std::string_view content) const {
    write_file_atomically(path_ / name, content);
    return path_ / name;
  }

  /// Ids: <s> 0, then a b c d, space, line feed, the two bytes of é, then "ab" and " ab".
  Tokenizer tokenizer(bool with_bos = true) const {
    json vocab{{"<s>", 0}};
    for (const char* token : {"a", "b", "c", "d", "Ġ", "Ċ", "Ã", "©", "ab", "Ġab"}) {
      const size_t id = vocab.size();
      vocab[token] = id;
    }
    json file{{"version", "1.0"},
              {"added_tokens", json::array({json{{"id", 0},
                                                 {"content", "<s>"},
                                                 {"single_word", false},
                                                 {"lstrip", false},
                                                 {"rstrip", false},
                                                 {"normalized", false},
                                                 {"special", true}}})},
              {"normalizer", nullptr},
              {"pre_tokenizer", byte_level()},
              {"post_processor", nullptr},
              {"decoder", byte_level()},
              {"model",
               json{{"type", "BPE"}, {"vocab", vocab}, {"merges", json::array({"a b", "Ġ ab"})}}}};
    if (with_bos) {
      file["post_processor"] = json::parse(R"({
        "type": "TemplateProcessing",
        "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}},
                   {"Sequence": {"id": "A", "type_id": 0}}],
        "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
        "special_tokens": {"<s>": {"id": "<s>", "ids": [0], "tokens": ["<s>"]}}})");
    }
    return Tokenizer::load(write("tokenizer.json", file.dump()));
  }

 private:
  static json byte_level() {
    return json{{"type", "ByteLevel"},
                {"add_prefix_space", false},
                {"trim_offsets", true},
                {"use_regex", true}};
  }

  fs::path path_;
};

using Ids = std::vector<int32_t>;
constexpr int32_t kBos = 0, kA = 1, kC = 3, kD = 4, kLine = 6, kFirstOfE = 7, kSecondOfE = 8,
                  kAb = 9, kSpaceAb = 10;

template <typename Read>
std::string message_of(const Read& read) {
  try {
    read();
  } catch (const InputError& error) {
    return error.what();
  }
  return "nothing was thrown";
}

}  // namespace

TEST_CASE("documents are joined, with the BOS where it is asked for") {
  const Files files;
  const Tokenizer tokenizer = files.tokenizer();
  const fs::path one = files.write("1.txt", "ab ab\n"), two = files.write("2.txt", "cd");
  TextSource source{{one, two}};

  TokenStream stream = read_text_stream(source, tokenizer);
  CHECK(stream.ids == Ids{kBos, kAb, kSpaceAb, kLine, kC, kD});
  CHECK(stream.facts.documents == 2);
  CHECK(stream.scored_text->bytes == 8);
  CHECK(stream.scored_text->words == 3);
  CHECK(stream.content_sha256 == sha256_hex("ab ab\ncd"));
  CHECK(stream.facts.notes.empty());

  // A BOS that is predicted counts, which is said where there are many.
  source.bos = BosPlacement::document;
  stream = read_text_stream(source, tokenizer);
  CHECK(stream.ids == Ids{kBos, kAb, kSpaceAb, kLine, kBos, kC, kD});
  CHECK(stream.facts.notes ==
        std::vector<std::string>{
            "1 of 6 scored tokens are the BOS before a document: perplexity counts them"});
  source.reset = Reset{};  // each is the first of a piece
  CHECK(read_text_stream(source, tokenizer).facts.notes.empty());
  source.reset.reset();

  // Without a BOS the first token isn't scored, and its text isn't counted.
  source.bos = BosPlacement::none;
  stream = read_text_stream(source, tokenizer);
  CHECK(stream.ids == Ids{kAb, kSpaceAb, kLine, kC, kD});
  CHECK(stream.scored_text->bytes == 6);
  CHECK(stream.scored_text->words == 2);

  source.bos = BosPlacement::stream;
  CHECK(read_text_stream(source, files.tokenizer(false)).ids == stream.ids);

  // A BOS of the source's takes the place of the tokenizer's, or of none.
  source.prefix = {{77}};
  for (const bool with_bos : {false, true}) {
    source.bos = BosPlacement::stream;
    stream = read_text_stream(source, files.tokenizer(with_bos));
    CHECK(stream.ids == Ids{77, kAb, kSpaceAb, kLine, kC, kD});
    CHECK(stream.scored_text->bytes == 8);
    source.bos = BosPlacement::none;
    CHECK(read_text_stream(source, files.tokenizer(with_bos)).ids.front() == kAb);
  }
}

TEST_CASE("a prefix of several tokens stands whole, and stands for no text") {
  const Files files;
  const Tokenizer tokenizer = files.tokenizer();
  const fs::path one = files.write("1.txt", "ab ab\n"), two = files.write("2.txt", "cd");
  const fs::path none = files.write("3.txt", "");
  TextSource source{{one, none, two}};
  source.prefix = {{kA, kBos}};
  TokenStream stream = read_text_stream(source, tokenizer);
  CHECK(stream.ids == Ids{kA, kBos, kAb, kSpaceAb, kLine, kC, kD});
  CHECK(stream.scored_text->bytes == 8);

  source.bos = BosPlacement::document;
  source.reset = Reset{};  // the empty document is a prefix alone, which is left out
  stream = read_text_stream(source, tokenizer);
  CHECK(stream.ids == Ids{kA, kBos, kAb, kSpaceAb, kLine, kA, kBos, kC, kD});
  CHECK(stream.pieces == std::vector<int64_t>{0, 5});
  CHECK(stream.scored_text->bytes == 8);
  CHECK(stream.scored_text->words == 3);

  source.reset.reset();
  source.tokens = 2;  // no more than the prefix
  CHECK(read_text_stream(source, tokenizer).ids == Ids{kA, kBos});
}

TEST_CASE("special tokens that are spelled out in a text are what the source says") {
  const Files files;
  TextSource source{{files.write("1.txt", "ab<s>ab")}};
  CHECK(read_text_stream(source, files.tokenizer()).ids == Ids{kBos, kAb, kBos, kAb});
  source.special_tokens = SpecialTokens::text;  // of which this vocabulary has no character
  CHECK(read_text_stream(source, files.tokenizer()).ids == Ids{kBos, kAb, kAb});
}

TEST_CASE("a reset cuts the stream, and no piece's first token is scored") {
  const Files files;
  const Tokenizer tokenizer = files.tokenizer();
  const fs::path one = files.write("1.txt", "ab ab\n"), none = files.write("2.txt", ""),
                 two = files.write("3.txt", "cd");
  TextSource source{{one, none, two}};
  source.reset = Reset{2};  // BOS ab | ab line | c d
  TokenStream stream = read_text_stream(source, tokenizer);
  CHECK(stream.ids == Ids{kBos, kAb, kSpaceAb, kLine, kC, kD});
  CHECK(stream.pieces == std::vector<int64_t>{0, 2, 4});
  CHECK(stream.scored_text->bytes == 2 + 1 + 1);  // ab, the line's end, d
  CHECK(stream.scored_text->words == 2);
  source.reset = Reset{5};  // and d alone, which has nothing to score
  stream = read_text_stream(source, tokenizer);
  CHECK(stream.ids == Ids{kBos, kAb, kSpaceAb, kLine, kC});
  CHECK(stream.pieces == std::vector<int64_t>{0});
  source.reset = Reset{4};
  CHECK(read_text_stream(source, tokenizer).pieces == std::vector<int64_t>{0, 4});
  source.reset = Reset{100};
  CHECK(read_text_stream(source, tokenizer).pieces == std::vector<int64_t>{0});

  source.reset = Reset{};
  source.bos = BosPlacement::document;  // the empty document is a BOS alone
  stream = read_text_stream(source, tokenizer);
  CHECK(stream.ids == Ids{kBos, kAb, kSpaceAb, kLine, kBos, kC, kD});
  CHECK(stream.pieces == std::vector<int64_t>{0, 4});
  CHECK(stream.scored_text->bytes == 8);
  CHECK(stream.scored_text->words == 3);
  source.bos = BosPlacement::none;
  stream = read_text_stream(source, tokenizer);
  CHECK(stream.pieces == std::vector<int64_t>{0, 3});
  CHECK(stream.scored_text->bytes == 4 + 1);

  const fs::path ids = files.write("ids.json", "[1, 2, 3, 4, 5]");
  CHECK(read_token_file(ids, 10, {}, Reset{2}).pieces == std::vector<int64_t>{0, 2});
  CHECK(read_token_file(ids, 10, {}, Reset{2}).ids.size() == 4);
  CHECK_THAT(message_of([&] { read_token_file(ids, 10, {}, Reset{}); }),
             ContainsSubstring("ids.json: dataset.reset is 'document'"));
}

TEST_CASE("a space in the middle of a text counts, whatever a decoder does at its begin") {
  const Tokenizer tokenizer = test::load(test::tokenizer_json("sentencepiece"));
  const Files files;
  const std::string text = "hello world hello, low world held heed";
  TextSource source{{files.write("1.txt", text)}};
  source.bos = BosPlacement::none;
  const std::vector<int32_t> ids = read_text_stream(source, tokenizer).ids;
  const auto length_inside = [&](int32_t id) {  // behind another token
    const std::vector<int32_t> pair = {ids[0], id};
    return tokenizer.decode(pair).size() - tokenizer.decode({pair.data(), 1}).size();
  };
  for (const int64_t size : {2, 3, 5}) {
    source.reset = Reset{size};
    const TokenStream stream = read_text_stream(source, tokenizer);
    REQUIRE(stream.pieces.size() > 2);
    size_t scored = text.size() - tokenizer.decode({ids.data(), 1}).size();
    for (size_t i = 1; i < stream.pieces.size(); ++i) {
      scored -= length_inside(stream.ids[stream.pieces[i]]);
    }
    if (stream.ids.size() < ids.size()) scored -= length_inside(ids.back());
    INFO(size);
    CHECK(stream.scored_text->bytes == static_cast<int64_t>(scored));
  }
}

TEST_CASE("documents that are too short to score count for nothing") {
  const Files files;
  const Tokenizer tokenizer = files.tokenizer();
  TextSource source{
      {files.write("1.txt", "ab ab c"), files.write("2.txt", "a"), files.write("3.txt", "d")}};
  source.bos = BosPlacement::none;
  source.reset = Reset{};
  TextSource alone = source;
  alone.paths.resize(1);
  const TokenStream stream = read_text_stream(source, tokenizer);
  const TokenStream expected = read_text_stream(alone, tokenizer);
  CHECK(stream.ids == expected.ids);
  CHECK(stream.scored_text->bytes == expected.scored_text->bytes);
  CHECK(stream.scored_text->words == expected.scored_text->words);
}

TEST_CASE("a limited stream is a prefix of the whole one") {
  const Files files;
  const Tokenizer tokenizer = files.tokenizer();
  TextSource source{{files.write("1.txt", "ab a\xC3\xA9 c\n"), files.write("2.txt", "ab ab dd")}};
  source.bos = GENERATE(BosPlacement::stream, BosPlacement::document, BosPlacement::none);
  const TokenStream whole = read_text_stream(source, tokenizer);
  for (int64_t limit = 2; limit <= static_cast<int64_t>(whole.ids.size()) + 1; ++limit) {
    source.tokens = limit;
    const TokenStream part = read_text_stream(source, tokenizer);
    const size_t expected = std::min<size_t>(limit, whole.ids.size());
    CHECK(part.ids == Ids(whole.ids.begin(), whole.ids.begin() + expected));
    const std::string note = fmt::format("the text ends after {} of the {} tokens asked for",
                                         whole.ids.size(), whole.ids.size() + 1);
    CHECK(std::count(part.facts.notes.begin(), part.facts.notes.end(), note) ==
          (limit > static_cast<int64_t>(whole.ids.size())));
    if (limit >= static_cast<int64_t>(whole.ids.size())) {
      CHECK(part.scored_text->bytes == whole.scored_text->bytes);
      CHECK(part.scored_text->words == whole.scored_text->words);
      CHECK(part.ids_sha256 == whole.ids_sha256);
    } else {
      CHECK(part.ids_sha256 != whole.ids_sha256);
    }
  }
}

TEST_CASE("the text of a limited stream ends at its last whole character") {
  const Files files;
  const Tokenizer tokenizer = files.tokenizer();
  TextSource source{{files.write("1.txt", "ab\xC3\xA9 ab")}};
  struct Case {
    int64_t tokens;
    Ids ids;
    int64_t bytes, words;
  };
  for (const Case& c : {Case{2, {kBos, kAb}, 2, 1}, Case{3, {kBos, kAb, kFirstOfE}, 2, 1},
                        Case{4, {kBos, kAb, kFirstOfE, kSecondOfE}, 4, 1},
                        Case{5, {kBos, kAb, kFirstOfE, kSecondOfE, kSpaceAb}, 7, 2}}) {
    source.tokens = c.tokens;
    const TokenStream stream = read_text_stream(source, tokenizer);
    CHECK(stream.ids == c.ids);
    CHECK(stream.scored_text->bytes == c.bytes);
    CHECK(stream.scored_text->words == c.words);
  }
}

TEST_CASE("documents behind the limit aren't read") {
  const Files files;
  TextSource source{{files.write("1.txt", "ab ab"), files.write("2.jsonl", "not JSON")}};
  source.tokens = 3;
  const TokenStream stream = read_text_stream(source, files.tokenizer());
  CHECK(stream.facts.documents == 1);
  CHECK(stream.ids == Ids{kBos, kAb, kSpaceAb});
}

TEST_CASE("what was read is told") {
  const Files files;
  const fs::path one = files.write("1.txt",
                                   "\xEF\xBB\xBF"
                                   "ab\r\nab\xC3\xA9\r\n"),
                 two = files.write("2.txt", "cd");
  TextSource source{{one, two, files.write("3.txt", "dd")}};
  source.tokens = 8;
  const TextFacts facts = read_text_stream(source, files.tokenizer()).facts;
  CHECK(facts.files == std::vector<fs::path>{one, two});
  CHECK(facts.documents == 2);
  CHECK(facts.characters == 11);
  CHECK(facts.crlf_line_ends == 2);
  CHECK(facts.byte_order_marks == 1);
  CHECK(facts.replaced_bytes == 0);
  CHECK(facts.notes.size() == 2);
}

TEST_CASE("text is judged by what was read of it, also where the limit ends the reading") {
  const Files files;
  TextSource source{{files.write(
      "1.jsonl", "{\"text\": \"ab\xFF\"}\n{\"text\": \"" + std::string(2000, 'a') + "\"}")}};
  CHECK(read_text_stream(source, files.tokenizer()).facts.replaced_bytes == 1);
  source.tokens = 2;
  CHECK_THAT(message_of([&] { read_text_stream(source, files.tokenizer()); }),
             ContainsSubstring("1.jsonl: 1 bytes among 3 characters are no UTF-8"));
}

TEST_CASE("words are counted where words make sense") {
  const Files files;
  const Tokenizer tokenizer = files.tokenizer();
  const auto words = [&](const std::string& text) {
    return read_text_stream({{files.write("1.txt", text)}}, tokenizer)
        .scored_text->sensible_words();
  };
  CHECK(words("ab ab") == 2);
  CHECK(words(std::string(18, 'a') + "\n") == 1);
  CHECK(words(std::string(19, 'a') + " ") == 1);
  CHECK(!words(std::string(20, 'a') + " "));
  CHECK(!words("\xC3\xA9\xC3\xA9"));
  // Of what is scored: of the whole text 1 character in 21 is white space, of the first 20 one.
  TextSource source{{files.write("1.txt", " " + std::string(20, 'a'))}};
  CHECK(!read_text_stream(source, tokenizer).scored_text->sensible_words());
  source.tokens = 21;
  CHECK(read_text_stream(source, tokenizer).scored_text->sensible_words() == 1);
}

TEST_CASE("a file of token ids is known by its name and its beginning") {
  const Files files;
  CHECK(holds_token_ids(files.write("1.json", " [ 12, 13]")));
  CHECK(holds_token_ids(files.write("2.JSON", "[-1]")));
  CHECK(!holds_token_ids(files.write("3.json", "[{\"text\": \"\"}]")));
  CHECK(!holds_token_ids(files.write("4.json", "{\"text\": 1}")));
  CHECK(!holds_token_ids(files.write("5.txt", "[1, 2]")));
  CHECK(!holds_token_ids("no such file.json"));
}

TEST_CASE("the hash of ids is that of little-endian 32-bit numbers") {
  const Files files;
  const TokenStream stream = read_token_file(files.write("ids.json", "[1, 258]"), 1000);
  CHECK(stream.ids_sha256 == sha256_hex(std::string_view("\x01\0\0\0\x02\x01\0\0", 8)));
  CHECK(stream.content_sha256 == sha256_hex("[1, 258]"));
}

TEST_CASE("a tokens file is taken as it is") {
  const Files files;
  const fs::path file = files.write("ids.json", "[7, 0, 7,\n 9]");
  TokenStream stream = read_token_file(file, 10);
  CHECK(stream.ids == Ids{7, 0, 7, 9});
  CHECK(!stream.scored_text);
  CHECK(read_token_file(file, 10, 3).ids == Ids{7, 0, 7});
  CHECK(read_token_file(file, 10, 3).facts.notes.empty());
  CHECK(read_token_file(file, 10, 99).facts.notes.size() == 1);

  const auto refused = [&](std::string_view content) {
    const fs::path bad = files.write("bad.json", content);
    return message_of([&] { read_token_file(bad, 10); });
  };
  CHECK_THAT(message_of([&] { read_token_file(file, 9); }),
             ContainsSubstring("ids.json: element 3: expected a token id from 0 to 8, found 9"));
  CHECK_THAT(refused("[1, -1]"), ContainsSubstring("element 1: ") && ContainsSubstring("found -1"));
  CHECK_THAT(refused("[1, 2.0]"),
             ContainsSubstring("element 1: ") && ContainsSubstring("found 2.0"));
  CHECK_THAT(refused("[1, \"2\"]"), ContainsSubstring("element 1: "));
  CHECK_THAT(refused("[18446744073709551615, 1]"), ContainsSubstring("element 0: "));
  CHECK_THAT(refused("{}"), ContainsSubstring("expected a JSON array of token ids"));
  CHECK_THAT(refused("[1, 2"), ContainsSubstring("expected a JSON array of token ids"));
  CHECK_THAT(refused("[1]"), ContainsSubstring("expected at least 2 token ids, found 1"));
}

TEST_CASE("texts and limits of less than two tokens are refused") {
  const Files files;
  const Tokenizer tokenizer = files.tokenizer();
  TextSource source{{files.write("short.txt", "")}};
  CHECK_THAT(message_of([&] { read_text_stream(source, tokenizer); }),
             ContainsSubstring("short.txt: expected a text of at least 2 tokens, found 1"));
  source.paths = {files.write("long.txt", "ab ab ab")};
  source.tokens = 1;
  CHECK_THAT(message_of([&] { read_text_stream(source, tokenizer); }),
             ContainsSubstring("expected at least 2") && ContainsSubstring("found 1"));
}

TEST_CASE("words are runs of what isn't white space") {
  CHECK(count_whitespace_words("") == 0);
  CHECK(count_whitespace_words(" \t\r\n\v\f") == 0);
  CHECK(count_whitespace_words("one") == 1);
  CHECK(count_whitespace_words(" one  two\nthree ") == 3);
  // U+00A0, U+2003 and U+3000 part words; é, U+200B and a character outside the BMP don't.
  CHECK(count_whitespace_words("a\xC2\xA0"
                               "b\xE2\x80\x83"
                               "c\xE3\x80\x80"
                               "d") == 4);
  CHECK(count_whitespace_words("caf\xC3\xA9s a\xE2\x80\x8B"
                               "b \xF0\x9F\x98\x80") == 3);
}
