// Policies that choose by content: by the attention that an entry receives, by its key or value. A
// policy says which statistics it needs and gives every kept entry a score; engines own and update
// the statistics, evict the lowest scores, and see to protection, ties and positions. See
// docs/policies.md for the contract.
#pragma once

#include <algorithm>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "policies/budget.h"
#include "policies/policy.h"

namespace sinkbench {

/// What is common to all of them.
struct Retention {
  std::string name;     ///< the policy's
  std::string cache;    ///< as Policy::cache
  Budget budget;        ///< entries kept by a round, the token just fed included
  int64_t sinks = 4;    ///< first tokens of the stream, never evicted
  int64_t recent = 16;  ///< last entries, never evicted; sinks + recent <= capacity
  int64_t every = 1;    ///< a round after each token t with (t + 1) % every == 0
  /// The first tokens of a piece that are read before anything is evicted; a round follows, and
  /// then those of above.
  int64_t prompt = 0;
  enum class Reduce { mean, max } reduce = Reduce::mean;  ///< of the weights of a key head's group
  enum class Scope { head, layer } scope = Scope::head;   ///< layer: all heads keep the same tokens
  /// What a score that is a share of the attention is combined with; see policies/values.h.
  enum class Values { none, norm, caote, fast_caote } values = Values::none;
  uint64_t seed = 0;

  int64_t guarded() const { return sinks + recent; }
  bool is_round(int64_t t) const {
    return t + 1 == prompt || (t + 1 > prompt && (t + 1) % every == 0);
  }
  /// The tokens that have been fed at the first round after token t or later.
  int64_t next_round(int64_t t) const { return t < prompt ? prompt : (t / every + 1) * every; }
  /// The tokens that have been fed at the last round before token t; 0: there was none.
  int64_t last_round(int64_t t) const {
    return t < prompt ? 0 : std::max(prompt, t / every * every);
  }
};

/// Statistics that a policy asks for. "Weight": the softmax weight that a query gives an entry, its
/// own token's included, reduced over the query heads that share the entry.
struct Needs {
  bool sum = false;          ///< of all weights so far, in float64
  double decay = 1.0;        ///< by which the sum is multiplied before each query's weight is added
  bool squares = false;      ///< sum of the weights' squares, in float64
  bool last = false;         ///< weight of the last query
  int64_t rows = 0;          ///< weights of the last so many queries
  int64_t own = 0;           ///< numbers of each entry that `observe` sees to
  bool keys = false;         ///< keys, rotated at their place in the stream
  bool values = false;       ///< values
  bool entry_score = false;  ///< what `enter` says of each entry
  bool queries = false;      ///< moments of the queries so far, but for those of the first `sinks`
  /// Weights that the next so many queries of the piece will give: no cache that is in use can know
  /// them, so that such a policy can be scored and not decoded with.
  int64_t ahead = 0;
  bool weights() const { return sum || squares || last || rows > 0 || own > 0; }
};

/// Numbers of entries, a row for each of some statistic: number i of row r at r * stride + i.
template <typename T>
struct Rows {
  T* data = nullptr;
  int64_t stride = 0;
  T* operator[](int64_t row) const { return data + row * stride; }
};

/// A query has seen the entries of a key head.
struct Observation {
  int64_t layer, head;
  int64_t t;                        ///< the query's place
  std::span<const int64_t> place;   ///< [n] in the stream, the query's own the last
  std::span<const double> weights;  ///< [n] reduced
};

/// Of the queries of each query head of a group, before rotation.
struct QueryMoments {
  int64_t count = 0;
  std::span<const double> sum;       ///< [group, head_dim]
  std::span<const double> products;  ///< [group, head_dim, head_dim] sums of products of two
  double scale = 1.0;                ///< by which the product of a query and a key is multiplied
};

/// How the model rotates what stands at place p: dimensions c and c + frequencies.size() by
/// p * frequencies[c], and what is rotated is multiplied by `magnitude`.
struct Rotation {
  std::span<const double> frequencies;
  double magnitude = 1.0;
};

/// What comes into the cache.
struct Entry {
  int64_t layer, head, place;
  std::span<const double> key;      ///< [head_dim] before rotation
  std::span<const double> rotated;  ///< where keys are asked for: at its place in the stream
};

/// The entries of one key head at a round, in the order of the stream.
struct Round {
  int64_t layer = 0, head = 0;
  int64_t next = 0;  ///< place of the next token; rounds are numbered by it
  int64_t keep = 0;  ///< entries that the round leaves; of an adaptive budget the mean
  std::span<const int64_t> place = {};   ///< [n] in the stream
  std::span<const double> sum = {};      ///< [n], those that are asked for
  std::span<const double> squares = {};  ///< [n]
  std::span<const double> last = {};     ///< [n]
  /// [rows of Needs], n of each: the weights that query t gave are in row t % rows; 0 where that
  /// was before the entry came.
  Rows<const double> rows = {};
  int64_t row_count = 0;              ///< rows that there are so far
  Rows<const double> own = {};        ///< [own of Needs], n of each
  std::span<const double> keys = {};  ///< [n, head_dim]
  int64_t head_dim = 0;
  std::span<const double> values = {};  ///< [n, value_dim]
  int64_t value_dim = 0;  ///< head_dim; with scope: layer, the key heads' values one after another
  std::span<const double> entry_score = {};  ///< [n]
  QueryMoments queries = {};
  Rotation rotation = {};
  /// [n] sum over the next queries, as many as there are up to `ahead` of Needs, of what they would
  /// give an entry if nothing left before.
  std::span<const double> ahead = {};
  /// Queries that saw an entry, its own among them.
  double seen(size_t i) const { return static_cast<double>(next - place[i]); }
};

class ScorePolicy : public Policy {
 public:
  explicit ScorePolicy(Retention retention) : retention_(std::move(retention)) {}

  virtual Needs needs() const = 0;
  /// A score of its own for an entry that comes, where that is asked for.
  virtual double enter(const Entry&) const { return 0; }
  /// After each query, where numbers of its own are asked for: [own of Needs], n of each; those of
  /// the entry that has just come are 0.
  virtual void observe(const Observation&, Rows<double> own) const {}
  /// The score of each entry: [n], the highest stay. Pure; called for several heads at once.
  virtual void score(const Round& round, std::span<double> scores) const = 0;

  const Retention& retention() const { return retention_; }
  /// Before the next round a cache has grown by every - 1 entries. With an adaptive budget a head
  /// may have more; LayerRules knows how many.
  std::optional<int64_t> capacity() const override;
  std::string label() const override { return retention_.name + " " + retention_.cache; }
  std::string cache() const override { return retention_.cache; }
  /// Entries kept by a round: where layers or heads differ by list the most of them, else the mean.
  std::optional<int64_t> size() const override { return retention_.budget.most(); }

 private:
  Retention retention_;
};

/// What engines have to see to: what the policy needs and, where scores are combined with values,
/// these.
Needs needs_of(const ScorePolicy& policy);
/// The policy's scores, combined with the values where that is asked for.
void score_entries(const ScorePolicy& policy, const Round& round, std::span<double> scores);

/// The entries of a head that are not protected, by index: from `first` on, before `last`.
struct Unprotected {
  int64_t first, last;
};
Unprotected unprotected(const Retention& retention, const Round& round);

/// Throws std::runtime_error naming the policy, layer, head and token where a score is not a
/// number.
void check_numbers(const Retention& retention, const Round& round, std::span<const double> scores);

/// Which entries of a head a round evicts, by index: of n entries in the order of the stream with
/// these scores all but round.keep, ascending (score rounded to float32, place), but for the first
/// tokens of the stream and the last entries, which are protected. Ascending. Rounding makes equal
/// what differs by the order of a sum alone. Throws std::runtime_error naming the policy, layer,
/// head and token where a score is not a number.
std::vector<int64_t> evicted(const Retention& retention, const Round& round,
                             std::span<const double> scores);

/// Sum of products of n numbers, in the vectors of this machine.
double dot(const double* a, const double* b, int64_t n);
/// sum[i] += scale * x[i], of n numbers.
void add_scaled(double scale, const double* x, double* sum, int64_t n);

/// In [0, 1): the top 53 bits of SplitMix64 (Steele et al. 2014) folded over five numbers, the same
/// on every machine.
inline double uniform(uint64_t seed, int64_t layer, int64_t head, int64_t place, int64_t round) {
  const auto mixed = [](uint64_t x) {
    x += 0x9E3779B97F4A7C15;
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9;
    x = (x ^ (x >> 27)) * 0x94D049BB133111EB;
    return x ^ (x >> 31);
  };
  uint64_t x = mixed(seed);
  x = mixed(x ^ static_cast<uint64_t>(layer));
  x = mixed(x ^ static_cast<uint64_t>(head));
  x = mixed(x ^ static_cast<uint64_t>(place));
  x = mixed(x ^ static_cast<uint64_t>(round));
  return static_cast<double>(x >> 11) / static_cast<double>(uint64_t{1} << 53);
}

}  // namespace sinkbench
