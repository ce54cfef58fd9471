// The model in training: a Llama-style decoder over whole samples, differentiable.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>
#include <vector>

#include "models/checkpoint.h"
#include "training/config.h"

namespace sinkbench {

/// A decoder of the shape of Hugging Face's LlamaForCausalLM: RMS norms, rotary positions, SwiGLU,
/// no biases, as many key heads as query heads, one matrix for input and output embeddings.
/// Queries, keys and values are one matrix here, and gate and up another.
class TrainedModel {
 public:
  struct Parameter {
    std::string name;
    at::Tensor value;  // float32, on the model's device
  };

  /// Weights are drawn from a normal distribution of deviation 0.02 (0.02 / sqrt(2 layers) where a
  /// matrix writes to the residual stream), on every device the same; norms start at one.
  /// `max_tokens` is the longest sample.
  TrainedModel(const ModelShape& shape, int64_t max_tokens, bool bfloat16, uint64_t seed,
               at::Device device = at::kCPU);

  /// Copies the weights of a trained model, under Hugging Face's names, that may have fewer layers
  /// than this one and is the same otherwise. Further layers stand between its layers and start as
  /// the identity, with nothing written to the residual stream (a growth that keeps the function:
  /// Chen et al. 2016, Net2Net). InputError where it doesn't fit.
  void begin_with(TensorSource& initial);

  /// Mean NLL of `targets` after `ids`, both int64 [batch, tokens]; a scalar to differentiate.
  at::Tensor loss(const at::Tensor& ids, const at::Tensor& targets) const;

  /// [layers, heads]: the attention that the queries 1.. of `ids` [batch, tokens] give to position
  /// 0, a mean over queries and samples. (Query 0 sees nothing else, so it says nothing.)
  at::Tensor attention_to_first(const at::Tensor& ids) const;

  /// In a fixed order.
  const std::vector<Parameter>& parameters() const { return parameters_; }

  /// The weights under Hugging Face's names and in its shapes, sharing memory with parameters().
  std::vector<Parameter> huggingface_weights() const;

 private:
  struct Layer {
    at::Tensor attention_norm, qkv, output, mlp_norm, gate_up, down;
    at::Tensor sink_logit;  // [heads], or undefined
  };

  /// Logits [batch * tokens, vocab]; the attention of each layer is added to `attention` where
  /// that isn't null.
  at::Tensor logits(const at::Tensor& ids, std::vector<at::Tensor>* attention) const;

  ModelShape shape_;
  bool bfloat16_;
  at::Tensor embedding_, final_norm_;
  std::vector<Layer> layers_;
  std::vector<Parameter> parameters_;
  at::Tensor cosine_, sine_;  // [max_tokens, head_dim / 2]
};

}  // namespace sinkbench
