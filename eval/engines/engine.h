// An engine runs a decoder over a stream under a policy and yields one negative log-likelihood
// per scored token. All engines give the same numbers; they differ in how.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "eval/experiment/engine_names.h"
#include "models/decoder.h"
#include "policies/policy.h"

namespace sinkbench {

/// Receives NLLs in nats, of the scored tokens in stream order, a few or many at a time. With a
/// stride of k the i-th is that of token i*k+1 given those before it, else of token i+1.
using NllSink = std::function<void(std::span<const float>)>;

/// What the model made of some queries whose next tokens are scored, in stream order: those at
/// places `first`, `first + step` and so on.
struct QueryRows {
  at::Tensor x;  ///< [n, hidden] the residual stream after the last layer
  int64_t first = 0;
  int64_t step = 1;
};
using RowSink = std::function<void(const QueryRows&)>;

/// The same with what follows from it.
struct ScoredRows {
  at::Tensor logits;           ///< [n, vocab] in the weights' precision
  std::span<const float> nll;  ///< [n] of the next tokens
  int64_t first = 0;
  int64_t step = 1;
};
using ScoreSink = std::function<void(const ScoredRows&)>;

/// Order: feed token t, score t+1, then evict. The last id is scored but not fed.
class Engine {
 public:
  Engine(const Decoder& decoder, const Policy& policy) : decoder_(decoder), policy_(policy) {}
  virtual ~Engine() = default;
  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;

  /// A whole stream: `begin`, then `advance` until it is done.
  void score(std::span<const int32_t> ids, const NllSink& sink);

  /// Prepares for a stream, which must outlive its scoring. Needs two ids or more, each below the
  /// vocabulary's size, and a policy that the model can be run under (InputError says what isn't).
  void begin(std::span<const int32_t> ids);
  /// Feeds the next block of tokens and passes on the NLLs of those after them.
  void advance(const NllSink& sink);
  /// The same in two steps: the block, and, for rows of it, logits and NLLs. The logits of few rows
  /// at a time exist, no more than 2^22 of them or one row's.
  virtual void advance_rows(const RowSink& sink) = 0;
  void score_rows(const QueryRows& rows, const ScoreSink& sink) const;
  bool done() const { return next_ >= fed(); }
  /// Place in the stream of the token that is fed next.
  int64_t next() const { return next_; }

  /// What is carried from one block to the next, between two calls of `advance`: views, good until
  /// the next one.
  virtual std::vector<at::Tensor> state() const { return {}; }
  /// After `begin`: goes on from `next` and the state that was there, with the same numbers to the
  /// last bit. InputError where the state is not one of this model, policy and stream.
  void resume(int64_t next, const std::vector<at::Tensor>& state);

 protected:
  virtual void prepare() {}
  virtual void restore(const std::vector<at::Tensor>& state) {}
  /// Tokens of the stream that are to be fed.
  int64_t fed() const { return static_cast<int64_t>(ids_.size()) - 1; }

  const Decoder& decoder_;
  const Policy& policy_;
  std::span<const int32_t> ids_;
  int64_t next_ = 0;
};

/// For an engine's `restore`: copies the tensors of a state into the places that `state` views.
void copy_state(const std::vector<at::Tensor>& from, const std::vector<at::Tensor>& to);

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
/// tokens: learned positions that a cache would have to shift or that run out, frequencies that
/// would depend on the stream's length, or a query that would see farther than the model's own
/// local window.
void check_policy(const Policy& policy, const DecoderConfig& config, int64_t fed);

/// The most tokens that a query of this model may see, itself among them, by learned positions, a
/// local window or frequencies that would change: the longest stream under dense attention. 0: any.
int64_t longest_sequence(const DecoderConfig& config);

/// Throws InputError naming the first id that is outside the model's vocabulary, or a stream of
/// fewer than two ids.
void check_ids(std::span<const int32_t> ids, const DecoderConfig& config);

/// NLL in nats of each target: logits [n, vocab] in any precision, targets int64 [n]; the softmax
/// in `dtype`. Returns [n] in `dtype`.
at::Tensor negative_log_likelihood(const at::Tensor& logits, const at::Tensor& targets,
                                   at::ScalarType dtype);

}  // namespace sinkbench
