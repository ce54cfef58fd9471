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

/// A vector whose numbers are rotated pairs as neighbours, as ggml's first kind of RoPE has them,
/// in Hugging Face's order: half a head apart.
at::Tensor unpaired(const at::Tensor& numbers, int64_t heads) {
  return numbers.view({heads, -1, 2}).transpose(1, 2).reshape({-1});
}

}  // namespace

GgufCheckpoint::GgufCheckpoint(GgufFile gguf, at::ScalarType dtype, at::Device device,
                               KeptForm kept)
    : Checkpoint(dtype, device, std::move(kept)),
      gguf_(std::move(gguf)),
      reader_(gguf_config(gguf_)),
      family_(find_family(reader_)) {}

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

const GgufFile::Tensor& GgufCheckpoint::find(const std::string& name, at::IntArrayRef shape) {
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
  return tensor;
}

at::Tensor GgufCheckpoint::decode(const std::string& name, at::IntArrayRef shape,
                                  at::ScalarType dtype) {
  const GgufFile::Tensor& tensor = find(name, shape);
  if (device_.is_meta()) return at::empty(shape, at::TensorOptions().dtype(dtype).device(device_));
  const int64_t columns = shape.back(), rows = c10::multiply_integers(shape) / columns;
  const StoredMatrix matrix(
      {{.owner = nullptr, .type = tensor.type, .numbers = tensor.data, .rows = rows}}, columns);
  const at::Tensor decoded = matrix.decode(dtype).view(shape).to(device_);
  tensor.file->forget(tensor.data);
  return decoded;
}

Linear GgufCheckpoint::join(const std::vector<Rows>& parts, int64_t in, bool bias) {
  std::vector<StoredMatrix::Part> stored;
  std::vector<at::Tensor> biases;
  for (const Rows& part : parts) {
    std::vector<int64_t> shape = part.of.empty() ? std::vector{part.count} : part.of;
    if (bias) {
      const at::Tensor own =
          get(part.name + ".bias", shape).view({-1}).narrow(0, part.first, part.count);
      biases.push_back(part.paired_heads > 0 ? unpaired(own, part.paired_heads) : own);
    }
    shape.push_back(in);
    const GgufFile::Tensor& tensor = find(part.name + ".weight", shape);
    const size_t row_bytes = tensor.data.size() * in / c10::multiply_integers(shape);
    const auto file = std::find_if(gguf_.files.begin(), gguf_.files.end(),
                                   [&](const auto& f) { return f.get() == tensor.file; });
    stored.push_back(
        {.owner = *file,
         .type = tensor.type,
         .numbers = tensor.data.subspan(part.first * row_bytes, part.count * row_bytes),
         .rows = part.count,
         .groups = part.paired_heads});
  }
  Linear linear = hold(stored, in);
  if (!linear.stored.defined() && !device_.is_meta()) {
    for (size_t i = 0; i < parts.size(); ++i) {
      gguf_.tensors.at(parts[i].name + ".weight").file->forget(stored[i].numbers);
    }
  }
  if (bias) linear.bias = at::cat(biases);
  return linear;
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
    return join({{prefix + name, out}}, in, bias);
  };
  LayerWeights layer;
  if (config.norm_placement == NormPlacement::before ||
      config.norm_placement == NormPlacement::around) {
    // That of gpt-oss before its experts has another's name.
    const bool ffn_norm = has(prefix + "ffn_norm.weight");
    const std::string before_mlp = ffn_norm ? "ffn_norm" : "post_attention_norm";
    // Falcon's two norms of parallel halves have names of their own.
    const bool second = has(prefix + "attn_norm_2.weight");
    layer.attention_norm = norm(prefix + (second ? "attn_norm_2" : "attn_norm"), config);
    layer.mlp_norm = config.one_parallel_norm
                         ? layer.attention_norm
                         : norm(prefix + (second ? "attn_norm" : before_mlp), config);
  }
  if (config.norm_placement == NormPlacement::after ||
      config.norm_placement == NormPlacement::around) {
    layer.attention_post_norm = norm(prefix + "post_attention_norm", config);
    layer.mlp_post_norm = norm(prefix + "post_ffw_norm", config);
  }
  if (has(prefix + "attn_qkv.weight")) {
    const auto rows = [&](int64_t first, int64_t count, int64_t heads) {
      return Rows{
          prefix + "attn_qkv", count, paired ? heads : 0, {query_size + 2 * key_size}, first};
    };
    layer.qkv =
        join({rows(0, query_size, config.heads), rows(query_size, key_size, config.kv_heads),
              rows(query_size + key_size, key_size, 0)},
             hidden, config.qkv_bias);
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
  layer.sink_logit =
      config.learned_sink_logits ? get(prefix + "attn_sinks.weight", {config.heads}) : at::Tensor();
  if (config.experts && !config.experts->is_dense(index)) {
    layer.experts = experts(config, prefix);
    return layer;
  }
  const int64_t mlp_size = config.experts ? config.experts->dense_size : config.mlp_size;
  if (config.gated_mlp && has(prefix + "ffn_gate.weight")) {
    layer.gate_up = join({{prefix + "ffn_gate", mlp_size}, {prefix + "ffn_up", mlp_size}}, hidden,
                         config.mlp_bias);
  } else {
    layer.gate_up =
        linear("ffn_up", config.gated_mlp ? 2 * mlp_size : mlp_size, hidden, config.mlp_bias);
  }
  layer.down = linear("ffn_down", hidden, mlp_size, config.mlp_bias);
  return layer;
}

ExpertsWeights GgufCheckpoint::experts(const DecoderConfig& config, const std::string& prefix) {
  const ExpertsConfig& experts = *config.experts;
  const int64_t hidden = config.hidden_size, count = experts.experts, size = experts.size;
  // Files of 2023 have a tensor for each expert.
  const bool stacked = has(prefix + "ffn_gate_exps.weight") || !has(prefix + "ffn_gate.0.weight");
  const auto rows = [&](const std::string& name, int64_t expert, int64_t out) {
    if (!stacked) return Rows{fmt::format("{}{}.{}", prefix, name, expert), out};
    return Rows{prefix + name + "_exps", out, 0, {count, out}, expert * out};
  };
  ExpertsWeights weights;
  weights.router = join({{prefix + "ffn_gate_inp", count}}, hidden, experts.router_bias);
  for (int64_t e = 0; e < count; ++e) {
    weights.experts.push_back({.gate_up = join({rows("ffn_gate", e, size), rows("ffn_up", e, size)},
                                               hidden, experts.bias),
                               .down = join({rows("ffn_down", e, hidden)}, size, experts.bias)});
  }
  if (experts.shared_size == 0) return weights;
  weights.shared_gate_up = join({{prefix + "ffn_gate_shexp", experts.shared_size},
                                 {prefix + "ffn_up_shexp", experts.shared_size}},
                                hidden, false);
  weights.shared_down = join({{prefix + "ffn_down_shexp", hidden}}, experts.shared_size, false);
  const std::string gate = prefix + "ffn_gate_inp_shexp.weight";
  const auto stored = gguf_.tensors.find(gate);
  const bool vector = stored != gguf_.tensors.end() && stored->second.shape.size() == 1;
  weights.shared_gate.weight =
      vector ? get(gate, {hidden}).view({1, hidden}) : get(gate, {1, hidden});
  return weights;
}

DecoderWeights GgufCheckpoint::weights(const DecoderConfig& config) {
  DecoderWeights weights;
  if (config.learned_positions > 0) {
    weights.positions = get("position_embd.weight", {config.learned_positions, config.hidden_size});
  }
  for (int64_t i = 0; i < config.layers; ++i) weights.layers.push_back(layer(config, i));
  weights.final_norm = norm("output_norm", config);
  const Linear embedding = join({{"token_embd", config.vocab_size}}, config.hidden_size, false);
  weights.embedding = embedding.weight;
  weights.stored_embedding = embedding.stored;
  weights.head = config.tied_head
                     ? embedding
                     : join({{"output", config.vocab_size}}, config.hidden_size, config.head_bias);
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
