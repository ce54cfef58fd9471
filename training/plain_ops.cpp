#include "training/plain_ops.h"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include <cmath>

namespace sinkbench::plain_ops {
namespace {

/// [..., tokens, head_dim], halves layout (kernels::rotate).
at::Tensor rotate(const at::Tensor& x, const at::Tensor& cosine, const at::Tensor& sine) {
  const auto halves = x.chunk(2, -1);
  return at::cat({halves[0] * cosine - halves[1] * sine, halves[1] * cosine + halves[0] * sine},
                 -1);
}

}  // namespace

at::Tensor rms_norm(const at::Tensor& x, const at::Tensor& weight, double eps) {
  return x * at::rsqrt(x.square().mean(-1, /*keepdim=*/true) + eps) * weight;
}

at::Tensor swiglu(const at::Tensor& gate_up) {
  const auto parts = gate_up.chunk(2, -1);
  return at::silu(parts[0]) * parts[1];
}

at::Tensor causal_attention(const at::Tensor& qkv, const at::Tensor& cosine, const at::Tensor& sine,
                            const at::Tensor& sink_logit, bool bfloat16,
                            at::Tensor* probabilities) {
  const int64_t batch = qkv.size(0), tokens = qkv.size(1), heads = qkv.size(3), n = qkv.size(4);
  const auto product_dtype = bfloat16 ? at::kBFloat16 : at::kFloat;
  const at::Tensor by_head = qkv.permute({2, 0, 3, 1, 4});  // [3, batch, heads, tokens, n]
  const at::Tensor q = rotate(by_head[0], cosine, sine).to(product_dtype);
  const at::Tensor k = rotate(by_head[1], cosine, sine).to(product_dtype);
  const at::Tensor v = by_head[2].to(product_dtype);
  const at::Tensor later = at::ones({tokens, tokens}, qkv.options().dtype(at::kBool)).triu(1);
  at::Tensor scores =
      (at::matmul(q, k.transpose(2, 3)).to(at::kFloat) / std::sqrt(static_cast<double>(n)))
          .masked_fill(later, -INFINITY);
  const bool sink = sink_logit.defined();
  if (sink) {
    scores =
        at::cat({sink_logit.view({1, heads, 1, 1}).expand({batch, heads, tokens, 1}), scores}, 3);
  }
  const at::Tensor weights = at::softmax(scores, -1).narrow(3, sink ? 1 : 0, tokens);
  if (probabilities != nullptr) {
    *probabilities = weights.detach().reshape({batch * heads, tokens, tokens});
  }
  return at::matmul(weights.to(product_dtype), v)
      .to(at::kFloat)
      .transpose(1, 2)
      .reshape({batch, tokens, heads * n});
}

void adamw(const kernels::AdamW& step, const at::Tensor& grad, at::Tensor& weight, at::Tensor& mean,
           at::Tensor& square) {
  const at::NoGradGuard no_gradients;
  const at::Tensor g = grad * step.grad_scale;
  mean.mul_(step.beta1).add_(g, 1 - step.beta1);
  square.mul_(step.beta2).addcmul_(g, g, 1 - step.beta2);
  weight.mul_(1 - step.learning_rate * step.weight_decay);
  weight.addcdiv_(mean, (square.sqrt() / std::sqrt(step.bias2)).add_(step.eps),
                  -step.learning_rate / step.bias1);
}

}  // namespace sinkbench::plain_ops
