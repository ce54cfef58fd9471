// GGUF files made of the goldens' tensors: the same model as the Hugging Face folder.
#include "models/gguf.h"

#include <ATen/ATen.h>

#include <cmath>
#include <map>
#include <random>

#include "base/error.h"
#include "base/sha256.h"
#include "models/decoder.h"
#include "models/ggml_blocks.h"
#include "tests/catch.h"
#include "tests/data.h"
#include "tests/files.h"
#include "tests/gguf_writer.h"

using namespace sinkbench;
using nlohmann::json;
namespace fs = std::filesystem;

namespace {

std::string bytes_of(const at::Tensor& tensor) {
  const at::Tensor whole = tensor.contiguous();
  return {static_cast<const char*>(whole.data_ptr()), whole.nbytes()};
}

/// A golden of Llama's making as llama.cpp's converter writes it, in F32; `interleaved` as it does
/// for the architecture llama alone.
test::GgufWriter convert(const std::string& golden, const std::string& architecture,
                         bool interleaved, const json& more = json::object()) {
  const fs::path folder = test::data("families") / golden;
  const json config = json::parse(read_file(folder / "config.json"));
  test::GgufWriter writer;
  writer.add("general.architecture", architecture);
  const auto key = [&](const std::string& name, const json& value) {
    writer.add(architecture + "." + name, value);
  };
  key("embedding_length", config["hidden_size"]);
  key("feed_forward_length", config["intermediate_size"]);
  key("block_count", config["num_hidden_layers"]);
  key("attention.head_count", config["num_attention_heads"]);
  const int64_t heads = config["num_attention_heads"];
  const int64_t kv_heads = config.value("num_key_value_heads", heads);
  key("attention.head_count_kv", kv_heads);
  key("attention.layer_norm_rms_epsilon", config["rms_norm_eps"].get<double>());
  key("context_length", config["max_position_embeddings"]);
  key("rope.freq_base", config.value("rope_theta", 10000.0));
  for (const auto& [name, value] : more.items()) writer.add(name, value);

  SafetensorsCheckpoint source(folder, at::kFloat, at::kCPU);
  const int64_t hidden = config["hidden_size"], mlp = config["intermediate_size"],
                vocab = config["vocab_size"], head_dim = hidden / heads;
  const auto add = [&](const std::string& to, const std::string& from, std::vector<int64_t> shape,
                       int64_t rotated_heads = 0) {
    at::Tensor tensor = source.get(from, shape);
    if (rotated_heads > 0 && interleaved) {
      tensor = tensor.view({rotated_heads, 2, head_dim / 2, -1}).transpose(1, 2).reshape(shape);
    }
    writer.add_tensor(to, shape, GgmlType::f32, bytes_of(tensor));
  };
  add("token_embd.weight", "model.embed_tokens.weight", {vocab, hidden});
  add("output_norm.weight", "model.norm.weight", {hidden});
  if (source.has("lm_head.weight")) add("output.weight", "lm_head.weight", {vocab, hidden});
  for (int64_t i = 0; i < config["num_hidden_layers"].get<int64_t>(); ++i) {
    const std::string to = "blk." + std::to_string(i) + ".";
    const std::string from = "model.layers." + std::to_string(i) + ".";
    const int64_t keys = kv_heads * head_dim;
    add(to + "attn_norm.weight", from + "input_layernorm.weight", {hidden});
    add(to + "ffn_norm.weight", from + "post_attention_layernorm.weight", {hidden});
    add(to + "attn_q.weight", from + "self_attn.q_proj.weight", {hidden, hidden}, heads);
    add(to + "attn_k.weight", from + "self_attn.k_proj.weight", {keys, hidden}, kv_heads);
    add(to + "attn_v.weight", from + "self_attn.v_proj.weight", {keys, hidden});
    if (architecture == "qwen2") {
      add(to + "attn_q.bias", from + "self_attn.q_proj.bias", {hidden}, heads);
      add(to + "attn_k.bias", from + "self_attn.k_proj.bias", {keys}, kv_heads);
      add(to + "attn_v.bias", from + "self_attn.v_proj.bias", {keys});
    }
    add(to + "attn_output.weight", from + "self_attn.o_proj.weight", {hidden, hidden});
    add(to + "ffn_gate.weight", from + "mlp.gate_proj.weight", {mlp, hidden});
    add(to + "ffn_up.weight", from + "mlp.up_proj.weight", {mlp, hidden});
    add(to + "ffn_down.weight", from + "mlp.down_proj.weight", {hidden, mlp});
  }
  return writer;
}

/// What depends on every weight; queries stand for what was attended to.
at::Tensor logits(const Decoder& decoder) {
  at::Tensor x = decoder.embed(at::arange(20, at::kLong), at::arange(20, at::kLong));
  for (int64_t layer = 0; layer < decoder.config().layers; ++layer) {
    const Projection p = decoder.project(layer, x);
    const int64_t share = decoder.config().heads / decoder.config().kv_heads;
    const at::Tensor mixed =
        p.query + p.key.repeat_interleave(share, 1) + 2 * p.value.repeat_interleave(share, 1);
    x = decoder.finish(layer, x, mixed.flatten(1));
  }
  return decoder.logits(x);
}

/// Of all tensors: matrices that are multiplied with or looked up as they are, others in float64.
int64_t bytes_as_stored(const GgufFile& gguf) {
  int64_t bytes = 0;
  for (const auto& [name, tensor] : gguf.tensors) {
    if (name.starts_with("rope_")) continue;  // factors are part of the configuration
    const bool kept = tensor.shape.size() > 1 && name.ends_with(".weight") &&
                      !name.starts_with("position_embd") && !name.ends_with("_inp_shexp.weight");
    bytes +=
        kept ? static_cast<int64_t>(tensor.data.size()) : 8 * c10::multiply_integers(tensor.shape);
  }
  return bytes;
}

std::string message_of(const fs::path& path) {
  try {
    Decoder::check(path);
  } catch (const InputError& error) {
    return error.what();
  }
  return "";
}

}  // namespace

TEST_CASE("a GGUF file is the same model as the folder that it was made of") {
  const test::TemporaryFolder folder;
  for (const auto& [golden, architecture] :
       std::vector<std::pair<std::string, std::string>>{{"llama_gqa", "llama"},
                                                        {"llama_mha", "llama"},
                                                        {"llama_tied", "llama"},
                                                        {"qwen2", "qwen2"}}) {
    INFO(golden);
    const fs::path file =
        folder.write("model.gguf", convert(golden, architecture, architecture == "llama").file());
    const Decoder expected = Decoder::load(test::data("families") / golden, {});
    const Decoder decoder = Decoder::load(file, {});
    // The norms' epsilon is stored in float32.
    CHECK(at::allclose(logits(decoder), logits(expected), 1e-5, 1e-6));
    CHECK(decoder.parameters() == expected.parameters());
    CHECK(decoder.config().context == expected.config().context);
    CHECK(decoder.config().rotaries.front().inverse_frequencies ==
          expected.config().rotaries.front().inverse_frequencies);
    CHECK(decoder.sha256() == Decoder::sha256_of(file));
    CHECK(Decoder::check(file).parameters() == expected.parameters());
  }
}

TEST_CASE("files of llama.cpp's own converter are the models that they were made of") {
  // What the files can't hold, or hold otherwise (tests/data/gguf/README.md).
  const std::map<std::string, json> changes = {
      {"gemma2", {{"query_pre_attn_scalar", 12}}},
      {"gemma3_text", {{"query_pre_attn_scalar", 8}}},
      {"qwen2_v5", {{"use_sliding_window", false}, {"layer_types", nullptr}}},
      {"starcoder2", {{"sliding_window", nullptr}}},
  };
  size_t files = 0;
  for (const auto& entry : fs::directory_iterator(test::data("gguf"))) {
    if (entry.path().extension() != ".gguf") continue;
    ++files;
    const std::string name = entry.path().stem();
    INFO(name);
    const test::TemporaryFolder folder;
    for (const auto& file : fs::directory_iterator(test::data("families") / name)) {
      fs::copy(file.path(), folder.path() / file.path().filename());
    }
    json config = json::parse(read_file(folder.path() / "config.json"));
    if (const auto it = changes.find(name); it != changes.end()) config.update(it->second);
    folder.write("config.json", config.dump());
    const DecoderOptions options{.dtype = at::kDouble};
    const Decoder expected = Decoder::load(folder.path(), options);
    const Decoder decoder = Decoder::load(entry.path(), options);
    // Epsilons and factors are stored in float32.
    CHECK(at::allclose(logits(decoder), logits(expected), 1e-6, 1e-6));
    // Matrices that stay in their file's form are the same, and take its bytes.
    const Decoder stored = Decoder::load(entry.path(), {.dtype = at::kDouble, .as_stored = true});
    CHECK(at::allclose(logits(stored), logits(decoder), 1e-12, 1e-12));
    CHECK(stored.parameters() == decoder.parameters());
    CHECK(stored.idle_parameters() == decoder.idle_parameters());
    CHECK(stored.weight_bytes() == bytes_as_stored(read_gguf(entry.path())));
    const DecoderConfig &a = decoder.config(), &b = expected.config();
    CHECK(decoder.parameters() == expected.parameters());
    CHECK(a.local_windows == b.local_windows);
    CHECK(std::abs(a.attention_scale - b.attention_scale) < 1e-7);
    CHECK(a.score_cap == b.score_cap);
    CHECK(a.learned_positions == b.learned_positions);
    CHECK(a.alibi.has_value() == b.alibi.has_value());
    if (a.alibi) CHECK(a.alibi->slopes == b.alibi->slopes);
    for (int64_t layer = 0; layer < a.layers; ++layer) {
      const RotaryConfig *x = a.rotary(layer), *y = b.rotary(layer);
      REQUIRE((x == nullptr) == (y == nullptr));
      if (x == nullptr) continue;
      CHECK(x->dims == y->dims);
      CHECK(x->limit == y->limit);
      CHECK(std::abs(x->magnitude - y->magnitude) < 1e-6);
      for (size_t i = 0; i < x->inverse_frequencies.size(); ++i) {
        const double right = y->inverse_frequencies[i];
        CHECK(std::abs(x->inverse_frequencies[i] - right) <= 2e-7 * right);
      }
    }
  }
  CHECK(files == 21);
}

TEST_CASE("blocks of every type are decoded to the numbers of ggml's own package") {
  const json types = json::parse(read_file(test::data("gguf") / "blocks.json"));
  CHECK(types.size() == 15);
  for (const auto& [name, type] : types.items()) {
    INFO(name);
    const GgmlType* stored = find_ggml_type(type["id"]);
    REQUIRE(stored != nullptr);
    CHECK(stored->name == name);
    CHECK(can_decode(*stored));
    std::vector<std::byte> bytes;
    const auto hex = type["blocks"].get<std::string>();
    for (size_t i = 0; i < hex.size(); i += 2) {
      bytes.push_back(static_cast<std::byte>(std::stoi(hex.substr(i, 2), nullptr, 16)));
    }
    const auto expected = type["numbers"].get<std::vector<float>>();
    REQUIRE(bytes.size() / stored->bytes * stored->numbers == expected.size());
    std::vector<float> numbers(expected.size());
    decode_blocks(*stored, bytes.data(), static_cast<int64_t>(numbers.size()), numbers.data());
    float largest = 0;
    for (size_t i = 0; i < numbers.size(); ++i) {
      const float size = std::max(std::abs(expected[i]), 1e-3f);
      largest = std::max(largest, std::abs(numbers[i] - expected[i]) / size);
    }
    CHECK(largest < 3e-6f);  // products and sums may be rounded together
  }
}

TEST_CASE("whole tensors are decoded by rows, to each precision") {
  const test::TemporaryFolder folder;
  const at::Tensor numbers = at::randn({3, 64});
  const std::vector<std::pair<uint32_t, at::Tensor>> stored = {
      {GgmlType::f32, numbers},
      {GgmlType::f16, numbers.to(at::kHalf)},
      {GgmlType::bf16, numbers.to(at::kBFloat16)}};
  for (const auto& [type, tensor] : stored) {
    test::GgufWriter writer = convert("llama_gqa", "llama", true);
    writer.add_tensor("a", {3, 64}, type, bytes_of(tensor));
    const fs::path file = folder.write("model.gguf", writer.file());
    for (const at::ScalarType dtype : {at::kFloat, at::kDouble, at::kBFloat16, at::kHalf}) {
      INFO("type " << type << " to " << at::toString(dtype));
      GgufCheckpoint checkpoint(read_gguf(file), dtype, at::kCPU);
      CHECK(at::equal(checkpoint.get("a", {3, 64}), tensor.to(at::kFloat).to(dtype)));
    }
  }
}

TEST_CASE("a type that isn't decoded is refused by name") {
  const test::TemporaryFolder folder;
  test::GgufWriter writer = convert("llama_gqa", "llama", true);
  writer.add_tensor("a", {1, 256}, 17, std::string(74, '\0'));
  GgufCheckpoint checkpoint(read_gguf(folder.write("model.gguf", writer.file())), at::kFloat,
                            at::kMeta);
  CHECK_THROWS_WITH(checkpoint.get("a", {1, 256}),
                    ContainsSubstring("tensor a: stored in IQ2_XS, which is not supported"));
}

TEST_CASE("a GGUF file that can't be run is refused by name") {
  const test::TemporaryFolder folder;
  const auto written = [&](const std::string& content) {
    return message_of(folder.write("model.gguf", content));
  };
  CHECK_THAT(written("GGML and more"), ContainsSubstring("it doesn't begin with GGUF"));
  std::string other = convert("llama_gqa", "llama", true).file();
  other[4] = 1;
  CHECK_THAT(written(other), ContainsSubstring("GGUF of version 1; expected 2 or 3"));
  other = convert("llama_gqa", "llama", true).file();
  std::swap(other[4], other[7]);
  CHECK_THAT(written(other), ContainsSubstring("a big-endian GGUF file"));
  CHECK_THAT(written(convert("llama_gqa", "mamba", true).file()),
             ContainsSubstring("general.architecture: 'mamba' is not supported; expected one of"));
  const std::vector<std::pair<json, const char*>> keys = {
      {{{"llama.expert_count", 8}, {"llama.expert_used_count", 2}},
       "tensor blk.0.ffn_gate_inp.weight is missing; expected shape [8, 64]"},
      {{{"llama.expert_count", 2}, {"llama.expert_used_count", 3}},
       "llama.expert_used_count: is 3, and there are 2 experts"},
      {{{"llama.expert_count", 8}, {"llama.expert_used_count", 2}, {"llama.expert_gating_func", 2}},
       "llama.expert_gating_func: is 2; the key is not known"},
      {{{"llama.rope.scaling.type", "magic"}}, "llama.rope.scaling.type: is \"magic\""},
      {{{"llama.rope.dimension_count", 4}}, "llama.rope.dimension_count: is 4 of a head's"},
      {{{"llama.rope.scaling.attn_factor", 0.5}}, "llama.rope.scaling.attn_factor: is 0.5"},
      {{{"llama.attention.sliding_window", 8}}, "llama.attention.sliding_window: is 8; the key"},
      {{{"llama.attention.causal", false}}, "llama.attention.causal: is false"},
      {{{"llama.attention.value_length", 8}}, "llama.attention.value_length: is 8"},
      {{{"llama.logit_scale", 2.0}}, "llama.logit_scale: is 2.0; the key is not known"},
      {{{"general.type", "adapter"}}, "general.type: is 'adapter'; expected 'model'"},
      {{{"llama.rope.scaling.type", "yarn"},
        {"llama.rope.scaling.factor", 4.0},
        {"llama.rope.scaling.yarn_log_multiplier", 0.1}},
       "llama.rope.scaling.yarn_log_multiplier: is 0.1"},
  };
  for (const auto& [more, text] : keys) {
    INFO(more);
    CHECK_THAT(written(convert("llama_gqa", "llama", true, more).file()), ContainsSubstring(text));
  }
  CHECK(written(convert("llama_gqa", "llama", true, {{"llama.expert_count", 0}}).file()).empty());
  CHECK_THAT(written(convert("qwen2", "qwen2", false, {{"qwen2.expert_count", 8}}).file()),
             ContainsSubstring("qwen2.expert_count: is 8, which is not supported"));
  const json no_utf8 = {{"llama.rope.scaling.type", "a\xC3"}};
  CHECK_THAT(written(convert("llama_gqa", "llama", true, no_utf8).file()),
             ContainsSubstring("llama.rope.scaling.type: is \"a\uFFFD\""));
  std::string olmo3 = read_file(test::data("gguf") / "olmo3.gguf");
  const std::string key = "olmo2.rope.freq_base_swa";
  olmo3[olmo3.find(key) + key.size() + 4 + 3] = 0x47;  // the exponent, after the type
  CHECK_THAT(written(olmo3), ContainsSubstring(key + ": is 125000.0; expected that of "
                                                     "olmo2.rope.freq_base, 500000.0"));
  const auto with = [&](const std::string& name, std::vector<int64_t> shape, uint32_t type,
                        size_t bytes) {
    test::GgufWriter writer = convert("llama_gqa", "llama", true);
    writer.add_tensor(name, shape, type, std::string(bytes, '\0'));
    return written(writer.file());
  };
  CHECK_THAT(with("rope_freqs.weight", {5}, GgmlType::f32, 20),
             ContainsSubstring("rope_freqs.weight: expected 8 numbers in F32"));
  CHECK_THAT(with("rope_freqs.weight", {8}, GgmlType::f32, 32),
             ContainsSubstring("rope_freqs.weight: number 0 is 0; expected a positive factor"));
  CHECK_THAT(with("blk.9.attn_v.weight", {1, 256}, GgmlType::q4_k, 144),
             ContainsSubstring("blk.9.attn_v.weight has no place in the model"));
  CHECK_THAT(with("blk.9.attn_v.weight", {1, 256}, 99, 144),
             ContainsSubstring("stored in ggml's type 99, which is not known"));
  CHECK_THAT(with("blk.9.attn_v.weight", {1, 33}, GgmlType::q8_0, 34),
             ContainsSubstring("rows of 33 numbers in Q8_0; expected a multiple of 32"));
  CHECK_THAT(with("output_norm.weight", {64}, GgmlType::f32, 256), ContainsSubstring("twice"));
  CHECK_THAT(with("blk.9.attn_v.weight", {1 << 20, 64}, GgmlType::f32, 64),
             ContainsSubstring("go beyond the file: truncated"));
}

TEST_CASE("a damaged GGUF file is refused or read, and never crashes") {
  const test::TemporaryFolder folder;
  const std::string whole = convert("llama_mha", "llama", true).file();
  std::mt19937 random(2);
  int refused = 0;
  for (int i = 0; i < 200; ++i) {
    CHECK(!message_of(folder.write("cut.gguf", whole.substr(0, random() % whole.size()))).empty());
    std::string damaged = whole;
    damaged[random() % 2000] = static_cast<char>(random());  // metadata and names
    const std::string message = message_of(folder.write("damaged.gguf", damaged));
    if (!message.empty()) {
      ++refused;
      CHECK_THAT(message, ContainsSubstring("damaged.gguf"));
    }
  }
  CHECK(refused > 100);
}

TEST_CASE("a model in parts is read from the first") {
  const test::TemporaryFolder folder;
  const auto part = [&](int64_t number, const json& more = json::object()) {
    test::GgufWriter writer =
        number == 0 ? convert("llama_gqa", "llama", true, more) : test::GgufWriter();
    writer.add("split.no", number);
    writer.add("split.count", 2);
    if (number == 1) writer.add_tensor("blk.9.attn_v.weight", {1, 1}, GgmlType::f32, "1234");
    return folder.write(fmt::format("m-0000{}-of-00002.gguf", number + 1), writer.file());
  };
  const fs::path first = part(0);
  CHECK_THAT(message_of(first), ContainsSubstring("m-00002-of-00002.gguf: is missing"));
  const fs::path second = part(1);
  CHECK_THAT(message_of(second), ContainsSubstring("part 2 of a model in 2 files; give the first, "
                                                   "m-00001-of-00002.gguf"));
  CHECK(read_gguf(first).tensors.contains("blk.9.attn_v.weight"));
  CHECK(read_gguf(first).tensors.contains("token_embd.weight"));
  CHECK(read_gguf(first).sha256() == sha256_hex(read_file(first) + read_file(second)));
  part(0, {{"split.tensors.count", 99}});
  CHECK_THAT(message_of(first),
             ContainsSubstring("split.tensors.count: is 99, but the parts hold"));
  fs::rename(first, folder.path() / "other.gguf");
  CHECK_THAT(message_of(folder.path() / "other.gguf"),
             ContainsSubstring("expected a name that ends in -00001-of-00002.gguf"));
}
