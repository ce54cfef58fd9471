#include "models/alibi.h"

#include <ATen/ATen.h>

#include <bit>
#include <cmath>

namespace sinkbench {

AlibiTable::AlibiTable(const AlibiConfig& config, double attention_scale, int64_t places,
                       at::ScalarType dtype, at::Device device)
    : rule_(config.rule), places_(places) {
  const int64_t heads = static_cast<int64_t>(config.slopes.size());
  const at::Tensor slope = at::tensor(config.slopes, at::kDouble).view({heads, 1});
  const at::Tensor place = at::arange(places, at::kDouble).view({1, places});
  if (rule_ == AlibiConfig::Rule::by_distance) {
    values_ = slope * (place - static_cast<double>(places - 1));
  } else {
    const auto rounded = [](const at::Tensor& x) { return x.to(at::kBFloat16).to(at::kDouble); };
    values_ = rounded(rounded(slope) * place) * attention_scale;
  }
  values_ = values_.to(at::TensorOptions().dtype(dtype).device(device)).contiguous();
}

std::vector<double> alibi_slopes(int64_t heads) {
  const int64_t power = static_cast<int64_t>(std::bit_floor(static_cast<uint64_t>(heads)));
  std::vector<double> slopes;
  for (int64_t i = 1; i <= power; ++i) slopes.push_back(std::exp2(-8.0 * i / power));
  for (int64_t i = 1; static_cast<int64_t>(slopes.size()) < heads; i += 2) {
    slopes.push_back(std::exp2(-4.0 * i / power));
  }
  return slopes;
}

}  // namespace sinkbench
