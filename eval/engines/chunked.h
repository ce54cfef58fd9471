// Whole blocks of a stream as matrix products, for any policy whose view is ranges: the same
// numbers as one token at a time.
//
// What is stored of a token (its key before rotation, its value) does not depend on when other
// tokens are evicted. So a block of queries takes one pass over what the first of them has in its
// cache and the block itself, each query looking at its own part of that, and each range of its
// view seen from the place where the query stands for it (see query_positions). Between blocks
// only what the next query sees is carried on.
#pragma once

#include <optional>
#include <vector>

#include "eval/attention/attention.h"
#include "eval/engines/engine.h"

namespace sinkbench {

class ChunkedEngine final : public Engine {
 public:
  /// For a policy that does not recompute. `chunk`: queries per block; 0: as many (128 to 2048) as
  /// keep the model's widest activations within 16 MiB.
  ChunkedEngine(const Decoder& decoder, const Policy& policy, int64_t chunk);

  void advance_rows(const RowSink& sink) override;
  std::vector<at::Tensor> state() const override;

 private:
  struct Block;
  void prepare() override;
  void restore(const std::vector<at::Tensor>& state) override { copy_state(state, this->state()); }
  /// The residual stream after the last layer of the queries from `begin` to `end`.
  at::Tensor run_block(int64_t begin, int64_t end);
  at::Tensor attend(const Block& block, int64_t layer, const Projection& projection);
  void carry(const Block& block, int64_t next);

  int64_t chunk_;
  int64_t block_ = 0;  // the same, no longer than the stream

  // Rotated keys and values of what the next block's first query sees, and room for a block.
  std::vector<at::Tensor> keys_;  // per layer [kv_heads, room, head_dim], float32 or float64
  std::vector<at::Tensor> values_;
  std::optional<AlibiTable> bias_;
};

}  // namespace sinkbench
