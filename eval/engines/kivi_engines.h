// Engines for caches that keep all tokens in KIVI's form (eval/storage/kivi.h): which numbers a
// query reads hangs on how far back they stand, so that a token near a border has two forms at
// once.
#pragma once

#include <limits>
#include <optional>
#include <vector>

#include "eval/cache/layer_views.h"
#include "eval/engines/decoding.h"
#include "eval/engines/engine.h"
#include "eval/storage/kivi.h"
#include "models/alibi.h"

namespace sinkbench {

/// Blocks as matrix products, on numbers that were decoded once.
class KiviChunkedEngine final : public Engine {
 public:
  /// Decoder and policy, which keeps all, must outlive it. chunk: as ChunkedEngine's.
  KiviChunkedEngine(const Decoder& decoder, const IndexPolicy& policy, const StorageSpec& storage,
                    int64_t chunk);

  std::vector<at::Tensor> state() const override;

 private:
  void check(int64_t fed) const override;
  void prepare() override;
  void restore(const std::vector<at::Tensor>& state) override;
  void advance_piece(const RowSink& sink) override;
  at::Tensor run_block(int64_t begin, int64_t end);
  /// Queries begin to end - 1 of a layer, between two borders of blocks of keys.
  at::Tensor attend(int64_t layer, const at::Tensor& query, int64_t begin, int64_t end);

  /// Of each layer [kv_heads, fed, head_dim]: keys, those of whole blocks as they are decoded;
  /// values as they are; values as they are decoded.
  std::vector<at::Tensor> keys_, values_, decoded_values_;
  const LayerViews views_;
  const Kivi kivi_;
  const int64_t chunk_;
  int64_t block_ = 1;
  std::optional<AlibiTable> bias_;
};

/// One token at a time, through a cache of bytes: the oracle, and what latency and memory are
/// measured on.
class KiviStepwiseEngine final : public Engine, public Decoding {
 public:
  KiviStepwiseEngine(const Decoder& decoder, const IndexPolicy& policy, const StorageSpec& storage);

  std::vector<at::Tensor> state() const override;

  int64_t enough_to_warm_up() const override { return std::numeric_limits<int64_t>::max(); }
  /// From one block of keys to the next.
  int64_t period(int64_t fed) const override {
    return fed > kivi_.residual() ? kivi_.residual() : 1;
  }
  void fill(std::optional<int64_t> entries, int64_t fed, int64_t steps) override;
  void start(int64_t steps) override;
  at::Tensor step(int32_t id) override;
  int64_t entries() const override { return next_; }
  int64_t kv_bytes_held(int64_t fed) override;

 private:
  struct Layer {
    at::Tensor key_blocks;     ///< bytes [kv_heads, blocks, head_dim, row_bytes]
    at::Tensor newest_keys;    ///< [kv_heads, residual, head_dim], of the block that isn't whole
    at::Tensor value_bytes;    ///< [kv_heads, tokens, row_bytes]
    at::Tensor newest_values;  ///< [kv_heads, residual, head_dim]: token p in row p % residual
  };

  void check(int64_t fed) const override;
  void prepare() override { reset(fed()); }
  void restore(const std::vector<at::Tensor>& state) override { copy_state(state, this->state()); }
  void advance_piece(const RowSink& sink) override;
  void reset(int64_t fed);
  at::Tensor step_row(int32_t id);
  at::Tensor attend(Layer& layer, int64_t l, int64_t t, const Projection& projection);

  std::vector<Layer> layers_;
  const LayerViews views_;
  const Kivi kivi_;
  std::optional<AlibiTable> bias_;
};

/// Throws InputError where a policy doesn't keep all of `fed` tokens, or a layer doesn't see them.
void check_keeps_all(const LayerViews& views, const StorageSpec& storage, int64_t fed);

}  // namespace sinkbench
