// Compiled with -O3 -ffast-math -fopenmp-simd (see CMakeLists.txt): sums may be reordered and exp
// vectorised; nothing here depends on infinities or NaN.
#include "training/kernels.h"

#include <algorithm>
#include <cmath>

// The widest vector unit is chosen when the program starts, so that one binary serves all machines.
// (What chooses runs before the thread sanitizer is up, which it would call.)
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && !defined(__SANITIZE_THREAD__)
#define FOR_EACH_CPU __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define FOR_EACH_CPU
#endif

namespace sinkbench::kernels {

FOR_EACH_CPU void rms_norm(const float* x, const float* weight, float eps, int64_t rows, int64_t n,
                           float* y, float* rstd) {
  for (int64_t r = 0; r < rows; ++r, x += n, y += n) {
    float squares = 0;
#pragma omp simd reduction(+ : squares)
    for (int64_t i = 0; i < n; ++i) squares += x[i] * x[i];
    rstd[r] = 1 / std::sqrt(squares / static_cast<float>(n) + eps);
#pragma omp simd
    for (int64_t i = 0; i < n; ++i) y[i] = x[i] * rstd[r] * weight[i];
  }
}

FOR_EACH_CPU void rms_norm_backward(const float* grad_y, const float* x, const float* weight,
                                    const float* rstd, int64_t rows, int64_t n, float* grad_x,
                                    float* grad_weight) {
  for (int64_t r = 0; r < rows; ++r, x += n, grad_y += n, grad_x += n) {
    float dot = 0;
#pragma omp simd reduction(+ : dot)
    for (int64_t i = 0; i < n; ++i) {
      dot += grad_y[i] * weight[i] * x[i];
      grad_weight[i] += grad_y[i] * x[i] * rstd[r];
    }
    const float along = dot * rstd[r] * rstd[r] / static_cast<float>(n);
#pragma omp simd
    for (int64_t i = 0; i < n; ++i) {
      grad_x[i] = rstd[r] * (grad_y[i] * weight[i] - x[i] * along);
    }
  }
}

FOR_EACH_CPU void swiglu(const float* gate_up, int64_t rows, int64_t n, float* y) {
  for (int64_t r = 0; r < rows; ++r, gate_up += 2 * n, y += n) {
#pragma omp simd
    for (int64_t i = 0; i < n; ++i) {
      y[i] = gate_up[i] / (1 + std::exp(-gate_up[i])) * gate_up[n + i];
    }
  }
}

FOR_EACH_CPU void swiglu_backward(const float* grad_y, const float* gate_up, int64_t rows,
                                  int64_t n, float* grad_gate_up) {
  for (int64_t r = 0; r < rows; ++r, gate_up += 2 * n, grad_y += n, grad_gate_up += 2 * n) {
#pragma omp simd
    for (int64_t i = 0; i < n; ++i) {
      const float gate = gate_up[i];
      const float sigmoid = 1 / (1 + std::exp(-gate));
      grad_gate_up[i] = grad_y[i] * gate_up[n + i] * sigmoid * (1 + gate * (1 - sigmoid));
      grad_gate_up[n + i] = grad_y[i] * gate * sigmoid;
    }
  }
}

FOR_EACH_CPU void rotate(const float* x, const float* cosine, const float* sine, int64_t n,
                         float direction, float* y) {
  const int64_t half = n / 2;
#pragma omp simd
  for (int64_t i = 0; i < half; ++i) {
    const float a = x[i], b = x[half + i], s = direction * sine[i];
    y[i] = a * cosine[i] - b * s;
    y[half + i] = b * cosine[i] + a * s;
  }
}

FOR_EACH_CPU void causal_softmax(float* scores, float scale, const float* sink_logit,
                                 int64_t queries, int64_t first, int64_t columns, int64_t stride) {
  for (int64_t q = 0; q < queries; ++q, scores += stride) {
    const int64_t seen = first + q + 1;
    float highest = sink_logit ? std::max(scores[0], *sink_logit / scale) : scores[0];
#pragma omp simd reduction(max : highest)
    for (int64_t i = 0; i < seen; ++i) highest = std::max(highest, scores[i]);
    float sum = sink_logit ? std::exp(*sink_logit - scale * highest) : 0.0f;
#pragma omp simd reduction(+ : sum)
    for (int64_t i = 0; i < seen; ++i) {
      scores[i] = std::exp(scale * (scores[i] - highest));
      sum += scores[i];
    }
    const float share = 1 / sum;
#pragma omp simd
    for (int64_t i = 0; i < seen; ++i) scores[i] *= share;
    std::fill(scores + seen, scores + columns, 0.0f);
  }
}

FOR_EACH_CPU void causal_softmax_backward(const float* probabilities, float scale, int64_t queries,
                                          int64_t columns, int64_t stride, float* grad,
                                          float* sink_grad) {
  for (int64_t q = 0; q < queries; ++q, probabilities += stride, grad += stride) {
    float mean = 0;
#pragma omp simd reduction(+ : mean)
    for (int64_t i = 0; i < columns; ++i) mean += grad[i] * probabilities[i];
#pragma omp simd
    for (int64_t i = 0; i < columns; ++i) grad[i] = scale * probabilities[i] * (grad[i] - mean);
    if (sink_grad == nullptr) continue;
    float others = 0;  // what the sink leaves
#pragma omp simd reduction(+ : others)
    for (int64_t i = 0; i < columns; ++i) others += probabilities[i];
    *sink_grad -= (1 - others) * mean;
  }
}

FOR_EACH_CPU void adamw(const AdamW& step, const float* grad, int64_t n, float* weight, float* mean,
                        float* square) {
  const AdamW s = step;
  const float keep = 1 - s.learning_rate * s.weight_decay;
  const float rate = s.learning_rate / s.bias1;
  const float root_bias2 = std::sqrt(s.bias2);
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) {
    const float g = grad[i] * s.grad_scale;
    mean[i] = s.beta1 * mean[i] + (1 - s.beta1) * g;
    square[i] = s.beta2 * square[i] + (1 - s.beta2) * g * g;
    weight[i] = weight[i] * keep - rate * mean[i] / (std::sqrt(square[i]) / root_bias2 + s.eps);
  }
}

}  // namespace sinkbench::kernels
