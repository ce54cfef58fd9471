// tiktoken's vocabularies against the ids of tiktoken itself, and of Llama 3's tokenizer.json.
#include "datasets/tiktoken.h"

#include "base/error.h"
#include "datasets/byte_level.h"
#include "tests/catch.h"
#include "tests/datasets/tokenizer_files.h"
#include "tests/files.h"

using namespace sinkbench;
using namespace sinkbench::test;

namespace {

std::string base64(std::string_view bytes) {
  static constexpr char kDigits[] =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string out;
  for (size_t i = 0; i < bytes.size(); i += 3) {
    const auto byte = [&](size_t k) {
      return i + k < bytes.size() ? static_cast<unsigned char>(bytes[i + k]) : 0u;
    };
    const unsigned bits = byte(0) << 16 | byte(1) << 8 | byte(2);
    for (size_t k = 0; k < 4; ++k) {
      out += i + k <= bytes.size() ? kDigits[bits >> (18 - 6 * k) & 63] : '=';
    }
  }
  return out;
}

}  // namespace

TEST_CASE("a tekken.json gives the ids of tiktoken") {
  const TemporaryFolder folder;
  folder.write("tekken.json", read_file(data("tokenizers") / "tekken.json"));
  REQUIRE(Tokenizer::is_in(folder.path()));
  const Tokenizer tokenizer = Tokenizer::load(folder.path());
  CHECK(tokenizer.vocab_size() == 430);
  CHECK(tokenizer.prefix() == Ids{1});
  CHECK(tokenizer.token_id("[INST]") == 3);
  CHECK(tokenizer.token_id("<SPECIAL_29>") == 29);
  CHECK(tokenizer.encode("<s>[INST]").size() > 3);  // text, no special tokens
  for (const json& golden : json::parse(read_file(data("tokenizers") / "tekken_goldens.json"))) {
    const auto text = golden[0].get<std::string>();
    INFO(text);
    CHECK(tokenizer.encode(text, false) == golden[1].get<Ids>());
    CHECK(tokenizer.decode(golden[1].get<Ids>()) == text);
  }
}

TEST_CASE("a tekken.json that is broken is refused by field") {
  const json whole = json::parse(read_file(data("tokenizers") / "tekken.json"));
  struct Case {
    const char* patch;
    const char* expected;
  };
  const Case c = GENERATE(
      Case{R"({"config": {"default_vocab_size": 5000}})",
           "vocab: an array: expected the 4970 ranks"},
      Case{R"({"config": {"default_vocab_size": -1}})", "config.default_vocab_size: -1: expected"},
      Case{R"({"config": {"default_num_special_tokens": 5, "default_vocab_size": 405}})",
           "config.default_num_special_tokens: 5: expected at least 20"},
      Case{R"({"config": {"pattern": "("}})", "a regular expression"},
      Case{R"({"config": {"pattern": null}})", "config.pattern: missing"},
      Case{R"({"vocab": null})", "vocab: missing"},
      Case{R"({"special_tokens": [{"rank": 1, "token_str": "<s>"}]})",
           "special_tokens[0].rank: 1: expected 0"},
      Case{R"({"special_tokens": [{"rank": 0, "token_str": "<unk>"}]})", "<s>"});
  json changed = whole;
  changed.merge_patch(json::parse(c.patch));
  const TemporaryFolder folder;
  CHECK_THAT(refusal_of(folder.write("tekken.json", changed.dump())),
             ContainsSubstring(c.expected));
}

TEST_CASE("tiktoken's files that aren't known are refused as what they are") {
  const TemporaryFolder folder;
  std::string ranks;
  for (int b = 0; b < 256; ++b) {
    ranks += base64(std::string(1, static_cast<char>(b))) + fmt::format(" {}\n", b);
  }
  const std::string name = GENERATE("tokenizer.model", "qwen.tiktoken");
  folder.write(name, ranks);
  CHECK(Tokenizer::is_in(folder.path()));
  CHECK_THAT(refusal_of(folder.path()),
             ContainsSubstring(name + ": tiktoken's format, 256 tokens") &&
                 ContainsSubstring("tokenizer.json"));
  folder.write(name, ranks + "AAA 256\n");
  CHECK_THAT(refusal_of(folder.path()), ContainsSubstring(name + ": line 257: expected a byte"));
}

TEST_CASE("Llama 3's tokenizer.model gives the ids of its tokenizer.json") {
  const auto root = shared_data("goldens/tokenizers/llama3");
  if (!root) {
    WARN("no shared data: Llama 3's tokenizer.model is not tested");
    return;
  }
  // Meta's file, byte for byte, else it wouldn't be known.
  const json vocab = json::parse(read_file(*root / "tokenizer.json"))["model"]["vocab"];
  std::vector<std::string> tokens(vocab.size());
  for (const auto& [token, id] : vocab.items()) append_alphabet_bytes(token, tokens[id]);
  std::string ranks;
  for (size_t i = 0; i < tokens.size(); ++i) ranks += base64(tokens[i]) + fmt::format(" {}\n", i);
  const TemporaryFolder folder;
  const Tokenizer tokenizer = Tokenizer::load(folder.write("tokenizer.model", ranks));
  CHECK(tokenizer.vocab_size() == 128256);
  CHECK(tokenizer.prefix() == Ids{128000});
  CHECK(tokenizer.token_id("<|eot_id|>") == 128009);
  CHECK(tokenizer.token_id("<|reserved_special_token_247|>") == 128255);
  for (const char* list : {"cases.json", "fuzz.json"}) {
    for (const json& c : json::parse(read_file(*root / list))) {
      const std::string text = c["text"];
      if (text.find("<|") != std::string::npos) continue;  // are special tokens there
      INFO(c["name"]);
      CHECK(tokenizer.encode(text, false) == c["ids_no_special"].get<Ids>());
    }
  }
}
