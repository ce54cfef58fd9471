// What each layer of a model keeps, and where it stands, under any policy that evicts.
#pragma once

#include <cstdint>
#include <optional>

#include "eval/cache/layer_views.h"
#include "policies/score_policy.h"

namespace sinkbench {

/// Under a score policy, layers that the model gave a local window, where only some have one, keep
/// the last entries within that window and the policy's capacity, at the distances of the stream:
/// a window is part of the model, and the policy works on the other layers. Index policies have it
/// as in LayerViews.
class LayerRules {
 public:
  /// The policy, an index or a score policy, must outlive it.
  LayerRules(const Policy& policy, const DecoderConfig& config);

  const Policy& policy() const { return *policy_; }
  /// Null where the layer's entries are chosen by index.
  const ScorePolicy* score(int64_t layer) const;
  /// Of a layer by index: what query t sees.
  View view(int64_t layer, int64_t t) const;
  Positions positions(int64_t layer) const;
  /// How query heads of a layer read what it keeps; nothing: all of it.
  std::optional<ReadPolicy::Reading> reading(int64_t layer) const;
  /// Queries that a round looks at before they come.
  int64_t ahead() const { return score_ != nullptr ? score_->needs().ahead : 0; }
  int64_t cap() const { return policy_->cap(); }

  /// Whether the heads of a layer share its entries by their scores.
  bool adaptive(int64_t layer) const;
  /// Whether there is a round after token t; by index, after every token.
  bool is_round(int64_t layer, int64_t t) const {
    return score(layer) == nullptr || score_->retention().is_round(t);
  }
  /// Entries of a head that a round leaves; of an adaptive budget the mean.
  int64_t capacity(int64_t layer, int64_t head) const { return capacity_[layer * heads_ + head]; }
  /// Entries that query t of a head sees beside itself; of an adaptive budget the mean.
  int64_t kept(int64_t layer, int64_t head, int64_t t) const;
  /// The most that a query of a head up to `fed` sees; of an adaptive budget `bound` has the most
  /// that it may be, else the mean.
  int64_t most(int64_t layer, int64_t head, int64_t fed, bool bound = false) const;
  /// The same of the head with most.
  int64_t most(int64_t layer, int64_t fed) const;
  /// The mean over layers and heads.
  double mean(int64_t fed) const;
  /// Slots that a stream of `fed` tokens takes: the most before a round, the token just fed
  /// included; of an adaptive budget the mean.
  int64_t slots(int64_t layer, int64_t head, int64_t fed) const;
  /// Tokens after which a cache is as full as timed steps have it: to the policy's capacity; where
  /// it grows without end, `entries` or a stream of `fed` tokens; where `fed` tokens end before a
  /// second round, what such a stream comes to.
  int64_t full(std::optional<int64_t> entries, int64_t fed) const;
  /// The layer with most entries.
  int64_t widest(int64_t fed) const;

 private:
  const Policy* policy_;
  const ScorePolicy* score_;
  const ReadPolicy* read_;
  std::optional<LayerViews> views_;  // of an index policy
  // Earlier tokens in a local window of a layer: that are kept, and that the model has. 0: there is
  // none.
  std::vector<int64_t> local_, window_;
  int64_t layers_, heads_;
  std::vector<int64_t> capacity_, bound_;  // [layers, heads]
};

}  // namespace sinkbench
