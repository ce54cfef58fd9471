// Linear biases as a table that engines look up.
#pragma once

#include <ATen/core/Tensor.h>

#include "models/config.h"

namespace sinkbench {

/// Biases of all heads for caches of up to `places` places, the query's included. Row h holds what
/// is added to the scaled scores, the farthest key first.
class AlibiTable {
 public:
  AlibiTable(const AlibiConfig& config, int64_t places, at::ScalarType dtype, at::Device device);

  /// [heads, places]
  const at::Tensor& values() const { return values_; }
  /// The column of a key at place `key` of the stream for a query at `query`, in the coordinates of
  /// query_positions.
  int64_t column(int64_t key, int64_t query) const { return places_ - 1 - (query - key); }

 private:
  int64_t places_;
  at::Tensor values_;
};

/// Slopes of the paper: 2^(-8i/n) for the n heads, i = 1..n; where n is no power of two, those of
/// the next lower power and then every other of the next higher one (as BLOOM and Falcon have it).
std::vector<double> alibi_slopes(int64_t heads);

}  // namespace sinkbench
