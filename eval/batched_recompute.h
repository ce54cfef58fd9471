// Sliding window with recomputation, many windows in one pass.
#pragma once

#include <vector>

#include "eval/engine.h"

namespace sinkbench {

/// The same numbers as RecomputeEngine. Windows are independent, so their rows are laid below each
/// other and share every matrix product. The windows that begin with the stream are the prefixes of
/// one pass; in the first layer, whose input does not depend on the window, a token is projected
/// once for all windows that it is in; in the last one only each window's last row is carried on.
class BatchedRecomputeEngine final : public Engine {
 public:
  /// For a policy that recomputes.
  BatchedRecomputeEngine(const Decoder& decoder, const Policy& policy)
      : decoder_(decoder), policy_(policy) {}

  void score(std::span<const int32_t> ids, const NllSink& sink) override;

  /// Rows of all windows of a pass together, where one window does not have more.
  static constexpr int64_t rows_at_once = 2048;

 private:
  /// NLLs of the tokens after `queries`, places in the stream whose windows are of one size.
  std::vector<float> pass(std::span<const int32_t> ids, std::span<const int64_t> queries);

  const Decoder& decoder_;
  const Policy& policy_;
};

}  // namespace sinkbench
