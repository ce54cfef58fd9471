#include "models/rotary.h"

#include <ATen/ATen.h>

#include <cmath>

#include "models/cpu/kernels.h"
#include "models/fused.h"
#include "models/stored_numbers.h"

namespace sinkbench {

RotaryTable rotary_table(const RotaryConfig& config, std::span<const int64_t> positions,
                         at::ScalarType dtype, at::Device device) {
  const int64_t n = static_cast<int64_t>(positions.size());
  const int64_t pairs = config.dims / 2;
  if (fused::takes(device, dtype)) {
    const auto there = [&](const auto& values, at::ScalarType type) {
      return at::tensor(at::ArrayRef(values.data(), values.size()), type)
          .to(device, type, /*non_blocking=*/true);
    };
    return fused::angles(there(positions, at::kLong),
                         there(config.inverse_frequencies, at::kDouble), config.magnitude, dtype);
  }
  at::Tensor cosine = at::empty({n, pairs}, at::kDouble);
  at::Tensor sine = at::empty({n, pairs}, at::kDouble);
  double* c = cosine.data_ptr<double>();
  double* s = sine.data_ptr<double>();
  for (const int64_t position : positions) {
    for (const double frequency : config.inverse_frequencies) {
      const double angle = static_cast<double>(position) * frequency;
      *c++ = std::cos(angle) * config.magnitude;
      *s++ = std::sin(angle) * config.magnitude;
    }
  }
  const auto options = at::TensorOptions().dtype(dtype).device(device);
  return {cosine.to(options), sine.to(options)};
}

at::Tensor rotate(const RotaryConfig& config, const at::Tensor& x, const RotaryTable& table) {
  const int64_t half = config.dims / 2;
  const at::Tensor cosine = table.cosine.unsqueeze(1);  // the same for every head
  const at::Tensor sine = table.sine.unsqueeze(1);
  const at::Tensor first = x.narrow(-1, 0, half).to(cosine.scalar_type());
  const at::Tensor second = x.narrow(-1, half, half).to(cosine.scalar_type());
  at::Tensor result = at::empty(x.sizes(), x.options());
  result.narrow(-1, 0, half).copy_(first * cosine - second * sine);
  result.narrow(-1, half, half).copy_(second * cosine + first * sine);
  const int64_t rest = x.size(-1) - config.dims;
  if (rest > 0) result.narrow(-1, config.dims, rest).copy_(x.narrow(-1, config.dims, rest));
  return result;
}

namespace {

/// Whether cpu::turn_heads takes them: heads of a token and numbers of a head side by side.
bool takes_turn(const RotaryConfig* config, const at::Tensor& x, const RotaryTable& table,
                const at::Tensor& out) {
  const bool stored = x.scalar_type() == at::kFloat || x.scalar_type() == at::kBFloat16;
  return x.is_cpu() && stored && out.scalar_type() == at::kFloat && x.stride(2) == 1 &&
         x.stride(1) == x.size(2) && out.stride(2) == 1 && out.stride(1) == out.size(2) &&
         (config == nullptr ||
          (table.cosine.scalar_type() == at::kFloat && table.cosine.is_contiguous() &&
           table.sine.is_contiguous() && table.cosine.size(0) == x.size(0)));
}

}  // namespace

void place_heads(const RotaryConfig* config, const at::Tensor& x, const RotaryTable& table,
                 const at::Tensor& out) {
  if (!takes_turn(config, x, table, out)) {
    const at::Tensor exact = x.to(out.scalar_type());
    out.copy_((config != nullptr ? rotate(*config, exact, table) : exact).transpose(0, 1));
    return;
  }
  const cpu::Turn turn = {.n = x.size(0),
                          .heads = x.size(1),
                          .head_dim = x.size(2),
                          .token_stride = x.stride(0),
                          .head_stride = out.stride(0),
                          .rotated = config != nullptr ? config->dims : 0,
                          .cosine = config != nullptr ? table.cosine.data_ptr<float>() : nullptr,
                          .sine = config != nullptr ? table.sine.data_ptr<float>() : nullptr};
  with_stored_numbers(
      x, [&](const auto* from) { cpu::turn_heads(turn, from, out.data_ptr<float>()); });
}

}  // namespace sinkbench
