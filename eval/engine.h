// An engine runs a decoder over a stream under a policy and yields one negative log-likelihood
// per scored token. All engines give the same numbers; they differ in how.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "eval/engine_names.h"
#include "models/decoder.h"
#include "policies/policy.h"

namespace sinkbench {

/// Receives NLLs in nats, of the scored tokens in stream order, a few or many at a time. With a
/// stride of k the i-th is that of token i*k+1 given those before it, else of token i+1.
using NllSink = std::function<void(std::span<const float>)>;

class Engine {
 public:
  virtual ~Engine() = default;

  /// Order: feed token t, score t+1, then evict. The last id is scored but not fed. Needs two ids
  /// or more, each below the vocabulary's size (InputError names the first that isn't).
  virtual void score(std::span<const int32_t> ids, const NllSink& sink) = 0;
};

struct EngineOptions {
  int64_t chunk = 0;  ///< queries per block of the chunked engine; 0: chosen by the engine
};

/// "chunked": blocks as matrix products. "stepwise": one token at a time, the oracle. The decoder
/// and the policy must outlive the engine.
std::unique_ptr<Engine> make_engine(const std::string& name, const Decoder& decoder,
                                    const Policy& policy, const EngineOptions& options);

/// Entries that a policy keeps of a stream of `fed` tokens, at the most: the formula's side of
/// "KV bytes by formula" = entries * kv_bytes_per_token.
int64_t kept_entries(const Policy& policy, int64_t fed);

/// Columns that a table of biases needs: the farthest that a query stands from a key, and one.
int64_t bias_places(const Policy& policy, int64_t fed);

/// Throws InputError with the reason where a model can't be run under a policy on a stream of `fed`
/// tokens: learned positions that a cache would have to shift or that run out, or a query that
/// would see farther than the model's own local window.
void check_policy(const Policy& policy, const DecoderConfig& config, int64_t fed);

/// Throws InputError naming the first id that is outside the model's vocabulary, or a stream of
/// fewer than two ids.
void check_ids(std::span<const int32_t> ids, const DecoderConfig& config);

/// NLL in nats of each target: logits [n, vocab] in any precision, targets int64 [n]; the softmax
/// in `dtype`. Returns [n] in `dtype`.
at::Tensor negative_log_likelihood(const at::Tensor& logits, const at::Tensor& targets,
                                   at::ScalarType dtype);

}  // namespace sinkbench
