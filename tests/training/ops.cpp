// Each fused operation, and what runs in its place on a GPU, against its definition, values and
// gradients.
#include "training/ops.h"

#include <ATen/ATen.h>

#include <cmath>
#include <functional>

#include "tests/catch.h"
#include "training/plain_ops.h"

using namespace sinkbench;

namespace {

at::Tensor random(at::IntArrayRef shape, uint64_t seed) {
  at::Generator generator = at::detail::createCPUGenerator(seed);
  return at::empty(shape).normal_(0, 1, generator);
}

/// The largest difference, as a share of the largest value.
double difference(const at::Tensor& a, const at::Tensor& b) {
  REQUIRE(a.sizes() == b.sizes());
  return ((a - b).abs().max() / b.abs().max()).item<double>();
}

using Operation = std::function<at::Tensor(const std::vector<at::Tensor>&)>;

/// Runs both on equal inputs and pulls the same gradient back through both.
void check_equal(const Operation& fused, const Operation& plain,
                 const std::vector<at::Tensor>& inputs, double tolerance) {
  std::vector<at::Tensor> a, b;
  for (const at::Tensor& input : inputs) {
    a.push_back(input.clone().requires_grad_());
    b.push_back(input.clone().requires_grad_());
  }
  const at::Tensor y = fused(a), expected = plain(b);
  CHECK(difference(y, expected) < tolerance);
  const at::Tensor grad = random(expected.sizes(), 99);
  y.backward(grad);
  expected.backward(grad);
  for (size_t i = 0; i < inputs.size(); ++i)
    CHECK(difference(a[i].grad(), b[i].grad()) < tolerance);
}

/// Rotary positions by complex numbers: (x1 + i x2) e^(i angle).
at::Tensor rotate(const at::Tensor& x, const at::Tensor& angles) {
  const auto halves = x.chunk(2, -1);
  const at::Tensor turned =
      at::complex(halves[0], halves[1]) * at::polar(at::ones_like(angles), angles).unsqueeze(1);
  return at::cat({at::real(turned), at::imag(turned)}, -1);
}

at::Tensor plain_attention(const at::Tensor& qkv, const at::Tensor& angles,
                           const at::Tensor& sink_logit = {}) {
  const int64_t tokens = qkv.size(1), head_dim = qkv.size(4);
  const at::Tensor q = rotate(qkv.select(2, 0), angles).transpose(1, 2);
  const at::Tensor k = rotate(qkv.select(2, 1), angles).transpose(1, 2);
  const at::Tensor v = qkv.select(2, 2).transpose(1, 2);
  const at::Tensor later = at::ones({tokens, tokens}, at::kBool).triu(1);
  const at::Tensor scores = at::matmul(q, k.transpose(2, 3)) / std::sqrt(double(head_dim));
  at::Tensor masked = scores.masked_fill(later, -INFINITY);
  if (sink_logit.defined()) {
    const at::Tensor column =
        sink_logit.view({1, -1, 1, 1}) + at::zeros_like(masked.narrow(3, 0, 1));
    masked = at::cat({column, masked}, 3);
  }
  const at::Tensor weights =
      at::softmax(masked, -1).narrow(3, sink_logit.defined() ? 1 : 0, tokens);
  return at::matmul(weights, v).transpose(1, 2).flatten(2);
}

}  // namespace

TEST_CASE("the fused RMS norm equals its definition") {
  for (const auto norm : {ops::rms_norm, plain_ops::rms_norm}) {
    check_equal([&](const auto& in) { return norm(in[0], in[1], 1e-5); },
                [](const auto& in) {
                  return in[0] / at::sqrt(in[0].pow(2).sum(-1, true) / 50 + 1e-5) * in[1];
                },
                {random({2, 37, 50}, 1), random({50}, 2)}, 1e-5);
  }
}

TEST_CASE("the fused SwiGLU equals its definition") {
  for (const auto swiglu : {ops::swiglu, plain_ops::swiglu}) {
    check_equal([&](const auto& in) { return swiglu(in[0]); },
                [](const auto& in) {
                  const at::Tensor gate = in[0].narrow(-1, 0, 19), up = in[0].narrow(-1, 19, 19);
                  return gate / (1 + at::exp(-gate)) * up;
                },
                {random({33, 2 * 19}, 3) * 4}, 1e-5);
  }
}

TEST_CASE("a linear layer's products equal ATen's, in bfloat16 up to its rounding") {
  const std::vector<at::Tensor> inputs{random({40, 24}, 4), random({56, 24}, 5)};
  const Operation plain = [](const auto& in) { return at::matmul(in[0], in[1].t()); };
  check_equal([](const auto& in) { return ops::linear(in[0], in[1], false); }, plain, inputs, 1e-6);
  check_equal([](const auto& in) { return ops::linear(in[0], in[1], true); }, plain, inputs, 0.02);
}

TEST_CASE(
    "causal attention with rotary positions equals its definition; a sink's logit is the score of "
    "a key whose value is zero") {
  // Fewer tokens than a block of queries, several blocks, and a last block that isn't full.
  const int64_t tokens = GENERATE(1, 7, 64, 150);
  const at::Tensor frequencies = at::pow(10000.0, -at::arange(0, 8, 2) / 8.0);
  const at::Tensor angles = at::outer(at::arange(tokens, at::kFloat), frequencies);
  const bool sink = GENERATE(false, true), bfloat16 = GENERATE(false, true);
  for (const auto attention : {ops::causal_attention, plain_ops::causal_attention}) {
    // Rounded products are the plain one's alone.
    const double tolerance = bfloat16 && attention == plain_ops::causal_attention ? 0.03 : 1e-5;
    std::vector<at::Tensor> inputs{random({2, tokens, 3, 3, 8}, 6)};
    if (sink) inputs.push_back(random({3}, 7));
    const auto logit = [&](const auto& in) { return sink ? in[1] : at::Tensor(); };
    check_equal(
        [&](const auto& in) {
          return attention(in[0], angles.cos(), angles.sin(), logit(in), bfloat16, nullptr);
        },
        [&](const auto& in) { return plain_attention(in[0], angles, logit(in)); }, inputs,
        tolerance);
  }
}

TEST_CASE("the attention that is handed out is causal and sums to one") {
  const at::Tensor angles =
      at::outer(at::arange(70, at::kFloat), at::pow(100.0, -at::arange(4) / 4.0));
  at::Tensor attention;
  for (const auto function : {ops::causal_attention, plain_ops::causal_attention}) {
    function(random({2, 70, 3, 3, 8}, 7), angles.cos(), angles.sin(), {}, false, &attention);
    REQUIRE(attention.sizes() == at::IntArrayRef{6, 70, 70});
    CHECK(attention.triu(1).abs().max().item<float>() == 0);
    CHECK(difference(attention.sum(-1), at::ones({6, 70})) < 1e-6);
  }
}

TEST_CASE("AdamW takes the step of its definition") {
  const kernels::AdamW step{.learning_rate = 0.01f,
                            .beta1 = 0.9f,
                            .beta2 = 0.95f,
                            .eps = 1e-8f,
                            .weight_decay = 0.1f,
                            .bias1 = 1 - std::pow(0.9f, 3.0f),
                            .bias2 = 1 - std::pow(0.95f, 3.0f),
                            .grad_scale = 0.5f};
  const at::Tensor grad = random({19}, 1), start = random({19}, 2), mean = random({19}, 3),
                   square = random({19}, 4).abs();
  for (const auto adamw : {ops::adamw, plain_ops::adamw}) {
    at::Tensor weight = start.clone(), m = mean.clone(), s = square.clone();
    adamw(step, grad, weight, m, s);
    for (int64_t i = 0; i < 19; ++i) {
      const double g = 0.5 * grad[i].item<double>();
      const double first = 0.9 * mean[i].item<double>() + 0.1 * g;
      const double second = 0.95 * square[i].item<double>() + 0.05 * g * g;
      const double expected = start[i].item<double>() * (1 - 0.01 * 0.1) -
                              0.01 * (first / (1 - std::pow(0.9, 3))) /
                                  (std::sqrt(second / (1 - std::pow(0.95, 3))) + 1e-8);
      CHECK(m[i].item<double>() == Approx(first).margin(1e-6));
      CHECK(s[i].item<double>() == Approx(second).margin(1e-6));
      CHECK(weight[i].item<double>() == Approx(expected).margin(1e-6));
    }
  }
}
