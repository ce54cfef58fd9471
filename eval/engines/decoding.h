// True one-token steps: what latency and memory are measured on.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <optional>

namespace sinkbench {

class Decoding {
 public:
  virtual ~Decoding() = default;

  /// Steps after which timings have settled, at the latest.
  virtual int64_t enough_to_warm_up() const = 0;

  /// Steps from one round of eviction to the next: so many, or a multiple, show its cost. 1 where a
  /// stream of `fed` tokens ends before a second round.
  virtual int64_t period(int64_t fed) const { return 1; }

  /// Begins anew with a cache as full as it gets (where it grows without end: with `entries`
  /// entries, or those of a stream of `fed` tokens), its keys and values random, with room for
  /// `steps` steps. A step takes the same time as after real tokens. InputError where the model's
  /// learned positions don't reach so far.
  virtual void fill(std::optional<int64_t> entries, int64_t fed, int64_t steps) = 0;
  /// Begins anew with an empty cache and room for `steps` steps. InputError as Method::check has
  /// it.
  virtual void start(int64_t steps) = 0;
  /// Feeds a token, then evicts. Returns the logits [1, vocab].
  virtual at::Tensor step(int32_t id) = 0;
  /// What the next step's query attends to beside itself, where layers differ in those with most.
  virtual int64_t entries() const = 0;

  /// Bytes of keys and values, counted on the tensors that hold them, on a stream of which `fed`
  /// tokens are fed.
  virtual int64_t kv_bytes_held(int64_t fed) = 0;
};

}  // namespace sinkbench
