#include "models/gguf.h"

#include <ATen/ATen.h>
#include <fmt/ranges.h>

#include <cstring>

#include "base/error.h"
#include "base/sha256.h"

namespace sinkbench {
namespace {

using nlohmann::json;

/// The file's name of a tensor; "" where there is none.
std::string gguf_name(const std::string& name) {
  static const std::map<std::string, std::string> parts = {
      {"input_layernorm", "attn_norm"},     {"post_attention_layernorm", "ffn_norm"},
      {"self_attn.q_proj", "attn_q"},       {"self_attn.k_proj", "attn_k"},
      {"self_attn.v_proj", "attn_v"},       {"self_attn.o_proj", "attn_output"},
      {"self_attn.q_norm", "attn_q_norm"},  {"self_attn.k_norm", "attn_k_norm"},
      {"mlp.gate_proj", "ffn_gate"},        {"mlp.up_proj", "ffn_up"},
      {"mlp.down_proj", "ffn_down"},        {"model.norm", "output_norm"},
      {"model.embed_tokens", "token_embd"}, {"lm_head", "output"},
  };
  const size_t kind = name.rfind('.');
  if (kind == std::string::npos) return "";
  std::string part = name.substr(0, kind), layer;
  const std::string layers = "model.layers.";
  if (part.starts_with(layers)) {
    const size_t end = part.find('.', layers.size());
    if (end == std::string::npos) return "";
    layer = fmt::format("blk.{}.", part.substr(layers.size(), end - layers.size()));
    part = part.substr(end + 1);
  }
  const auto it = parts.find(part);
  return it == parts.end() ? "" : layer + it->second + name.substr(kind);
}

/// Numbers of a tensor as float32 or in the half precision that they are stored in.
at::Tensor decode(const GgufFile::Tensor& tensor) {
  const auto stored = [&](at::ScalarType type) {
    at::Tensor copy = at::empty(tensor.shape, type);
    std::memcpy(copy.data_ptr(), tensor.data, tensor.bytes);
    return copy;
  };
  if (tensor.type == GgufFile::f32) return stored(at::kFloat);
  if (tensor.type == GgufFile::f16) return stored(at::kHalf);
  if (tensor.type == GgufFile::bf16) return stored(at::kBFloat16);
  // Blocks of 32 numbers: a scale in half precision, then 32 signed bytes, or 16 bytes that hold
  // the first 16 numbers in their lower and the others in their upper halves, less 8.
  at::Tensor result = at::empty(tensor.shape, at::kFloat);
  float* out = result.data_ptr<float>();
  const std::byte* end = tensor.data + tensor.bytes;
  const size_t block = tensor.type == GgufFile::q8_0 ? 34 : 18;
  for (const std::byte* p = tensor.data; p < end; p += block, out += 32) {
    at::Half half;
    std::memcpy(&half.x, p, 2);
    const float scale = half;
    const std::byte* q = p + 2;
    if (tensor.type == GgufFile::q8_0) {
      for (int i = 0; i < 32; ++i) out[i] = scale * static_cast<float>(static_cast<int8_t>(q[i]));
    } else {
      for (int i = 0; i < 16; ++i) {
        const int byte = static_cast<int>(q[i]);
        out[i] = scale * static_cast<float>((byte & 15) - 8);
        out[i + 16] = scale * static_cast<float>((byte >> 4) - 8);
      }
    }
  }
  return result;
}

const char* type_name(uint32_t type) {
  switch (type) {
    case GgufFile::f16:
      return "F16";
    case GgufFile::bf16:
      return "BF16";
    case GgufFile::q4_0:
      return "Q4_0";
    case GgufFile::q8_0:
      return "Q8_0";
  }
  return "F32";
}

}  // namespace

ConfigReader gguf_config(const GgufFile& gguf) {
  const std::filesystem::path& path = gguf.file->path();
  const ConfigReader reader(path, gguf.metadata, "");
  const std::string family = reader.text({"general.architecture"});
  if (family != "llama" && family != "qwen2" && family != "qwen3") {
    reader.fail("general.architecture",
                fmt::format("'{}' is not supported; expected llama, qwen2 or qwen3", family));
  }
  json config = {{"model_type", family}};
  const auto take = [&](const char* field, const char* key, bool required) {
    const auto it = gguf.metadata.find(family + "." + key);
    if (it != gguf.metadata.end()) config[field] = *it;
    if (required && it == gguf.metadata.end()) reader.fail(family + "." + key, "is missing");
  };
  take("hidden_size", "embedding_length", true);
  take("intermediate_size", "feed_forward_length", true);
  take("num_hidden_layers", "block_count", true);
  take("num_attention_heads", "attention.head_count", true);
  take("num_key_value_heads", "attention.head_count_kv", false);
  take("head_dim", "attention.key_length", false);
  take("max_position_embeddings", "context_length", false);
  take("rms_norm_eps", "attention.layer_norm_rms_epsilon", true);
  take("rope_theta", "rope.freq_base", false);
  if (gguf.metadata.contains(family + ".expert_count")) {
    reader.fail(family + ".expert_count", "is set: mixtures of experts are not supported");
  }
  const std::string scaling = family + ".rope.scaling.";
  const std::string kind = reader.text({(scaling + "type").c_str()}, "none");
  if (kind != "none") {
    config["rope_scaling"] = {{"rope_type", kind},
                              {"factor", gguf.metadata.value(scaling + "factor", json())}};
    const auto original = gguf.metadata.find(scaling + "original_context_length");
    if (original != gguf.metadata.end()) {
      config["rope_scaling"]["original_max_position_embeddings"] = *original;
    }
  }
  const auto embedding = gguf.tensors.find("token_embd.weight");
  if (embedding == gguf.tensors.end() || embedding->second.shape.size() != 2) {
    throw InputError::format("{}: tensor token_embd.weight is missing, or no matrix",
                             path.string());
  }
  config["vocab_size"] = embedding->second.shape[0];
  config["tie_word_embeddings"] = !gguf.tensors.contains("output.weight");
  return ConfigReader(path, config, "");
}

GgufCheckpoint::GgufCheckpoint(GgufFile gguf, at::ScalarType dtype, at::Device device)
    : gguf_(std::move(gguf)), dtype_(dtype), device_(device) {
  const ConfigReader config = gguf_config(gguf_);
  heads_ = config.integer({"num_attention_heads"}, 1);
  kv_heads_ = config.integer({"num_key_value_heads"}, 1, heads_);
  interleaved_ = config.text({"model_type"}) == "llama";
}

bool GgufCheckpoint::has(const std::string& name) const {
  return gguf_.tensors.contains(gguf_name(name));
}

at::Tensor GgufCheckpoint::get(const std::string& name, at::IntArrayRef shape) {
  const std::string stored_name = gguf_name(name);
  const auto it = gguf_.tensors.find(stored_name);
  if (it == gguf_.tensors.end()) {
    throw InputError::format("{}: tensor {} is missing; expected shape [{}]", where(),
                             stored_name.empty() ? name : stored_name, fmt::join(shape, ", "));
  }
  if (at::IntArrayRef(it->second.shape) != shape) {
    throw InputError::format("{}: tensor {} has shape [{}]; expected [{}] from the metadata",
                             where(), stored_name, fmt::join(it->second.shape, ", "),
                             fmt::join(shape, ", "));
  }
  used_.insert(stored_name);
  const auto options = at::TensorOptions().dtype(dtype_).device(device_);
  if (device_.is_meta()) return at::empty(shape, options);
  at::Tensor tensor = decode(it->second);
  // llama.cpp rotates neighbouring rows of Llama's queries and keys, Hugging Face's code those half
  // a head apart.
  const bool is_query = name.find(".q_proj.") != std::string::npos;
  const bool is_key = name.find(".k_proj.") != std::string::npos;
  if (interleaved_ && (is_query || is_key)) {
    const int64_t heads = is_query ? heads_ : kv_heads_;
    tensor = tensor.view({heads, -1, 2, tensor.numel() / shape[0]}).transpose(1, 2).reshape(shape);
  }
  return tensor.to(options);
}

void GgufCheckpoint::check_all_used() const {
  for (const auto& [name, tensor] : gguf_.tensors) {
    if (used_.contains(name)) continue;
    throw InputError::format(
        "{}: tensor {} has no place in the model that the metadata describes: it has a part that "
        "is not supported",
        where(), name);
  }
}

std::string GgufCheckpoint::sha256() const {
  return sha256_hex(gguf_.file->text());
}

int64_t GgufCheckpoint::file_bytes() const {
  return static_cast<int64_t>(gguf_.file->bytes().size());
}

std::map<std::string, int64_t> GgufCheckpoint::stored() const {
  std::map<std::string, int64_t> result;
  for (const auto& [name, tensor] : gguf_.tensors) {
    result[type_name(tensor.type)] += c10::multiply_integers(tensor.shape);
  }
  return result;
}

}  // namespace sinkbench
