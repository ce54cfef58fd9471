// Precisions as experiments name them.
#pragma once

#include <ATen/core/Tensor.h>

#include <string>

namespace sinkbench {

/// One of dtype_names().
inline at::ScalarType to_scalar_type(const std::string& dtype) {
  return dtype == "bfloat16"  ? at::kBFloat16
         : dtype == "float16" ? at::kHalf
         : dtype == "float64" ? at::kDouble
                              : at::kFloat;
}

}  // namespace sinkbench
