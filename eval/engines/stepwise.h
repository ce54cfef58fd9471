// One token at a time through a cache that holds only what the policy keeps: the oracle for
// perplexity, and what latency and memory are measured on.
#pragma once

#include <memory>
#include <optional>

#include "eval/engines/engine.h"
#include "eval/cache/kv_cache.h"
#include "models/alibi.h"

namespace sinkbench {

class StepwiseEngine final : public Engine {
 public:
  StepwiseEngine(const Decoder& decoder, const Policy& policy);

  void advance_rows(const RowSink& sink) override;
  std::vector<at::Tensor> state() const override;

  /// Empties the cache and allocates it for a stream of which `fed` tokens will be fed.
  void reset(int64_t fed);
  /// Feeds the next token of the stream, then evicts. Returns the logits [1, vocab].
  at::Tensor step(int32_t id);
  /// As if `count` tokens had been fed: the cache is filled with random keys and values. A step
  /// takes the same time as after real ones; for timing a full cache without filling it.
  void fill(int64_t count);
  /// Bytes of keys and values that the cache's tensors hold.
  int64_t kv_bytes_held() const { return cache_ ? cache_->bytes() : 0; }
  int64_t cache_entries() const { return slots_.entries(); }

 private:
  /// What all layers of a step share.
  struct Step {
    std::vector<Segment> segments;  // what the query sees in the cache
    at::Tensor bias;                // [heads, slots], 0 for the query itself; or undefined
  };
  // One layer's attention by the kernel, and by plain tensor operations for other devices and
  // precisions. queries: [ranges + 1, heads, head_dim], for each range and then for the query
  // itself; own_key, own_value: [1, kv_heads, head_dim]. Returns [1, heads * head_dim].
  at::Tensor attend_by_kernel(const Step& step, int64_t layer, const at::Tensor& queries,
                              const at::Tensor& own_key, const at::Tensor& own_value);
  at::Tensor attend_by_tensors(const Step& step, int64_t layer, const at::Tensor& queries,
                               const at::Tensor& own_key, const at::Tensor& own_value);

  /// `step` up to the logits: the residual stream after the last layer, [1, hidden].
  at::Tensor step_row(int32_t id);
  void prepare() override { reset(fed()); }
  void restore(const std::vector<at::Tensor>& state) override;

  SlotMap slots_;
  std::unique_ptr<KvCache> cache_;
  std::optional<AlibiTable> bias_;
};

}  // namespace sinkbench
