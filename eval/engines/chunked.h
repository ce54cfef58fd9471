// Whole blocks of a stream as matrix products, for any index policy: the same numbers as one token
// at a time.
//
// What is stored of a token (its key, its value) does not depend on when other tokens are evicted.
// So a block of queries takes one pass over what the first of them has in its cache and the block
// itself, each query looking at its own part of that. Between blocks only what the next query sees
// is carried on. Where a view has few ranges, keys are rotated once, at their place in the stream,
// and each range is seen from the place where the query stands for it (see query_positions). Where
// it has many, its last range is seen so, and the entries before it, which stay the same for a span
// of queries, are gathered and put at their ranks (or as they are, under original positions).
#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "eval/attention/attention.h"
#include "eval/cache/layer_views.h"
#include "eval/engines/engine.h"

namespace sinkbench {

class ChunkedEngine final : public Engine {
 public:
  /// Decoder and policy must outlive it. `chunk`: queries per block; 0: as many (128 to 2048) as
  /// keep the model's widest activations within 16 MiB; on a CUDA device to 4096, within 2^27
  /// elements. `in_parts`: attention in parts (attention/parts.h) where views allow it, whatever
  /// the device.
  ChunkedEngine(const Decoder& decoder, const IndexPolicy& policy, int64_t chunk,
                bool in_parts = false, const StorageSpec& storage = {});

  std::vector<at::Tensor> state() const override;

  /// Queries of a block.
  static int64_t block_size(const DecoderConfig& config, int64_t chunk, int64_t fed,
                            at::Device device = at::kCPU);

 private:
  /// What is kept for layers that see the same.
  struct Kind {
    bool scattered = false;  // views of many ranges
    bool by_rank = false;    // which are put at their ranks
    bool in_parts = false;   // buffers in the run's precision, attention in parts
    std::optional<AlibiTable> bias;
    const RotaryConfig* rotary = nullptr;
    RotaryTable ranks;  // by_rank: a row for each
  };
  struct Block;
  void check(int64_t fed) const override;
  void prepare() override;
  void restore(const std::vector<at::Tensor>& state) override;
  void advance_piece(const RowSink& sink) override;
  /// The residual stream after the last layer of the queries from `begin` to `end`.
  int64_t block_end(int64_t begin) const;
  at::Tensor run_block(int64_t begin, int64_t end);
  std::vector<Block> begin_blocks(int64_t begin, int64_t end);
  Block begin_block(int64_t kind, int64_t begin, int64_t end);
  at::Tensor attend_band_and_few(const Block& block, int64_t layer, const Projection& projection);
  at::Tensor attend(const Block& block, int64_t layer, const Projection& projection);
  void carry(const Block& block, int64_t layer, int64_t next);

  const LayerViews views_;
  std::vector<Kind> kinds_;
  int64_t chunk_;
  int64_t block_ = 0;  // the same, no longer than the stream
  const bool in_parts_;
  std::shared_ptr<std::vector<Block>> ahead_;  // the next block, thought out while a device works

  // Rotated keys and values of what the next block's first query sees, and room for a block.
  std::vector<at::Tensor> keys_;  // per layer [kv_heads, room, head_dim], float32 or float64,
                                  // or in parts in the run's precision
  std::vector<at::Tensor> values_;
  std::vector<at::Tensor> unrotated_;  // by_rank: the keys before rotation, else undefined
};

}  // namespace sinkbench
