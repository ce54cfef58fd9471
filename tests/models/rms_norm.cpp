#include "models/fused.h"

#include <ATen/ATen.h>

#include "tests/catch.h"

using namespace sinkbench;

TEST_CASE("RMSNorm equals its formula in double precision, for every precision") {
  at::manual_seed(5);
  constexpr double epsilon = 1e-5;
  for (const int64_t n : {1, 3, 700}) {
    for (const int64_t size : {1, 7, 64, 200}) {
      for (const at::ScalarType weights : {at::kFloat, at::kBFloat16}) {
        const at::Tensor x = at::randn({n, size}) * 3;
        const at::Tensor weight = at::randn({size}).to(weights);
        const at::Tensor x64 = x.to(at::kDouble);
        const at::Tensor exact =
            x64 / ((x64 * x64).sum(1, true) / size + epsilon).sqrt() * weight.to(at::kDouble);
        const auto difference = [&](const at::Tensor& y) {
          return ((y.to(at::kDouble) - exact).abs() / (exact.abs() + 1e-6)).max().item().toDouble();
        };
        CHECK(difference(fused::rms_norm(x, weight, epsilon, at::kFloat)) < 2e-6);
        // One rounding to 8 bits.
        CHECK(difference(fused::rms_norm(x, weight, epsilon, at::kBFloat16)) < 1.0 / 256 + 1e-5);
        CHECK(difference(fused::rms_norm(x64, weight, epsilon, at::kDouble)) < 1e-14);
      }
    }
  }
  // A view that isn't contiguous.
  const at::Tensor wide = at::randn({4, 20});
  const at::Tensor weight = at::randn({10});
  const at::Tensor part = wide.narrow(1, 5, 10);
  CHECK(at::allclose(fused::rms_norm(part, weight, epsilon, at::kFloat),
                     fused::rms_norm(part.contiguous(), weight, epsilon, at::kFloat)));
}
