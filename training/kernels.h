// The element-wise parts of a training step on the CPU, each in one pass over contiguous float32
// rows. training/ops.h makes differentiable tensor functions of them.
#pragma once

#include <cstdint>

namespace sinkbench::kernels {

/// y = x * rstd * weight with rstd = 1 / sqrt(mean(x^2) + eps); x and y are [rows, n], rstd [rows].
void rms_norm(const float* x, const float* weight, float eps, int64_t rows, int64_t n, float* y,
              float* rstd);
/// `grad_weight` [n] is added to, `grad_x` [rows, n] is set.
void rms_norm_backward(const float* grad_y, const float* x, const float* weight, const float* rstd,
                       int64_t rows, int64_t n, float* grad_x, float* grad_weight);

/// y = silu(gate) * up, where a row of `gate_up` [rows, 2n] is a gate row and an up row; y [rows,
/// n].
void swiglu(const float* gate_up, int64_t rows, int64_t n, float* y);
void swiglu_backward(const float* grad_y, const float* gate_up, int64_t rows, int64_t n,
                     float* grad_gate_up);

/// Rotates x [n] by the angles of one position (Su et al. 2021, in the halves layout of Hugging
/// Face's Llama): y1 = x1 cos - x2 sin, y2 = x2 cos + x1 sin; cosine and sine are [n / 2].
/// `direction` -1 rotates back, which is the gradient.
void rotate(const float* x, const float* cosine, const float* sine, int64_t n, float direction,
            float* y);

/// In place: row i of `scores` [queries, stride] becomes softmax(scale * row) over its first
/// `first + i + 1` columns (what query `first + i` may see) and 0 in the others up to `columns`.
/// Where `sink_logit` isn't null the denominator is exp(*sink_logit) more (0: SoftMax-off-by-one).
/// The gradient's formula is the same.
void causal_softmax(float* scores, float scale, const float* sink_logit, int64_t queries,
                    int64_t first, int64_t columns, int64_t stride);
/// `grad`, the gradient by the probabilities, becomes in place that by the raw scores:
/// scale * p * (grad - sum(grad * p)). That by the sink's logit, a key whose value is zero, is
/// added to `sink_grad` where that isn't null.
void causal_softmax_backward(const float* probabilities, float scale, int64_t queries,
                             int64_t columns, int64_t stride, float* grad,
                             float* sink_grad = nullptr);

/// One AdamW step (Loshchilov & Hutter 2019, decoupled decay) on n elements. `bias1` and `bias2`
/// are 1 - beta^step; `grad_scale` multiplies the gradient first (clipping).
struct AdamW {
  float learning_rate, beta1, beta2, eps, weight_decay, bias1, bias2, grad_scale;
};
void adamw(const AdamW& step, const float* grad, int64_t n, float* weight, float* mean,
           float* square);

}  // namespace sinkbench::kernels
