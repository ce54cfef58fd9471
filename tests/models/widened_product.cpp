#include "models/widened_product.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <cmath>

#include "tests/catch.h"

using namespace sinkbench;

TEST_CASE("widened products equal those in double precision, rounded once") {
  at::manual_seed(4);
  // Sizes on both sides of tiles, panels, parts of the depth and blocks of columns.
  for (const int64_t n : {1, 2, 3, 6, 11, 12, 13, 40}) {
    for (const int64_t in : {1, 7, 15, 16, 17, 511, 512, 513, 1100, 5000}) {
      for (const int64_t out : {1, 3, 15, 31, 33, 255, 256, 300}) {
        const at::Tensor x = at::randn({n, in}).to(at::kBFloat16);
        const at::Tensor weight = at::randn({out, in}).to(at::kBFloat16);
        const at::Tensor bias = at::randn({out}).to(at::kBFloat16);
        const auto check = [&](const at::Tensor& ours, const at::Tensor& exact) {
          REQUIRE(ours.scalar_type() == at::kBFloat16);
          REQUIRE(ours.sizes() == exact.sizes());
          CHECK(((ours.to(at::kDouble) - exact).abs() - exact.abs() / 256).max().item().toDouble() <
                2e-6 * std::sqrt(static_cast<double>(in)));
        };
        const at::Tensor exact = at::linear(x.to(at::kDouble), weight.to(at::kDouble));
        check(widened_product(x, weight, {}), exact);
        check(widened_product(x, weight, bias), exact + bias.to(at::kDouble));
      }
    }
  }
  CHECK(!widens(at::randn({2, 4})));
}

TEST_CASE("a row of a widened product is the same whatever is beside it and whoever makes it") {
  at::manual_seed(5);
  const at::Tensor x = at::randn({29, 700}).to(at::kBFloat16);
  const at::Tensor weight = at::randn({300, 700}).to(at::kBFloat16);
  const at::Tensor all = widened_product(x, weight, {});
  for (int64_t row = 0; row < x.size(0); ++row) {
    CHECK(at::equal(widened_product(x.narrow(0, row, 1), weight, {}), all.narrow(0, row, 1)));
  }
  const at::Tensor many = at::randn({200, 100}).to(at::kBFloat16);
  const at::Tensor narrow = at::randn({70, 100}).to(at::kBFloat16);
  const int before = at::get_num_threads();
  at::set_num_threads(1);
  const at::Tensor alone = widened_product(many, narrow, {});
  for (const int threads : {2, 3, 7, 40}) {  // these share rows, too
    at::set_num_threads(threads);
    CHECK(at::equal(widened_product(many, narrow, {}), alone));
  }
  at::set_num_threads(before);
}

TEST_CASE("widened products take tensors however they lie in memory") {
  at::manual_seed(6);
  const at::Tensor x = at::randn({20, 9}).to(at::kBFloat16).t();
  const at::Tensor weight = at::randn({20, 31}).to(at::kBFloat16).t();
  const at::Tensor bias = at::randn({62}).to(at::kBFloat16).slice(0, 0, 62, 2);
  CHECK(at::equal(widened_product(x, weight, bias),
                  widened_product(x.contiguous(), weight.contiguous(), bias.contiguous())));
  CHECK(widened_product(x.slice(0, 0, 0), weight, bias).sizes() == at::IntArrayRef({0, 31}));
}
