#include "models/gguf.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "base/error.h"
#include "models/ggml_blocks.h"

namespace sinkbench {
namespace {

/// Factors on frequencies, which belong to the configuration: rope_freqs divides those of Llama
/// 3.1, the others are longrope's.
constexpr const char* rope_tensors[] = {"rope_freqs.weight", "rope_factors_short.weight",
                                        "rope_factors_long.weight"};

/// Rows `from` to `to` of a tensor.
template <typename T>
void decode_rows(const GgufFile::Tensor& tensor, int64_t row_size, int64_t from, int64_t to,
                 T* out) {
  const int64_t row_bytes = row_size / tensor.type->numbers * tensor.type->bytes;
  std::vector<float> numbers(static_cast<size_t>(row_size));
  for (int64_t row = from; row < to; ++row) {
    decode_blocks(*tensor.type, tensor.data.data() + row * row_bytes, row_size, numbers.data());
    T* const target = out + row * row_size;
    for (int64_t i = 0; i < row_size; ++i) target[i] = static_cast<T>(numbers[i]);
  }
}

/// Rows of queries or keys whose rotated pairs are neighbours, as ggml's first kind of RoPE has
/// them, in Hugging Face's order: half a head apart.
void unpair(const at::Tensor& rows, int64_t heads) {
  if (rows.is_meta()) return;
  rows.copy_(
      rows.view({heads, -1, 2, rows.numel() / rows.size(0)}).transpose(1, 2).reshape(rows.sizes()));
}

}  // namespace

GgufCheckpoint::GgufCheckpoint(GgufFile gguf, at::ScalarType dtype, at::Device device)
    : gguf_(std::move(gguf)),
      reader_(gguf_config(gguf_)),
      family_(find_family(reader_)),
      dtype_(dtype),
      device_(device) {}

DecoderConfig GgufCheckpoint::config() const {
  DecoderConfig config = read_decoder_config(reader_);
  const std::string name = "rope_freqs.weight";
  if (!has(name) || config.rotaries.empty()) return config;
  RotaryConfig& rotary = config.rotaries.front();
  const std::vector<float> factors = gguf_factors(gguf_, name);
  if (factors.size() != rotary.inverse_frequencies.size()) {
    throw InputError::format(
        "{}: tensor {}: expected {} numbers in F32, a factor for each frequency", where(), name,
        rotary.inverse_frequencies.size());
  }
  for (size_t i = 0; i < factors.size(); ++i) {
    if (!(factors[i] > 0.0f)) {
      throw InputError::format("{}: tensor {}: number {} is {}; expected a positive factor",
                               where(), name, i, factors[i]);
    }
    rotary.inverse_frequencies[i] /= factors[i];
  }
  rotary.scaling = "a factor for each frequency (rope_freqs.weight)";
  return config;
}

bool GgufCheckpoint::same(const std::string& name, const std::string& other) const {
  const GgufFile::Tensor &a = gguf_.tensors.at(name), &b = gguf_.tensors.at(other);
  return a.type == b.type && a.shape == b.shape && std::ranges::equal(a.data, b.data);
}

at::Tensor GgufCheckpoint::room(at::IntArrayRef shape, at::ScalarType dtype) const {
  const at::Device device = device_.is_meta() ? device_ : at::Device(at::kCPU);
  return at::empty(shape, at::TensorOptions().dtype(dtype).device(device));
}

at::Tensor GgufCheckpoint::decode(const std::string& name, at::IntArrayRef shape,
                                  at::ScalarType dtype) {
  const at::Tensor out = room(shape, dtype);
  decode_into(name, out);
  return out.to(device_);
}

void GgufCheckpoint::decode_into(const std::string& name, const at::Tensor& out) {
  const at::IntArrayRef shape = out.sizes();
  const auto it = gguf_.tensors.find(name);
  if (it == gguf_.tensors.end()) {
    throw InputError::format("{}: tensor {} is missing; expected shape [{}]", where(), name,
                             fmt::join(shape, ", "));
  }
  const GgufFile::Tensor& tensor = it->second;
  if (at::IntArrayRef(tensor.shape) != shape) {
    throw InputError::format("{}: tensor {} has shape [{}]; expected [{}] from the metadata",
                             where(), name, fmt::join(tensor.shape, ", "), fmt::join(shape, ", "));
  }
  if (!can_decode(*tensor.type)) {
    throw InputError::format(
        "{}: tensor {}: stored in {}, which is not supported: take a file of another quantisation "
        "(Q2_K to Q8_0, IQ4_NL, IQ4_XS, TQ1_0, TQ2_0, MXFP4), or of F16, BF16 or F32",
        where(), name, tensor.type->name);
  }
  used_.insert(name);
  if (out.is_meta()) return;
  const int64_t row_size = std::max<int64_t>(1, shape.back()), rows = out.numel() / row_size;
  constexpr int64_t worth_a_thread = int64_t{1} << 16;  // numbers
  at::parallel_for(
      0, rows, std::max<int64_t>(1, worth_a_thread / row_size), [&](int64_t from, int64_t to) {
        const auto call = [&](auto* data) { decode_rows(tensor, row_size, from, to, data); };
        switch (out.scalar_type()) {
          case at::kDouble:
            return call(out.data_ptr<double>());
          case at::kBFloat16:
            return call(out.data_ptr<at::BFloat16>());
          case at::kHalf:
            return call(out.data_ptr<at::Half>());
          default:
            return call(out.data_ptr<float>());
        }
      });
  tensor.file->forget(tensor.data);
}

Linear GgufCheckpoint::join(const std::vector<Rows>& parts, int64_t in, bool bias) {
  int64_t rows = 0;
  for (const Rows& part : parts) rows += part.count;
  const Linear all{room({rows, in}, dtype_), bias ? room({rows}, dtype_) : at::Tensor()};
  int64_t row = 0;
  for (const Rows& part : parts) {
    const auto put = [&](const char* suffix, const at::Tensor& whole) {
      const at::Tensor own = whole.narrow(0, row, part.count);
      decode_into(part.name + suffix, own);
      if (part.paired_heads > 0) unpair(own, part.paired_heads);
    };
    put(".weight", all.weight);
    if (bias) put(".bias", all.bias);
    row += part.count;
  }
  return {all.weight.to(device_), bias ? all.bias.to(device_) : at::Tensor()};
}

at::Tensor GgufCheckpoint::get(const std::string& name, at::IntArrayRef shape) {
  return decode(name, shape, dtype_);
}

at::Tensor GgufCheckpoint::get_exact(const std::string& name, at::IntArrayRef shape) {
  return decode(name, shape, dtype_ == at::kDouble ? at::kDouble : at::kFloat);
}

NormWeights GgufCheckpoint::norm(const std::string& name, const DecoderConfig& config) {
  // llama.cpp has added the one that Gemma's norms are stored without: what is stored is exact.
  NormWeights norm;
  norm.weight = get_exact(name + ".weight", {config.hidden_size});
  if (config.norm_bias) norm.bias = get_exact(name + ".bias", {config.hidden_size});
  return norm;
}

LayerWeights GgufCheckpoint::layer(const DecoderConfig& config, int64_t index) {
  const std::string prefix = fmt::format("blk.{}.", index);
  const int64_t hidden = config.hidden_size;
  const int64_t query_size = config.heads * config.head_dim;
  const int64_t key_size = config.kv_heads * config.head_dim;
  const bool paired = family_.gguf.paired;
  const auto linear = [&](const char* name, int64_t out, int64_t in, bool bias) {
    return read_linear(*this, prefix + name, out, in, bias);
  };
  LayerWeights layer;
  if (config.norm_placement == NormPlacement::before ||
      config.norm_placement == NormPlacement::around) {
    // Falcon's two norms of parallel halves have names of their own.
    const bool second = has(prefix + "attn_norm_2.weight");
    layer.attention_norm = norm(prefix + (second ? "attn_norm_2" : "attn_norm"), config);
    layer.mlp_norm = config.one_parallel_norm
                         ? layer.attention_norm
                         : norm(prefix + (second ? "attn_norm" : "ffn_norm"), config);
  }
  if (config.norm_placement == NormPlacement::after ||
      config.norm_placement == NormPlacement::around) {
    layer.attention_post_norm = norm(prefix + "post_attention_norm", config);
    layer.mlp_post_norm = norm(prefix + "post_ffw_norm", config);
  }
  if (has(prefix + "attn_qkv.weight")) {
    layer.qkv = linear("attn_qkv", query_size + 2 * key_size, hidden, config.qkv_bias);
    for (const at::Tensor& rows : {layer.qkv.weight, layer.qkv.bias}) {
      if (!paired || !rows.defined()) continue;
      unpair(rows.narrow(0, 0, query_size), config.heads);
      unpair(rows.narrow(0, query_size, key_size), config.kv_heads);
    }
  } else {
    layer.qkv = join({{prefix + "attn_q", query_size, paired ? config.heads : 0},
                      {prefix + "attn_k", key_size, paired ? config.kv_heads : 0},
                      {prefix + "attn_v", key_size}},
                     hidden, config.qkv_bias);
  }
  if (config.query_key_norm != QueryKeyNorm::none) {
    const bool whole = config.query_key_norm == QueryKeyNorm::whole;
    layer.query_norm =
        get_exact(prefix + "attn_q_norm.weight", {whole ? query_size : config.head_dim});
    layer.key_norm = get_exact(prefix + "attn_k_norm.weight", {whole ? key_size : config.head_dim});
  }
  layer.output = linear("attn_output", hidden, query_size, config.output_bias);
  if (config.gated_mlp && has(prefix + "ffn_gate.weight")) {
    layer.gate_up =
        join({{prefix + "ffn_gate", config.mlp_size}, {prefix + "ffn_up", config.mlp_size}}, hidden,
             config.mlp_bias);
  } else {
    layer.gate_up = linear("ffn_up", config.gated_mlp ? 2 * config.mlp_size : config.mlp_size,
                           hidden, config.mlp_bias);
  }
  layer.down = linear("ffn_down", hidden, config.mlp_size, config.mlp_bias);
  return layer;
}

DecoderWeights GgufCheckpoint::weights(const DecoderConfig& config) {
  DecoderWeights weights;
  if (config.learned_positions > 0) {
    weights.positions = get("position_embd.weight", {config.learned_positions, config.hidden_size});
  }
  for (int64_t i = 0; i < config.layers; ++i) weights.layers.push_back(layer(config, i));
  weights.final_norm = norm("output_norm", config);
  read_embedding_and_head(config, "token_embd", "output", *this, weights);
  return weights;
}

void GgufCheckpoint::check_all_used() const {
  for (const auto& [name, tensor] : gguf_.tensors) {
    if (used_.contains(name)) continue;
    if (std::find(std::begin(rope_tensors), std::end(rope_tensors), name) !=
        std::end(rope_tensors)) {
      continue;
    }
    throw InputError::format(
        "{}: tensor {} has no place in the model that the metadata describes: it has a part that "
        "is not supported",
        where(), name);
  }
}

int64_t GgufCheckpoint::file_bytes() const {
  int64_t bytes = 0;
  for (const auto& file : gguf_.files) bytes += static_cast<int64_t>(file->bytes().size());
  return bytes;
}

std::map<std::string, int64_t> GgufCheckpoint::stored() const {
  std::map<std::string, int64_t> result;
  for (const auto& [name, tensor] : gguf_.tensors) {
    result[tensor.type->name] += c10::multiply_integers(tensor.shape);
  }
  return result;
}

}  // namespace sinkbench
