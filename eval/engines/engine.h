// An engine runs a decoder over a stream under a policy and yields one negative log-likelihood
// per scored token. All engines give the same numbers; they differ in how.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <vector>

#include "eval/engines/decisions.h"
#include "eval/storage/kv_storage.h"
#include "models/decoder.h"

namespace sinkbench {

/// Receives NLLs in nats, of the scored tokens in stream order, a few or many at a time: as the
/// run's precision has them, float64 or float32 widened. With a stride of k the i-th is that of
/// token i*k+1 of a piece given those before it, else of token i+1.
using NllSink = std::function<void(std::span<const double>)>;

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
  at::Tensor logits;            ///< [n, vocab] in the weights' precision; undefined: not asked for
  std::span<const double> nll;  ///< [n] of the next tokens
  int64_t first = 0;
  int64_t step = 1;
};
using ScoreSink = std::function<void(const ScoredRows&)>;

/// The stream that an engine is to score: ids, and where its pieces begin. Each piece is run from
/// an empty cache, t from 0; the first token of a piece is fed, not scored, the last scored, not
/// fed.
struct Stream {
  std::span<const int32_t> ids;
  std::vector<int64_t> pieces = {0};  ///< ascending from 0, each two tokens long or more

  int64_t piece_end(size_t piece) const;  ///< place of the id after its last
  int64_t fed() const;                    ///< tokens that are fed, of all pieces
  int64_t longest() const;                ///< tokens that are fed of the longest piece
  int64_t scored(int64_t stride) const;   ///< tokens that a stride leaves to be scored
};

/// Order: feed token t, score t+1, then evict.
class Engine {
 public:
  explicit Engine(const Decoder& decoder, const StorageSpec& storage = {})
      : decoder_(decoder), storage_(storage, decoder.config()) {}
  virtual ~Engine() = default;
  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;

  /// A whole stream: `begin`, then `advance` until it is done.
  void score(const Stream& stream, const NllSink& sink);
  void score(std::span<const int32_t> ids, const NllSink& sink) { score(Stream{ids}, sink); }

  /// Prepares for a stream, whose ids must outlive its scoring. Needs two ids or more, each below
  /// the vocabulary's size, and a policy that the model can be run under (InputError says what
  /// isn't).
  void begin(const Stream& stream);
  void begin(std::span<const int32_t> ids) { begin(Stream{ids}); }
  /// Feeds the next block of tokens and passes on the NLLs of those after them.
  void advance(const NllSink& sink);
  /// The same in two steps: the block, and, for rows of it, NLLs and, if asked for, logits, of
  /// which few exist at a time (models/logits_at_once.h).
  void advance_rows(const RowSink& sink);
  void score_rows(const QueryRows& rows, bool with_logits, const ScoreSink& sink) const;
  bool done() const { return piece_ == stream_.pieces.size(); }
  /// Place in the stream of the token that is fed next; of a stream that is done, of its last.
  int64_t next() const {
    return done() ? stream_.piece_end(piece_ - 1) - 1 : piece_begin() + next_;
  }
  /// Every how many tokens of a piece one is scored.
  virtual int64_t stride() const { return 1; }

  /// What is carried from one block to the next, between two calls of `advance`: views, good until
  /// the next one.
  virtual std::vector<at::Tensor> state() const { return {}; }
  /// Where decisions are followed: the first round that would have chosen otherwise.
  virtual std::optional<Disagreement> disagreement() const { return {}; }

  /// After `begin`: goes on from `next` and the state that was there, with the same numbers to the
  /// last bit. InputError where the state is not one of this model, policy and stream.
  void resume(int64_t next, const std::vector<at::Tensor>& state);

 protected:
  /// Whether the model can be run under the policy on pieces of which `fed` tokens are fed.
  virtual void check(int64_t fed) const = 0;
  /// A piece begins: ids_ is the piece, next_ is 0.
  virtual void prepare() {}
  virtual void restore(const std::vector<at::Tensor>& state) {}
  /// Feeds the next block of the piece and moves next_; places of rows are those in the piece.
  virtual void advance_piece(const RowSink& sink) = 0;
  size_t piece() const { return piece_; }
  /// Tokens of the piece that are to be fed.
  int64_t fed() const { return static_cast<int64_t>(ids_.size()) - 1; }

  /// Decoder::project of rows that begin at a place of the piece, keys and values as they are
  /// stored.
  Projection project(int64_t layer, const at::Tensor& x, int64_t begin) const;

  const Decoder& decoder_;
  const KvStorage storage_;
  std::span<const int32_t> ids_;
  int64_t next_ = 0;

 private:
  void begin_piece(size_t piece);
  int64_t piece_begin() const { return stream_.pieces[piece_]; }

  Stream stream_;
  size_t piece_ = 0;
};

/// For an engine's `restore`: copies the tensors of a state into the places that `state` views.
void copy_state(const std::vector<at::Tensor>& from, const std::vector<at::Tensor>& to);

struct EngineOptions {
  int64_t chunk = 0;  ///< queries per block of the chunked engine; 0: chosen by the engine
  DecisionOptions decisions = {};  ///< of a score policy
  StorageSpec storage = {};        ///< of keys and values
  at::Device device = at::kCPU;    ///< of what is foreseen; an engine has its decoder's
};

/// The most tokens that a query of this model may see, itself among them, by learned positions, a
/// local window of all layers or frequencies that would change: the longest stream under dense
/// attention, but for local windows, which dense attention has as the model does. 0: any.
int64_t longest_sequence(const DecoderConfig& config);

/// Throws InputError naming the first id that is outside the model's vocabulary, or a stream of
/// fewer than two ids.
void check_ids(std::span<const int32_t> ids, const DecoderConfig& config);

}  // namespace sinkbench
