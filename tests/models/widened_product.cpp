#include "models/widened_product.h"

#include <ATen/ATen.h>

#include "tests/catch.h"

using namespace sinkbench;

TEST_CASE("widened products equal those in double precision, rounded once") {
  at::manual_seed(4);
  // Sizes on both sides of tiles, panels, parts of the depth and blocks of columns.
  for (const int64_t n : {1, 2, 3, 6, 11, 12, 13, 40}) {
    for (const int64_t in : {1, 15, 16, 17, 511, 512, 513, 1100}) {
      for (const int64_t out : {1, 15, 31, 33, 255, 256, 300}) {
        const at::Tensor x = at::randn({n, in}).to(at::kBFloat16);
        const at::Tensor weight = at::randn({out, in}).to(at::kBFloat16);
        const at::Tensor bias = at::randn({out}).to(at::kBFloat16);
        const auto check = [&](const at::Tensor& ours, const at::Tensor& exact) {
          REQUIRE(ours.scalar_type() == at::kBFloat16);
          REQUIRE(ours.sizes() == exact.sizes());
          CHECK(((ours.to(at::kDouble) - exact).abs() - exact.abs() / 256).max().item().toDouble() <
                2e-6 * static_cast<double>(in));
        };
        const at::Tensor exact = at::linear(x.to(at::kDouble), weight.to(at::kDouble));
        check(widened_product(x, weight, {}), exact);
        check(widened_product(x, weight, bias), exact + bias.to(at::kDouble));
      }
    }
  }
  CHECK(!widens(at::randn({2, 4})));
}

TEST_CASE("a row of a widened product is the same whatever rows are beside it") {
  at::manual_seed(5);
  const at::Tensor x = at::randn({29, 700}).to(at::kBFloat16);
  const at::Tensor weight = at::randn({300, 700}).to(at::kBFloat16);
  const at::Tensor all = widened_product(x, weight, {});
  for (int64_t row = 0; row < x.size(0); ++row) {
    CHECK(at::equal(widened_product(x.narrow(0, row, 1), weight, {}), all.narrow(0, row, 1)));
  }
}
