// The machine's own ceilings, and what share of them the engines reach on a model's shape.
#pragma once

#include <cstdint>
#include <functional>
#include <utility>
#include <vector>

#include "models/decoder.h"
#include "policies/policy.h"

namespace sinkbench {

/// What the machine can do of one kind of work. A shared machine is twice as slow a minute later,
/// so that this is measured again beside whatever is held against it; its operands are made once.
class Ceiling {
 public:
  /// `work`: ways to do so many `units`, the result waited for.
  Ceiling(double units, std::vector<std::function<void()>> work)
      : units_(units), work_(std::move(work)) {}
  /// Units per second, the best of some seconds; each way is tried at least once.
  double measure(double seconds) const;

 private:
  double units_;
  std::vector<std::function<void()>> work_;
};

/// Floating-point operations per second of a 2048 x 2048 x 2048 product (on a GPU, which that
/// leaves idle, of 8192s), in the type in which the engines make products of `dtype` on this
/// machine.
Ceiling product_ceiling(at::ScalarType dtype, at::Device device);

/// Bytes per second that are read of a buffer of so many, again and again: the last-level cache may
/// hold it. By a sum or by a product with a vector, whichever is faster.
Ceiling read_ceiling(int64_t bytes, at::Device device);

/// Floating-point operations of scoring one token: a multiply-add counts two. Products with the
/// weights, the head's included, and query-key and weight-value products over `keys` keys (the
/// query's own among them); norms, rotations, softmax and activations are not counted.
double flops_per_token(const DecoderConfig& config, double keys);

/// Operations of scoring `tokens` tokens under a policy, keys counted token by token.
double scoring_flops(const DecoderConfig& config, const IndexPolicy& policy, int64_t tokens);
/// The same of a policy that recomputes: those that are needed with what windows share, not those
/// of whole passes.
double scoring_flops(const DecoderConfig& config, const RecomputePolicy& policy, int64_t tokens);

/// Bytes that one decode step must read: the weights (of the embedding one row) and the cache.
double decode_bytes(const Decoder& decoder, int64_t cache_entries);

}  // namespace sinkbench
