// GGUF files made of the goldens' tensors: the same model as the Hugging Face folder.
#include "models/gguf.h"

#include <ATen/ATen.h>

#include <random>

#include "base/error.h"
#include "models/decoder.h"
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
    writer.add_tensor(to, shape, GgufFile::f32, bytes_of(tensor));
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
  at::Tensor x = decoder.embed(at::arange(20, at::kLong));
  for (int64_t layer = 0; layer < decoder.config().layers; ++layer) {
    const Projection p = decoder.project(layer, x);
    const int64_t share = decoder.config().heads / decoder.config().kv_heads;
    const at::Tensor mixed =
        p.query + p.key.repeat_interleave(share, 1) + 2 * p.value.repeat_interleave(share, 1);
    x = decoder.finish(layer, x, mixed.flatten(1));
  }
  return decoder.logits(x);
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

TEST_CASE("stored numbers are decoded as their types have it") {
  const test::TemporaryFolder folder;
  std::mt19937 random(5);
  std::string q8, q4;
  std::vector<float> expected_q8, expected_q4;
  for (const float scale : {0.5f, 0.125f, -3.0f, 0.0f}) {  // two rows of 64
    const at::Half half(scale);
    q8.append(reinterpret_cast<const char*>(&half), 2);
    q4.append(reinterpret_cast<const char*>(&half), 2);
    std::vector<int> low, high;
    for (int i = 0; i < 32; ++i) {
      const int value = static_cast<int>(random() % 256) - 128;
      q8 += static_cast<char>(value);
      expected_q8.push_back(scale * static_cast<float>(value));
    }
    for (int i = 0; i < 16; ++i) {
      low.push_back(static_cast<int>(random() % 16));
      high.push_back(static_cast<int>(random() % 16));
      q4 += static_cast<char>(low.back() | high.back() << 4);
    }
    for (const int value : low) expected_q4.push_back(scale * static_cast<float>(value - 8));
    for (const int value : high) expected_q4.push_back(scale * static_cast<float>(value - 8));
  }
  const at::Tensor numbers = at::randn({2, 64});
  for (const auto& [type, bytes, expected] :
       std::vector<std::tuple<GgufFile::Type, std::string, at::Tensor>>{
           {GgufFile::f32, bytes_of(numbers), numbers},
           {GgufFile::f16, bytes_of(numbers.to(at::kHalf)), numbers.to(at::kHalf)},
           {GgufFile::bf16, bytes_of(numbers.to(at::kBFloat16)), numbers.to(at::kBFloat16)},
           {GgufFile::q8_0, q8, at::tensor(expected_q8).view({2, 64})},
           {GgufFile::q4_0, q4, at::tensor(expected_q4).view({2, 64})}}) {
    INFO("type " << type);
    test::GgufWriter writer = convert("llama_gqa", "llama", true);
    writer.add_tensor("blk.7.attn_v.weight", {2, 64}, type, bytes);
    const fs::path file = folder.write("model.gguf", writer.file());
    GgufCheckpoint checkpoint(read_gguf(file), at::kFloat, at::kCPU);
    CHECK(at::equal(checkpoint.get("model.layers.7.self_attn.v_proj.weight", {2, 64}),
                    expected.to(at::kFloat)));
  }
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
  CHECK_THAT(written(convert("llama_gqa", "gptneox", true).file()),
             ContainsSubstring("general.architecture: 'gptneox' is not supported"));
  CHECK_THAT(written(convert("llama_gqa", "llama", true, {{"llama.expert_count", 8}}).file()),
             ContainsSubstring("llama.expert_count: is set"));
  CHECK_THAT(
      written(convert("llama_gqa", "llama", true, {{"llama.rope.scaling.type", "magic"}}).file()),
      ContainsSubstring("rope_scaling.rope_type: 'magic' is not supported"));
  const auto with = [&](const std::string& name, std::vector<int64_t> shape, uint32_t type,
                        size_t bytes) {
    test::GgufWriter writer = convert("llama_gqa", "llama", true);
    writer.add_tensor(name, shape, type, std::string(bytes, '\0'));
    return written(writer.file());
  };
  CHECK_THAT(with("rope_freqs.weight", {8}, GgufFile::f32, 32),
             ContainsSubstring("rope_freqs.weight has no place in the model"));
  CHECK_THAT(with("blk.9.attn_v.weight", {1, 256}, 12, 144),
             ContainsSubstring("stored in ggml's type 12; expected F32, F16"));
  CHECK_THAT(with("blk.9.attn_v.weight", {1, 33}, GgufFile::q8_0, 34),
             ContainsSubstring("rows of 33 numbers; expected a multiple of 32"));
  CHECK_THAT(with("output_norm.weight", {64}, GgufFile::f32, 256), ContainsSubstring("twice"));
  CHECK_THAT(with("blk.9.attn_v.weight", {1 << 20, 64}, GgufFile::f32, 64),
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
