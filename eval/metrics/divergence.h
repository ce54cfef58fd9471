// How a cell's predictions differ from those of a reference over the same tokens, computed while
// the cell is scored: no logits are kept.
#pragma once

#include <ATen/core/Tensor.h>

#include <chrono>
#include <deque>
#include <memory>
#include <string>
#include <vector>

#include "eval/engines/method.h"
#include "eval/metrics/batch_means.h"
#include "eval/results/results.h"

namespace sinkbench {

/// KL(p || q) = sum p (log p - log q) in nats of two distributions given by their logits [n, vocab]
/// in any precision, computed in float64: [n] in float64 on the CPU. Exactly 0 for equal logits.
at::Tensor kl_divergence(const at::Tensor& p_logits, const at::Tensor& q_logits);

/// The reference's engine goes with the cell's, a block ahead at the most: of a block only the rows
/// of the residual stream wait, and both logits of few rows at a time exist.
class Divergence {
 public:
  /// Of a cell under `policy` that is scored over `stream`. `reference`: the other cell's engine
  /// and policy, or null where the cell is its own reference. All must outlive this.
  Divergence(const Decoder& decoder, const Policy& policy, const Policy* reference,
             const std::string& engine, const EngineOptions& options, const Stream& stream);

  /// What the cell's engine has scored, in stream order.
  void add(const ScoredRows& scored);
  /// `reference`: the id that the result names.
  DivergenceResult result(const std::string& reference) const;
  /// Wall time so far.
  double seconds() const { return seconds_; }

  /// All that is needed to go on, to the same numbers to the last bit: the reference engine's
  /// state, the rows that wait and the sums. Views, good until the next `add`.
  std::vector<at::Tensor> state() const;
  /// For a new one. InputError where the state is not one of this cell and reference.
  void resume(const std::vector<at::Tensor>& state);

 private:
  /// The reference's rows of these queries: [n, hidden].
  at::Tensor reference_rows(const std::vector<int64_t>& places);
  void compare(const at::Tensor& reference_logits, const at::Tensor& logits);

  const Decoder& decoder_;
  int64_t reference_stride_;
  std::unique_ptr<Engine> engine_;  // null: the cell is its own reference
  std::deque<QueryRows> waiting_;
  BatchMeans kl_, same_top_;
  double kl_max_ = 0;
  double seconds_ = 0;
};

}  // namespace sinkbench
