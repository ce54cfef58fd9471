// tokenizer.model against SentencePiece's own library, on models trained here.
#include "datasets/sentencepiece.h"

#include <sentencepiece_processor.h>
#include <sentencepiece_trainer.h>

#include <random>

#include "base/error.h"
#include "tests/catch.h"
#include "tests/datasets/tokenizer_files.h"
#include "tests/files.h"

using namespace sinkbench;
using test::Ids;
using test::refusal_of;
namespace fs = std::filesystem;

namespace {

/// Made-up words, often with the same beginnings, of several scripts.
std::string made_up_text(unsigned seed, size_t words) {
  const std::vector<std::string> syllables = {"ka", "lo", "mi", "ren", "st",  "a",  "ü",  "ße",
                                              "до", "ми", "猫", "の",  "42",  "'s", "th", "aa",
                                              "-",  ".",  ",",  "é",   "ing", "x"};
  std::mt19937 random(seed);
  std::string text;
  for (size_t i = 0; i < words; ++i) {
    for (size_t n = 1 + random() % 4; n > 0; --n) {
      const size_t pick = std::min(random() % syllables.size(), random() % syllables.size());
      text += syllables[pick];
    }
    text += i % 11 == 10 ? "\n" : i % 29 == 0 ? "  " : " ";
  }
  return text;
}

/// A model of the library's trainer, in a file.
struct Trained : test::TemporaryFolder {
  explicit Trained(const std::string& more_options = "") {
    const fs::path text = write("text.txt", made_up_text(1, 4000));
    const auto status = sentencepiece::SentencePieceTrainer::Train(
        "--minloglevel=4 " + more_options +  // of an option that comes twice the first counts
        " --input=" + text.string() + " --model_prefix=" + (path() / "tokenizer").string() +
        " --vocab_size=440 --model_type=bpe --normalization_rule_name=identity"
        " --remove_extra_whitespaces=false --character_coverage=0.995");
    INFO(status.ToString());
    REQUIRE(status.ok());
  }
  fs::path model() const { return path() / "tokenizer.model"; }
};

}  // namespace

TEST_CASE("a tokenizer.model gives the ids and the text of SentencePiece's library") {
  const std::string options =
      GENERATE(as<std::string>(), "--byte_fallback=true", "--byte_fallback=false",
               "--byte_fallback=true --add_dummy_prefix=false --user_defined_symbols=<cut>,ingka",
               "--byte_fallback=true --split_by_whitespace=false --max_sentencepiece_length=30",
               "--byte_fallback=true --bos_id=-1 --eos_id=1",
               "--byte_fallback=true --remove_extra_whitespaces=true",
               "--byte_fallback=true --treat_whitespace_as_suffix=true",
               "--byte_fallback=true --treat_whitespace_as_suffix=true "
               "--remove_extra_whitespaces=true --normalization_rule_name=nfkc",
               "--byte_fallback=true --normalization_rule_name=nmt_nfkc_cf") +
      GENERATE(as<std::string>(), "",
               " --model_type=unigram --vocab_size=400 --hard_vocab_limit=false",
               " --user_defined_symbols=<cut>,ka,▁lo,aab --normalization_rule_name=nmt_nfkc",
               " --user_defined_symbols=<cut>,ka,▁lo,aab --model_type=unigram --vocab_size=400 "
               "--hard_vocab_limit=false"
               " --remove_extra_whitespaces=true --normalization_rule_name=nmt_nfkc");
  const Trained trained(options);
  sentencepiece::SentencePieceProcessor library;
  REQUIRE(library.Load(trained.model().string()).ok());
  const Tokenizer tokenizer = Tokenizer::load(trained.path());
  CHECK(tokenizer.vocab_size() == library.GetPieceSize());
  CHECK(tokenizer.prefix() == (library.bos_id() < 0 ? Ids() : Ids{library.bos_id()}));

  std::vector<std::string> texts = {"",
                                    " ",
                                    "   ",
                                    "kalo",
                                    " kalo",
                                    "kalo ",
                                    "kalo  renmi   st\n\n x",
                                    "\tkalo\r\n",
                                    "a<cut>b <cut> ingkaing<cut>",
                                    "▁kalo▁ ▁",
                                    "<s>kalo</s><unk> <s>",
                                    "ｋａ①ﬁ㍿ e\u0301 \u2003x\u200b ㌔ Ⅷ İKA",
                                    "aaab kaka▁lolo lo",
                                    "unseen ÄÖ 🎉👍🏽 日本\u00a0語 ~",
                                    std::string(3000, 'a'),
                                    std::string(500, ' ')};
  for (unsigned seed = 2; seed < 40; ++seed) texts.push_back(made_up_text(seed, 5 * seed));
  const bool has_bytes = options.find("byte_fallback=true") != std::string::npos;
  for (const std::string& text : texts) {
    INFO(options << ": " << text);
    Ids expected = library.EncodeAsIds(text);
    CHECK(tokenizer.encode(text, false) == expected);
    // The library writes an unknown token as " ⁇ ", which no text is; here it is spelled out.
    if (has_bytes) CHECK(tokenizer.decode(expected) == library.DecodeIds(expected));
    if (library.bos_id() >= 0) expected.insert(expected.begin(), library.bos_id());
    CHECK(tokenizer.encode(text) == expected);
  }
}

TEST_CASE("tokenizer_config.json says whether BOS and EOS are added") {
  const Trained trained;
  const Ids plain = Tokenizer::load(trained.path()).encode("kalo", false);
  const auto with = [&](const std::string& config) {
    trained.write("tokenizer_config.json", config);
    return Tokenizer::load(trained.path()).encode("kalo");
  };
  Ids expected = plain;
  CHECK(with(R"({"add_bos_token": false})") == expected);
  expected.push_back(2);
  CHECK(with(R"({"add_bos_token": false, "add_eos_token": true})") == expected);
  expected.insert(expected.begin(), 1);
  CHECK(with(R"({"add_eos_token": true})") == expected);
  trained.write("tokenizer_config.json", R"({"add_bos_token": "yes"})");
  CHECK_THAT(refusal_of(trained.path()),
             ContainsSubstring("tokenizer_config.json: add_bos_token: \"yes\": expected true"));
}

TEST_CASE("a tokenizer.json comes before a tokenizer.model") {
  const Trained trained;
  const std::string sha256 = Tokenizer::load(trained.path()).sha256();
  trained.write("tokenizer.json", read_file(test::data("tokenizers/byte_level.json")));
  CHECK(Tokenizer::load(trained.path()).sha256() != sha256);
  CHECK(Tokenizer::load(trained.model()).sha256() == sha256);
}

TEST_CASE("a broken tokenizer.model is refused by name, and never crashes") {
  const Trained trained;
  const std::string whole = read_file(trained.model());
  const auto written = [&](const std::string& content) {
    trained.write("tokenizer.model", content);
    const std::string message = refusal_of(trained.path());
    if (!message.empty()) CHECK_THAT(message, ContainsSubstring("tokenizer.model: "));
    return message;
  };
  CHECK_THAT(written(""), ContainsSubstring("no pieces"));
  CHECK_THAT(written("{\"version\": \"1.0\"}"), ContainsSubstring("no SentencePiece model"));
  CHECK_THAT(written(whole.substr(0, 100)), ContainsSubstring("no SentencePiece model"));
  // The specifications come last: cut at the pieces' end, it says nothing of being BPE.
  std::mt19937 random(3);
  for (int i = 0; i < 300; ++i) {
    std::string damaged = whole;
    for (int k = 0; k < 3; ++k) damaged[random() % damaged.size()] = static_cast<char>(random());
    written(damaged);
    written(whole.substr(0, random() % whole.size()));
  }
}

TEST_CASE("a tokenizer.model that asks for what isn't supported is refused by field") {
  struct Case {
    const char* options;
    const char* expected;
  };
  const Case c = GENERATE(
      Case{"--model_type=word", "trainer_spec.model_type is 3; expected 1 (unigram) or 2"},
      Case{"--model_type=char", "trainer_spec.model_type is 4; expected 1 (unigram) or 2"});
  const Trained trained(c.options);
  CHECK_THAT(refusal_of(trained.path()), ContainsSubstring(c.expected));
}

TEST_CASE("unused pieces are left out; of BPE's where nothing is made of them") {
  const bool bpe = GENERATE(true, false);
  const Trained trained(bpe ? ""
                            : "--model_type=unigram --vocab_size=400 --hard_vocab_limit=false");
  sentencepiece::SentencePieceProcessor library;
  REQUIRE(library.Load(trained.model().string()).ok());
  std::string model = read_file(trained.model());
  const auto written = [&](const std::string& piece) {
    // A message of the piece and its score, which gets a type.
    const std::string found =
        std::string(1, '\x0A') + static_cast<char>(piece.size()) + piece + '\x15';
    const size_t at = model.find(found);
    REQUIRE(at != std::string::npos);
    model.insert(at + found.size() + 4, "\x18\x05");
    model[at - 1] = static_cast<char>(model[at - 1] + 2);
    trained.write("tokenizer.model", model);
  };
  written("l");
  REQUIRE(library.Load(trained.model().string()).ok());
  for (unsigned seed = 2; seed < 20; ++seed) {
    const std::string text = made_up_text(seed, 50);
    CHECK(Tokenizer::load(trained.path()).encode(text, false) == library.EncodeAsIds(text));
  }
  written("ka");
  if (bpe) {
    CHECK_THAT(refusal_of(trained.path()), ContainsSubstring("\"ka\": is of type 5 (unused)"));
  } else {
    REQUIRE(library.Load(trained.model().string()).ok());
    const std::string text = made_up_text(3, 200);
    CHECK(Tokenizer::load(trained.path()).encode(text, false) == library.EncodeAsIds(text));
  }
}

TEST_CASE("added tokens beside a tokenizer.model are cut out; what lies between is the library's") {
  const Trained trained("--byte_fallback=true");
  sentencepiece::SentencePieceProcessor library;
  REQUIRE(library.Load(trained.model().string()).ok());
  const int size = library.GetPieceSize();
  const std::string decoder =
      fmt::format(R"({{"1": {{"content": "<s>", "special": true, "normalized": false}},
                       "{}": {{"content": "<|x|>", "special": true, "normalized": false}}}})",
                  size);
  const auto expected = [&](const char* before, const char* behind) {
    Ids ids = library.EncodeAsIds(before);
    ids.push_back(size);
    const Ids rest = library.EncodeAsIds(behind);
    ids.insert(ids.end(), rest.begin(), rest.end());
    ids.insert(ids.begin(), 1);
    return ids;
  };
  const std::string added = fmt::format(R"({{"<|x|>": {}}})", size);
  trained.write("added_tokens.json", added);
  trained.write("tokenizer_config.json", R"({"additional_special_tokens": ["<|x|>"]})");
  CHECK(Tokenizer::load(trained.path()).encode("kalo <|x|>ren<s>x") ==
        expected("kalo ", "ren<s>x"));

  trained.write("tokenizer_config.json", R"({"tokenizer_class": "LlamaTokenizer",
                                             "added_tokens_decoder": )" +
                                             decoder + "}");
  const Tokenizer tokenizer = Tokenizer::load(trained.path());
  CHECK(tokenizer.vocab_size() == size + 1);
  CHECK(tokenizer.encode("kalo <|x|> ren") == expected("kalo ", " ren"));
  CHECK(tokenizer.encode("<s>") == Ids{1, 1});  // which transformers finds, too
}

TEST_CASE("Llama 2's tokenizer.model gives the ids of its tokenizer.json, and the library's") {
  const auto root = test::shared_data("goldens/tokenizers/llama2");
  if (!root) {
    WARN("no shared data: Llama 2's tokenizer.model is not tested");
    return;
  }
  const Tokenizer tokenizer = Tokenizer::load(*root / "tokenizer.model");
  sentencepiece::SentencePieceProcessor library;
  REQUIRE(library.Load((*root / "tokenizer.model").string()).ok());
  for (const char* list : {"cases.json", "fuzz.json"}) {
    for (const test::json& c : test::json::parse(read_file(*root / list))) {
      INFO(c["name"]);
      const std::string text = c["text"];
      CHECK(tokenizer.encode(text, false) == library.EncodeAsIds(text));
      CHECK(tokenizer.decode(c["ids"].get<Ids>(), true) ==
            c["decoded_skip_special"].get<std::string>());
      // Special tokens that a text spells out are text here, not so in tokenizer.json's way.
      const bool spelled =
          text.find("<s>") + text.find("</s>") + text.find("<unk>") != 3 * std::string::npos;
      if (spelled) continue;
      CHECK(tokenizer.encode(text) == c["ids"].get<Ids>());
      CHECK(tokenizer.encode(text, false) == c["ids_no_special"].get<Ids>());
    }
  }
}
