// A linear map, by whichever product is best for its rows.
#pragma once

#include <ATen/core/Tensor.h>

#include "models/weights.h"

namespace sinkbench {

/// x [n, in] to [n, out].
at::Tensor apply(const Linear& linear, const at::Tensor& x);

}  // namespace sinkbench
