// The one decoder: tokens into queries, keys, values and logits. It knows nothing of policies or
// of caches; an engine calls it layer by layer and does the attention between `project` and
// `finish`.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "models/config.h"
#include "models/weights.h"

namespace sinkbench {

/// Precision and place of a model's weights and products. Residual stream, norms and softmax are
/// float32 (float64 where dtype is), whatever the weights are.
struct DecoderOptions {
  at::ScalarType dtype = at::kFloat;
  at::Device device = at::kCPU;
  /// Matrices stay in their file's form, mapped, and are decoded where they are used: all of a GGUF
  /// file, gpt-oss's experts in MXFP4. On the CPU alone.
  bool as_stored = false;
  int64_t decoded_bytes = 0;  ///< of these, what may be kept decoded
};

/// What a layer's attention works on, before any position is encoded.
struct Projection {
  at::Tensor query;  ///< [n, heads, head_dim]
  at::Tensor key;    ///< [n, kv_heads, head_dim]
  at::Tensor value;  ///< [n, kv_heads, head_dim]
};

class Decoder {
 public:
  /// A Hugging Face folder (config.json and safetensors) or a GGUF file. Throws InputError naming
  /// what is wrong.
  static Decoder load(const std::filesystem::path& path, const DecoderOptions& options);
  /// The shape of a config.json with random weights, for timing shapes without a checkpoint.
  static Decoder random(const std::filesystem::path& config_json, uint64_t seed,
                        const DecoderOptions& options);
  /// Throws what `load` would throw, without reading the tensors' contents: the decoder that it
  /// returns is on the meta device, good for its configuration and sizes. (`load` does the same
  /// where that device is asked for.)
  static Decoder check(const std::filesystem::path& path);
  /// `sha256` of the decoder that `load` would return; reads the files, but makes no tensors.
  static std::string sha256_of(const std::filesystem::path& path);
  Decoder(DecoderConfig config, DecoderWeights weights, const DecoderOptions& options);

  const DecoderConfig& config() const { return config_; }
  const DecoderOptions& options() const { return options_; }
  /// Precision of the residual stream, norms and softmax.
  at::ScalarType accumulate_dtype() const;
  int64_t parameters() const;
  int64_t idle_parameters() const;  ///< of experts that a token has not chosen
  int64_t weight_bytes() const;     ///< as they are held; a tied matrix counted once
  /// What a step of one token reads of them: the chosen experts, and one row of an embedding that
  /// isn't the head.
  int64_t step_bytes() const;
  /// Waits until the device has done what was asked of it; for timing. Nothing to wait for on a
  /// CPU.
  void synchronize() const;
  /// SHA-256 of config.json and the weights' files; of config.json and the seed for random ones.
  const std::string& sha256() const { return sha256_; }

  /// ids: int64 [n] on the decoder's device; positions: the same, each below learned_positions,
  /// used only where the model has learned ones. Returns the residual stream [n, hidden].
  at::Tensor embed(const at::Tensor& ids, const at::Tensor& positions = {}) const;
  /// x: the residual stream [n, hidden] before layer `layer`.
  Projection project(int64_t layer, const at::Tensor& x) const;
  /// The same with queries of some rows only: x_query holds those rows of x.
  Projection project(int64_t layer, const at::Tensor& x, const at::Tensor& x_query) const;
  /// [heads] in accumulate_dtype, or undefined: a logit that takes part in each head's softmax as
  /// if there were one more key, with a value of zero.
  const at::Tensor& sink_logit(int64_t layer) const { return sink_logits_[layer]; }
  /// Adds attention's output and the MLP. attended: [n, heads * head_dim]; returns the residual
  /// stream [n, hidden] after the layer.
  at::Tensor finish(int64_t layer, const at::Tensor& x, const at::Tensor& attended) const;
  /// Logits [n, vocab] in the weights' precision (scaled or capped ones in accumulate_dtype), of
  /// the residual stream after the last layer.
  at::Tensor logits(const at::Tensor& x) const;
  /// NLL in nats, [n] in accumulate_dtype, of such logits and targets, int64 [n] on the decoder's
  /// device.
  at::Tensor nll_of_logits(const at::Tensor& logits, const at::Tensor& targets) const;
  /// The same of logits(x), of which few exist at a time (models/logits_at_once.h).
  at::Tensor nll(const at::Tensor& x, const at::Tensor& targets) const;

 private:
  /// Of x [n, hidden], in `dtype`; x itself where there are no weights.
  at::Tensor norm(const NormWeights& weights, const at::Tensor& x, at::ScalarType dtype) const;
  at::Tensor attention_input(const LayerWeights& layer, const at::Tensor& x) const;
  at::Tensor norm_heads(const at::Tensor& heads, const at::Tensor& weight) const;
  Projection split(const LayerWeights& layer, const at::Tensor& query,
                   const at::Tensor& keys_and_values) const;
  /// Logits as they are, from products of the head.
  at::Tensor scaled(const at::Tensor& products) const;
  /// What the MLP's last map is applied to.
  at::Tensor activated(const LayerWeights& layer, const at::Tensor& normed) const;

  DecoderConfig config_;
  DecoderWeights weights_;
  DecoderOptions options_;
  std::vector<at::Tensor> sink_logits_;  // for each layer: learned, constant or undefined
  std::string sha256_;
};

}  // namespace sinkbench
