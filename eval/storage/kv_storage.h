// Keys and values as a cache stores them: quantised once, when they are written.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>

#include "eval/experiment/storage_spec.h"
#include "eval/storage/codec.h"
#include "models/decoder.h"
#include "models/rotary.h"

namespace sinkbench {

class KvStorage {
 public:
  /// InputError where the model's heads can't have the form.
  KvStorage(const StorageSpec& spec, const DecoderConfig& config);

  /// Of one token and key head; `element`: bytes of a number of the run's own precision.
  int64_t key_bytes(int64_t element) const;
  int64_t value_bytes(int64_t element) const;

  /// Null: in the run's own precision.
  const Codec* keys() const { return keys_.get(); }
  const Codec* values() const { return values_.get(); }

  /// What attention sees of a projection whose first row stands at place `begin` of the stream:
  /// keys stored as they are rotated at their own places, and rotated back. Keys and values become
  /// float32, or float64 where they are; `rotary` is that of the layer, or null.
  Projection stored(const Projection& projection, const RotaryConfig* rotary, int64_t begin) const;

  /// How many first tokens' values are stored as zero.
  int64_t zero_values() const { return zero_values_; }
  /// Whether keys and values are in the run's own precision.
  bool keeps_all() const { return !keys_ && !values_; }

 private:
  int64_t zero_values_;
  int64_t head_dim_;
  std::unique_ptr<Codec> keys_, values_;
};

/// Rows [n, heads, d] as bytes [n, heads, row_bytes], and back as float32: worked out on the CPU,
/// and on the device of what they are made from.
at::Tensor encode_rows(const Codec& codec, const at::Tensor& rows);
at::Tensor decode_rows(const Codec& codec, const at::Tensor& bytes, int64_t numbers);
/// Of a cache's bytes [heads, slots, row_bytes] the first `used` slots of each head, as float32
/// [heads, slots, numbers]; what lies beyond them is anything.
at::Tensor decode_slots(const Codec& codec, const at::Tensor& bytes, int64_t used, int64_t numbers);

}  // namespace sinkbench
