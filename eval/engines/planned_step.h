// A decode step of which all that changes from one step to the next (the token, its place, what its
// query sees, the slot it is kept in) lies in memory of the device: nothing is looked up or decided
// on the host within it, so that on a CUDA device it is recorded once as a graph.
#pragma once

#include <ATen/core/Tensor.h>

#include <array>
#include <cstdint>
#include <optional>
#include <vector>

#include "eval/cache/kv_cache.h"
#include "models/cuda/graph.h"
#include "models/decoder.h"
#include "models/fused.h"

namespace sinkbench {

class PlannedStep {
 public:
  /// Layers that see the same.
  struct Kind {
    int64_t room = 0;                      ///< slots of the cache
    const RotaryConfig* rotary = nullptr;  ///< which must outlive it, or null
  };
  /// What a step's query sees of such layers.
  struct Seen {
    std::vector<uint8_t> range_of_slot;  ///< [room], fused::free_slot where it sees nothing
    int64_t used = 0;                    ///< slots from this one on are free
    int64_t slot = -1;                   ///< for the token that is fed; -1: it isn't kept
    /// Where the query stands for each range; last: for itself.
    std::array<int64_t, fused::step_ranges + 1> places = {};
    std::vector<int64_t> tokens = {};  ///< [room] of each slot, where there are linear biases
  };

  /// Of a model whose heads fused::takes_heads. Decoder and cache, whose tensors stay where they
  /// are, must outlive it.
  PlannedStep(const Decoder& decoder, KvCache& cache, std::vector<Kind> kinds,
              std::vector<int64_t> kind_of_layer);

  /// What the next step, of the token at place t of the stream, sees. On a CUDA device that takes
  /// its turn after the step before.
  void prepare(int64_t t, const std::vector<Seen>& seen);
  /// Feeds the token: the residual stream after the last layer, [1, hidden], good until the next
  /// call.
  at::Tensor run(int64_t id);

 private:
  at::Tensor step();
  void plan(int64_t t, const std::vector<Seen>& seen, bool keep);

  const Decoder& decoder_;
  KvCache& cache_;
  const std::vector<Kind> kinds_;
  const std::vector<int64_t> kind_of_layer_;
  // What a step reads: the token's id; its place t, and of each kind slot, used, places; of all
  // kinds one after another ranges and tokens by slot.
  at::Tensor id_, numbers_, ranges_, tokens_;
  std::vector<at::Tensor> frequencies_;  // of each kind
  at::Tensor counters_;                  // see fused::Step
  at::Tensor slopes_;
  std::optional<Graph> graph_;
};

}  // namespace sinkbench
