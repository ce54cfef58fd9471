// Sliding window with recomputation, many windows in one pass.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "eval/engines/chunked.h"
#include "eval/engines/engine.h"
#include "policies/policy.h"

namespace sinkbench {

/// The same numbers as RecomputeEngine. Windows are independent, so their rows are laid below each
/// other and share every matrix product. The windows that begin with the stream are the prefixes of
/// one pass; in the first layer, whose input does not depend on the window, a token is projected
/// once for all windows that it is in; in the last one only each window's last row is carried on.
class BatchedRecomputeEngine final : public Engine {
 public:
  /// Decoder and policy must outlive it.
  /// `in_parts`: attention as attention/parts.h has it, whatever the device, of models without
  /// biases and caps.
  BatchedRecomputeEngine(const Decoder& decoder, const RecomputePolicy& policy,
                         bool in_parts = false);

  int64_t stride() const override { return policy_.stride(); }
  std::vector<at::Tensor> state() const override;

  /// Rows of all windows of a pass together, where one window does not have more.
  static constexpr int64_t rows_at_once = 2048;

 private:
  void check(int64_t fed) const override;
  void prepare() override;
  void advance_piece(const RowSink& sink) override;
  void restore(const std::vector<at::Tensor>& state) override;
  /// The residual stream after the last layer, [n, hidden], of `queries`, places in the stream
  /// whose windows are of one size.
  at::Tensor pass(std::span<const int64_t> queries);

  const RecomputePolicy& policy_;
  const bool in_parts_;
  // The windows that begin with the stream are those of its first `prefix_` queries; what scores
  // them, as long as they last.
  int64_t prefix_ = 0;
  class Prefix final : public IndexPolicy {
   public:
    View view(int64_t, int64_t t) const override { return {{0, t}}; }
    std::optional<int64_t> capacity() const override { return std::nullopt; }
    bool keeps_all() const override { return true; }
    std::string label() const override { return "prefix"; }
  };
  const Prefix whole_ = {};
  std::optional<ChunkedEngine> prefix_engine_;
};

}  // namespace sinkbench
