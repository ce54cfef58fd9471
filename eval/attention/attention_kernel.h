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
  float score_cap;          ///< scaled scores s become cap tanh(s / cap), before the bias; 0: not
  const float* bias_table;  ///< [heads, bias_stride], or null
  int64_t bias_stride;
  const float* sink_logit;  ///< [heads]: one more term exp(sink_logit) of the softmax's
                            ///< denominator, or null
  float* output;            ///< [queries, heads * head_dim]
};

/// Entries of the buffer that lie scattered, seen besides the ranges: the same ones by all queries
/// of a span. They are gathered span by span and rotated where they stand for its queries.
struct ScatteredEntries {
  struct Span {
    int64_t begin, end;      ///< queries of the block
    const int64_t* entries;  ///< [count] indices into `key` and the block's values, ascending
    int64_t count;
  };
  std::span<const Span> spans;  ///< all queries of the block, in order
  const float* query;           ///< [heads, queries, head_dim], placed for these entries
  const float* key;             ///< [kv_heads, key_stride, head_dim]
  /// [most entries of a span, rotated / 2]: the i-th entry of a span is rotated by row i, its first
  /// `rotated` dimensions by halves as in models/rotary.h; null: keys are taken as they are.
  const float* cosine;
  const float* sine;
  int64_t rotated;
  /// [queries]: the bias of entry i is bias_table[head * bias_stride + bias_offset + place], where
  /// place is bias_place[index of the entry], or i where that is null; null: none.
  const int64_t* bias_offset;
  const int64_t* bias_place;
};

/// Tiles with an online softmax (Milakov and Gimelshein 2018, arXiv 1805.02867; Dao et al. 2022,
/// arXiv 2205.14135): no matrix of scores larger than one tile exists, and tiles outside every
/// range are skipped. Every query must see at least one key over all ranges. Scratch: twice the
/// buffer of one block, and for each thread some kilobytes and a span's entries. `scattered` may be
/// null.
void attend_block(const BlockAttention& block, std::span<const RangeOfBlock> ranges,
                  const ScatteredEntries* scattered = nullptr);

/// One decode step: a query against the slots of a cache and itself.
struct DecodeAttention {
  int64_t heads, kv_heads, head_dim;
  int64_t ranges;        ///< of the view
  const float* query;    ///< [heads, ranges + 1, head_dim]: placed for each range, then
                         ///< for the query itself
  int64_t slots;         ///< of the cache, per key head
  bool bfloat16_keys;    ///< `key` is bfloat16, else float32
  bool bfloat16_values;  ///< the same of `value`
  const void* key;       ///< [kv_heads, slots, head_dim]
  const void* value;     ///< [kv_heads, slots, head_dim]
  std::span<const Segment> segments;  ///< the occupied slots
  const float* bias;                  ///< [heads, slots], or null; 0 for the query itself
  const float* own_key;               ///< [kv_heads, head_dim]
  const float* own_value;             ///< [kv_heads, head_dim]
  float scale;
  float score_cap;
  const float* sink_logit;  ///< as in BlockAttention
  bool bfloat16_output;     ///< `output` is bfloat16, else float32
  void* output;             ///< [heads * head_dim]
};
void attend_one(const DecodeAttention& attention);

}  // namespace sinkbench
