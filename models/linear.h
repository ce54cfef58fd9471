// A linear map, by whichever product is best for its rows.
#pragma once

#include <ATen/core/Tensor.h>

#include "models/weights.h"

namespace sinkbench {

/// x [n, in] to [n, out].
at::Tensor apply(const Linear& linear, const at::Tensor& x);

/// So many rows of it, which give so many columns of its result.
Linear narrow(const Linear& linear, int64_t first, int64_t rows);

}  // namespace sinkbench
