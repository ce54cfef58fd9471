// Checkpoints that are not what they say: each is refused with an error that names the file and
// what is wrong.
#include "models/checkpoint.h"

#include <fmt/format.h>
#include <unistd.h>

#include <ATen/ATen.h>

#include <cstring>
#include <fstream>
#include <functional>
#include <map>
#include <nlohmann/json.hpp>
#include <random>

#include "base/error.h"
#include "base/file.h"
#include "models/decoder.h"
#include "tests/catch.h"
#include "tests/data.h"

using namespace sinkbench;
using nlohmann::json;
namespace fs = std::filesystem;

namespace {

/// A copy of a golden's folder that a test may spoil.
class Folder {
 public:
  explicit Folder(const std::string& family) {
    fs::remove_all(path);
    fs::copy(test::data("families") / family, path);
    for (const auto& file : fs::directory_iterator(path)) {
      fs::permissions(file, fs::perms::owner_write, fs::perm_options::add);
    }
  }
  ~Folder() { fs::remove_all(path); }

  void write(const std::string& name, const std::string& content) const {
    std::ofstream(path / name, std::ios::binary) << content;
  }
  std::string read(const std::string& name) const { return read_file(path / name); }
  void edit_config(const std::function<void(json&)>& edit) const {
    json config = json::parse(read("config.json"));
    edit(config);
    write("config.json", config.dump());
  }
  /// Edits the header of model.safetensors; the data stay as they are.
  void edit_header(const std::function<void(json&)>& edit) const {
    const std::string file = read("model.safetensors");
    uint64_t size = 0;
    std::memcpy(&size, file.data(), 8);
    json header = json::parse(file.substr(8, size));
    edit(header);
    write_safetensors(header.dump(), file.substr(8 + size));
  }
  void write_safetensors(const std::string& header, const std::string& data) const {
    const uint64_t size = header.size();
    std::string file(8, '\0');
    std::memcpy(file.data(), &size, 8);
    write("model.safetensors", file + header + data);
  }

  const fs::path path =
      fs::temp_directory_path() / fmt::format("sinkbench-checkpoint-{}", ::getpid());
};

void check_refused(const Folder& folder, const std::string& expected) {
  for (const bool whole : {true, false}) {
    try {
      whole ? Decoder::load(folder.path, {}) : Decoder::check(folder.path);
      FAIL("was not refused; expected: " << expected);
    } catch (const InputError& error) {
      const std::string message = error.what();
      CHECK_THAT(message, ContainsSubstring(expected));
      CHECK_THAT(message, Catch::Matchers::StartsWith(folder.path.string()));
      CHECK(message.find('\n') == std::string::npos);
    }
  }
}

}  // namespace

TEST_CASE("a broken config.json is refused") {
  struct Case {
    const char* name;
    std::function<void(json&)> edit;
    const char* expected;
  };
  const std::vector<Case> cases = {
      {"no model_type", [](json& c) { c.erase("model_type"); }, "model_type: is missing"},
      {"unknown family", [](json& c) { c["model_type"] = "lama"; },
       "`sinkbench list families` names those that are"},
      {"family is a number", [](json& c) { c["model_type"] = 7; },
       "model_type: is 7; expected a string"},
      {"no hidden_size", [](json& c) { c.erase("hidden_size"); }, "hidden_size: is missing"},
      {"negative size", [](json& c) { c["hidden_size"] = -64; }, "hidden_size: is -64"},
      {"zero layers", [](json& c) { c["num_hidden_layers"] = 0; }, "num_hidden_layers: is 0"},
      {"fraction", [](json& c) { c["num_hidden_layers"] = 2.5; }, "is 2.5; expected an integer"},
      {"string", [](json& c) { c["vocab_size"] = "320"; }, "vocab_size: is \"320\""},
      {"huge", [](json& c) { c["vocab_size"] = uint64_t{1} << 63; },
       "vocab_size: is 9223372036854775808"},
      {"heads", [](json& c) { c["num_attention_heads"] = 5; },
       "expected a divisor of hidden_size 64"},
      {"kv heads", [](json& c) { c["num_key_value_heads"] = 3; },
       "expected a divisor of the 4 heads"},
      {"activation", [](json& c) { c["hidden_act"] = "mish"; },
       "hidden_act: 'mish' is not supported"},
      {"rope type",
       [](json& c) {
         c["rope_scaling"] = {{"type", "magic"}, {"factor", 2.0}};
       },
       "rope_scaling.rope_type: 'magic' is not supported"},
      {"rope factor",
       [](json& c) {
         c["rope_scaling"] = {{"type", "linear"}};
       },
       "rope_scaling.factor: is missing"},
      {"rope no object", [](json& c) { c["rope_scaling"] = 4; }, "expected an object"},
      {"theta", [](json& c) { c["rope_theta"] = 0; }, "rope_theta: is 0"},
      {"bias is a word", [](json& c) { c["attention_bias"] = "yes"; }, "expected true or false"},
      {"bias that isn't there", [](json& c) { c["attention_bias"] = true; },
       "self_attn.q_proj.bias is missing"},
      {"more layers than tensors", [](json& c) { c["num_hidden_layers"] = 9; },
       "input_layernorm.weight is missing"},
      {"fewer layers than tensors", [](json& c) { c["num_hidden_layers"] = 1; },
       "has no place in the model"},
      {"another width", [](json& c) { c["intermediate_size"] = 111; }, "expected [111, 64]"},
      {"sink token", [](json& c) { c["sink_token_id"] = 320; },
       "sink_token_id: is 320; expected an id from 0 to 319"},
      {"sink logits twice",
       [](json& c) {
         c["learned_sink_logits"] = true;
         c["constant_sink_logit"] = 0;
       },
       "constant_sink_logit: is set beside learned_sink_logits"},
      {"sink logit is a word", [](json& c) { c["constant_sink_logit"] = "zero"; },
       "constant_sink_logit: is \"zero\"; expected a number"},
      {"tied after all", [](json& c) { c["vocab_size"] = 321; }, "expected [321, 64]"},
  };
  for (const Case& c : cases) {
    DYNAMIC_SECTION(c.name) {
      const Folder folder("llama_mha");
      folder.edit_config(c.edit);
      check_refused(folder, c.expected);
    }
  }
  SECTION("not JSON") {
    const Folder folder("llama_mha");
    folder.write("config.json", "{\"model_type\": ");
    check_refused(folder, "not valid JSON");
  }
  SECTION("no object") {
    const Folder folder("llama_mha");
    folder.write("config.json", "[1]");
    check_refused(folder, "expected a JSON object");
  }
  SECTION("missing") {
    const Folder folder("llama_mha");
    fs::remove(folder.path / "config.json");
    check_refused(folder, "config.json: cannot open");
  }
}

TEST_CASE("a broken model.safetensors is refused") {
  const Folder folder("llama_mha");
  const std::string whole = folder.read("model.safetensors");
  const std::string norm = "model.norm.weight";
  SECTION("empty") {
    folder.write("model.safetensors", "");
    check_refused(folder, "0 bytes long");
  }
  SECTION("cut in the header") {
    folder.write("model.safetensors", whole.substr(0, 100));
    check_refused(folder, "truncated");
  }
  SECTION("cut in the data") {
    folder.write("model.safetensors", whole.substr(0, whole.size() - 1));
    check_refused(folder, "truncated");
  }
  SECTION("a header larger than memory") {
    folder.write("model.safetensors", std::string(8, '\xff') + "{}");
    check_refused(folder, "header's size is given as 18446744073709551615");
  }
  SECTION("header is no JSON") {
    folder.write_safetensors("{\"a\": ", "");
    check_refused(folder, "header is not valid JSON");
  }
  SECTION("header is no object") {
    folder.write_safetensors("[]", "");
    check_refused(folder, "header: expected a JSON object");
  }
  SECTION("name twice") {
    folder.write_safetensors(R"({"a":{},"a":{}})", "");
    check_refused(folder, "'a' stands twice");
  }
  SECTION("entry is no object") {
    folder.edit_header([&](json& h) { h[norm] = 1; });
    check_refused(folder, "expected an object with dtype, shape and data_offsets");
  }
  SECTION("unknown type") {
    folder.edit_header([&](json& h) { h[norm]["dtype"] = "F8_E4M3"; });
    check_refused(folder, "of type F8_E4M3");
  }
  SECTION("type is a number") {
    folder.edit_header([&](json& h) { h[norm]["dtype"] = 32; });
    check_refused(folder, "dtype: expected a string");
  }
  SECTION("shape lies") {
    folder.edit_header([&](json& h) { h[norm]["shape"] = {65}; });
    check_refused(folder, "does not take the 256 bytes");
  }
  SECTION("negative size") {
    folder.edit_header([&](json& h) { h[norm]["shape"] = {-64}; });
    check_refused(folder, "shape is [-64]");
  }
  SECTION("shape overflows") {
    folder.edit_header([&](json& h) {
      h[norm]["shape"] = {uint64_t{1} << 40, uint64_t{1} << 40, 4};
    });
    check_refused(folder, "more elements than can be counted");
  }
  SECTION("offsets beyond the file") {
    folder.edit_header([&](json& h) { h[norm]["data_offsets"] = {0, uint64_t{1} << 40}; });
    check_refused(folder, "truncated");
  }
  SECTION("offsets reversed") {
    folder.edit_header([&](json& h) { h[norm]["data_offsets"] = {256, 0}; });
    check_refused(folder, "data_offsets is [256, 0]");
  }
  SECTION("offsets are no pair") {
    folder.edit_header([&](json& h) { h[norm]["data_offsets"] = {0}; });
    check_refused(folder, "expected [begin, end]");
  }
  SECTION("two tensors share bytes") {
    folder.edit_header([&](json& h) {
      h[norm]["data_offsets"] = h["model.layers.0.input_layernorm.weight"]["data_offsets"];
    });
    check_refused(folder, "two tensors share bytes");
  }
  SECTION("integers where numbers should be") {
    folder.edit_header([&](json& h) { h[norm]["dtype"] = "I32"; });
    check_refused(folder, "is of type I32; expected F64, F32, F16 or BF16");
  }
  SECTION("missing tensor") {
    folder.edit_header([&](json& h) { h.erase(norm); });
    check_refused(folder, "tensor model.norm.weight is missing; expected shape [64]");
  }
  SECTION("a tensor that has no place") {
    folder.edit_header([&](json& h) {
      h["model.layers.0.self_attn.q_norm.weight"] = h[norm];
      h.erase("model.layers.0.self_attn.rotary_emb.inv_freq");
      h["model.layers.0.self_attn.q_norm.weight"]["data_offsets"] = {0, 0};
      h["model.layers.0.self_attn.q_norm.weight"]["shape"] = {0};
    });
    check_refused(folder, "q_norm.weight has no place in the model");
  }
  SECTION("missing file") {
    fs::remove(folder.path / "model.safetensors");
    check_refused(folder, "no model.safetensors");
  }
  SECTION("PyTorch's format") {
    fs::remove(folder.path / "model.safetensors");
    folder.write("pytorch_model.bin", "x");
    check_refused(folder, "safe_serialization=True");
  }
  SECTION("a folder in its place") {
    fs::remove(folder.path / "model.safetensors");
    fs::create_directory(folder.path / "model.safetensors");
    check_refused(folder, "found a folder");
  }
}

TEST_CASE("a model.safetensors that breaks off anywhere is refused, and so is a damaged header") {
  const Folder folder("llama_mha");
  const std::string whole = folder.read("model.safetensors");
  for (size_t length = 0; length < whole.size(); length += whole.size() / 40 + 1) {
    folder.write("model.safetensors", whole.substr(0, length));
    CHECK_THROWS_AS(Decoder::check(folder.path), InputError);
  }
  // A damaged byte may go unnoticed, in a comment or a buffer's name; it never does worse.
  uint64_t size = 0;
  std::memcpy(&size, whole.data(), 8);
  std::mt19937 random(1);
  int refused = 0;
  for (int i = 0; i < 200; ++i) {
    std::string damaged = whole;
    damaged[random() % (8 + size)] = static_cast<char>(random());
    folder.write("model.safetensors", damaged);
    try {
      Decoder::check(folder.path);
    } catch (const InputError&) {
      ++refused;
    }
  }
  CHECK(refused > 100);
}

TEST_CASE("names may lack the prefix that a model with its head has") {
  for (const auto& [family, root] :
       std::map<std::string, std::string>{{"llama_tied", "model."},
                                          {"llama_mha", "model."},
                                          {"mistral", "model."},
                                          {"qwen2", "model."},
                                          {"gpt_neox_sequential", "gpt_neox."},
                                          {"falcon_7b_style", "transformer."},
                                          {"mpt", "transformer."}}) {
    INFO(family);
    const Folder folder(family);
    const auto parameters = [&] {
      const Decoder decoder = Decoder::load(folder.path, {});
      const at::Tensor x = decoder.embed(at::arange(5, at::kLong));
      return decoder.logits(decoder.finish(0, x, decoder.project(0, x).query.flatten(1)));
    };
    const at::Tensor expected = parameters();
    int renamed = 0;
    folder.edit_header([&, root = root](json& header) {
      json bare;
      for (const auto& [name, value] : header.items()) {
        const bool has_root = name.starts_with(root);
        renamed += has_root;
        bare[has_root ? name.substr(root.size()) : name] = value;
      }
      header = bare;
    });
    CHECK(renamed > 10);
    CHECK(at::equal(parameters(), expected));
  }
}

TEST_CASE("a broken index of shards is refused") {
  const Folder folder("llama_gqa");
  const std::string index = "model.safetensors.index.json";
  json object = json::parse(folder.read(index));
  const auto with = [&](const std::string& name, const json& value) {
    object["weight_map"][name] = value;
    folder.write(index, object.dump());
  };
  SECTION("a path that leaves the folder") {
    for (const char* path : {"../model-00002-of-00002.safetensors", "sub/model.safetensors",
                             "/etc/passwd", "./model.safetensors", "sub/", ""}) {
      with("model.norm.weight", path);
      check_refused(folder, "expected the name of a file in the same folder");
    }
    with("model.norm.weight", "..");
    check_refused(folder, "expected a file, found a folder");
  }
  SECTION("no name") {
    with("model.norm.weight", 2);
    check_refused(folder, "weight_map.model.norm.weight: expected a file name");
  }
  SECTION("the wrong shard") {
    with("model.norm.weight", "model-00001-of-00002.safetensors");
    check_refused(folder, "which does not hold it");
  }
  SECTION("a missing shard") {
    fs::remove(folder.path / "model-00002-of-00002.safetensors");
    check_refused(folder, "model-00002-of-00002.safetensors: cannot open");
  }
  SECTION("no map") {
    folder.write(index, "{}");
    check_refused(folder, "weight_map: expected an object");
  }
}

TEST_CASE("a tied matrix may be stored under either name or both") {
  const auto logits = [](const fs::path& path) {
    const Decoder decoder = Decoder::load(path, {});
    return decoder.logits(decoder.embed(at::arange(5, at::kLong)));
  };
  const Folder folder("llama_tied");
  const at::Tensor expected = logits(folder.path);
  folder.edit_header([](json& h) {
    h["lm_head.weight"] = h["model.embed_tokens.weight"];
    h.erase("model.embed_tokens.weight");
  });
  CHECK(at::equal(logits(folder.path), expected));
  // With nothing tied, both must be there.
  folder.edit_config([](json& c) { c["tie_word_embeddings"] = false; });
  check_refused(folder, "model.embed_tokens.weight is missing");
}

TEST_CASE("learned sink logits stand beside attention's matrices") {
  const Folder folder("llama_gqa");
  const Decoder plain = Decoder::load(folder.path, {});
  const std::string index = "model.safetensors.index.json";
  const auto name = [](int64_t layer) {
    return "model.layers." + std::to_string(layer) + ".self_attn.sinks";
  };
  const int64_t layers = plain.config().layers, heads = plain.config().heads;
  json header, map = json::parse(folder.read(index));
  std::vector<float> logits;
  for (int64_t layer = 0; layer < layers; ++layer) {
    const size_t begin = 4 * logits.size();
    for (int64_t head = 0; head < heads; ++head) logits.push_back(0.25f * (10 * layer + head));
    header[name(layer)] = {
        {"dtype", "F32"}, {"shape", {heads}}, {"data_offsets", {begin, 4 * logits.size()}}};
    map["weight_map"][name(layer)] = "model.safetensors";
  }
  folder.write_safetensors(header.dump(),
                           {reinterpret_cast<const char*>(logits.data()), 4 * logits.size()});
  fs::rename(folder.path / "model.safetensors", folder.path / "sinks.safetensors");
  for (auto& shard : map["weight_map"]) {
    if (shard == "model.safetensors") shard = "sinks.safetensors";
  }
  SECTION("they are read") {
    folder.edit_config([](json& c) { c["learned_sink_logits"] = true; });
    folder.write(index, map.dump());
    const Decoder decoder = Decoder::load(folder.path, {});
    CHECK(decoder.parameters() == plain.parameters() + layers * heads);
    for (int64_t layer = 0; layer < layers; ++layer) {
      CHECK(at::equal(decoder.sink_logit(layer),
                      0.25f * (10 * layer + at::arange(heads, at::kFloat))));
    }
  }
  SECTION("a model that doesn't say that it has them is refused") {
    folder.write(index, map.dump());
    check_refused(folder, "self_attn.sinks has no place in the model");
  }
  SECTION("and so is one that has none") {
    folder.edit_config([](json& c) { c["learned_sink_logits"] = true; });
    check_refused(folder, "tensor model.layers.0.self_attn.sinks is missing; expected shape [4]");
  }
}

TEST_CASE("a constant sink logit is no parameter") {
  const Folder folder("llama_mha");
  const int64_t parameters = Decoder::load(folder.path, {}).parameters();
  folder.edit_config([](json& c) { c["constant_sink_logit"] = 0; });
  const Decoder decoder = Decoder::load(folder.path, {});
  CHECK(decoder.parameters() == parameters);
  CHECK(at::equal(decoder.sink_logit(1), at::zeros({4})));
}

TEST_CASE("random weights have the shapes of the configuration and follow their seed") {
  const fs::path config = test::data("families") / "llama_mha" / "config.json";
  const Decoder real = Decoder::load(config.parent_path(), {});
  const Decoder a = Decoder::random(config, 1, {});
  CHECK(a.parameters() == real.parameters());
  const auto logits = [](const Decoder& decoder) {
    return decoder.logits(decoder.embed(at::arange(5, at::kLong)));
  };
  CHECK(at::equal(logits(a), logits(Decoder::random(config, 1, {}))));
  CHECK(!at::equal(logits(a), logits(Decoder::random(config, 2, {}))));
  CHECK(a.sha256() != Decoder::random(config, 2, {}).sha256());
}

TEST_CASE("a head of its own counts, whatever tie_word_embeddings says") {
  const Folder folder("llama_mha");  // which has a head
  json config = json::parse(folder.read("config.json"));
  const Decoder untied = Decoder::load(folder.path, {});
  config["tie_word_embeddings"] = true;
  folder.write("config.json", config.dump());
  const Decoder decoder = Decoder::load(folder.path, {});
  CHECK(decoder.parameters() == untied.parameters());
  CHECK(!decoder.config().tied_head);
  CHECK(decoder.config().notes.size() == 1);
  CHECK(!Decoder::check(folder.path).config().tied_head);
  const at::Tensor x = decoder.embed(at::arange(9, at::kLong));
  CHECK(at::equal(decoder.logits(x), untied.logits(x)));
}

TEST_CASE("weights that are quantized by a method of their own are refused by its name") {
  const Folder folder("llama_mha");
  const std::string tensor = "model.layers.0.self_attn.q_proj.";
  struct Case {
    const char *suffix, *type;
    int64_t bytes;
    json config;
    const char* expected;
  };
  const std::vector<Case> cases = {
      {"qweight", "I32", 4, {{"quantization_config", {{"quant_method", "gptq"}}}}, "by gptq"},
      {"qweight", "I32", 4, {{"quantization_config", {{"quant_method", "awq"}}}}, "by awq"},
      {"weight.absmax", "F32", 4, {}, "by bitsandbytes"},
      {"weight_scale_inv", "F32", 4, {}, "by FP8"},
      {"weight_packed", "I32", 4, {}, "by compressed-tensors"},
      {"scales", "F16", 2, {{"quantization", {{"bits", 4}}}}, "by MLX"},
  };
  for (const Case& c : cases) {
    INFO(c.suffix);
    const Folder changed("llama_mha");
    json config = json::parse(changed.read("config.json"));
    if (c.config.is_object()) config.update(c.config);
    changed.write("config.json", config.dump());
    const std::string whole = changed.read("model.safetensors");
    uint64_t size = 0;
    std::memcpy(&size, whole.data(), 8);
    const int64_t data = static_cast<int64_t>(whole.size() - 8 - size);
    json header = json::parse(whole.substr(8, size));
    header[tensor + c.suffix] = {
        {"dtype", c.type}, {"shape", {1}}, {"data_offsets", {data, data + c.bytes}}};
    changed.write_safetensors(header.dump(), whole.substr(8 + size) + std::string(c.bytes, '\0'));
    check_refused(changed, c.expected);
  }
}

TEST_CASE("a folder says what it is where it holds no weights by the usual names") {
  const Folder folder("llama_mha");
  fs::rename(folder.path / "model.safetensors", folder.path / "model-00001-of-00002.safetensors");
  check_refused(folder, "there is model-00001-of-00002.safetensors: get the index, too");
  fs::rename(folder.path / "model-00001-of-00002.safetensors", folder.path / "other.safetensors");
  check_refused(folder, "there is other.safetensors: if that is the whole model, name it");
  fs::create_symlink("../blobs/gone", folder.path / "model.safetensors");
  check_refused(folder, "model.safetensors: a link to ../blobs/gone, which is not there");
  fs::remove(folder.path / "model.safetensors");
  folder.write("model.safetensors", "version https://git-lfs.github.com/spec/v1\noid sha256:" +
                                        std::string(64, 'a') + "\nsize 1234\n");
  check_refused(folder, "is a Git LFS pointer");
  fs::remove(folder.path / "config.json");
  fs::create_directories(folder.path / "snapshots" / "0123");
  check_refused(folder, "it is a folder of the hub's cache: give");
}

TEST_CASE("Python's Infinity and NaN in config.json harm no one where nobody reads them") {
  const Folder folder("llama_mha");
  std::string config = folder.read("config.json");
  config.insert(config.find('{') + 1, "\"router_loss\": -Infinity, \"note\": \"NaN \\\" NaN\", ");
  folder.write("config.json", config);
  CHECK(Decoder::check(folder.path).parameters() > 0);
  const size_t at = config.find("\"rms_norm_eps\":");
  REQUIRE(at != config.npos);
  config.replace(at, config.find(',', at) - at, "\"rms_norm_eps\": NaN");
  folder.write("config.json", config);
  check_refused(folder, "rms_norm_eps: is \"NaN\"; expected a number");
}
