// Attention of a block of queries, each over its own part of a buffer of keys.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "models/alibi.h"
#include "models/config.h"
#include "models/rotary.h"

namespace sinkbench {

/// One range of the views of a block of queries; keys by their index in the buffer.
struct RangeView {
  at::Tensor query;            ///< [heads, n, head_dim], placed for this range
  std::vector<int64_t> first;  ///< [n] first key that each query sees; never decreases
  std::vector<int64_t> last;   ///< [n] one past the last; never decreases
  /// [n], where there is a bias: the column of key j in its table is column[i] + j.
  std::vector<int64_t> column;
};

/// Entries of the buffer that lie scattered, seen besides the ranges: the same ones by all queries
/// of a span.
struct ScatteredView {
  struct Span {
    int64_t begin, end;            ///< queries of the block
    std::vector<int64_t> entries;  ///< indices in the buffer, ascending
  };
  std::vector<Span> spans;  ///< all queries of the block, in order; no spans: nothing is scattered
  at::Tensor query;         ///< [heads, n, head_dim], placed for these entries
  at::Tensor keys;          ///< [kv_heads, m, head_dim], in place of the buffer's
  /// The i-th entry of a span is rotated by row i; nothing: keys are taken as they are.
  RotaryTable table = {};
  const RotaryConfig* rotary = nullptr;
  /// [n], where there is a bias: the column of an entry is column[query] + place[index of the
  /// entry], or column[query] + i for the i-th entry of a span where `place` is empty.
  std::vector<int64_t> column = {};
  std::vector<int64_t> place = {};
};

struct AttentionInput {
  std::vector<RangeView> ranges;
  ScatteredView scattered = {};
  at::Tensor keys;    ///< [kv_heads, m, head_dim]
  at::Tensor values;  ///< [kv_heads, m, head_dim]
  const AlibiTable* bias = nullptr;
  at::Tensor sink_logit;  ///< [heads], or undefined
  double scale = 1.0;
  double score_cap =
      0.0;  ///< scaled scores s become cap tanh(s / cap), before a bias; 0: they don't
};

/// Caps scaled scores in place, as AttentionInput::score_cap has it.
void cap_scores(at::Tensor& scores, double cap);

/// Softmax over what each query sees in all ranges together, then the mix of the values:
/// [n, heads * head_dim] in the keys' precision, which is float32 or float64. Query heads share key
/// heads in order. On the CPU in float32 by the kernel of attention_kernel.h, else by
/// attend_in_tensors.
at::Tensor attend(const AttentionInput& input);

/// The same by plain tensor operations, on any device. The scores of no more than `pairs_at_once`
/// query-key pairs (over all heads) exist at a time.
at::Tensor attend_in_tensors(const AttentionInput& input, int64_t pairs_at_once = int64_t{1} << 26);

}  // namespace sinkbench
