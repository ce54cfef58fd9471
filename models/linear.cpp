#include "models/linear.h"

#include <ATen/ATen.h>

#include "models/fused.h"
#include "models/product.h"
#include "models/quantised.h"
#include "models/row_product.h"

namespace sinkbench {

at::Tensor apply(const Linear& linear, const at::Tensor& x) {
  if (linear.stored.defined()) return linear.stored.product(x, linear.bias);
  if (takes_row_product(x, linear.weight)) return row_product(x, linear.weight, linear.bias);
  if (fused::takes_row(x, linear.weight)) return fused::row_product({.x = x, .linear = linear});
  return product(x, linear.weight, linear.bias);
}

Linear narrow(const Linear& linear, int64_t first, int64_t rows) {
  Linear part;
  if (linear.weight.defined()) part.weight = linear.weight.narrow(0, first, rows);
  if (linear.bias.defined()) part.bias = linear.bias.narrow(0, first, rows);
  if (linear.stored.defined()) part.stored = linear.stored.narrow(first, rows);
  return part;
}

}  // namespace sinkbench
