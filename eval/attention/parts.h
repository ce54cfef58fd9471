// Attention of a block as parts joined by log-sum-exp: a band, whose keys are many and which a
// flash kernel does without writing scores down, and ranges of few keys (sinks), a learned sink
// logit among them. What a new device needs is an `attend_band` of its own.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <optional>
#include <vector>

#include "models/decoder.h"
#include "models/fused.h"

namespace sinkbench {

/// Whether blocks of such a model are attended to in parts, with keys and values kept in the run's
/// precision: float16 or bfloat16 on a CUDA device, no biases and no cap on scores.
bool attends_in_parts(const DecoderConfig& config, const DecoderOptions& options);

/// A causal band over the last keys of a buffer: query i of n sees key m - n + i of m, its own, and
/// earlier ones from `begin` on, `left` of them at the most.
struct Band {
  int64_t begin = 0;
  int64_t left = -1;  ///< -1: all
};
/// Nothing where what queries see (keys first[i] to last[i] - 1 of m) is no band.
std::optional<Band> as_band(const std::vector<int64_t>& first, const std::vector<int64_t>& last,
                            int64_t m);

/// Band attention of `batch` blocks: query [batch, n, heads, head_dim], keys and values [batch, m,
/// kv_heads, head_dim] from `begin` on, at any strides but the last. Gives output [batch, n, heads,
/// head_dim] and log_sum [batch, heads, n]. On a CUDA device by cuDNN's kernel where queries
/// see all that came before, else by LibTorch's flash kernel; elsewhere by plain operators.
fused::Part attend_band(const at::Tensor& query, const at::Tensor& keys, const at::Tensor& values,
                        int64_t left, double scale);

/// The most keys of a range beside the band: they are gone through one by one.
inline constexpr int64_t few_keys = 256;

/// A block: its band and its other ranges (of few keys), whose sink_logit is not set.
struct PartsInput {
  at::Tensor query;         ///< [n, heads, head_dim], placed for the band
  at::Tensor keys, values;  ///< [kv_heads, m, head_dim]
  Band band;
  std::vector<fused::Few> ranges;
  double scale = 1.0;
  at::Tensor sink_logit;  ///< [heads], or undefined
};
/// [n, heads * head_dim]
at::Tensor attend_in_parts(const PartsInput& input);

/// Independent windows of `size` tokens each, laid below each other: causal attention within each,
/// and no farther than the layer's own window. projection: of all tokens; tables: of each of the
/// model's rotaries, a row for each token. Gives [windows * rows, heads * head_dim] of each
/// window's last `rows`.
at::Tensor attend_windows(const Decoder& decoder, int64_t layer, const Projection& projection,
                          const std::vector<RotaryTable>& tables, int64_t size, int64_t rows);

}  // namespace sinkbench
