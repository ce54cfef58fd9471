// The tokenizer in a GGUF file against the ids of the tokenizer.json that it stands for.
#include "datasets/gguf_tokenizer.h"

#include "base/error.h"
#include "datasets/gguf_pre_tokenizers.h"
#include "tests/catch.h"
#include "tests/datasets/tokenizer_files.h"
#include "tests/files.h"
#include "tests/gguf_writer.h"

using namespace sinkbench;
using namespace sinkbench::test;
namespace fs = std::filesystem;

namespace {

/// Keys without "tokenizer.ggml." and their values.
fs::path write_gguf(const TemporaryFolder& folder, const json& keys, const json& name = {}) {
  GgufWriter writer;
  if (!name.is_null()) writer.add("general.name", name);
  for (const auto& [key, value] : keys.items()) writer.add("tokenizer.ggml." + key, value);
  return folder.write("model.gguf", writer.file());
}

/// What llama.cpp's converter writes of a tokenizer.json; `pre` is "" for SentencePiece's kind.
json converted(const json& file, const std::string& pre) {
  const json& model = file["model"];
  std::map<size_t, std::string> token_of;
  for (const auto& [token, id] : model["vocab"].items()) token_of[id] = token;
  std::map<std::string, unsigned> added;
  for (const json& token : file["added_tokens"]) {
    token_of[token["id"]] = token["content"];
    added[token["content"]] = token["special"] == true ? 3u : 4u;
  }
  std::map<std::string, size_t> rank_of;  // of the first merge that makes it
  json merges = json::array();
  for (const json& merge : model["merges"]) {
    const std::string text = merge.is_string()
                                 ? merge.get<std::string>()
                                 : merge[0].get<std::string>() + " " + merge[1].get<std::string>();
    std::string whole = text;
    whole.erase(whole.find(' '), 1);
    rank_of.emplace(whole, merges.size());
    merges.push_back(text);
  }
  json tokens = json::array(), types = json::array(), scores = json::array();
  const size_t size = token_of.rbegin()->first + 9;  // some that only fill the table up
  for (size_t id = 0; id < size; ++id) {
    const auto known = token_of.find(id);
    const std::string token = known == token_of.end() ? fmt::format("[PAD{}]", id) : known->second;
    unsigned type = known == token_of.end() ? 5u : 1u;
    if (const auto found = added.find(token); found != added.end()) type = found->second;
    if (pre.empty() && token.starts_with("<0x") && token.size() == 6) type = 6;
    if (pre.empty() && token == "<unk>") type = 2;
    tokens.push_back(token);
    types.push_back(type);
    const auto rank = rank_of.find(token);
    scores.push_back(rank == rank_of.end() ? -1e6 : -static_cast<double>(rank->second));
  }
  json keys = {{"tokens", tokens}, {"token_type", types}};
  if (pre.empty()) {
    keys.update({{"model", "llama"}, {"scores", scores}, {"bos_token_id", 1u}});
    return keys;
  }
  keys.update({{"model", "gpt2"}, {"pre", pre}, {"add_bos_token", false}});
  keys["merges"] = merges;
  return keys;
}

}  // namespace

TEST_CASE("GGUF: the pre-tokenizers give the reference's ids on a small vocabulary") {
  const json golden = json::parse(read_file(data("tokenizers") / "gguf_goldens.json"));
  for (const auto& [name, ids] : golden["ids"].items()) {
    INFO(name);
    const TemporaryFolder folder;
    const Tokenizer tokenizer = Tokenizer::load(write_gguf(folder, {{"model", "gpt2"},
                                                                    {"pre", name},
                                                                    {"tokens", golden["tokens"]},
                                                                    {"merges", golden["merges"]},
                                                                    {"bos_token_id", 0u}}));
    for (size_t i = 0; i < ids.size(); ++i) {
      const auto text = golden["texts"][i].get<std::string>();
      INFO(text);
      CHECK(tokenizer.encode(text, false) == ids[i].get<Ids>());
      CHECK(tokenizer.pre_tokenizer().starts_with(name));
    }
  }
}

TEST_CASE("GGUF: every published tokenizer gives the ids of its tokenizer.json") {
  const auto root = shared_data("goldens/tokenizers");
  if (!root) {
    WARN("no shared data: published tokenizers are not tested in GGUF");
    return;
  }
  const std::vector<std::pair<std::string, std::string>> names = {
      {"gpt2", "gpt-2"},       {"falcon", "falcon"},  {"gpt-neox-20b", "olmo"}, {"qwen3", "qwen2"},
      {"llama3", "llama-bpe"}, {"gpt-oss", "gpt-4o"}, {"mistral-7b-v0.1", ""},  {"llama2", ""}};
  for (const auto& [name, pre] : names) {
    const TemporaryFolder folder;
    const Tokenizer t = Tokenizer::load(write_gguf(
        folder, converted(json::parse(read_file(*root / name / "tokenizer.json")), pre)));
    for (const char* list : {"cases.json", "fuzz.json"}) {
      for (const json& c : json::parse(read_file(*root / name / list))) {
        INFO(name << " " << c["name"]);
        const std::string text = c["text"];
        // This file of Llama 2 looks for them in the normalized text, so that most aren't found;
        // Meta's own doesn't, and GGUF doesn't say.
        const bool spelled =
            text.find("<s>") + text.find("</s>") + text.find("<unk>") != 3 * std::string::npos;
        if (name == "llama2" && spelled) continue;
        const Ids ids = t.encode(text, false);
        CHECK(t.encode(text) == c["ids"].get<Ids>());
        CHECK(ids == c["ids_no_special"].get<Ids>());
        CHECK(t.decode(ids) == c["decoded"].get<std::string>());
      }
    }
    const std::string text = king_james();
    const json golden = json::parse(read_file(*root / name / "kjv.json"));
    if (sha256_hex(text) != golden["text_sha256"].get<std::string>()) continue;
    INFO(name);
    CHECK(sha256_of(t.encode(text)) == golden["sha256"].get<std::string>());
  }
}

TEST_CASE("GGUF: real files give llama.cpp's ids") {
  const auto root = shared_data("goldens/real");
  const auto text = shared_data("texts/pg19-test/10146.txt");
  const char* models = std::getenv("SINKBENCH_MODELS");
  if (!root || !text || models == nullptr) {
    WARN("no shared data, or SINKBENCH_MODELS names no folder: real GGUF files are not tested");
    return;
  }
  for (const auto& entry : fs::directory_iterator(*root)) {
    const std::string name = entry.path().stem().string();
    for (const auto& file : fs::directory_iterator(models)) {
      if (file.path().extension() != ".gguf" ||
          !file.path().filename().string().starts_with(name)) {
        continue;
      }
      INFO(name);
      const Ids expected = json::parse(read_file(entry.path()))["ids"].get<Ids>();
      Ids ids = Tokenizer::load(file.path()).encode(read_file(*text));
      ids.resize(expected.size());
      CHECK(ids == expected);
    }
  }
}

TEST_CASE("GGUF: kinds of tokens") {
  const json file = tokenizer_json("byte_level");
  json keys = converted(file, "gpt-2");
  const size_t pad = keys["tokens"].size();
  const auto id = [&](size_t i) { return static_cast<int32_t>(pad + i); };
  for (const auto& [token, type] : std::vector<std::pair<std::string, unsigned>>{
           {"<|x|>", 3u}, {"two  words", 4u}, {"zz", 5u}}) {
    keys["tokens"].push_back(token);
    keys["token_type"].push_back(type);
  }
  keys["bos_token_id"] = pad;
  keys["eos_token_id"] = pad;
  const TemporaryFolder folder;
  const auto load_with = [&](const json& patch) {
    json changed = keys;
    changed.merge_patch(patch);
    return Tokenizer::load(write_gguf(folder, changed));
  };
  const Tokenizer plain = load_with(json::object());
  CHECK(plain.vocab_size() == id(2));  // what is unused is no token
  CHECK(plain.special_tokens().contains(id(0)));
  CHECK_FALSE(plain.special_tokens().contains(id(1)));
  CHECK(plain.encode("<|x|>") == Ids{id(0)});
  CHECK(plain.encode("<|x|>", true, SpecialTokens::text) != Ids{id(0)});
  CHECK(plain.encode("two  words", true, SpecialTokens::text) == Ids{id(1)});
  CHECK(plain.encode("[PAD300]").size() > 1);
  CHECK(plain.encode("zz").size() == 2);
  CHECK(plain.encode("").empty());
  CHECK(load_with({{"add_bos_token", true}}).encode("") == Ids{id(0)});
  CHECK(load_with({{"add_eos_token", true}}).encode("") == Ids{id(0)});
  CHECK(load_with({{"add_bos_token", nullptr}}).encode("").empty());
  CHECK(load_with({{"add_bos_token", nullptr}, {"pre", "llama-bpe"}}).encode("") == Ids{id(0)});
  // A converter of before called what fills the table up user-defined.
  keys["token_type"][pad - 1] = 4u;
  CHECK(load_with(json::object()).encode(fmt::format("[PAD{}]", pad - 1)).size() > 1);
}

TEST_CASE("GGUF: added tokens of a model that is named Phi-3 take the white space after them") {
  json keys = converted(tokenizer_json("byte_level"), "gpt-2");
  const auto pad = static_cast<int32_t>(keys["tokens"].size());
  for (const char* token : {"<|close|>", "<s>"}) {
    keys["tokens"].push_back(token);
    keys["token_type"].push_back(3u);
  }
  const TemporaryFolder folder;
  const Tokenizer other = Tokenizer::load(write_gguf(folder, keys, "Phi-2"));
  const Tokenizer phi3 = Tokenizer::load(write_gguf(folder, keys, "Phi 3 mini: PHI-3"));
  const auto joined = [&](int32_t id, const std::string& rest) {
    Ids ids = other.encode(rest);
    ids.insert(ids.begin(), id);
    return ids;
  };
  CHECK(other.encode("<|close|> \n a") == joined(pad, " \n a"));
  CHECK(phi3.encode("<|close|> \n a") == joined(pad, "a"));
  CHECK(phi3.encode("<s> \n a") == joined(pad + 1, " \n a"));
  CHECK(phi3.sha256() != other.sha256());
}

TEST_CASE("GGUF: what a file's tokenizer can't be taken for is refused by key, with the way out") {
  const json keys = converted(tokenizer_json("byte_level"), "gpt-2");
  struct Case {
    json patch;
    std::string expected;
  };
  const Case c = GENERATE(
      Case{{{"model", "bert"}}, "model: is \"bert\"; expected \"gpt2\" or \"llama\""},
      Case{{{"model", 1u}}, "model: expected a string"},
      Case{{{"pre", "mine"}}, "pre: is \"mine\", which is none of those that `sinkbench list"},
      Case{{{"pre", nullptr}}, "pre: is missing"},
      Case{{{"tokens", nullptr}}, "tokens: is missing"},
      Case{{{"tokens", {"a", "a"}}, {"token_type", nullptr}}, "tokens: [1]: \"a\": stands there"},
      Case{{{"token_type", {1u}}}, "token_type: expected a list of"},
      Case{{{"merges", nullptr}}, "merges: is missing"},
      Case{{{"merges", {"ab"}}}, "merges: [0]: \"ab\": expected two tokens"},
      Case{{{"add_bos_token", true}}, "bos_token_id: is missing, although add_bos_token is true"},
      Case{{{"add_bos_token", true}, {"bos_token_id", 5000u}}, "bos_token_id: is 5000; expected"},
      Case{{{"add_bos_token", "yes"}}, "add_bos_token: expected true or false"},
      Case{{{"model", "llama"}}, "scores: is missing"});
  json changed = keys;
  changed.merge_patch(c.patch);
  const TemporaryFolder folder;
  const std::string message = refusal_of(write_gguf(folder, changed));
  CHECK_THAT(message, ContainsSubstring("model.gguf: tokenizer.ggml." + c.expected));
  CHECK_THAT(message,
             ContainsSubstring("(a tokenizer.json beside the file is taken in its place)"));
}

TEST_CASE("GGUF: a pre-tokenizer of which something is in doubt is said to be") {
  json keys = converted(tokenizer_json("byte_level"), "default");
  const TemporaryFolder folder;
  const auto notes = Tokenizer::load(write_gguf(folder, keys)).notes();
  REQUIRE(notes.size() == 1);
  CHECK_THAT(notes[0], ContainsSubstring("model.gguf: tokenizer.ggml.pre is \"default\": "));
  keys["pre"] = "gpt-2";
  CHECK(Tokenizer::load(write_gguf(folder, keys)).notes().empty());
}

TEST_CASE("GGUF: the tokenizer's digest is that of its keys") {
  const json keys = converted(tokenizer_json("byte_level"), "gpt-2");
  const TemporaryFolder folder;
  const std::string digest = Tokenizer::load(write_gguf(folder, keys)).sha256();
  GgufWriter writer;
  for (const auto& [key, value] : keys.items()) writer.add("tokenizer.ggml." + key, value);
  writer.add_tensor("x", {1}, 0, std::string(4, '\0'));
  CHECK(Tokenizer::load(folder.write("model.gguf", writer.file())).sha256() == digest);
  json other = keys;
  other["pre"] = "falcon";
  CHECK(Tokenizer::load(write_gguf(folder, other)).sha256() != digest);
}

TEST_CASE("GGUF: the pre-tokenizers are listed once each, by name") {
  const auto& all = gguf_pre_tokenizers();
  for (size_t i = 1; i < all.size(); ++i) CHECK(all[i - 1].name < all[i].name);
}
