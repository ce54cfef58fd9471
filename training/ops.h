// What a training step is made of: differentiable operations, float32 in, float32 out, contiguous.
// Fused on the CPU; on another device they are those of training/plain_ops.h.
#pragma once

#include <ATen/core/Tensor.h>

#include "training/kernels.h"

namespace sinkbench::ops {

/// Root-mean-square norm over the last dimension, with a weight of that size.
at::Tensor rms_norm(const at::Tensor& x, const at::Tensor& weight, double eps);

/// silu(gate) * up of gate_up [..., 2n], whose last dimension is gate then up.
at::Tensor swiglu(const at::Tensor& gate_up);

/// x [rows, in] times weight [out, in] transposed. With `bfloat16` the three products of forward
/// and backward are computed from bfloat16 copies, summed in float32 and rounded to bfloat16 (mixed
/// precision as in Kalamkar et al. 2019; the weights stay float32).
at::Tensor linear(const at::Tensor& x, const at::Tensor& weight, bool bfloat16);

/// Causal softmax attention with rotary positions 0.. over qkv [batch, tokens, 3, heads, head_dim]
/// to [batch, tokens, heads * head_dim]; cosine and sine are [tokens, head_dim / 2]. Where
/// `probabilities` isn't null it receives the attention [batch * heads, tokens, tokens]. With
/// `sink_logit` [heads] every softmax's denominator is exp of its head's more. `bfloat16` is for
/// devices but the CPU, where so small products gain nothing by it.
at::Tensor causal_attention(const at::Tensor& qkv, const at::Tensor& cosine, const at::Tensor& sine,
                            const at::Tensor& sink_logit = {}, bool bfloat16 = false,
                            at::Tensor* probabilities = nullptr);

/// One AdamW step, in place.
void adamw(const kernels::AdamW& step, const at::Tensor& grad, at::Tensor& weight, at::Tensor& mean,
           at::Tensor& square);

}  // namespace sinkbench::ops
