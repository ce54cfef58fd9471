// What a cell will take of memory, before it is run.
#pragma once

#include <cstdint>

#include "eval/experiment/experiment.h"
#include "models/config.h"
#include "policies/policy.h"

namespace sinkbench {

/// In bytes, as floating point because a cell may ask for more than can be counted otherwise.
struct MemoryNeed {
  double weights = 0;
  double cache = 0;    ///< keys and values, of the scoring or of the timed steps, whichever is more
  double scratch = 0;  ///< activations, logits and scores of one block, and tables of biases
  double total() const { return weights + cache + scratch; }
};

/// From the shapes: cache and weights are exact, scratch is what a block's tensors add up to.
/// `weight_bytes`: of the model, as it holds them; `fed`: tokens of the stream's longest piece that
/// are fed; `reference`: the policy of the cell's reference where divergence from another cell is
/// measured, else null.
MemoryNeed memory_need(const Cell& cell, const DecoderConfig& config, int64_t weight_bytes,
                       const Policy& policy, int64_t fed, const Policy* reference = nullptr);

/// Bytes that this process may still take: the least of what the machine has free, what the limits
/// of its control groups and of its address space leave, and $SINKBENCH_MEMORY_MIB where that is
/// set.
double available_memory();

}  // namespace sinkbench
