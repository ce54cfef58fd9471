// The machine's own ceilings, and what share of them the engines reach on a model's shape.
#pragma once

#include <cstdint>

#include "models/decoder.h"
#include "policies/policy.h"

namespace sinkbench {

/// Floating-point operations per second of a 2048 x 2048 x 2048 product (on a GPU, which that
/// leaves idle, of 8192s), the best of some seconds.
double product_flops(at::ScalarType dtype, at::Device device, double seconds);

/// Bytes per second that are read of a buffer of so many, again and again: the last-level cache may
/// hold it. The best of some seconds, by a sum or by a product with a vector.
double read_rate(int64_t bytes, at::Device device, double seconds);

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
