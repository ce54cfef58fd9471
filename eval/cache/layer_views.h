// What each layer of a model sees under an index policy.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "models/config.h"
#include "policies/policy.h"

namespace sinkbench {

/// Views of no more ranges are attended to range by range, where these only move on from query to
/// query; others by their entries' places.
inline constexpr size_t few_ranges = 4;

/// The policy's views, and in layers that the model gave a local window, that window. Where only
/// some layers have one, those see what the policy keeps within their window, at the distances of
/// the stream (a window is part of the model: ranks in a cache must not let it reach farther), and
/// the policy works on the others. Where all have one, the policy works on all, with its own
/// positions, and a policy that keeps everything is the model as it is: each layer's window.
class LayerViews {
 public:
  /// The policy must outlive it.
  LayerViews(const IndexPolicy& policy, const DecoderConfig& config);

  const IndexPolicy& policy() const { return *policy_; }

  /// Layers of one kind see the same, and are rotated alike.
  int64_t kinds() const { return static_cast<int64_t>(kinds_.size()); }
  int64_t kind(int64_t layer) const { return kind_of_layer_[layer]; }
  int64_t layers(int64_t kind) const;   ///< how many are of this kind
  int64_t example(int64_t kind) const;  ///< one of them

  /// As the policy has it; its last range always ends at t, be it an empty one.
  View view(int64_t kind, int64_t t) const;
  Positions positions(int64_t kind) const;
  /// The most that a view holds, as Policy::capacity.
  std::optional<int64_t> capacity(int64_t kind) const;
  /// The kind whose caches are the largest: what a policy's size in tables is.
  int64_t widest() const;

  /// The most entries that a view holds up to query `fed`, and so what a cache needs room for.
  int64_t kept(int64_t kind, int64_t fed) const;
  /// Whether a view up to query `fed` has more than few_ranges, or ranges that are not, one by one,
  /// those of the view before moved on.
  bool scattered(int64_t kind, int64_t fed) const;
  /// Number of tokens after which the widest view holds `entries` (nothing: as much as it ever
  /// does), looked for among the first `fed` and 2^20 tokens; a cache that has evicted nothing by
  /// then is taken to go on so until it is full.
  int64_t tokens_to_fill(std::optional<int64_t> entries, int64_t fed) const;

 private:
  struct Kind {
    int64_t layer;       // one that is of it
    int64_t window = 0;  // earlier tokens within the model's local window; 0: there is none
    bool own_positions;  // the policy's; else those of the stream
    int rotary = -1;     // DecoderConfig::rotary_index
  };
  const IndexPolicy* policy_;
  std::vector<Kind> kinds_;
  std::vector<int64_t> kind_of_layer_;
};

}  // namespace sinkbench
