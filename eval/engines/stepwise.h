// One token at a time through a cache that holds only what the policy keeps: the oracle for
// perplexity, and what latency and memory are measured on.
#pragma once

#include <limits>
#include <memory>
#include <optional>
#include <vector>

#include "eval/cache/kv_cache.h"
#include "eval/cache/layer_views.h"
#include "eval/engines/decoding.h"
#include "eval/engines/engine.h"
#include "eval/engines/planned_step.h"
#include "models/alibi.h"
#include "models/rotary.h"

namespace sinkbench {

class StepwiseEngine final : public Engine, public Decoding {
 public:
  /// Decoder and policy must outlive it. `planned`: steps as planned_step.h has them where views
  /// allow it, whatever the device; they are on a CUDA device.
  StepwiseEngine(const Decoder& decoder, const IndexPolicy& policy, bool planned = false,
                 const StorageSpec& storage = {});

  std::vector<at::Tensor> state() const override;

  /// Empties the cache and allocates it for a stream of which `fed` tokens will be fed.
  void reset(int64_t fed);
  int64_t enough_to_warm_up() const override { return std::numeric_limits<int64_t>::max(); }
  void fill(std::optional<int64_t> entries, int64_t fed, int64_t steps) override;
  void start(int64_t steps) override;
  at::Tensor step(int32_t id) override;
  int64_t entries() const override { return kinds_[views_.widest()].slots.entries(); }
  int64_t kv_bytes_held(int64_t fed) override;
  /// The same of the cache as it is.
  int64_t kv_bytes_held() const { return cache_ ? cache_->bytes() : 0; }

 private:
  /// How a kind's keys are put at their distance from a query.
  enum class Placing {
    by_range,  ///< stored at their place in the stream; a query for each range of its view
    as_is,     ///< stored so, and the query at its own place
    by_rank    ///< stored before rotation; each step puts them at their ranks
  };
  /// What is kept for layers that see the same.
  struct Kind {
    SlotMap slots{{}};
    int64_t room = 0;  // slots of the cache
    Placing placing = Placing::by_range;
    std::optional<AlibiTable> bias;
    const RotaryConfig* rotary = nullptr;
    RotaryTable ranks;  // by_rank: a row for each rank, the query's too
  };
  /// What all layers of a kind share of a step.
  struct Step {
    std::vector<Segment> segments;  // what the query sees in the cache
    std::vector<int64_t> ranked;    // by_rank: the slot of each rank
    std::vector<int64_t> tokens;    // by_rank: the token of each slot
    int64_t own_place = 0;          // where the query stands for itself
    at::Tensor bias;                // [heads, slots], 0 for the query itself; or undefined
    int64_t slot = -1;              // for the token that is fed; -1: it isn't kept
    RotaryTable table;  // row i: the query's place for range i; last: for itself, and its key's
    RotaryTable own;    // the last row
    int64_t rows = 1;
  };
  /// A planned step, and the slots after it.
  struct Planned {
    int64_t t = 0;
    std::vector<PlannedStep::Seen> seen;
    std::vector<SlotMap> after;
  };
  Planned plan_step(int64_t t) const;
  at::Tensor planned_row(int32_t id);
  Step begin_step(int64_t kind, int64_t t);
  /// Keys and values of a layer as they are attended to, [kv_heads, slots, head_dim].
  at::Tensor placed_keys(const Kind& kind, const Step& step, int64_t layer);
  at::Tensor held_values(const Kind& kind, int64_t layer);
  /// What a codec stores, at the ranks of `step`: each from its place in the stream.
  at::Tensor moved_keys(const Kind& kind, const Step& step, const at::Tensor& keys);
  /// A row of keys or values [1, kv_heads, head_dim] as `codec` stores it: its bytes, and what they
  /// stand for, which takes its place.
  static at::Tensor store(const Codec& codec, at::Tensor& row);
  // One layer's attention by the kernel, and by plain tensor operations for other devices and
  // precisions. query: [ranges + 1, heads, head_dim], rows to be placed for each range and then for
  // the query itself; own_key, own_value: [1, kv_heads, head_dim]. Returns [1, heads * head_dim].
  at::Tensor attend_by_kernel(const Kind& kind, const Step& step, int64_t layer,
                              const at::Tensor& keys, const at::Tensor& values,
                              const at::Tensor& query, const at::Tensor& own_key,
                              const at::Tensor& own_value);
  at::Tensor attend_by_tensors(const Kind& kind, const Step& step, int64_t layer,
                               const at::Tensor& keys, const at::Tensor& values,
                               const at::Tensor& query, const at::Tensor& own_key,
                               const at::Tensor& own_value);

  /// `step` up to the logits: the residual stream after the last layer, [1, hidden].
  at::Tensor step_row(int32_t id);
  void check(int64_t fed) const override;
  void prepare() override { reset(fed()); }
  void restore(const std::vector<at::Tensor>& state) override;
  void advance_piece(const RowSink& sink) override;
  bool uses_kernel() const;

  const LayerViews views_;
  std::vector<Kind> kinds_;
  std::unique_ptr<KvCache> cache_;
  at::Tensor placed_;  // by_rank: room for the keys of one layer
  const bool plans_;
  int64_t fed_ = 0;                     // of the stream that there is room for
  std::optional<PlannedStep> planned_;  // where all kinds can be
  std::optional<Planned> ahead_;        // the next step, thought out while a device works
};

}  // namespace sinkbench
