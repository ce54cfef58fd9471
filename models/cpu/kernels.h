// What is done to each row between the products, in one pass over memory, on the CPU: for each
// kernel models/fused.h has the form in LibTorch's operators. Rows are divided among LibTorch's
// threads. Sums are made in float32 or wider; only what is stored is rounded.
#pragma once

#include <concepts>
#include <cstdint>

#include "models/config.h"

namespace sinkbench::cpu {

/// How numbers are stored: float, or bfloat16 as its bits.
template <typename T>
concept Stored = std::same_as<T, float> || std::same_as<T, uint16_t>;

/// out [n, size] = act(inner[:, :size]) * inner[:, size:]. Activations: all but gelu, whose erf is
/// not here.
inline bool has_gate(Activation activation) {
  return activation != Activation::gelu;
}
template <Stored T>
void gate(const T* inner, int64_t n, int64_t size, Activation activation, T* out);

/// sum [n, size] = x + scale * part; normed = sum / rms(sum) * weight (Zhang and Sennrich 2019,
/// arXiv 1910.07467). `part` null: sum is x and is not written.
template <Stored T, Stored Weight>
void add_rms_norm(const float* x, const T* part, float scale, const Weight* weight, float epsilon,
                  int64_t n, int64_t size, float* sum, T* normed);

/// sum [n] = x + scale * part
template <Stored T>
void add(const float* x, const T* part, float scale, int64_t n, float* sum);

/// What log-softmax needs of each row's logits, as a tile of the vocabulary after the other is
/// added (Milakov and Gimelshein 2018, arXiv 1805.02867).
struct LogSoftmaxSums {
  float* top;     ///< the largest logit so far; -infinity before the first
  double* sum;    ///< of exp(logit - top); 0 before the first
  float* target;  ///< the target's logit, once its tile has been added
};
/// Logits are taken by pieces of so many, whose sums are in float32: of a vocabulary in tiles of a
/// multiple of this the sums are the same bit for bit as in one.
constexpr int64_t log_softmax_piece = 2048;
/// Adds the logits [n, columns] of ids first, first + 1, ... to the sums [n]; target [n].
template <Stored T>
void add_logits(const T* logits, const int64_t* target, int64_t n, int64_t first, int64_t columns,
                const LogSoftmaxSums& sums);

/// Heads side by side, turned as models/rotary.h has it and laid out head by head in float32:
/// out[h * head_stride + t * head_dim + i], from x[t * token_stride + h * head_dim + i].
struct Turn {
  int64_t n, heads, head_dim;
  int64_t token_stride, head_stride;
  int64_t rotated;      ///< leading dimensions that are turned, by halves; 0: none
  const float* cosine;  ///< [n, rotated / 2]
  const float* sine;
};
template <Stored T>
void turn_heads(const Turn& turn, const T* x, float* out);

}  // namespace sinkbench::cpu
