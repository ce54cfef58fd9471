// How policies of a kind are run. The one place that tells the kinds apart: whoever runs, measures
// or foresees asks a method.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "eval/engines/decoding.h"
#include "eval/engines/engine.h"
#include "eval/experiment/engine_names.h"
#include "policies/policy.h"

namespace sinkbench {

/// What scoring or decoding takes of memory beside the weights, in bytes.
struct Footprint {
  double cache = 0;    ///< keys and values
  double scratch = 0;  ///< activations, scores, tables
};

class Method {
 public:
  virtual ~Method() = default;

  /// Throws InputError with the reason where the model can't be run under the policy on a stream of
  /// `fed` tokens: learned positions that a cache would have to shift or that run out, frequencies
  /// that would depend on the stream's length, or a query that would see farther than the model's
  /// own local window.
  virtual void check(int64_t fed) const = 0;

  /// "chunked": blocks as matrix products. "stepwise": one token at a time, the oracle.
  virtual std::unique_ptr<Engine> engine(const std::string& name, const Decoder& decoder,
                                         const EngineOptions& options) const = 0;
  virtual std::unique_ptr<Decoding> decoding(const Decoder& decoder) const = 0;

  /// Whether tokens can be decoded one by one: not under a policy that sees queries before they
  /// come.
  virtual bool decodes() const { return true; }
  /// Every how many tokens one is scored.
  virtual int64_t stride() const { return 1; }
  /// Whether timed steps take a length: the cache grows with the stream.
  virtual bool grows() const = 0;
  /// For each token of a stream of queries the last one that sees it, for each key head of each
  /// layer, or once for all of its heads. Runs the model where the policy looks at what it keeps.
  virtual std::vector<std::vector<std::vector<int64_t>>> last_seen(
      const Decoder& decoder, std::span<const int32_t> ids) const = 0;

  /// Entries kept of a stream of `fed` tokens, at the most, where layers differ in those with most.
  virtual int64_t kept(int64_t fed) const = 0;
  /// The mean over layers and key heads of what each keeps at the most.
  virtual double mean_kept(int64_t fed) const { return static_cast<double>(kept(fed)); }
  /// The formula's side of "KV bytes": entries of each layer times bytes of an entry, for elements
  /// of so many bytes.
  virtual int64_t kv_bytes(int64_t fed, int64_t element) const = 0;
  virtual Footprint scoring(const std::string& engine, at::ScalarType dtype,
                            const EngineOptions& options, int64_t fed) const = 0;
  /// Of the cache whose bytes Decoding::kv_bytes_held counts.
  virtual Footprint holding(at::ScalarType dtype, int64_t fed) const {
    return scoring("stepwise", dtype, {}, fed);
  }
  /// Of last_seen, on so many tokens.
  virtual Footprint seeing(at::ScalarType dtype, int64_t tokens) const { return {}; }
  /// Of timed steps: `steps` after a cache of `entries` (as Decoding::fill has it).
  virtual Footprint timing(at::ScalarType dtype, std::optional<int64_t> entries, int64_t fed,
                           int64_t steps) const = 0;
};

/// Bytes of the logits that exist at once where whole rows of them are needed, not NLLs alone, of
/// which Method::scoring speaks.
double whole_logits(const DecoderConfig& config, at::ScalarType dtype, int64_t fed);

/// The policy must outlive it. `storage`: of the keys and values that it keeps.
std::unique_ptr<Method> make_method(const Policy& policy, const DecoderConfig& config,
                                    const StorageSpec& storage = {});

/// Shorthand for a method's engine, whose policy and decoder must outlive it.
std::unique_ptr<Engine> make_engine(const std::string& name, const Decoder& decoder,
                                    const Policy& policy, const EngineOptions& options);
/// Shorthand for a method's check.
void check_policy(const Policy& policy, const DecoderConfig& config, int64_t fed);

}  // namespace sinkbench
