// Kernels for a CUDA device, where LibTorch's operators leave time: plain pointers and shapes, no
// tensors. models/fused.h has them for tensors, each with a plain twin.
//
// All pointers are device memory; a matrix is dense, rows one after another, where no stride is
// named. Sums are float32. Launches are asynchronous, on `stream` (a cudaStream_t); a launch that
// fails throws std::runtime_error.
#pragma once

#include <cstdint>

namespace sinkbench::cuda {

enum class Type { float32, float16, bfloat16 };
enum class Act { none, silu, gelu, gelu_tanh, relu };
using Stream = void*;

/// y [n, size] = (x + scale * part) * weight / rms, in y's type; where `part` [n, size] (of
/// weight's type) is given, the float32 sum goes to `sum`, which may be x; no y: that is all.
struct RmsNorm {
  int64_t n, size;
  const float* x;
  const void* part;  ///< or null
  float scale;
  float* sum;  ///< or null, without `part`
  const void* weight;
  Type weight_type;
  void* y;
  Type y_type;
  float epsilon;
};
void rms_norm(const RmsNorm& a, Stream stream);

/// y [n, size] = act(gate) * up, of rows that hold gate and then up: inner [n, 2 * size].
void gate(Type type, Act act, int64_t n, int64_t size, const void* inner, void* y, Stream stream);

/// One-row products with weight [rows, size], each row a warp's: 16 bytes at a time, so that weight
/// and x are aligned to them and size * element is a multiple of them.
struct RowProduct {
  Type type;  ///< of weight, bias and x
  int64_t rows, size;
  const void* weight;
  const void* bias;  ///< [rows] or null
  const void* x;     ///< [size]; with norm_weight float32
  /// [size] or null: x times it over x's rms, rounded to `type`, is what is multiplied; see
  /// takes_norm.
  const void* norm_weight;
  float epsilon;
  Act act;  ///< of the results
  /// weight has 2 * rows rows (bias too): act(first half) * second half
  bool gated;
  const float* residual;  ///< [rows] or null: y is float32, residual + scale * result
  float scale;
  void* y;  ///< [rows] of `type`, or float32 with a residual
};
void row_product(const RowProduct& a, Stream stream);
bool takes_norm(Type type, int64_t size);

/// Of each row of logits [n, vocab]: log-sum-exp less the target's logit.
void negative_log_likelihood(Type type, int64_t n, int64_t vocab, const void* logits,
                             const int64_t* targets, float* nll, Stream stream);

/// Cosine and sine [rows, pairs] of places times frequencies (radians, angles in double precision).
void angles(int64_t rows, int64_t pairs, const int64_t* places, const double* frequencies,
            double magnitude, float* cosine, float* sine, Stream stream);

/// Heads of a block of n tokens, rotated by halves in their first `rotated` dimensions, and written
/// where attention reads them.
struct PlaceBlock {
  Type type;
  int64_t n, heads, kv_heads, head_dim, rotated;
  const void *query, *key, *value;  ///< [n, heads, head_dim], token after token at these strides:
  int64_t query_stride, key_stride, value_stride;  ///< elements
  const float *query_cosine, *query_sine;          ///< [n, rotated / 2]
  const float *key_cosine, *key_sine;
  void* placed;  ///< [n, heads, head_dim]
  /// Row 0 of the block in buffers [kv_heads, room, head_dim].
  void *keys, *values;
  int64_t room;
};
void place_block(const PlaceBlock& a, Stream stream);

/// A few more keys join an attention of n queries: its output and log-sum-exp become those of one
/// softmax over both. Each query sees keys first[i] to last[i] - 1 of the buffers.
struct JoinFew {
  Type type;
  int64_t n, heads, kv_heads, head_dim, rotated;
  const void* query;  ///< [n, heads, head_dim] before rotation
  int64_t query_stride;
  const float *cosine, *sine;  ///< [n, rotated / 2] where the queries stand for these keys
  const void *keys, *values;   ///< [kv_heads, room, head_dim]
  int64_t room;
  const int32_t *first, *last;  ///< [n]; null: there are no keys, only a sink logit
  float scale;
  const float* sink_logit;  ///< [heads] or null: one more term, with a value of zero
  void* output;             ///< [n, heads, head_dim]
  float* log_sum;           ///< [heads, n]
};
void join_few(const JoinFew& a, Stream stream);

/// Another attention over more keys joins one: output and log-sum-exp become those of one softmax
/// over both. head_dim: a multiple of 8.
struct Join {
  Type type;
  int64_t n, heads, head_dim;
  const void* other;           ///< [n, heads, head_dim]
  const float* other_log_sum;  ///< [heads, n]
  void* output;                ///< [n, heads, head_dim]
  float* log_sum;              ///< [heads, n]
};
void join(const Join& a, Stream stream);

/// The most ranges that a step's query is placed for; the last row of its tables is its own place.
inline constexpr int64_t step_ranges = 4;
inline constexpr uint8_t free_slot = 255;

/// One decode step's attention: a query over the slots of a cache and over itself; its key and
/// value then go to their slot. What changes from step to step is read from device memory, so that
/// a captured graph holds for all of them. Keys, values, range_of_slot and used may be read before
/// the launches just before have ended.
struct AttendStep {
  Type type;
  int64_t heads, kv_heads, head_dim, rotated, room;
  const void *query, *key, *value;  ///< [heads or kv_heads, head_dim], before rotation
  const float *cosine, *sine;       ///< [step_ranges + 1, rotated / 2]
  void *keys, *values;              ///< [kv_heads, room, head_dim]
  const uint8_t* range_of_slot;     ///< [room], free_slot where nothing is seen
  const int64_t* used;              ///< slots from this one on are free
  const int64_t* slot;              ///< where the key and value go; negative: nowhere
  /// Linear biases: slope times the distance from a slot's token to the query's place is taken
  /// off. slopes [heads] or null, tokens [room], places [step_ranges].
  const double* slopes;
  const int64_t *tokens, *places;
  float scale, score_cap;
  const float* sink_logit;  ///< [heads] or null
  float* scratch;           ///< step_scratch() elements
  unsigned* counters;       ///< [heads + kv_heads], zeros before and after
  void* output;             ///< [heads, head_dim]
};
int64_t step_scratch(int64_t heads, int64_t head_dim, int64_t room);
/// Head dimensions that are a multiple of 8, to 256.
void attend_step(const AttendStep& a, Stream stream);

}  // namespace sinkbench::cuda
