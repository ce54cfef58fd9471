// The oracle of policies that evict by content: one token at a time, keys as they came, weights
// materialised, statistics and eviction written out.
#pragma once

#include "eval/cache/layer_rules.h"
#include "eval/engines/engine.h"

namespace sinkbench {

class ScoredStepwiseEngine final : public Engine {
 public:
  /// Decoder and policy, an index or a score policy, must outlive it.
  ScoredStepwiseEngine(const Decoder& decoder, const Policy& policy, const EngineOptions& options);

  std::vector<at::Tensor> state() const override;
  std::optional<Disagreement> disagreement() const override { return decisions_.disagreement(); }

 private:
  /// The entries of a key head, in the order of the stream.
  struct Entries {
    at::Tensor place;    // int64 [n]
    at::Tensor frozen;   // int64 [n]: how many there were when each came
    at::Tensor key;      // [n, head_dim] before rotation
    at::Tensor value;    // [n, head_dim]
    at::Tensor sum;      // double [n]
    at::Tensor squares;  // double [n]
    at::Tensor rows;     // double [n, rows]
    at::Tensor own;      // double [n, own]
    std::vector<at::Tensor*> parts() {
      return {&place, &frozen, &key, &value, &sum, &squares, &rows, &own};
    }
    at::Tensor queries;  // [group, t, head_dim] all of them, where a policy asks for their moments
  };
  void check(int64_t fed) const override;
  void prepare() override;
  void restore(const std::vector<at::Tensor>& state) override;
  void advance_piece(const RowSink& sink) override;
  /// Attention of token t, whose projection is row `row`; those after it are of later tokens.
  at::Tensor attend(int64_t layer, int64_t t, const Projection& projection, int64_t row);
  /// The softmax weights of a query head's query over these keys, the last its own, which stand at
  /// `where`. [n]
  at::Tensor weights(int64_t layer, int64_t query_head, const at::Tensor& query,
                     const at::Tensor& keys, const at::Tensor& where) const;
  /// Where a layer's keys stand, by their places in the stream and how many entries there were when
  /// each came, for the query that came last.
  at::Tensor positions(int64_t layer, const at::Tensor& place, const at::Tensor& frozen) const;
  /// For rotated keys [n, head_dim], the last the query's own: which of them the query head reads.
  /// Bool [n], or undefined where it reads all of them.
  at::Tensor read(int64_t layer, const at::Tensor& query, const at::Tensor& keys) const;
  /// What is left of these weights, one for each query head, over the heads of a group or, where
  /// all heads keep the same tokens, of all groups: one for each key head.
  std::vector<at::Tensor> reduce(int64_t layer, const std::vector<at::Tensor>& weights) const;
  /// What later tokens would give each head's entries if nothing left before.
  std::vector<at::Tensor> look_ahead(int64_t layer, int64_t t, const Projection& projection,
                                     int64_t row) const;
  /// `reduced`: of each head, what the query gave its entries.
  void evict(int64_t layer, int64_t t, const std::vector<at::Tensor>& reduced,
             const Projection& projection, int64_t row);

  const LayerRules rules_;
  Decisions decisions_;
  std::vector<std::vector<Entries>> entries_;  // [layers][kv_heads]
};

}  // namespace sinkbench
