// The oracle of policies that evict by content: one token at a time, keys as they came, weights
// materialised, statistics and eviction written out.
#pragma once

#include "eval/cache/layer_rules.h"
#include "eval/engines/engine.h"

namespace sinkbench {

class ScoredStepwiseEngine final : public Engine {
 public:
  /// Decoder and policy, an index or a score policy, must outlive it.
  ScoredStepwiseEngine(const Decoder& decoder, const Policy& policy,
                       const DecisionOptions& decisions);

  std::vector<at::Tensor> state() const override;
  std::optional<Disagreement> disagreement() const override { return decisions_.disagreement(); }

 private:
  /// The entries of a layer, of all key heads, in the order of the stream.
  struct Entries {
    at::Tensor place;    // int64 [kv_heads, n]
    at::Tensor frozen;   // int64 [kv_heads, n]: how many there were when each came
    at::Tensor key;      // [kv_heads, n, head_dim] before rotation
    at::Tensor value;    // [kv_heads, n, head_dim]
    at::Tensor sum;      // double [kv_heads, n]
    at::Tensor squares;  // double [kv_heads, n]
    at::Tensor rows;     // double [kv_heads, n, rows]
    at::Tensor own;      // double [kv_heads, n, own]
    std::vector<at::Tensor*> parts() {
      return {&place, &frozen, &key, &value, &sum, &squares, &rows, &own};
    }
    at::Tensor queries;  // [heads, t, head_dim] all of them, where a policy asks for their moments
  };
  void check(int64_t fed) const override;
  void prepare() override;
  void restore(const std::vector<at::Tensor>& state) override;
  void advance_piece(const RowSink& sink) override;
  at::Tensor attend(int64_t layer, int64_t t, const Projection& projection);
  void evict(int64_t layer, int64_t t, const at::Tensor& reduced);

  const LayerRules rules_;
  Decisions decisions_;
  std::vector<Entries> entries_;  // of each layer
};

}  // namespace sinkbench
