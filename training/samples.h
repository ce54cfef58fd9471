// The samples a model is trained on, drawn from a sequence of token ids.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "training/config.h"

namespace sinkbench {

/// A batch as two row-major [batch, sample_tokens] arrays.
struct Batch {
  std::vector<int64_t> ids;      // each row: the BOS in most, then text
  std::vector<int64_t> targets;  // the same rows one token on
};

/// The batch of a training step: a function of (seed, step) alone, so that a resumed training sees
/// what an uninterrupted one would. Each sample is a piece of `corpus` from a random place, with
/// `bos_probability` behind a BOS; with `repeat_probability` a passage of it of repeat_min_tokens
/// to repeat_max_tokens stands twice in a row.
Batch training_batch(std::span<const uint16_t> corpus, const ScheduleConfig& schedule, int64_t bos,
                     int64_t step);

/// Samples at even distances over `corpus`, none with a repeated passage.
Batch validation_batch(std::span<const uint16_t> corpus, int64_t sample_tokens, int64_t bos,
                       int64_t first, int64_t count, int64_t total);

}  // namespace sinkbench
