#include "models/alibi.h"

#include <ATen/ATen.h>

#include <bit>
#include <cmath>

namespace sinkbench {

AlibiTable::AlibiTable(const AlibiConfig& config, int64_t places, at::ScalarType dtype,
                       at::Device device)
    : places_(places) {
  const at::Tensor slope = at::tensor(config.slopes, at::kDouble).unsqueeze(1);
  const at::Tensor distance = at::arange(places - 1, -1, -1, at::kDouble);
  values_ = (-slope * distance).to(at::TensorOptions().dtype(dtype).device(device)).contiguous();
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
