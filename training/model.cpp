#include "training/model.h"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>
#include <fmt/format.h>

#include <cmath>

#include "base/error.h"
#include "training/ops.h"

namespace sinkbench {

TrainedModel::TrainedModel(const ModelShape& shape, int64_t max_tokens, bool bfloat16,
                           uint64_t seed, at::Device device)
    : shape_(shape), bfloat16_(bfloat16) {
  const int64_t hidden = shape.hidden, head_dim = hidden / shape.heads;
  at::Generator generator = at::detail::createCPUGenerator(seed);
  const auto matrix = [&](int64_t out, int64_t in, double deviation) {
    return at::empty({out, in}).normal_(0, deviation, generator).to(device).requires_grad_();
  };
  const auto norm = [&] { return at::ones({hidden}).to(device).requires_grad_(); };
  const double deviation = 0.02;
  const double residual = deviation / std::sqrt(2.0 * static_cast<double>(shape.layers));

  embedding_ = matrix(shape.vocab, hidden, deviation);
  parameters_.push_back({"embedding", embedding_});
  for (int64_t l = 0; l < shape.layers; ++l) {
    Layer layer;
    layer.attention_norm = norm();
    layer.qkv = matrix(3 * hidden, hidden, deviation);
    layer.output = matrix(hidden, hidden, residual);
    layer.mlp_norm = norm();
    layer.gate_up = matrix(2 * shape.mlp, hidden, deviation);
    layer.down = matrix(hidden, shape.mlp, residual);
    const std::string prefix = fmt::format("layers.{}.", l);
    parameters_.insert(parameters_.end(), {{prefix + "attention_norm", layer.attention_norm},
                                           {prefix + "qkv", layer.qkv},
                                           {prefix + "output", layer.output},
                                           {prefix + "mlp_norm", layer.mlp_norm},
                                           {prefix + "gate_up", layer.gate_up},
                                           {prefix + "down", layer.down}});
    if (shape.learned_sink_logits) {
      layer.sink_logit = at::zeros({shape.heads}).to(device).requires_grad_();
      parameters_.push_back({prefix + "sinks", layer.sink_logit});
    } else if (shape.zero_sink) {
      layer.sink_logit = at::zeros({shape.heads}).to(device);
    }
    layers_.push_back(std::move(layer));
  }
  final_norm_ = norm();
  parameters_.push_back({"final_norm", final_norm_});

  const at::Tensor exponents = at::arange(0, head_dim, 2, at::kDouble) / double(head_dim);
  const at::Tensor angles =
      at::outer(at::arange(max_tokens, at::kDouble), at::pow(shape.rope_theta, -exponents));
  cosine_ = angles.cos().to(at::kFloat).to(device);
  sine_ = angles.sin().to(at::kFloat).to(device);
}

void TrainedModel::begin_with(TensorSource& initial) {
  const at::NoGradGuard no_gradients;
  const auto layer_prefix = [](int64_t layer) { return fmt::format("model.layers.{}.", layer); };
  int64_t given = 0;
  while (initial.has(layer_prefix(given) + "input_layernorm.weight")) ++given;
  if (given < 1 || given > shape_.layers) {
    throw InputError::format("model.initial: expected 1 to {} layers (model.layers), found {}",
                             shape_.layers, given);
  }
  // Its layer i becomes the last of the i-th of `given` equal parts.
  std::vector<std::string> source(shape_.layers);  // of a layer here: its prefix there
  for (int64_t i = 0; i < given; ++i) {
    source[(i + 1) * shape_.layers / given - 1] = layer_prefix(i);
  }
  for (auto& [name, value] : huggingface_weights()) {
    std::string from = name;
    for (int64_t l = 0; l < shape_.layers; ++l) {
      const std::string prefix = layer_prefix(l);
      if (name.starts_with(prefix)) {
        from = source[l].empty() ? "" : source[l] + name.substr(prefix.size());
      }
    }
    if (!from.empty()) {
      value.copy_(initial.get(from, value.sizes()));
    } else if (name.ends_with("o_proj.weight") || name.ends_with("down_proj.weight")) {
      value.zero_();
    }
  }
}

at::Tensor TrainedModel::logits(const at::Tensor& ids, std::vector<at::Tensor>* attention) const {
  const int64_t batch = ids.size(0), tokens = ids.size(1), head_dim = shape_.hidden / shape_.heads;
  const at::Tensor cosine = cosine_.narrow(0, 0, tokens), sine = sine_.narrow(0, 0, tokens);
  at::Tensor x = at::embedding(embedding_, ids.reshape({-1}));
  for (const Layer& layer : layers_) {
    const at::Tensor qkv =
        ops::linear(ops::rms_norm(x, layer.attention_norm, shape_.norm_eps), layer.qkv, bfloat16_);
    at::Tensor probabilities;
    const at::Tensor mixed = ops::causal_attention(
        qkv.view({batch, tokens, 3, shape_.heads, head_dim}), cosine, sine, layer.sink_logit,
        bfloat16_, attention != nullptr ? &probabilities : nullptr);
    if (attention != nullptr) attention->push_back(probabilities);
    x = x + ops::linear(mixed.view({batch * tokens, -1}), layer.output, bfloat16_);
    const at::Tensor gate_up =
        ops::linear(ops::rms_norm(x, layer.mlp_norm, shape_.norm_eps), layer.gate_up, bfloat16_);
    x = x + ops::linear(ops::swiglu(gate_up), layer.down, bfloat16_);
  }
  return ops::linear(ops::rms_norm(x, final_norm_, shape_.norm_eps), embedding_, bfloat16_);
}

at::Tensor TrainedModel::loss(const at::Tensor& ids, const at::Tensor& targets) const {
  return at::cross_entropy_loss(logits(ids, nullptr), targets.reshape({-1}));
}

at::Tensor TrainedModel::attention_to_first(const at::Tensor& ids) const {
  const at::NoGradGuard no_gradients;
  std::vector<at::Tensor> attention;
  logits(ids, &attention);
  std::vector<at::Tensor> layers;
  for (const at::Tensor& probabilities : attention) {
    const at::Tensor to_first = probabilities.select(2, 0).narrow(1, 1, ids.size(1) - 1);
    layers.push_back(to_first.reshape({ids.size(0), shape_.heads, -1}).mean(at::IntArrayRef{0, 2}));
  }
  return at::stack(layers);
}

std::vector<TrainedModel::Parameter> TrainedModel::huggingface_weights() const {
  std::vector<Parameter> weights{{"model.embed_tokens.weight", embedding_}};
  for (size_t l = 0; l < layers_.size(); ++l) {
    const Layer& layer = layers_[l];
    const auto qkv = layer.qkv.chunk(3);
    const auto gate_up = layer.gate_up.chunk(2);
    const std::string prefix = fmt::format("model.layers.{}.", l);
    weights.insert(weights.end(), {{prefix + "input_layernorm.weight", layer.attention_norm},
                                   {prefix + "self_attn.q_proj.weight", qkv[0]},
                                   {prefix + "self_attn.k_proj.weight", qkv[1]},
                                   {prefix + "self_attn.v_proj.weight", qkv[2]},
                                   {prefix + "self_attn.o_proj.weight", layer.output},
                                   {prefix + "post_attention_layernorm.weight", layer.mlp_norm},
                                   {prefix + "mlp.gate_proj.weight", gate_up[0]},
                                   {prefix + "mlp.up_proj.weight", gate_up[1]},
                                   {prefix + "mlp.down_proj.weight", layer.down}});
    if (shape_.learned_sink_logits) {
      weights.push_back({prefix + "self_attn.sinks", layer.sink_logit});
    }
  }
  weights.push_back({"model.norm.weight", final_norm_});
  for (Parameter& weight : weights) weight.value = weight.value.detach();
  return weights;
}

}  // namespace sinkbench
