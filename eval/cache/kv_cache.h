// A cache that physically holds only what a policy keeps, in memory allocated once.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include "eval/storage/kv_storage.h"
#include "models/decoder.h"
#include "policies/policy.h"

namespace sinkbench {

/// A run of neighbouring slots whose tokens belong to the same range of the query's view.
struct Segment {
  int64_t slot = 0;
  int64_t size = 0;
  size_t range = 0;  ///< index into the view
};

/// Which slot holds which token. Slots are reused as tokens are evicted, so a sliding window is a
/// ring; the order of slots means nothing to attention.
class SlotMap {
 public:
  /// `view` is what query 0 sees: nothing.
  explicit SlotMap(View view) : view_(std::move(view)) {}

  /// Evicts what query t + 1, whose view is `next`, will not see, and returns the slot for token t,
  /// or -1 where that query does not see it. Tokens must come in order: t = 0, 1, 2, ...
  int64_t advance(int64_t t, View next);

  /// What the next query sees.
  const View& view() const { return view_; }
  /// Token of each slot, -1 for a free one.
  std::span<const int64_t> tokens() const { return tokens_; }
  /// The occupied slots in the order of their tokens.
  std::vector<int64_t> ranked() const;
  std::vector<Segment> segments() const;
  /// The same where ranges don't matter: every run is of range 0.
  std::vector<Segment> runs() const;
  int64_t entries() const;  ///< tokens held

 private:
  View view_;
  std::vector<int64_t> tokens_;
  std::vector<int64_t> free_;
};

/// Keys and values of every layer by slot. Keys of a rotary model are stored rotated at their place
/// in the stream where the query can be put so that distances come out right (see
/// query_positions), so that no key is rotated twice; else as they were before rotation.
class KvCache {
 public:
  /// `slots`: of each layer.
  KvCache(const DecoderConfig& config, const std::vector<int64_t>& slots,
          const DecoderOptions& options, const KvStorage& storage);

  /// [kv_heads, slots, head_dim], or of a storage that has a codec bytes, [kv_heads, slots,
  /// row_bytes]
  at::Tensor& keys(int64_t layer) { return keys_[layer]; }
  at::Tensor& values(int64_t layer) { return values_[layer]; }
  /// A token's, [1, kv_heads, head_dim] or as bytes, into a slot.
  void put(int64_t layer, int64_t slot, const at::Tensor& key, const at::Tensor& value);
  int64_t bytes() const;  ///< of the tensors' memory, counted tensor by tensor

 private:
  std::vector<at::Tensor> keys_;
  std::vector<at::Tensor> values_;
};

}  // namespace sinkbench
