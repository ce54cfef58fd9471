// Sliding window with recomputation, many windows in one pass.
#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "eval/engines/chunked.h"
#include "eval/engines/engine.h"
#include "policies/registry.h"

namespace sinkbench {

/// The same numbers as RecomputeEngine. Windows are independent, so their rows are laid below each
/// other and share every matrix product. The windows that begin with the stream are the prefixes of
/// one pass; in the first layer, whose input does not depend on the window, a token is projected
/// once for all windows that it is in; in the last one only each window's last row is carried on.
class BatchedRecomputeEngine final : public Engine {
 public:
  /// For a policy that recomputes.
  using Engine::Engine;

  void advance_rows(const RowSink& sink) override;
  std::vector<at::Tensor> state() const override;

  /// Rows of all windows of a pass together, where one window does not have more.
  static constexpr int64_t rows_at_once = 2048;

 private:
  void prepare() override;
  void restore(const std::vector<at::Tensor>& state) override;
  /// The residual stream after the last layer, [n, hidden], of `queries`, places in the stream
  /// whose windows are of one size.
  at::Tensor pass(std::span<const int64_t> queries);

  // The windows that begin with the stream are those of its first `prefix_` queries; what scores
  // them, as long as they last.
  int64_t prefix_ = 0;
  std::unique_ptr<Policy> dense_ = make_policy("dense", {});
  std::optional<ChunkedEngine> prefix_engine_;
};

}  // namespace sinkbench
