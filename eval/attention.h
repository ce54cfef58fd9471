// Attention as plain tensor operations.
#pragma once

#include <ATen/core/Tensor.h>

#include <vector>

#include "models/decoder.h"

namespace sinkbench {

/// Keys and values that one form of the query looks at: the query's rotation differs from range to
/// range of its view.
struct KeyGroup {
  at::Tensor query;   ///< [heads, n, head_dim], placed for this group
  at::Tensor keys;    ///< [kv_heads, m, head_dim]
  at::Tensor values;  ///< [kv_heads, m, head_dim]
  at::Tensor mask;    ///< added to the scores: [n, m] of 0 or -infinity, or undefined
};

/// softmax over all groups' keys together, then the mix of their values: [n, heads * head_dim].
/// Products in the inputs' precision, softmax in `accumulate`. Query heads share key heads in
/// order, heads / kv_heads each.
at::Tensor attend(const std::vector<KeyGroup>& groups, double scale, at::ScalarType accumulate);

}  // namespace sinkbench
