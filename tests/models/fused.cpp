// Fused operations: kernels on a CUDA device against their plain form. Where there is no device the
// dispatch gives the plain form, which other tests hold against the model.
#include "models/fused.h"

#include <ATen/ATen.h>

#include <limits>
#include <tuple>

#include <cmath>

#include "tests/catch.h"

using namespace sinkbench;

namespace {

double relative_error(const at::Tensor& a, const at::Tensor& b) {
  const at::Tensor x = a.to(at::kCPU, at::kDouble), y = b.to(at::kCPU, at::kDouble);
  REQUIRE(x.sizes() == y.sizes());
  return ((x - y).norm() / y.norm().clamp_min(1e-30)).item().toDouble();
}

struct Case {
  at::Device device;
  at::ScalarType dtype;
  double tolerance;
};

/// Types that kernels have, on the device if there is one.
std::vector<Case> cases() {
  if (!at::hasCUDA()) return {{at::kCPU, at::kFloat, 1e-5}, {at::kCPU, at::kBFloat16, 1e-2}};
  return {{at::kCUDA, at::kFloat, 1e-5},
          {at::kCUDA, at::kHalf, 2e-3},
          {at::kCUDA, at::kBFloat16, 1e-2}};
}

RotaryTable table(const Case& c, int64_t n, int64_t rotated, int64_t from) {
  if (rotated == 0) return {};
  const auto options = at::TensorOptions().device(c.device);
  const at::Tensor frequencies =
      at::exp(-at::arange(rotated / 2, options.dtype(at::kDouble)).mul_(0.3));
  return fused::angles(at::arange(from, from + n, options.dtype(at::kLong)), frequencies, 1.1,
                       at::kFloat);
}

}  // namespace

TEST_CASE("fused norms, gates, one-row products and losses", "[cuda]") {
  at::manual_seed(3);
  for (const Case& c : cases()) {
    INFO(c.device << " " << c.dtype);
    const auto options = at::TensorOptions().dtype(c.dtype).device(c.device);
    const auto wide = options.dtype(at::kFloat);
    for (const auto& [n, size] : std::vector<std::pair<int64_t, int64_t>>{
             {1, 64}, {1, 4096}, {7, 4096}, {5, 72}, {3, 31}, {1, 11008}}) {
      INFO(n << " x " << size);
      const at::Tensor x = at::randn({n, size}, wide), part = at::randn({n, size}, options);
      const at::Tensor weight = at::randn({size}, options);
      CHECK(relative_error(fused::rms_norm(x, weight, 1e-5, c.dtype),
                           fused::plain::rms_norm(x, weight, 1e-5, c.dtype)) < c.tolerance);
      CHECK(relative_error(fused::rms_norm(x, weight, 1e-5, at::kFloat),
                           fused::plain::rms_norm(x, weight, 1e-5, at::kFloat)) < 1e-5);
      const auto a = fused::add_rms_norm(x, part, 0.7, weight, 1e-5, c.dtype);
      const auto b = fused::plain::add_rms_norm(x, part, 0.7, weight, 1e-5, c.dtype);
      CHECK(relative_error(a.sum, b.sum) < 1e-5);
      CHECK(relative_error(fused::add(x, part, 0.7), b.sum) < 1e-5);
      CHECK(relative_error(a.normed, b.normed) < c.tolerance);
      const at::Tensor inner = at::randn({n, 2 * size}, options);
      for (const Activation act :
           {Activation::silu, Activation::gelu, Activation::gelu_tanh, Activation::relu}) {
        CHECK(relative_error(fused::gate(inner, act), fused::plain::gate(inner, act)) <
              c.tolerance);
      }
      const at::Tensor logits = at::randn({n, size}, options) * 3;
      const at::Tensor targets = at::randint(size, {n}, options.dtype(at::kLong));
      CHECK(relative_error(fused::negative_log_likelihood(logits, targets),
                           fused::plain::negative_log_likelihood(logits, targets)) < 1e-5);
    }
    for (const auto& [in, out] : std::vector<std::pair<int64_t, int64_t>>{
             {64, 48}, {128, 33}, {4096, 1000}, {11008, 130}, {1376, 7}, {26000, 5}}) {
      INFO(in << " -> " << out);
      const at::Tensor x = at::randn({1, in}, options), residual = at::randn({1, out}, wide);
      const auto weight = [&](int64_t rows) { return at::randn({rows, in}, options) * 0.05; };
      const Linear linear = {weight(out), at::randn({out}, options)};
      const Linear both = {weight(2 * out), {}};
      const at::Tensor stream = at::randn({1, in}, wide) * 3, norm = at::randn({in}, options);
      for (const fused::Row& row :
           {fused::Row{.x = stream, .linear = linear, .norm = norm, .epsilon = 1e-5},
            fused::Row{.x = stream,
            .linear = both,
            .activation = Activation::silu,
            .gated = true,
            .norm = norm,
            .epsilon = 1e-5}}) {
        CHECK(relative_error(fused::row_product(row), fused::plain::row_product(row)) <
              c.tolerance);
      }
      for (const fused::Row& row :
           {fused::Row{.x = x, .linear = linear}, fused::Row{.x = x, .linear = {linear.weight, {}}},
            fused::Row{.x = x, .linear = linear, .activation = Activation::gelu},
            fused::Row{.x = x, .linear = both, .activation = Activation::silu, .gated = true},
            fused::Row{.x = x, .linear = linear, .residual = residual, .scale = 0.3}}) {
        CHECK(fused::takes_row(x, row.linear.weight) == fused::takes(x));
        CHECK(relative_error(fused::row_product(row), fused::plain::row_product(row)) <
              c.tolerance);
      }
    }
  }
}

TEST_CASE("fused rotation and few keys joined to an attention", "[cuda]") {
  at::manual_seed(4);
  struct Shape {
    int64_t n, heads, kv_heads, head_dim, rotated;
  };
  for (const Case& c : cases()) {
    const auto options = at::TensorOptions().dtype(c.dtype).device(c.device);
    for (const Shape& s :
         {Shape{9, 4, 4, 128, 128}, Shape{70, 8, 2, 64, 64}, Shape{5, 3, 1, 80, 32},
          Shape{6, 2, 2, 16, 0}, Shape{3, 2, 1, 256, 128}, Shape{4, 2, 2, 24, 12}}) {
      INFO(c.device << " " << c.dtype << " head_dim " << s.head_dim << " rotated " << s.rotated);
      const at::Tensor rows = at::randn({s.n, s.heads + 2 * s.kv_heads, s.head_dim}, options);
      const fused::Heads heads = {rows.narrow(1, 0, s.heads), rows.narrow(1, s.heads, s.kv_heads),
                                  rows.narrow(1, s.heads + s.kv_heads, s.kv_heads), s.rotated};
      const RotaryTable at_query = table(c, s.n, s.rotated, 1000);
      const RotaryTable at_key = table(c, s.n, s.rotated, 40);
      const auto buffer = [&] { return at::zeros({s.kv_heads, s.n + 11, s.head_dim}, options); };
      at::Tensor keys = buffer(), values = buffer(), plain_keys = buffer(), plain_values = buffer();
      const auto own = [&](const at::Tensor& b) { return b.narrow(1, 8, s.n); };
      CHECK(relative_error(fused::place_block(heads, at_query, at_key, own(keys), own(values)),
                           fused::plain::place_block(heads, at_query, at_key, own(plain_keys),
                                                     own(plain_values))) < c.tolerance);
      CHECK(relative_error(keys, plain_keys) < c.tolerance);
      CHECK(relative_error(values, plain_values) < c.tolerance);

      const at::Tensor few_keys = at::randn({s.kv_heads, 13, s.head_dim}, options).narrow(1, 0, 12);
      const at::Tensor few_values =
          at::randn({s.kv_heads, 13, s.head_dim}, options).narrow(1, 0, 12);
      const auto integers = options.dtype(at::kInt);
      const fused::Part part = {at::randn({s.n, s.heads, s.head_dim}, options),
                                at::randn({s.heads, s.n}, options.dtype(at::kFloat))};
      for (const bool sink : {false, true}) {
        const fused::Few few = {
            .query = heads.query,
            .table = at_query,
            .rotated = s.rotated,
            .keys = few_keys,
            .values = few_values,
            .first = at::arange(s.n, integers).clamp_max(3).to(at::kInt).contiguous(),
            .last = at::arange(s.n, integers).clamp_max(12).to(at::kInt).contiguous(),
            .scale = 0.2,
            .sink_logit = sink ? at::randn({s.heads}, options.dtype(at::kFloat)) : at::Tensor()};
        const fused::Part a = fused::join_few({part.output.clone(), part.log_sum.clone()}, few);
        const fused::Part b =
            fused::plain::join_few({part.output.clone(), part.log_sum.clone()}, few);
        CHECK(relative_error(a.output, b.output) < c.tolerance);
        CHECK(relative_error(a.log_sum, b.log_sum) < 1e-4);
      }
    }
  }
}

TEST_CASE("fused join of two attentions", "[cuda]") {
  at::manual_seed(6);
  for (const Case& c : cases()) {
    const auto options = at::TensorOptions().dtype(c.dtype).device(c.device);
    for (const auto& [n, heads, head_dim] :
         {std::tuple{7, 3, 64}, std::tuple{300, 4, 128}, std::tuple{5, 2, 24}}) {
      INFO(c.device << " " << c.dtype << " " << n << " " << heads << " " << head_dim);
      const auto part = [&] {
        return fused::Part{at::randn({n, heads, head_dim}, options),
                           at::randn({heads, n}, options.dtype(at::kFloat)) * 5};
      };
      const fused::Part a = part(), b = part();
      b.log_sum[0][1] = -std::numeric_limits<float>::infinity();  // which saw nothing
      b.output[1][0].fill_(std::numeric_limits<float>::quiet_NaN());
      const fused::Part plain = fused::plain::join(a, b);
      const fused::Part joined = fused::join({a.output.clone(), a.log_sum.clone()}, b);
      CHECK(relative_error(joined.output, plain.output) < c.tolerance);
      CHECK(relative_error(joined.log_sum, plain.log_sum) < 1e-5);
      // One softmax by its definition.
      const auto weight = [&](const fused::Part& p) {
        return p.log_sum.to(at::kDouble).exp().transpose(0, 1).unsqueeze(-1);
      };
      const auto row = [](const at::Tensor& x) { return x[3].to(at::kDouble); };
      const at::Tensor by_hand = (row(weight(a)) * row(a.output) + row(weight(b)) * row(b.output)) /
                                 (row(weight(a)) + row(weight(b)));
      CHECK(relative_error(row(joined.output), by_hand) < c.tolerance);
    }
  }
}

TEST_CASE("fused attention of a step, and what it keeps", "[cuda]") {
  at::manual_seed(5);
  struct Shape {
    int64_t heads, kv_heads, head_dim, rotated, room, used;
  };
  for (const Case& c : cases()) {
    const auto options = at::TensorOptions().dtype(c.dtype).device(c.device);
    const auto integers = options.dtype(at::kLong);
    for (const Shape& s : {Shape{4, 4, 128, 128, 512, 512}, Shape{8, 2, 64, 64, 70, 33},
                           Shape{6, 1, 80, 32, 1, 1}, Shape{2, 2, 16, 0, 1300, 1300},
                           Shape{2, 1, 256, 128, 130, 0}, Shape{4, 4, 128, 64, 4096, 4000},
                           Shape{4, 2, 256, 64, 1024, 1000}, Shape{4, 2, 64, 64, 1025, 1025}}) {
      for (const int variant : {0, 1, 2, 3}) {
        INFO(c.device << " " << c.dtype << " head_dim " << s.head_dim << " room " << s.room
                      << " variant " << variant);
        fused::Step step;
        step.heads = {at::randn({1, s.heads, s.head_dim}, options),
                      at::randn({1, s.kv_heads, s.head_dim}, options),
                      at::randn({1, s.kv_heads, s.head_dim}, options), s.rotated};
        step.table = table(c, fused::step_ranges + 1, s.rotated, 300);
        step.keys = at::randn({s.kv_heads, s.room, s.head_dim}, options);
        step.values = at::randn({s.kv_heads, s.room, s.head_dim}, options);
        step.range_of_slot = at::randint(fused::step_ranges, {s.room}, options.dtype(at::kByte));
        const auto hide = [&](int64_t from, int64_t count) {  // what is not seen holds no numbers
          step.range_of_slot.narrow(0, from, count).fill_(int64_t{fused::free_slot});
          step.keys.narrow(1, from, count).fill_(std::nan(""));
          step.values.narrow(1, from, count).fill_(std::nan(""));
        };
        if (s.room > 3) hide(1, 2);
        if (s.room > 600) hide(200, 300);  // whole blocks of a kernel
        step.used = at::full({1}, s.used, integers);
        step.slot = at::full({1}, variant == 1 ? -1 : s.room / 2, integers);
        step.scale = 0.1;
        if (variant == 2) {
          step.slopes = at::rand({s.heads}, options.dtype(at::kDouble)) * 0.01;
          step.tokens = at::randint(900, {s.room}, integers);
          step.places = at::full({fused::step_ranges + 1}, 900, integers);
        }
        if (variant == 3) {
          step.score_cap = 2.0;
          step.sink_logit = at::randn({s.heads}, options.dtype(at::kFloat));
        }
        step.counters = at::zeros({s.heads + s.kv_heads}, options.dtype(at::kInt));
        fused::Step twin = step;
        twin.keys = step.keys.clone();
        twin.values = step.values.clone();
        CHECK(relative_error(fused::attend_step(step), fused::plain::attend_step(twin)) <
              c.tolerance);
        CHECK(relative_error(step.keys.nan_to_num(), twin.keys.nan_to_num()) < c.tolerance);
        CHECK(relative_error(step.values.nan_to_num(), twin.values.nan_to_num()) < c.tolerance);
        CHECK(step.counters.abs().sum().item<int64_t>() == 0);
      }
    }
  }
}
