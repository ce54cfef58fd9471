// Attention of a block of tokens in one layer under a policy that evicts as it goes, by a scan
// inside the layer.
//
// Which entries a layer evicts depends on that layer's own queries, keys and values alone. So a
// block of tokens can go through one layer after the other, its products whole, while each layer's
// scan goes from one round of eviction to the next: the numbers are those of one token at a time,
// whatever the block. Where the rounds can be foreseen (by index, or by a policy that looks at no
// weights) and no key moves on, the scan is run on keys alone and the attention of the block
// follows in one go.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <vector>

#include "eval/cache/layer_rules.h"
#include "eval/engines/decisions.h"
#include "models/decoder.h"

namespace sinkbench {

/// Caches, statistics and attention of all layers, on the CPU in float32, or float64 where the
/// decoder is.
class LayerScan {
 public:
  virtual ~LayerScan() = default;

  /// Empties the caches and allocates them for a stream of `fed` tokens.
  virtual void reset(int64_t fed) = 0;
  /// As if tokens had been fed up to `next`, keys, values and statistics random.
  virtual void fill(int64_t next) = 0;
  /// Attention of n tokens from `begin` on, whose projection is given, before any position is
  /// encoded; then they are in the cache. The projection's rows after them are of tokens that come
  /// later, which rounds may look ahead to: as many as there are up to LayerRules::ahead.
  /// [n, heads * head_dim]
  virtual at::Tensor attend(int64_t layer, int64_t begin, int64_t n,
                            const Projection& projection) = 0;

  /// Values of all that is in the caches become zero.
  virtual void zero_values() = 0;

  /// Views of what is carried from token to token: after `next` tokens were fed.
  virtual std::vector<at::Tensor> state() const = 0;
  /// Goes on from what `state` was after `next` tokens. InputError where it is that of another
  /// model or policy.
  virtual void restore(int64_t next, const std::vector<at::Tensor>& state) = 0;
  /// Of the head with most of them.
  virtual int64_t entries(int64_t layer) const = 0;
  /// Bytes of keys and values, of the slots that are allocated.
  virtual int64_t kv_bytes() const = 0;
};

/// All must outlive it.
std::unique_ptr<LayerScan> make_layer_scan(const Decoder& decoder, const LayerRules& rules,
                                           Decisions& decisions);

/// What a stream of `fed` tokens takes: of keys and values, as kv_bytes; and of statistics and the
/// room to work on blocks of `block` tokens.
struct ScanBytes {
  int64_t keys_and_values = 0;
  int64_t entries = 0;  ///< slots of all heads
  double statistics = 0, scratch = 0;
};
ScanBytes scan_bytes(const LayerRules& rules, const DecoderConfig& config, at::ScalarType dtype,
                     int64_t fed, int64_t block, int64_t threads);

}  // namespace sinkbench
