// Attention of a block of queries over the ranges that each of them sees, on the CPU, in float32.
#pragma once

#include <cstdint>
#include <span>

#include "eval/cache/kv_cache.h"

namespace sinkbench {

/// One range of the views of a block of queries. Keys are counted by their index in the buffer.
struct RangeOfBlock {
  const float* query;    ///< [heads, queries, head_dim], placed for this range
  const int64_t* begin;  ///< [queries] first key that the query sees; never decreases
  const int64_t* end;    ///< [queries] one past the last; never decreases
  /// [queries]: the bias of key j is bias_table[head * bias_stride + bias_offset + j]; null: none.
  const int64_t* bias_offset;
};

struct BlockAttention {
  int64_t queries, heads, kv_heads, head_dim;
  int64_t keys;             ///< keys in the buffer
  int64_t key_stride;       ///< keys that the buffer has room for, per head
  const float* key;         ///< [kv_heads, key_stride, head_dim]
  const float* value;       ///< [kv_heads, key_stride, head_dim]
  float scale;              ///< on query-key products, before the bias
  const float* bias_table;  ///< [heads, bias_stride], or null
  int64_t bias_stride;
  const float* sink_logit;  ///< [heads]: one more term exp(sink_logit) of the softmax's
                            ///< denominator, or null
  float* output;            ///< [queries, heads * head_dim]
};

/// Tiles with an online softmax (Milakov and Gimelshein 2018, arXiv 1805.02867; Dao et al. 2022,
/// arXiv 2205.14135): no matrix of scores larger than one tile exists, and tiles outside every
/// range are skipped. Every query must see at least one key over all ranges. Scratch: twice the
/// buffer of one block, and some kilobytes for each thread.
void attend_block(const BlockAttention& block, std::span<const RangeOfBlock> ranges);

/// One decode step: a query against the slots of a cache and itself.
struct DecodeAttention {
  int64_t heads, kv_heads, head_dim;
  int64_t ranges;      ///< of the view
  const float* query;  ///< [ranges + 1, heads, head_dim]: placed for each range, then
                       ///< for the query itself
  int64_t slots;       ///< of the cache, per key head
  bool bfloat16;       ///< the cache holds bfloat16, else float32
  const void* key;     ///< [kv_heads, slots, head_dim]
  const void* value;   ///< [kv_heads, slots, head_dim]
  std::span<const Segment> segments;  ///< the occupied slots
  const float* bias;                  ///< [heads, slots], or null; 0 for the query itself
  const float* own_key;               ///< [kv_heads, head_dim]
  const float* own_value;             ///< [kv_heads, head_dim]
  float scale;
  const float* sink_logit;  ///< as in BlockAttention
  float* output;            ///< [heads * head_dim]
};
void attend_one(const DecodeAttention& attention);

}  // namespace sinkbench
