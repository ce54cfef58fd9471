#include "training/ops.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>
#include <vector>

#include "training/plain_ops.h"

namespace sinkbench::ops {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::Function;
using torch::autograd::tensor_list;

int64_t rows_of(const at::Tensor& x) {
  return x.numel() / x.size(-1);
}

/// Runs body(begin, end) over [0, rows) on all threads, in ranges of at least `grain`.
template <typename Body>
void over_rows(int64_t rows, int64_t grain, const Body& body) {
  at::parallel_for(0, rows, grain, body);
}

struct RmsNorm : Function<RmsNorm> {
  static at::Tensor forward(AutogradContext* context, const at::Tensor& x, const at::Tensor& weight,
                            double eps) {
    const int64_t rows = rows_of(x), n = x.size(-1);
    at::Tensor y = at::empty_like(x), rstd = at::empty({rows}, x.options());
    over_rows(rows, 256, [&](int64_t begin, int64_t end) {
      kernels::rms_norm(x.data_ptr<float>() + begin * n, weight.data_ptr<float>(),
                        static_cast<float>(eps), end - begin, n, y.data_ptr<float>() + begin * n,
                        rstd.data_ptr<float>() + begin);
    });
    context->save_for_backward({x, weight, rstd});
    return y;
  }

  static tensor_list backward(AutogradContext* context, tensor_list grads) {
    const auto saved = context->get_saved_variables();
    const at::Tensor &x = saved[0], &weight = saved[1], &rstd = saved[2];
    const at::Tensor grad_y = grads[0].contiguous();
    at::Tensor grad_x = at::empty_like(x), grad_weight = at::zeros_like(weight);
    // On one thread: all rows add to one gradient, and the order of a sum decides its last digit.
    kernels::rms_norm_backward(grad_y.data_ptr<float>(), x.data_ptr<float>(),
                               weight.data_ptr<float>(), rstd.data_ptr<float>(), rows_of(x),
                               x.size(-1), grad_x.data_ptr<float>(), grad_weight.data_ptr<float>());
    return {grad_x, grad_weight, at::Tensor()};
  }
};

struct Swiglu : Function<Swiglu> {
  static at::Tensor forward(AutogradContext* context, const at::Tensor& gate_up) {
    const int64_t n = gate_up.size(-1) / 2;
    std::vector<int64_t> shape = gate_up.sizes().vec();
    shape.back() = n;
    at::Tensor y = at::empty(shape, gate_up.options());
    over_rows(rows_of(y), 64, [&](int64_t begin, int64_t end) {
      kernels::swiglu(gate_up.data_ptr<float>() + begin * 2 * n, end - begin, n,
                      y.data_ptr<float>() + begin * n);
    });
    context->save_for_backward({gate_up});
    return y;
  }

  static tensor_list backward(AutogradContext* context, tensor_list grads) {
    const at::Tensor gate_up = context->get_saved_variables()[0];
    const at::Tensor grad_y = grads[0].contiguous();
    at::Tensor grad = at::empty_like(gate_up);
    const int64_t n = grad_y.size(-1);
    over_rows(rows_of(grad_y), 64, [&](int64_t begin, int64_t end) {
      kernels::swiglu_backward(grad_y.data_ptr<float>() + begin * n,
                               gate_up.data_ptr<float>() + begin * 2 * n, end - begin, n,
                               grad.data_ptr<float>() + begin * 2 * n);
    });
    return {grad};
  }
};

struct Bfloat16Linear : Function<Bfloat16Linear> {
  static at::Tensor forward(AutogradContext* context, const at::Tensor& x,
                            const at::Tensor& weight) {
    const at::Tensor x16 = x.to(at::kBFloat16), weight16 = weight.to(at::kBFloat16);
    context->save_for_backward({x16, weight16});
    return at::mm(x16, weight16.t()).to(at::kFloat);
  }

  static tensor_list backward(AutogradContext* context, tensor_list grads) {
    const auto saved = context->get_saved_variables();
    const at::Tensor grad16 = grads[0].to(at::kBFloat16);
    return {at::mm(grad16, saved[1]).to(at::kFloat), at::mm(grad16.t(), saved[0]).to(at::kFloat)};
  }
};

/// The cut of attention into blocks of queries: a block sees only the keys up to its end, which
/// saves nearly half of the products.
constexpr int64_t kQueryBlock = 64;

/// Calls body(first query, queries in the block, keys it may see).
template <typename Body>
void over_query_blocks(int64_t tokens, const Body& body) {
  for (int64_t first = 0; first < tokens; first += kQueryBlock) {
    const int64_t queries = std::min(kQueryBlock, tokens - first);
    body(first, queries, first + queries);
  }
}

struct CausalAttention : Function<CausalAttention> {
  static tensor_list forward(AutogradContext* context, const at::Tensor& qkv,
                             const at::Tensor& cosine, const at::Tensor& sine,
                             const at::Tensor& sink_logit) {
    const int64_t batch = qkv.size(0), tokens = qkv.size(1), heads = qkv.size(3), n = qkv.size(4);
    // The queries and keys rotated, all three as [3, batch * heads, tokens, head_dim].
    at::Tensor by_head = at::empty({3, batch * heads, tokens, n}, qkv.options());
    rearrange(qkv.data_ptr<float>(), by_head.data_ptr<float>(), cosine, sine, batch, tokens, heads,
              n);
    const at::Tensor q = by_head[0], k = by_head[1], v = by_head[2];
    at::Tensor p = at::zeros({batch * heads, tokens, tokens}, qkv.options());
    at::Tensor mixed = at::empty_like(q);
    const float* const logit = sink_logit.numel() > 0 ? sink_logit.data_ptr<float>() : nullptr;
    over_query_blocks(tokens, [&](int64_t first, int64_t queries, int64_t keys) {
      at::Tensor block = p.narrow(1, first, queries).narrow(2, 0, keys);
      at::bmm_out(block, q.narrow(1, first, queries), k.narrow(1, 0, keys).transpose(1, 2));
      over_rows(batch * heads, 1, [&](int64_t begin, int64_t end) {
        for (int64_t h = begin; h < end; ++h) {
          kernels::causal_softmax(p.data_ptr<float>() + (h * tokens + first) * tokens,
                                  1 / std::sqrt(static_cast<float>(n)),
                                  logit ? logit + h % heads : nullptr, queries, first, keys,
                                  tokens);
        }
      });
      at::Tensor out = mixed.narrow(1, first, queries);
      at::bmm_out(out, block, v.narrow(1, 0, keys));
    });
    context->save_for_backward({by_head, p, cosine, sine});
    context->saved_data["sink"] = sink_logit.numel() > 0;
    context->saved_data["batch"] = batch;
    context->mark_non_differentiable({p});
    return {mixed.view({batch, heads, tokens, n}).transpose(1, 2).reshape({batch, tokens, -1}), p};
  }

  static tensor_list backward(AutogradContext* context, tensor_list grads) {
    const auto saved = context->get_saved_variables();
    const at::Tensor &by_head = saved[0], &p = saved[1], &cosine = saved[2], &sine = saved[3];
    const int64_t batch = context->saved_data["batch"].toInt();
    const int64_t heads = by_head.size(1) / batch, tokens = by_head.size(2), n = by_head.size(3);
    const at::Tensor q = by_head[0], k = by_head[1], v = by_head[2];
    const at::Tensor grad_mixed =
        grads[0].view({batch, tokens, heads, n}).transpose(1, 2).reshape({-1, tokens, n});
    at::Tensor grad = at::zeros_like(by_head);
    at::Tensor grad_p = at::empty({batch * heads, kQueryBlock, tokens}, p.options());
    at::Tensor sink_grad;  // of each sample's heads
    if (context->saved_data["sink"].toBool()) sink_grad = at::zeros({batch * heads}, p.options());
    over_query_blocks(tokens, [&](int64_t first, int64_t queries, int64_t keys) {
      const at::Tensor block = p.narrow(1, first, queries).narrow(2, 0, keys);
      const at::Tensor grad_out = grad_mixed.narrow(1, first, queries);
      at::Tensor grad_block = grad_p.narrow(1, 0, queries).narrow(2, 0, keys);
      at::bmm_out(grad_block, grad_out, v.narrow(1, 0, keys).transpose(1, 2));
      over_rows(batch * heads, 1, [&](int64_t begin, int64_t end) {
        for (int64_t h = begin; h < end; ++h) {
          kernels::causal_softmax_backward(
              p.data_ptr<float>() + (h * tokens + first) * tokens,
              1 / std::sqrt(static_cast<float>(n)), queries, keys, tokens,
              grad_p.data_ptr<float>() + h * kQueryBlock * tokens,
              sink_grad.defined() ? sink_grad.data_ptr<float>() + h : nullptr);
        }
      });
      at::Tensor grad_q = grad[0].narrow(1, first, queries);
      at::bmm_out(grad_q, grad_block, k.narrow(1, 0, keys));
      grad[1].narrow(1, 0, keys).baddbmm_(grad_block.transpose(1, 2), q.narrow(1, first, queries));
      grad[2].narrow(1, 0, keys).baddbmm_(block.transpose(1, 2), grad_out);
    });
    at::Tensor grad_qkv = at::empty({batch, tokens, 3, heads, n}, grad.options());
    rearrange_back(grad.data_ptr<float>(), grad_qkv.data_ptr<float>(), cosine, sine, batch, tokens,
                   heads, n);
    return {grad_qkv, at::Tensor(), at::Tensor(),
            sink_grad.defined() ? sink_grad.view({batch, heads}).sum(0) : at::Tensor()};
  }

 private:
  /// body(row in [batch, tokens, 3, heads], row in [3, batch, heads, tokens], token, rotated?).
  template <typename Body>
  static void over_heads(int64_t batch, int64_t tokens, int64_t heads, const Body& body) {
    over_rows(batch * tokens, 16, [&](int64_t begin, int64_t end) {
      for (int64_t row = begin; row < end; ++row) {
        const int64_t b = row / tokens, t = row % tokens;
        for (int64_t part = 0; part < 3; ++part) {
          for (int64_t h = 0; h < heads; ++h) {
            body((row * 3 + part) * heads + h, ((part * batch + b) * heads + h) * tokens + t, t,
                 part < 2);
          }
        }
      }
    });
  }

  static void rearrange(const float* qkv, float* by_head, const at::Tensor& cosine,
                        const at::Tensor& sine, int64_t batch, int64_t tokens, int64_t heads,
                        int64_t n) {
    const float *c = cosine.data_ptr<float>(), *s = sine.data_ptr<float>();
    over_heads(batch, tokens, heads, [=](int64_t from, int64_t to, int64_t t, bool rotated) {
      if (rotated) {
        kernels::rotate(qkv + from * n, c + t * n / 2, s + t * n / 2, n, 1, by_head + to * n);
      } else {
        std::copy_n(qkv + from * n, n, by_head + to * n);
      }
    });
  }

  static void rearrange_back(const float* by_head, float* qkv, const at::Tensor& cosine,
                             const at::Tensor& sine, int64_t batch, int64_t tokens, int64_t heads,
                             int64_t n) {
    const float *c = cosine.data_ptr<float>(), *s = sine.data_ptr<float>();
    over_heads(batch, tokens, heads, [=](int64_t to, int64_t from, int64_t t, bool rotated) {
      if (rotated) {
        kernels::rotate(by_head + from * n, c + t * n / 2, s + t * n / 2, n, -1, qkv + to * n);
      } else {
        std::copy_n(by_head + from * n, n, qkv + to * n);
      }
    });
  }
};

}  // namespace

at::Tensor rms_norm(const at::Tensor& x, const at::Tensor& weight, double eps) {
  return x.is_cpu() ? RmsNorm::apply(x, weight, eps) : plain_ops::rms_norm(x, weight, eps);
}

at::Tensor swiglu(const at::Tensor& gate_up) {
  return gate_up.is_cpu() ? Swiglu::apply(gate_up) : plain_ops::swiglu(gate_up);
}

at::Tensor linear(const at::Tensor& x, const at::Tensor& weight, bool bfloat16) {
  return bfloat16 ? Bfloat16Linear::apply(x, weight) : at::mm(x, weight.t());
}

at::Tensor causal_attention(const at::Tensor& qkv, const at::Tensor& cosine, const at::Tensor& sine,
                            const at::Tensor& sink_logit, bool bfloat16,
                            at::Tensor* probabilities) {
  if (!qkv.is_cpu()) {
    return plain_ops::causal_attention(qkv, cosine, sine, sink_logit, bfloat16, probabilities);
  }
  // (Without one it has no numbers: functions take no undefined tensors.)
  const at::Tensor sink = sink_logit.defined() ? sink_logit : at::empty({0}, qkv.options());
  const tensor_list results = CausalAttention::apply(qkv, cosine, sine, sink);
  if (probabilities != nullptr) *probabilities = results[1];
  return results[0];
}

void adamw(const kernels::AdamW& step, const at::Tensor& grad, at::Tensor& weight, at::Tensor& mean,
           at::Tensor& square) {
  if (!weight.is_cpu()) return plain_ops::adamw(step, grad, weight, mean, square);
  kernels::adamw(step, grad.data_ptr<float>(), weight.numel(), weight.data_ptr<float>(),
                 mean.data_ptr<float>(), square.data_ptr<float>());
}

}  // namespace sinkbench::ops
