// Recomputation, the plain way: a forward pass for every scored token.
#pragma once

#include <vector>

#include "eval/engines/decoding.h"
#include "eval/engines/engine.h"
#include "policies/policy.h"

namespace sinkbench {

/// The places in the stream of the tokens of query t's pass, t the last.
std::vector<int64_t> places_of_pass(const RecomputePolicy& policy, int64_t t);

class RecomputeEngine final : public Engine, public Decoding {
 public:
  /// Decoder and policy must outlive it. `in_parts`: attention as attention/parts.h has it,
  /// whatever the device, of models without biases and caps.
  RecomputeEngine(const Decoder& decoder, const RecomputePolicy& policy, bool in_parts = false);

  int64_t stride() const override { return policy_.stride(); }

  /// A step is a pass over tokens of which the last is the one that is fed.
  int64_t enough_to_warm_up() const override { return 2; }
  void fill(std::optional<int64_t> entries, int64_t fed, int64_t steps) override;
  void start(int64_t steps) override;
  at::Tensor step(int32_t id) override;
  int64_t entries() const override {
    return sinkbench::size(policy_.view(static_cast<int64_t>(stepped_.size())));
  }
  /// Of the tensors of one pass, the longest there is on such a stream.
  int64_t kv_bytes_held(int64_t fed) override;
  /// Bytes of keys and values that the tensors of the largest pass so far held together.
  int64_t kv_bytes_held() const { return kv_bytes_held_; }

  /// One pass: the logits [1, vocab] that follow the tokens, causal attention as the model has it,
  /// positions from 0.
  at::Tensor pass(std::span<const int32_t> ids);

 private:
  /// `pass` up to the logits: the residual stream after the last layer, [1, hidden].
  at::Tensor pass_row(std::span<const int32_t> ids);
  void check(int64_t fed) const override;
  void prepare() override { kv_bytes_held_ = 0; }
  void advance_piece(const RowSink& sink) override;

  const RecomputePolicy& policy_;
  const bool in_parts_;
  int64_t kv_bytes_held_ = 0;
  std::vector<int32_t> stepped_;  // all tokens of steps so far
};

}  // namespace sinkbench
