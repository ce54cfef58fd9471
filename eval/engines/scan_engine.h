// Blocks of a stream under a policy that evicts by content, or under one by index whose positions
// only a scan can have: every layer's products whole, its attention by LayerScan. With blocks of
// one token it is what latency and memory are measured on.
#pragma once

#include <limits>
#include <memory>

#include "eval/engines/decoding.h"
#include "eval/engines/engine.h"
#include "eval/engines/layer_scan.h"

namespace sinkbench {

class ScanEngine final : public Engine, public Decoding {
 public:
  /// Decoder and policy must outlive it. `options.chunk` as in ChunkedEngine.
  ScanEngine(const Decoder& decoder, const Policy& policy, const EngineOptions& options);

  std::vector<at::Tensor> state() const override { return scan_->state(); }
  std::optional<Disagreement> disagreement() const override { return decisions_.disagreement(); }

  int64_t enough_to_warm_up() const override { return std::numeric_limits<int64_t>::max(); }
  int64_t period(int64_t fed) const override;
  void fill(std::optional<int64_t> entries, int64_t fed, int64_t steps) override;
  void start(int64_t steps) override;
  at::Tensor step(int32_t id) override;
  int64_t entries() const override;
  int64_t kv_bytes_held(int64_t fed) override;

 private:
  void check(int64_t fed) const override;
  void prepare() override;
  void restore(const std::vector<at::Tensor>& state) override;
  void advance_piece(const RowSink& sink) override;
  /// The residual stream after the last layer of these tokens, which stand at `begin` and after it.
  /// Where rounds look ahead, they are the whole piece: layer after layer, each in blocks.
  at::Tensor run_block(std::span<const int32_t> ids, int64_t begin);
  int64_t block_size() const;

  const LayerRules rules_;
  Decisions decisions_;
  std::unique_ptr<LayerScan> scan_;
  int64_t chunk_;
};

}  // namespace sinkbench
