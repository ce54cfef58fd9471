// Small changes to the tokenizers of tests/data/tokenizers against what the reference made of them
// (goldens.py there).
#include "base/error.h"
#include "tests/catch.h"
#include "tests/datasets/tokenizer_files.h"
#include "tests/files.h"

using namespace sinkbench;
using namespace sinkbench::test;

namespace {

/// A case's tokenizer, read the way the reference read it.
Tokenizer load_case(const json& golden) {
  json file = tokenizer_json(golden["base"]);
  file.merge_patch(golden["patch"]);
  if (!golden.contains("files")) return load(file);
  TemporaryFolder folder;
  bool whole = true;
  for (const auto& [name, content] : golden["files"].items()) {
    if (content.is_null()) {
      whole = false;
    } else if (content == true && name == "vocab.json") {
      folder.write(name, file["model"]["vocab"].dump());
    } else if (content == true) {
      std::string lines = "#version: 0.2\n";
      for (const json& merge : file["model"]["merges"]) lines += merge.get<std::string>() + "\n";
      folder.write(name, lines);
    } else {
      folder.write(name, content.is_string() ? content.get<std::string>() : content.dump());
    }
  }
  if (whole) folder.write("tokenizer.json", file.dump());
  return Tokenizer::load(folder.path());
}

}  // namespace

TEST_CASE("every small golden has the reference's ids") {
  for (const json& golden : json::parse(read_file(data("tokenizers") / "goldens.json"))) {
    const std::string name = golden["name"];
    INFO(name);
    const auto spelled =
        golden.value("spelled", "parse") == "text" ? SpecialTokens::text : SpecialTokens::parse;
    try {
      const Tokenizer tokenizer = load_case(golden);
      for (const json& text : golden["texts"]) {
        INFO(text[0]);
        CHECK(tokenizer.encode(text[0].get<std::string>(), true, spelled) == text[1].get<Ids>());
      }
    } catch (const InputError& error) {
      FAIL_CHECK(error.what());
    }
  }
}

TEST_CASE("unigram models have the reference's ids") {
  for (const json& golden : json::parse(read_file(data("tokenizers") / "unigram_goldens.json"))) {
    INFO(golden["name"]);
    const Tokenizer tokenizer = load(golden["tokenizer"]);
    CHECK(tokenizer.description().starts_with("unigram"));
    for (const json& text : golden["texts"]) {
      INFO(text[0]);
      CHECK(tokenizer.encode(text[0].get<std::string>()) == text[1].get<Ids>());
    }
  }
}

TEST_CASE("a unigram model that is broken is refused by field") {
  const auto message = [](const std::string& model) {
    try {
      load_text(R"({"version": "1.0", "model": )" + model + "}").encode("abc");
    } catch (const InputError& error) {
      return std::string(error.what());
    }
    return std::string();
  };
  const std::string begin = R"({"type": "Unigram", "unk_id": 0, "vocab": [["<unk>", 0], )";
  CHECK_THAT(message(begin + R"(["a", "b"]]})"), ContainsSubstring("model.vocab[1]: \"b\""));
  CHECK_THAT(message(begin + R"(["a"]]})"), ContainsSubstring("model.vocab[1]: a list of fewer"));
  CHECK_THAT(message(begin + R"(["a", -1, 2]]})"),
             ContainsSubstring("model.vocab[2]: 2: expected"));
  CHECK_THAT(message(begin + R"(5]})"), ContainsSubstring("model.vocab[1]: 5: expected a token"));
  CHECK_THAT(message(begin + R"(["<unk>", 1]]})"), ContainsSubstring("given twice"));
  CHECK_THAT(message(R"({"type": "Unigram", "unk_id": 3, "vocab": [["a", 0]]})"),
             ContainsSubstring("model.unk_id: 3: expected the id of a token"));
  CHECK_THAT(message(R"({"type": "Unigram", "vocab": [["a", 0]]})"),
             ContainsSubstring("model.unk_id: there is none, and the text has \"b"));
  CHECK_THAT(message(R"({"type": "Unigram", "vocab": {"a": 0}})"),
             ContainsSubstring("model.vocab: an object: expected a list"));
}
