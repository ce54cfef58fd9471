// How many logits exist at a time.
#pragma once

#include <algorithm>
#include <cstdint>

namespace sinkbench {

/// Elements of whole rows, whatever the vocabulary. More rows than these make a block of a large
/// vocabulary's head no faster; with a quarter of them (27 rows of 151,936) its weights are packed
/// so often that a model of 0.5B parameters takes 1.4 times as long. A GPU would wait between few
/// of them.
constexpr int64_t logits_at_once(bool on_gpu) {
  return int64_t{1} << (on_gpu ? 26 : 24);
}

/// Where NLLs alone are asked for, on the CPU, of more rows than a step's and in less than float64:
/// a tile of the vocabulary for many rows. Its logits are in the core's cache when they are summed,
/// and the weights are packed once for all rows.
constexpr int64_t rows_of_tile = 2048, columns_of_tile = 2048;  // at most; ids in a tile
constexpr int64_t fewest_rows_of_tile = 16;

}  // namespace sinkbench
