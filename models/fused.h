// What takes several of LibTorch's operators, in one: by a kernel on the CPU (models/cpu/kernels.h)
// or on a CUDA device where this build has kernels (models/cuda/kernels.h), else by the operators.
// All compute the same, to rounding; `plain` has the operators' form under the same name for tests,
// on any device.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <optional>

#include "models/config.h"
#include "models/rotary.h"
#include "models/weights.h"

namespace sinkbench::fused {

/// Whether CUDA kernels take a tensor: on a CUDA device, float32, float16 or bfloat16, in a build
/// that has them, unless SINKBENCH_CUDA_PLAIN=1 is in the environment.
bool takes(const at::Tensor& x);
bool takes(at::Device device, at::ScalarType dtype);

/// Rows of x [n, size] divided by their root mean square and multiplied by weight [size] (Zhang and
/// Sennrich 2019, arXiv 1910.07467): computed in x's precision, float32 or float64; only the result
/// is rounded.
at::Tensor rms_norm(const at::Tensor& x, const at::Tensor& weight, double epsilon,
                    at::ScalarType dtype);
struct NormedSum {
  at::Tensor sum;     ///< x + scale * part, float32
  at::Tensor normed;  ///< its norm, in `dtype`
};
/// part: [n, size] of the weight's type.
NormedSum add_rms_norm(const at::Tensor& x, const at::Tensor& part, double scale,
                       const at::Tensor& weight, double epsilon, at::ScalarType dtype);
/// The sum alone; part of any type.
at::Tensor add(const at::Tensor& x, const at::Tensor& part, double scale);

at::Tensor activate(const at::Tensor& x, Activation activation);
/// act(gate) * up: inner [n, 2 * size], gate and then up, gives [n, size].
at::Tensor gate(const at::Tensor& inner, Activation activation);

/// One row through a linear map, and what is done to the result.
struct Row {
  at::Tensor x;  ///< [1, in]
  Linear linear;
  std::optional<Activation> activation = {};
  bool gated = false;        ///< rows: gate then up; act(gate) * up
  at::Tensor residual = {};  ///< float32 [1, out], or undefined: residual + scale * result, float32
  double scale = 1.0;
  at::Tensor norm = {};  ///< [in], or undefined: x, float32, is normed by its rms and this before
  double epsilon = 0.0;
};
bool takes_row(const at::Tensor& x, const at::Tensor& weight);
/// Rows that are normed on the way.
bool takes_normed_row(const at::Tensor& x, const at::Tensor& norm, const at::Tensor& weight);
at::Tensor row_product(const Row& row);

/// NLL in nats, float32 [n]: logits [n, vocab], targets int64 [n]. No float32 copy of the logits.
at::Tensor negative_log_likelihood(const at::Tensor& logits, const at::Tensor& targets);

/// The same on the CPU of logits, float32 or bfloat16, of which only a tile of the vocabulary
/// exists at a time. Tiles of multiples of cpu::log_softmax_piece give the same numbers as one.
class TiledNll {
 public:
  explicit TiledNll(const at::Tensor& targets);
  /// Logits [n, columns] of the ids first, first + 1, ...
  void add(const at::Tensor& logits, int64_t first);
  at::Tensor nll() const;

 private:
  at::Tensor targets_, top_, sum_, target_;
};

/// Rows of a rotary table for places that are on the device: int64 [n], frequencies float64.
RotaryTable angles(const at::Tensor& places, const at::Tensor& frequencies, double magnitude,
                   at::ScalarType dtype);

/// Queries, keys and values of n tokens, [n, heads, head_dim] each, heads side by side.
struct Heads {
  at::Tensor query, key, value;
  int64_t rotated = 0;  ///< leading dimensions that are rotated, by halves; 0: none
};
/// Returns the queries rotated, [n, heads, head_dim]; the keys rotated and the values go to `keys`
/// and `values`, [kv_heads, n, head_dim], parts of buffers.
at::Tensor place_block(const Heads& heads, const RotaryTable& of_queries,
                       const RotaryTable& of_keys, const at::Tensor& keys,
                       const at::Tensor& values);

/// An attention and what it takes to join it with another over more keys.
struct Part {
  at::Tensor output;   ///< [n, heads, head_dim]
  at::Tensor log_sum;  ///< [heads, n]: of each softmax's denominator; float32, float64 of float64
};
/// One softmax over what both saw: each output weighs as its denominator. May write to the tensors
/// of the first.
Part join(const Part& a, const Part& b);

/// More keys, a few, that queries see: first[i] to last[i] - 1 of the buffers, int32 [n];
/// undefined: none, there is only a sink logit.
struct Few {
  at::Tensor query;   ///< [n, heads, head_dim] before rotation
  RotaryTable table;  ///< where the queries stand for these keys
  int64_t rotated = 0;
  at::Tensor keys, values;  ///< [kv_heads, m, head_dim], parts of buffers
  at::Tensor first, last;
  double scale = 1.0;
  at::Tensor sink_logit = {};  ///< [heads], or undefined
};
/// The part joined with them; may write to its tensors.
Part join_few(const Part& part, const Few& few);

/// The most ranges of a view that a step's query is placed for, see models/cuda/kernels.h.
inline constexpr int64_t step_ranges = 4;
inline constexpr uint8_t free_slot = 255;
/// One decode step's attention; all that changes from step to step is in tensors.
struct Step {
  Heads heads;        ///< of one token
  RotaryTable table;  ///< [step_ranges + 1, rotated / 2]; the last row is the query's own place
  at::Tensor keys, values;   ///< [kv_heads, room, head_dim]: what was kept
  at::Tensor range_of_slot;  ///< uint8 [room], free_slot where nothing is seen
  at::Tensor used, slot;     ///< int64 [1]: slots from `used` on are free; slot negative: not kept
  at::Tensor slopes = {};    ///< float64 [heads] of linear biases, or undefined
  at::Tensor tokens = {}, places = {};  ///< then int64 [room], [step_ranges]
  double scale = 1.0, score_cap = 0.0;
  at::Tensor sink_logit = {};
  at::Tensor counters = {};  ///< int32 [heads + kv_heads], zeros before and after, for kernels
};
/// Head dimensions that a step's kernel has.
bool takes_heads(int64_t head_dim, int64_t rotated);
bool takes_heads(const DecoderConfig& config);  ///< those of all layers
/// [1, heads * head_dim]; then the key and the value are in their slot.
at::Tensor attend_step(const Step& step);

namespace plain {
at::Tensor rms_norm(const at::Tensor& x, const at::Tensor& weight, double epsilon,
                    at::ScalarType dtype);
NormedSum add_rms_norm(const at::Tensor& x, const at::Tensor& part, double scale,
                       const at::Tensor& weight, double epsilon, at::ScalarType dtype);
at::Tensor gate(const at::Tensor& inner, Activation activation);
at::Tensor row_product(const Row& row);
at::Tensor negative_log_likelihood(const at::Tensor& logits, const at::Tensor& targets);
RotaryTable angles(const at::Tensor& places, const at::Tensor& frequencies, double magnitude,
                   at::ScalarType dtype);
at::Tensor place_block(const Heads& heads, const RotaryTable& of_queries,
                       const RotaryTable& of_keys, const at::Tensor& keys,
                       const at::Tensor& values);
Part join(const Part& a, const Part& b);
Part join_few(const Part& part, const Few& few);
at::Tensor attend_step(const Step& step);
}  // namespace plain

}  // namespace sinkbench::fused
