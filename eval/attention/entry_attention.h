// Attention of some queries over the entries of one key head's cache, its weights handed out, on
// the CPU in float32 or float64: what policies that choose by content are run with.
#pragma once

#include <cstdint>

namespace sinkbench {

/// What buffers of keys must have behind their last column, and how many columns a row of weights
/// is padded to: a kernel reads and writes whole vectors.
inline constexpr int64_t entry_padding = 32;
inline int64_t padded_entries(int64_t entries) {
  return (entries + entry_padding - 1) / entry_padding * entry_padding;
}

/// Rows are the query heads that share the key head, of each query in turn.
template <typename T>
struct EntryAttention {
  int64_t rows, entries, head_dim;
  const T* query;      ///< [rows, head_dim], placed and scaled
  const T* key;        ///< [head_dim, key_stride], placed, transposed
  int64_t key_stride;  ///< `entries` or more; entry_padding elements follow the last
  const T* value;      ///< [entries, head_dim]
  /// Row i sees the entries j with first[j] <= query_of[i] <= last[j]. [padded entries]; null: all
  /// of them.
  const int32_t* query_of;
  const int32_t* first;
  const int32_t* last;
  /// Positions::capped: row i sees its first far[i] entries by another query and key. Or null.
  const T* far_query = nullptr;
  const T* far_key = nullptr;
  const int64_t* far = nullptr;
  T score_cap = 0;  ///< scores s become cap tanh(s / cap), before a bias; 0: they don't
  /// Linear biases: slope[i] times the distance is taken from a score, min(query_place[i] -
  /// entry_place[j], cap). Or null.
  const double* slope = nullptr;
  const int64_t* query_place = nullptr;
  const int64_t* entry_place = nullptr;
  int64_t cap = INT64_MAX;
  const T* sink_logit = nullptr;  ///< [rows] one more term of the softmax's denominator, or null
  /// [rows, weight_stride] softmax weights, 0 for what a row doesn't see; where they are not asked
  /// for, room for `tile_rows` rows, and they are lost.
  T* weights;
  int64_t weight_stride;  ///< padded_entries(entries) or more
  bool keep_weights;
  T* const* output;  ///< [rows] where the mix of the values goes, head_dim elements
};

/// Rows that are done at once.
inline constexpr int64_t tile_rows = 8;

void attend_entries(const EntryAttention<float>& a);
void attend_entries(const EntryAttention<double>& a);

/// Keys of a head, transposed, put at places: columns begin .. end - 1.
template <typename T>
struct EntryRotation {
  int64_t head_dim, rotated;  ///< the first `rotated` dimensions are, by halves
  int64_t begin, end;
  const T* key;  ///< [head_dim, key_stride]
  int64_t key_stride;
  T* placed;  ///< [head_dim, placed_stride]
  int64_t placed_stride;
  const T* cosine;  ///< [rotated / 2, table_stride], column j for column j of the keys
  const T* sine;
  int64_t table_stride;
};
void rotate_entries(const EntryRotation<float>& r);
void rotate_entries(const EntryRotation<double>& r);

}  // namespace sinkbench
