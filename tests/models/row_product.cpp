#include "models/row_product.h"

#include <ATen/ATen.h>

#include "tests/catch.h"

using namespace sinkbench;

TEST_CASE("one-row products equal the library's, in both precisions") {
  at::manual_seed(3);
  for (const int64_t in : {1, 15, 16, 63, 64, 200, 1000}) {
    for (const int64_t out : {1, 3, 129, 5000}) {
      const at::Tensor x = at::randn({1, in});
      const at::Tensor weight = at::randn({out, in});
      const at::Tensor bias = at::randn({out});
      REQUIRE(takes_row_product(x, weight));
      const at::Tensor exact =
          at::linear(x.to(at::kDouble), weight.to(at::kDouble), bias.to(at::kDouble));
      const double scale = std::sqrt(static_cast<double>(in));
      CHECK((row_product(x, weight, bias) - exact).abs().max().item().toDouble() < 2e-6 * scale);

      // bfloat16 inputs are exact in float32; only the result is rounded, to 8 bits.
      const at::Tensor x16 = x.to(at::kBFloat16);
      const at::Tensor weight16 = weight.to(at::kBFloat16);
      REQUIRE(takes_row_product(x16, weight16));
      const at::Tensor exact16 = at::linear(x16.to(at::kDouble), weight16.to(at::kDouble));
      const at::Tensor ours = row_product(x16, weight16, {}).to(at::kDouble);
      CHECK(((ours - exact16).abs() - exact16.abs() / 256).max().item().toDouble() < 2e-6 * scale);
      const at::Tensor bias16 = bias.to(at::kBFloat16);
      const at::Tensor sum16 = exact16 + bias16.to(at::kDouble);
      const at::Tensor biased = row_product(x16, weight16, bias16).to(at::kDouble);
      CHECK(((biased - sum16).abs() - sum16.abs() / 256).max().item().toDouble() < 2e-6 * scale);

      // A row's result is the same to the bit whichever rows are beside it.
      const int64_t from = out / 3, rows = out - from;
      CHECK(row_product(x, weight.narrow(0, from, rows), bias.narrow(0, from, rows))
                .equal(row_product(x, weight, bias).narrow(1, from, rows)));
      CHECK(row_product(x16, weight16.narrow(0, from, rows), {})
                .equal(row_product(x16, weight16, {}).narrow(1, from, rows)));
    }
  }
  CHECK(!takes_row_product(at::randn({2, 4}), at::randn({3, 4})));
  CHECK(!takes_row_product(at::randn({1, 4}), at::randn({4, 3}).t()));
  CHECK(!takes_row_product(at::randn({1, 4}, at::kDouble), at::randn({3, 4}, at::kDouble)));
}
