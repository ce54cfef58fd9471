// The operations of training/ops.h as plain ATen operations on any device: what runs on a GPU. Same
// arguments, same meaning.
#pragma once

#include <ATen/core/Tensor.h>

#include "training/kernels.h"

namespace sinkbench::plain_ops {

at::Tensor rms_norm(const at::Tensor& x, const at::Tensor& weight, double eps);

at::Tensor swiglu(const at::Tensor& gate_up);

/// With `bfloat16` the products with queries, keys and values are of bfloat16 copies; softmax is in
/// float32.
at::Tensor causal_attention(const at::Tensor& qkv, const at::Tensor& cosine, const at::Tensor& sine,
                            const at::Tensor& sink_logit, bool bfloat16, at::Tensor* probabilities);

void adamw(const kernels::AdamW& step, const at::Tensor& grad, at::Tensor& weight, at::Tensor& mean,
           at::Tensor& square);

}  // namespace sinkbench::plain_ops
