// Rotary position embedding on any positions, exact far into a stream.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <span>

#include "models/config.h"

namespace sinkbench {

/// Cosine and sine of every rotated pair at some positions: [positions, dims / 2].
struct RotaryTable {
  at::Tensor cosine;
  at::Tensor sine;
};

/// Angles are computed in double precision and only their cosines and sines rounded to `dtype`, so
/// that position 4,000,000 is as exact as position 4: a rotated query and a rotated key have a
/// product that depends on their distance to the precision of `dtype`, wherever they stand.
RotaryTable rotary_table(const RotaryConfig& config, std::span<const int64_t> positions,
                         at::ScalarType dtype, at::Device device);

/// x [n, heads, head_dim] with row i rotated by row i of the table; dimensions past
/// config.dims are left as they are. Computed in the table's precision, returned in x's.
at::Tensor rotate(const RotaryConfig& config, const at::Tensor& x, const RotaryTable& table);

/// The same laid out head by head: out [heads, n, head_dim] in the table's precision, whose heads
/// may lie apart, as those of a part of a buffer do. `config` null: nothing is rotated, and the
/// table isn't read.
void place_heads(const RotaryConfig* config, const at::Tensor& x, const RotaryTable& table,
                 const at::Tensor& out);

}  // namespace sinkbench
