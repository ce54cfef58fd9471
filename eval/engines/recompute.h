// Sliding window with recomputation, the plain way: a forward pass for every scored token.
#pragma once

#include <vector>

#include "eval/engines/engine.h"

namespace sinkbench {

/// For a policy that recomputes: the places in the stream of the tokens of query t's pass, t the
/// last.
std::vector<int64_t> places_of_pass(const Policy& policy, int64_t t);

class RecomputeEngine final : public Engine {
 public:
  /// For a policy that recomputes.
  using Engine::Engine;

  void advance_rows(const RowSink& sink) override;
  /// Bytes of keys and values that the tensors of the largest pass so far held together.
  int64_t kv_bytes_held() const { return kv_bytes_held_; }

  /// One pass: the logits [1, vocab] that follow the tokens, dense causal attention, positions
  /// from 0.
  at::Tensor pass(std::span<const int32_t> ids);

 private:
  /// `pass` up to the logits: the residual stream after the last layer, [1, hidden].
  at::Tensor pass_row(std::span<const int32_t> ids);
  void prepare() override { kv_bytes_held_ = 0; }

  int64_t kv_bytes_held_ = 0;
};

}  // namespace sinkbench
