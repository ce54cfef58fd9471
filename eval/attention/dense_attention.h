// A model run with dense attention, its weights handed out as it goes: what the instruments that
// look at attention itself are built on.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <span>

#include "models/decoder.h"

namespace sinkbench {

/// Of the queries first .. first+n-1 of one layer.
struct AttentionRows {
  int64_t layer = 0, first = 0;
  /// [heads, n, first + n]: what each query gives to each key; 0 to those after it.
  at::Tensor weights;
  /// [heads, n, first + n]: the same before the softmax; -inf to keys that a query doesn't see.
  at::Tensor scores;
  /// [heads, n]: what it gives to the layer's trained sink; undefined where there is none. With
  /// it each row of `weights` sums to 1.
  at::Tensor to_sink;
};

/// Dense causal attention at positions 0.. over one sequence, in the decoder's accumulate type:
/// calls `rows` for all queries of each layer, in order, with the scores of about `pairs_at_once`
/// query-key pairs in being at a time (of one query at the least). `values`, where given, gets each
/// layer's value vectors [kv_heads, T, head_dim] before its rows. Layers with a window of
/// their own see no further. Within InferenceMode.
void dense_attention(
    const Decoder& decoder, std::span<const int32_t> ids, int64_t pairs_at_once,
    const std::function<void(const AttentionRows&)>& rows,
    const std::function<void(int64_t layer, const at::Tensor& values)>& values = {});

}  // namespace sinkbench
