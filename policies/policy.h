// A KV-cache policy is index arithmetic: when token t is the query, which earlier tokens may it
// see, and at which positions? No tensor appears here.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace sinkbench {

/// Half-open range [begin, end) of places in the token stream; empty where begin == end.
struct Range {
  int64_t begin = 0;
  int64_t end = 0;
  int64_t size() const { return end - begin; }
  bool operator==(const Range&) const = default;
};

/// Earlier tokens that a query sees: ascending, disjoint ranges. The query sees itself besides.
using View = std::vector<Range>;

/// Number of earlier tokens in a view.
int64_t size(const View& view);

/// How distances are counted once tokens have been evicted.
enum class Positions {
  cache,  ///< by place in the cache: cached keys sit at 0..n-1, the query at n (the paper's rule)
  original,  ///< by place in the stream
};

/// Where the query stands for each range of its view, in the coordinates of the stream: the
/// distance to the key at place j of range i is `query_positions[i] - j`. Under
/// Positions::original that is t for every range; under Positions::cache the tokens between
/// ranges are not counted. Keys can therefore be rotated once, at their place in the stream, and
/// only the query differs from range to range.
std::vector<int64_t> query_positions(const View& view, int64_t t, Positions positions);

/// The interface of every policy. Implementations are immutable and hold no state of a run.
class Policy {
 public:
  virtual ~Policy() = default;

  /// What query t (t >= 0) sees. For a given policy the number of ranges is the same for every t
  /// (some may be empty), begin and end of each range never decrease with t, the last
  /// range ends at t, and what has left the view never comes back. These are the terms on which an
  /// engine may evict, and work on blocks of queries.
  virtual View view(int64_t t) const = 0;

  /// The most earlier tokens that any query sees; nothing where it grows with the stream.
  virtual std::optional<int64_t> capacity() const = 0;

  virtual Positions positions() const { return Positions::cache; }

  /// True where nothing is cached from one query to the next: what a query sees is computed
  /// afresh from the tokens in its view alone, at positions from 0.
  virtual bool recomputes() const { return false; }

  /// Every how many tokens one is scored; 1 scores all. (Only for policies that recompute:
  /// skipping a query elsewhere would save nothing.)
  virtual int64_t stride() const { return 1; }

  /// Short label for tables: "4+252", "0+256", "dense", "recompute 256".
  virtual std::string label() const = 0;
};

}  // namespace sinkbench
