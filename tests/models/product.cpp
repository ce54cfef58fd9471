#include "models/product.h"

#include <ATen/ATen.h>

#include "tests/catch.h"

using namespace sinkbench;

TEST_CASE("products of many rows equal float64's, of parts of matrices too") {
  at::manual_seed(5);
  for (const auto dtype : {at::kFloat, at::kBFloat16, at::kDouble}) {
    const double rounding = dtype == at::kBFloat16 ? 1.0 / 256 : 0.0;
    for (const int64_t n : {1, 2, 13, 130}) {
      for (const int64_t in : {1, 24, 513}) {
        for (const int64_t out : {1, 40, 300}) {
          const at::Tensor wide = at::randn({n, in + 3}).to(dtype);
          const at::Tensor all = at::randn({out + 7, in + 5}).to(dtype);
          const at::Tensor bias = at::randn({out}).to(dtype);
          const at::Tensor x = wide.narrow(1, 2, in),
                           weight = all.narrow(0, 4, out).narrow(1, 1, in);
          for (const at::Tensor& added : {bias, at::Tensor()}) {
            at::Tensor exact = at::matmul(x.to(at::kDouble), weight.to(at::kDouble).t());
            if (added.defined()) exact += added.to(at::kDouble);
            const at::Tensor y = product(x, weight, added);
            CHECK(y.scalar_type() == dtype);
            const at::Tensor off = (y.to(at::kDouble) - exact).abs() - rounding * exact.abs();
            CHECK(off.max().item<double>() < 3e-6 * std::sqrt(static_cast<double>(in)));
          }
        }
      }
    }
  }
  CHECK(product(at::ones({0, 4}), at::ones({3, 4}), {}).sizes() == at::IntArrayRef({0, 3}));
}
