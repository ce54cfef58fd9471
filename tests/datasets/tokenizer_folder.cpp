// What lies beside a tokenizer.json, and tokenizers in two files: what is said of them and refused.
#include "base/error.h"
#include "datasets/tokenizer.h"
#include "tests/catch.h"
#include "tests/datasets/tokenizer_files.h"
#include "tests/files.h"

using namespace sinkbench;
using namespace sinkbench::test;

namespace {

/// A folder with byte_level.json as its tokenizer.json.
struct Folder : TemporaryFolder {
  Folder() { write("tokenizer.json", tokenizer_json("byte_level").dump()); }
  void configure(const json& config) const { write("tokenizer_config.json", config.dump()); }
  Tokenizer load() const { return Tokenizer::load(path()); }
  std::string error() const {
    try {
      load();
    } catch (const InputError& error) {
      return error.what();
    }
    return "no error";
  }
};

}  // namespace

TEST_CASE("a tokenizer says where it is from and who put the BOS there") {
  const Folder folder;
  Tokenizer t = folder.load();
  CHECK(t.origin() == std::vector<std::string>{"tokenizer.json"});
  CHECK(t.prefix_rule() == "tokenizer.json (post_processor)");
  CHECK(t.pre_tokenizer() == "ByteLevel");
  CHECK(t.notes().empty());

  folder.configure({{"tokenizer_class", "LlamaTokenizerFast"},
                    {"bos_token", "<|end|>"},
                    {"eos_token", nullptr},
                    {"unk_token", nullptr},
                    {"add_bos_token", true}});
  t = folder.load();
  CHECK(t.origin() == std::vector<std::string>{"tokenizer.json", "tokenizer_config.json"});
  CHECK(t.prefix() == Ids{266});
  CHECK(t.prefix_rule() == "tokenizer_config.json (LlamaTokenizerFast, add_bos_token true)");
  REQUIRE(t.notes().size() == 1);
  CHECK_THAT(t.notes()[0],
             ContainsSubstring("<|end|> in front of a text, as in transformers 4; "
                               "version 5 follows tokenizer.json, which has nothing"));
  // The file by itself is the file by itself.
  CHECK(Tokenizer::load(folder.path() / "tokenizer.json").prefix().empty());
}

TEST_CASE("a ByteLevel's space before a text is what the folder says, or none") {
  // As transformers 4.57 has it, whatever the class, and 5 for GPT-2's.
  const Folder folder;
  json file = tokenizer_json("byte_level");
  const Ids plain = load(file).encode("hello");
  file["pre_tokenizer"]["add_prefix_space"] = true;
  const Ids spaced = load(file).encode("hello");
  REQUIRE(spaced != plain);
  folder.write("tokenizer.json", file.dump());
  CHECK(folder.load().encode("hello") == spaced);  // nothing beside it
  folder.configure({{"tokenizer_class", "GPT2Tokenizer"}});
  CHECK(folder.load().encode("hello") == plain);
  folder.configure({{"tokenizer_class", "GPT2Tokenizer"}, {"add_prefix_space", true}});
  CHECK(folder.load().encode("hello") == spaced);
}

TEST_CASE("a Llama class that is told so puts no space before a text") {
  const Folder folder;
  json file = tokenizer_json("sentencepiece");
  const Ids spaced = load(file).encode("hello");
  json bare = file;
  bare["normalizer"]["normalizers"].erase(0);
  bare["decoder"]["decoders"].erase(3);
  const Ids plain = load(bare).encode("hello");
  REQUIRE(spaced != plain);
  folder.write("tokenizer.json", file.dump());
  json config = {{"tokenizer_class", "LlamaTokenizer"},
                 {"bos_token", "<s>"},
                 {"eos_token", "</s>"},
                 {"unk_token", "<unk>"}};
  folder.configure(config);
  CHECK(folder.load().encode("hello") == spaced);
  config["add_prefix_space"] = false;
  folder.configure(config);
  CHECK(folder.load().encode("hello") == plain);
  CHECK(folder.load().decode(plain) == load(bare).decode(plain));
  file["normalizer"] = nullptr;
  file["pre_tokenizer"] = {
      {"type", "Metaspace"}, {"replacement", "▁"}, {"prepend_scheme", "first"}, {"split", false}};
  CHECK(load(file).encode("hello") == spaced);
  folder.write("tokenizer.json", file.dump());
  CHECK(folder.load().encode("hello") == plain);
}

TEST_CASE("special tokens that should be split are said to be taken") {
  const Folder folder;
  folder.configure({{"split_special_tokens", false}});
  CHECK(folder.load().notes().empty());
  folder.configure({{"split_special_tokens", true}});
  REQUIRE(folder.load().notes().size() == 1);
  CHECK_THAT(folder.load().notes()[0], ContainsSubstring("split_special_tokens is true"));
}

TEST_CASE("truncation and padding are passed over") {
  json file = tokenizer_json("byte_level");
  file["truncation"] = {{"max_length", 2}, {"strategy", "LongestFirst"}, {"stride", 0}};
  file["padding"] = {{"strategy", {{"Fixed", 8}}}, {"pad_id", 0}};
  CHECK(load(file).encode("hello hello") ==
        load(tokenizer_json("byte_level")).encode("hello hello"));
}

TEST_CASE("an id that is not the reference's is said") {
  json file = tokenizer_json("byte_level");
  file["added_tokens"][1]["id"] = 300;
  const Tokenizer t = load(file);
  REQUIRE(t.notes().size() == 1);
  CHECK_THAT(t.notes()[0], ContainsSubstring("added_tokens[1].id: 300: \"<|tool|>\" is 267"));
}

TEST_CASE("an unk_token that is no token is an error where it is needed") {
  json file = tokenizer_json("byte_level");
  file["model"]["unk_token"] = "<none>";
  file["model"]["vocab"].erase("z");
  const Tokenizer t = load(file);
  CHECK(t.encode("a") == Ids{'a'});
  CHECK_THROWS_WITH(t.encode("z"), ContainsSubstring("model.unk_token: \"<none>\" is not in "
                                                     "model.vocab, and the text has \"z\""));
}

TEST_CASE("a token is named by its text or its id") {
  const Tokenizer t = load(tokenizer_json("byte_level"));
  CHECK(t.named_token("<|end|>", "here") == 266);
  CHECK(t.named_token("12", "here") == 12);
  CHECK(t.named_token("hello", "here") == 259);
  CHECK_THROWS_WITH(t.named_token("<none>", "here"),
                    ContainsSubstring("here: \"<none>\": expected a token of ") &&
                        ContainsSubstring("or an id of 0 to 267"));
  CHECK_THROWS_WITH(t.named_token("268", "here"), ContainsSubstring("here: \"268\""));
}

TEST_CASE("a broken tokenizer_config.json is refused by field") {
  const Folder folder;
  const json llama = {{"tokenizer_class", "LlamaTokenizer"}, {"bos_token", "<|end|>"}};
  const auto with = [&](const json& patch) {
    json config = llama;
    config.merge_patch(patch);
    folder.configure(config);
    return folder.error();
  };
  CHECK_THAT(with({{"add_bos_token", "yes"}}),
             ContainsSubstring("tokenizer_config.json: add_bos_token: \"yes\": expected true"));
  CHECK_THAT(with({{"bos_token", 3}}), ContainsSubstring("tokenizer_config.json: bos_token: 3"));
  CHECK_THAT(with({{"tokenizer_class", 3}}), ContainsSubstring("tokenizer_class: 3"));
  CHECK_THAT(with({{"added_tokens_decoder", {{"x", {{"content", "y"}}}}}}),
             ContainsSubstring("added_tokens_decoder[\"x\"]: expected an integer"));
  CHECK_THAT(with({{"added_tokens_decoder", {{"268", {{"special", true}}}}}}),
             ContainsSubstring("added_tokens_decoder[\"268\"].content: missing"));
  CHECK_THAT(with({{"additional_special_tokens", 1}}),
             ContainsSubstring("additional_special_tokens: 1: expected an object or a list"));
  folder.write(
      "tokenizer_config.json",
      R"({"tokenizer_class": "LlamaTokenizer", "bos_token": null, "add_bos_token": true})");
  CHECK_THAT(folder.error(),
             ContainsSubstring("add_bos_token: true: expected a bos_token beside it"));
  folder.write("tokenizer_config.json", "[]");
  CHECK_THAT(folder.error(), ContainsSubstring("tokenizer_config.json: the whole file: an array"));
  folder.write("tokenizer_config.json", "{");
  CHECK_THAT(folder.error(), ContainsSubstring("tokenizer_config.json: not valid JSON"));
  folder.configure(json::object());
  folder.write("tokenizer.json", "[]");
  CHECK_THAT(folder.error(), ContainsSubstring("tokenizer.json: the whole file: an array"));
  folder.write("tokenizer.json", tokenizer_json("byte_level").dump());
  folder.write("added_tokens.json", R"({"<x>": -1})");
  CHECK_THAT(folder.error(), ContainsSubstring("added_tokens.json: [\"<x>\"]: -1"));
}

TEST_CASE("a tokenizer in two files: what is broken is refused by its place") {
  const TemporaryFolder folder;
  const auto error = [&](const std::filesystem::path& path) -> std::string {
    try {
      Tokenizer::load(path);
    } catch (const InputError& error) {
      return error.what();
    }
    return "no error";
  };
  folder.write("vocab.json", tokenizer_json("byte_level")["model"]["vocab"].dump());
  CHECK_THAT(error(folder.path()), ContainsSubstring("tokenizer.json: cannot open"));
  folder.write("merges.txt", "#version: 0.2\r\nh e\r\nl l\r\nhe ll\r\n");
  CHECK(error(folder.path()) == "no error");
  CHECK(Tokenizer::load(folder.path()).encode("hello") == Ids{258, 'o'});
  CHECK_THAT(error(folder.path() / "vocab.json"), ContainsSubstring("is half of a tokenizer"));
  folder.write("merges.txt", "h e\nhello\n");
  CHECK_THAT(error(folder.path()),
             ContainsSubstring("merges.txt:2: \"hello\": expected two tokens"));
  folder.write("merges.txt", "h \xFF\n");
  CHECK_THAT(error(folder.path()), ContainsSubstring("merges.txt: not valid UTF-8 at byte 2"));
  folder.write("merges.txt", "h e\n");
  folder.write("vocab.json", "[]");
  CHECK_THAT(error(folder.path()), ContainsSubstring("vocab.json: the whole file"));
  folder.write("tokenizer_config.json", R"({"tokenizer_class": "RobertaTokenizer"})");
  CHECK_THAT(error(folder.path()),
             ContainsSubstring("tokenizer_class: \"RobertaTokenizer\": expected GPT2Tokenizer"));
}

TEST_CASE("a Git LFS pointer in a tokenizer's place is named") {
  const TemporaryFolder folder;
  folder.write("tokenizer.json",
               "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 12\n");
  CHECK_THROWS_WITH(Tokenizer::load(folder.path()),
                    ContainsSubstring("tokenizer.json") && ContainsSubstring("Git LFS"));
}
