#include "models/rotary.h"

#include <ATen/ATen.h>

#include <cmath>

#include "tests/catch.h"

using namespace sinkbench;

namespace {

RotaryConfig plain(int64_t dims) {
  RotaryConfig config{.dims = dims, .inverse_frequencies = {}};
  for (int64_t i = 0; i < dims; i += 2) {
    config.inverse_frequencies.push_back(std::pow(10000.0, -static_cast<double>(i) / dims));
  }
  return config;
}

}  // namespace

TEST_CASE("rotation turns pairs of dimensions by position times frequency") {
  const RotaryConfig config = plain(4);  // of 6: the last two stay
  const std::vector<int64_t> positions = {0, 3};
  const at::Tensor x = at::arange(1, 13, at::kDouble).view({2, 1, 6});
  const at::Tensor y = rotate(config, x, rotary_table(config, positions, at::kDouble, at::kCPU));
  CHECK(at::equal(y[0], x[0]));
  for (int i = 0; i < 2; ++i) {
    const double angle = 3.0 * std::pow(10000.0, -i / 2.0);
    const double a = x[1][0][i].item().toDouble(), b = x[1][0][i + 2].item().toDouble();
    CHECK(y[1][0][i].item().toDouble() == Approx(a * std::cos(angle) - b * std::sin(angle)));
    CHECK(y[1][0][i + 2].item().toDouble() == Approx(b * std::cos(angle) + a * std::sin(angle)));
    CHECK(y[1][0][i + 4].item().toDouble() == x[1][0][i + 4].item().toDouble());
  }
}

TEST_CASE("the four-millionth token is as exact as the fourth") {
  const RotaryConfig config = plain(64);
  at::manual_seed(1);
  const at::Tensor query = at::randn({1, 1, 64}), key = at::randn({1, 1, 64});
  const auto product = [&](int64_t place, at::ScalarType dtype) {
    const auto at_place = [&](const at::Tensor& x, int64_t position) {
      const std::vector<int64_t> positions = {position};
      return rotate(config, x.to(dtype), rotary_table(config, positions, dtype, at::kCPU));
    };
    return (at_place(query, place + 100) * at_place(key, place)).sum().item().toDouble();
  };
  const double exact = product(0, at::kDouble);
  for (const int64_t place : {4, 4'000'000, 400'000'000}) {
    CHECK(std::abs(product(place, at::kFloat) - exact) < 1e-5);
  }
}
