// Keys that are stored before rotation, put where they stand for one query.
#pragma once

#include <cstdint>
#include <span>

namespace sinkbench {

struct PlaceKeys {
  int64_t kv_heads, slots, head_dim;
  bool bfloat16;                    ///< `key` is bfloat16, else float32
  const void* key;                  ///< [kv_heads, slots, head_dim]
  std::span<const int64_t> ranked;  ///< the slot of each rank
  int64_t rotated;                  ///< leading dimensions of a key that are rotated, by halves
  const float* cosine;              ///< [ranks, rotated / 2]
  const float* sine;
  float* placed;  ///< [kv_heads, slots, head_dim]; only ranked slots are written
};

/// Rotates the key in slot ranked[i] by row i.
void place_keys(const PlaceKeys& keys);

}  // namespace sinkbench
