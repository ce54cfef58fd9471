// sinkbench inspect and list.
#include <nlohmann/json.hpp>
#include <regex>

#include "tests/catch.h"
#include "tests/cli/program.h"
#include "tests/data.h"
#include "tests/files.h"

using namespace sinkbench;
using nlohmann::json;
namespace fs = std::filesystem;

namespace {

test::Outcome sinkbench_with(const std::vector<std::string>& arguments,
                             const test::TemporaryFolder& folder) {
  return test::Program(arguments, folder.path()).wait();
}

json inspect(const fs::path& model, const test::TemporaryFolder& folder) {
  const test::Outcome outcome =
      sinkbench_with({"inspect", model.string(), "--format", "json"}, folder);
  INFO(outcome.err);
  REQUIRE(outcome.status == 0);
  return json::parse(outcome.out);
}

json golden(const std::string& name, const test::TemporaryFolder& folder) {
  return inspect(test::data("families") / name, folder);
}

json policy(const json& model, const std::string& name) {
  for (const json& entry : model["policies"]) {
    if (entry["name"] == name) return entry;
  }
  return nullptr;
}

}  // namespace

TEST_CASE("inspect states what config.json and the files say") {
  const test::TemporaryFolder folder;
  const json model = golden("llama_gqa", folder);
  const json config = json::parse(read_file(test::data("families/llama_gqa/config.json")));
  CHECK(model["family"] == "llama");
  CHECK(model["shape"]["layers"] == config["num_hidden_layers"]);
  CHECK(model["attention"]["heads"] == config["num_attention_heads"]);
  CHECK(model["attention"]["kv_heads"] == config["num_key_value_heads"]);
  CHECK(model["context"] == config["max_position_embeddings"]);
  const int64_t layers = config["num_hidden_layers"], kv_heads = config["num_key_value_heads"],
                hidden = config["hidden_size"], heads = config["num_attention_heads"];
  const int64_t numbers = 2 * layers * kv_heads * (hidden / heads);
  CHECK(model["kv_bytes_per_token"]["float32"] == 4 * numbers);
  CHECK(model["kv_bytes_per_token"]["bfloat16"] == 2 * numbers);
  CHECK(model["kv_bytes_per_token"]["float64"] == 8 * numbers);
  int64_t bytes = 0;
  for (const auto& file : fs::directory_iterator(test::data("families/llama_gqa"))) {
    if (file.path().extension() == ".safetensors") bytes += static_cast<int64_t>(file.file_size());
  }
  CHECK(model["weights"]["bytes"] == bytes);
  int64_t stored = 0;
  for (const auto& [type, elements] : model["weights"]["stored"].items()) {
    stored += elements.get<int64_t>();
  }
  CHECK(model["parameters"] == stored);  // nothing tied, no buffers
  CHECK(model["tokenizer"].is_null());
  CHECK(policy(model, "sinks")["allowed"] == true);
}

TEST_CASE("inspect counts a tied matrix once, with and without weights") {
  const test::TemporaryFolder folder;
  const json model = golden("gpt2", folder);
  // Tokens, positions, two layers of 12 h^2 + 13 h, the last norm.
  constexpr int64_t h = 64;
  CHECK(model["parameters"] == 320 * h + 256 * h + 2 * (12 * h * h + 13 * h) + 2 * h);
  const json shape = inspect(test::data("families/gpt2/config.json"), folder);
  CHECK(shape["parameters"] == model["parameters"]);
  CHECK(shape["weights"].is_null());
}

TEST_CASE("inspect names the policies that a model can't take, and why") {
  const test::TemporaryFolder folder;
  const json gpt2 = golden("gpt2", folder);
  CHECK(gpt2["positions"] == json{{"kind", "learned"}, {"rows", 256}});
  CHECK(policy(gpt2, "dense")["note"] == "streams of up to 256 tokens");
  CHECK(policy(gpt2, "sinks")["allowed"] == false);
  CHECK_THAT(policy(gpt2, "sinks")["note"].get<std::string>(),
             Catch::Matchers::StartsWith("the positions of a gpt2 model are learned"));
  CHECK_THAT(policy(gpt2, "recompute")["note"].get<std::string>(),
             ContainsSubstring("seeing 256 tokens at the most"));
  CHECK(golden("mpt", folder)["positions"] == json{{"kind", "alibi"}});
}

TEST_CASE("inspect shows a tokenizer, its special tokens, and what is wrong with it") {
  const test::TemporaryFolder folder;
  fs::copy(test::data("families/llama_mha"), folder.path() / "model");
  const std::string tokenizer = read_file(test::data("tokenizers/sentencepiece.json"));
  folder.write("model/tokenizer.json", tokenizer);
  json config = json::parse(read_file(folder.path() / "model/config.json"));
  config["sink_token_id"] = 5;
  config["constant_sink_logit"] = 0;
  folder.write("model/config.json", config.dump());
  const json model = inspect(folder.path() / "model", folder);
  CHECK(model["tokenizer"]["bos"] == json{{{"id", 1}, {"content", "<s>"}}});
  CHECK(model["tokenizer"]["bos_rule"] == "tokenizer.json (post_processor)");
  CHECK(model["tokenizer"]["origin"] == json{"tokenizer.json"});
  CHECK(model["tokenizer"]["special_tokens"][1] == json{{"id", 1}, {"content", "<s>"}});
  CHECK(model["sinks"] == json{{"learned_logits", false}, {"constant_logit", 0.0}, {"token", 5}});
  const test::Outcome table = sinkbench_with({"inspect", "model"}, folder);
  CHECK(table.status == 0);
  for (const char* line : {"runs as         Llama", "BPE with byte fallback",
                           ", from tokenizer.json; pre-tokenizer: none",
                           "BOS             <s> 1, by tokenizer.json (post_processor)",
                           "token 5 starts every stream"}) {
    CHECK_THAT(table.out, ContainsSubstring(line));
  }
  CHECK(std::regex_search(table.out, std::regex("recompute +yes")));
  folder.write("model/tokenizer.json", "{");
  const json broken = inspect(folder.path() / "model", folder);
  CHECK_THAT(broken["tokenizer"]["error"].get<std::string>(), ContainsSubstring("tokenizer.json"));
  CHECK_THAT(sinkbench_with({"inspect", "model"}, folder).out,
             ContainsSubstring("can't be used: "));
}

TEST_CASE("inspect refuses what it can't read in one line") {
  const test::TemporaryFolder folder;
  const test::Outcome outcome = sinkbench_with({"inspect", "nowhere"}, folder);
  CHECK(outcome.status == 2);
  CHECK(outcome.err ==
        "sinkbench: nowhere: no such model; expected a folder, a .gguf or a config.json\n");
}

TEST_CASE("list names policies, families, models, datasets and configs") {
  const test::TemporaryFolder folder;
  const auto names = [&](std::vector<std::string> arguments, const std::string& key) {
    arguments.insert(arguments.begin(), "list");
    arguments.insert(arguments.end(), {"--format", "json"});
    const test::Outcome outcome = sinkbench_with(arguments, folder);
    REQUIRE(outcome.status == 0);
    std::vector<std::string> result;
    for (const json& row : json::parse(outcome.out)) result.push_back(row[key]);
    return result;
  };
  const auto has = [](const std::vector<std::string>& all, const std::string& name) {
    return std::find(all.begin(), all.end(), name) != all.end();
  };
  CHECK(has(names({"policies"}, "policy"), "sinks"));
  CHECK(has(names({"families"}, "model_type"), "gpt_neox"));
  CHECK(has(names({"datasets"}, "dataset"), "{text: FILE}"));
  folder.write("mine/b.yaml", "# Two words. More.\nname: b\n");
  folder.write("mine/deep/a.yaml", "name: a\n");
  folder.write("mine/README.md", "no");
  CHECK(names({"configs", "--folder", "mine"}, "config") ==
        std::vector<std::string>{"mine/b.yaml", "mine/deep/a.yaml"});
  CHECK(names({"configs", "--folder", "mine"}, "what") ==
        std::vector<std::string>{"Two words", ""});
  CHECK_THAT(sinkbench_with({"list", "policies"}, folder).out,
             ContainsSubstring("window, stride (1)"));
  CHECK(names({"policies", "snapkv"}, "parameter").front() == "capacity");
  CHECK(has(names({"policies", "h2o"}, "default"), "required, with score: ema"));
  CHECK(has(names({"policies", "lagkv"}, "values"), "rank or share"));
  CHECK(has(names({"policies", "rkv"}, "values"), "an odd integer of 1 or more"));
  CHECK(sinkbench_with({"list", "policies", "dense"}, folder).out.find("capped") !=
        std::string::npos);
  CHECK_THAT(sinkbench_with({"list", "policies", "sink"}, folder).err,
             ContainsSubstring("unknown policy 'sink'; did you mean 'sinks'?"));
  CHECK(sinkbench_with({"list", "families", "llama"}, folder).status == 2);
  CHECK_THAT(sinkbench_with({"list", "configs", "--folder", "none"}, folder).err,
             ContainsSubstring("none: no such folder"));
  // Below a folder without configs those that come with the program.
  const auto own = names({"configs"}, "config");
  CHECK(std::any_of(own.begin(), own.end(), [](const std::string& file) {
    return file.ends_with("/configs/quickstart.yaml");
  }));
  CHECK(sinkbench_with({"list", "weights"}, folder).status == 2);
}

TEST_CASE("docs/models.md has the tables that list prints") {
  const test::TemporaryFolder folder;
  const std::string page = read_file(fs::path(SINKBENCH_TESTS).parent_path() / "docs/models.md");
  for (const char* what : {"families", "formats"}) {
    INFO(what);
    const test::Outcome outcome = sinkbench_with({"list", what, "--format", "markdown"}, folder);
    CHECK(outcome.status == 0);
    CHECK(outcome.out.size() > 500);
    CHECK_THAT(page, ContainsSubstring(outcome.out));
  }
}

TEST_CASE("inspect says what a model's files hold and what was left out") {
  const test::TemporaryFolder folder;
  const fs::path model = folder.path() / "model";
  fs::copy(test::data("families") / "llama_tied", model);
  json config = json::parse(read_file(model / "config.json"));
  config["auto_map"] = {{"AutoModelForCausalLM", "modeling_own.Own"}};
  config["quantization_config"] = {{"quant_method", "gptq"}};
  config["sliding_window"] = 64;
  folder.write("model/config.json", config.dump());
  folder.write("model/consolidated.safetensors", "");
  const json found = inspect(model, folder);
  const std::string notes = found["notes"].dump();
  CHECK_THAT(notes, ContainsSubstring("auto_map"));
  CHECK_THAT(notes, ContainsSubstring("quantization_config"));
  CHECK_THAT(notes, ContainsSubstring("sliding_window of 64"));
  CHECK_THAT(notes, ContainsSubstring("not read: consolidated.safetensors"));
  CHECK(found["weights"]["decoded_bytes"] > 0);
  const std::string out = sinkbench_with({"inspect", model.string()}, folder).out;
  CHECK_THAT(out, ContainsSubstring("note"));
  const json gemma = golden("gemma3_text", folder);
  CHECK(gemma["positions"]["rotaries"].size() == 2);
  CHECK(gemma["attention"]["local_windows"].size() == 7);
}
