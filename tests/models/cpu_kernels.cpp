// The kernels between the products, against the same written out in float64, at sizes that fill no
// vector and fill several.
#include "models/cpu/kernels.h"

#include <ATen/ATen.h>

#include <cmath>
#include <limits>
#include <vector>

#include "tests/catch.h"

using namespace sinkbench;

namespace {

/// Of a type of storage: LibTorch's name for it, and what rounding to it may cost, relatively.
template <typename T>
constexpr bool is_float = std::same_as<T, float>;
template <typename T>
constexpr at::ScalarType scalar = is_float<T> ? at::kFloat : at::kBFloat16;
template <typename T>
constexpr double rounding = is_float<T> ? 2e-6 : 0.0040;

template <typename T>
T* data(const at::Tensor& x) {
  return static_cast<T*>(x.data_ptr());
}

template <typename T>
at::Tensor random(at::IntArrayRef shape, double scale = 1.0) {
  return (at::randn(shape, at::kFloat) * scale).to(scalar<T>);
}

void check_close(const at::Tensor& a, const at::Tensor& b, double tolerance) {
  const at::Tensor wide = a.to(at::kDouble);
  const double off = (wide - b).abs().div(b.abs() + 1e-2).max().item<double>();
  CHECK(off < tolerance);
}

template <typename T>
void check_gate(int64_t size, Activation activation) {
  const at::Tensor inner = random<T>({3, 2 * size}, 4.0), out = at::empty({3, size}, scalar<T>);
  cpu::gate(data<T>(inner), 3, size, activation, data<T>(out));
  const at::Tensor wide = inner.to(at::kDouble), g = wide.narrow(1, 0, size);
  at::Tensor act = at::silu(g);
  if (activation == Activation::relu) act = at::relu(g);
  if (activation == Activation::gelu_tanh) act = at::gelu(g, "tanh");
  check_close(out, act * wide.narrow(1, size, size), rounding<T>);
}

template <typename T, typename Weight>
void check_norm(int64_t size) {
  const at::Tensor x = random<float>({3, size}, 3.0), part = random<T>({3, size});
  const at::Tensor weight = random<Weight>({size}), normed = at::empty({3, size}, scalar<T>);
  at::Tensor sum = at::empty({3, size}, at::kFloat);
  const auto norm = [&](const at::Tensor& s) {
    const at::Tensor wide = s.to(at::kDouble);
    return wide * (wide.square().mean(-1, true) + 1e-5).rsqrt() * weight.to(at::kDouble);
  };
  cpu::add_rms_norm(data<float>(x), data<T>(part), 0.5f, data<Weight>(weight), 1e-5f, 3, size,
                    data<float>(sum), data<T>(normed));
  check_close(sum, x.to(at::kDouble) + 0.5 * part.to(at::kDouble), 1e-5);
  check_close(normed, norm(sum), rounding<T>);
  const at::Tensor alone = at::empty_like(sum);
  cpu::add(data<float>(x), data<T>(part), 0.5f, 3 * size, data<float>(alone));
  CHECK(alone.equal(sum));
  cpu::add_rms_norm(data<float>(x), static_cast<const T*>(nullptr), 1.0f, data<Weight>(weight),
                    1e-5f, 3, size, nullptr, data<T>(normed));
  check_close(normed, norm(x), rounding<T>);
}

/// The logits' NLLs, a tile of so many ids after the other.
template <typename T>
at::Tensor nll_by_tiles(const at::Tensor& logits, const at::Tensor& target, int64_t tile) {
  const int64_t n = logits.size(0), vocab = logits.size(1);
  const at::Tensor top = at::full({n}, -INFINITY, at::kFloat), sum = at::zeros({n}, at::kDouble);
  const at::Tensor of_target = at::full({n}, std::nanf(""), at::kFloat);
  for (int64_t first = 0; first < vocab; first += tile) {
    const int64_t columns = std::min(tile, vocab - first);
    const at::Tensor part = logits.narrow(1, first, columns).contiguous();
    cpu::add_logits(
        data<T>(part), data<int64_t>(target), n, first, columns,
        {.top = data<float>(top), .sum = data<double>(sum), .target = data<float>(of_target)});
  }
  return sum.log() + top - of_target;
}

template <typename T>
void check_nll(int64_t vocab) {
  const at::Tensor logits = random<T>({5, vocab}, 10.0);
  const at::Tensor target = at::randint(vocab, {5}, at::kLong);
  const at::Tensor nll = nll_by_tiles<T>(logits, target, vocab);
  const at::Tensor right =
      -at::log_softmax(logits.to(at::kDouble), 1).gather(1, target.unsqueeze(1)).squeeze(1);
  CHECK((nll - right).abs().max().item<double>() < 5e-6);
  CHECK(at::equal(nll_by_tiles<T>(logits, target, cpu::log_softmax_piece), nll));
  CHECK(at::equal(nll_by_tiles<T>(logits, target, 2 * cpu::log_softmax_piece), nll));
  const at::Tensor unaligned = nll_by_tiles<T>(logits, target, 7);
  CHECK((unaligned - right).abs().max().item<double>() < 5e-6);
}

template <typename T>
void check_turn(int64_t head_dim, int64_t rotated) {
  const int64_t n = 4, heads = 3, half = rotated / 2, room = n + 2;
  const at::Tensor x = random<T>({n, heads + 1, head_dim});  // a head that isn't turned beside
  const at::Tensor angle = at::randn({n, half}, at::kFloat) * 100;
  const at::Tensor c = angle.cos(), s = angle.sin();
  const at::Tensor out = at::zeros({heads, room, head_dim}, at::kFloat);
  cpu::turn_heads({.n = n,
                   .heads = heads,
                   .head_dim = head_dim,
                   .token_stride = (heads + 1) * head_dim,
                   .head_stride = room * head_dim,
                   .rotated = rotated,
                   .cosine = data<float>(c),
                   .sine = data<float>(s)},
                  data<T>(x), data<float>(out));
  for (int64_t t = 0; t < n; ++t) {
    for (int64_t h = 0; h < heads; ++h) {
      const at::Tensor in = x[t][h].to(at::kDouble), to = out[h][t].to(at::kDouble);
      const at::Tensor a = in.narrow(0, 0, half), b = in.narrow(0, half, half);
      const at::Tensor ct = c[t].to(at::kDouble), st = s[t].to(at::kDouble);
      CHECK(at::allclose(to.narrow(0, 0, half), a * ct - b * st, 1e-5, 1e-5));
      CHECK(at::allclose(to.narrow(0, half, half), b * ct + a * st, 1e-5, 1e-5));
      CHECK(at::equal(to.narrow(0, rotated, head_dim - rotated),
                      in.narrow(0, rotated, head_dim - rotated)));
    }
  }
  CHECK(out.narrow(1, n, room - n).abs().max().item<float>() == 0.0f);
}

}  // namespace

TEST_CASE("gate, norm, NLL and rotation equal what they stand for") {
  at::manual_seed(3);
  for (const int64_t size : {1, 7, 16, 61, 576}) {
    INFO("size " << size);
    for (const Activation activation :
         {Activation::silu, Activation::gelu_tanh, Activation::relu}) {
      check_gate<float>(size, activation);
      check_gate<uint16_t>(size, activation);
    }
    check_norm<float, float>(size);
    check_norm<uint16_t, float>(size);
    check_norm<uint16_t, uint16_t>(size);
    check_nll<float>(size);
    check_nll<uint16_t>(size);
  }
  check_nll<float>(50257);
  check_nll<uint16_t>(50257);
  for (const auto& [head_dim, rotated] :
       std::vector<std::pair<int64_t, int64_t>>{{64, 64}, {80, 20}, {12, 12}, {6, 2}, {8, 0}}) {
    INFO("head_dim " << head_dim << ", rotated " << rotated);
    check_turn<float>(head_dim, rotated);
    check_turn<uint16_t>(head_dim, rotated);
  }
}

TEST_CASE("bfloat16 is rounded as LibTorch rounds it, and nothing hides a NaN") {
  // Around every bfloat16 half, the infinities and NaN: a gate that is relu of 1 leaves `up`.
  std::vector<float> values;
  for (uint32_t bits = 0x3f7f0000; bits < 0x3f830000; bits += 0x1000) {
    float value;
    std::memcpy(&value, &bits, sizeof value);
    values.insert(values.end(), {value, -value});
  }
  const float infinity = std::numeric_limits<float>::infinity();
  values.insert(values.end(), {infinity, -infinity, std::nanf(""), 3.4e38f, 1e-40f, 0.0f});
  const int64_t n = static_cast<int64_t>(values.size());
  const at::Tensor x = at::tensor(values), one = at::ones({n}, at::kFloat);
  const at::Tensor normed = at::empty({n}, at::kBFloat16);
  // Rows of one element each have a root mean square of their own size: take a weight instead.
  const at::Tensor unit = at::full({n}, 1.0f);
  cpu::add_rms_norm(data<float>(unit), static_cast<const uint16_t*>(nullptr), 1.0f, data<float>(x),
                    0.0f, 1, n, nullptr, data<uint16_t>(normed));
  const at::Tensor right = x.to(at::kBFloat16);
  for (int64_t i = 0; i < n; ++i) {
    const float a = normed[i].item<float>(), b = right[i].item<float>();
    CHECK((a == b || (std::isnan(a) && std::isnan(b))));
  }
  const float nan = std::nanf("");
  const at::Tensor target = at::zeros({1}, at::kLong);
  for (const int64_t tile : {1, 2, 4}) {
    const auto nll = [&](std::initializer_list<float> logits) {
      return nll_by_tiles<float>(at::tensor(logits).unsqueeze(0), target, tile).item<double>();
    };
    CHECK(std::isnan(nll({1.0f, nan, 2.0f, 3.0f})));
    CHECK(std::isnan(nll({1.0f, 2.0f, nan, nan})));
    CHECK(std::isnan(nll({1.0f, infinity, 2.0f, 3.0f})));
    // Ids that a model never says, whole tiles of them.
    CHECK(nll({1.0f, 1.0f, -infinity, -infinity}) == Approx(std::log(2.0)));
    CHECK(nll({-infinity, -infinity, 1.0f, 1.0f}) == infinity);
  }
}
