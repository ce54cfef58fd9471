// What a KV-cache policy says, in the terms that engines work on. No tensor appears here.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
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

/// The first token that query t's view has and query t - 1, with itself, hadn't.
std::optional<int64_t> returned(const View& before, const View& view, int64_t t);

/// How far a query stands from what it sees, once tokens have been evicted. docs/policies.md has an
/// example.
enum class Positions {
  cache,  ///< by place in the cache: cached keys sit at 0..n-1, the query at n (the paper's rule)
  original,  ///< by place in the stream
  /// A key stays for ever where it was put when it came: at the number of entries then kept; the
  /// query stands at the number kept now (caches that evict without moving what stays do this).
  frozen,
  capped,  ///< by place in the stream, no more than a cap (LM-Infinite, arXiv 2308.16137)
};

/// "cache", "original", "frozen", "capped"
const std::vector<std::string>& positions_names();
std::string to_string(Positions positions);

/// Where the query stands for each range of its view, in the coordinates of the stream: the
/// distance to the key at place j of range i is `query_positions[i] - j`. Under
/// Positions::original that is t for every range; under Positions::cache the tokens between
/// ranges are not counted. Keys can therefore be rotated once, at their place in the stream, and
/// only the query differs from range to range. The other rules aren't of this form.
std::vector<int64_t> query_positions(const View& view, int64_t t, Positions positions);

/// What every kind of policy has. Implementations are immutable and hold no state of a run.
class Policy {
 public:
  virtual ~Policy() = default;

  /// The most earlier tokens that any query sees; nothing where it grows with the stream. A bound:
  /// a cache may never be so full.
  virtual std::optional<int64_t> capacity() const = 0;

  /// Short label for tables: "4+252", "0+256", "dense", "recompute 256".
  virtual std::string label() const = 0;
  /// The same of the cache alone, where the policy's name stands beside it.
  virtual std::string cache() const { return capacity() ? label() : "all"; }

  /// The cache's size as tables and pictures have it.
  virtual std::optional<int64_t> size() const { return capacity(); }

  /// As the user chose; make_policy sets it.
  Positions positions() const { return positions_; }
  int64_t cap() const { return cap_; }  ///< Positions::capped: the largest distance; else 0

 private:
  friend struct PolicyMaker;
  Positions positions_ = Positions::cache;
  int64_t cap_ = 0;
};

/// "window 0+124", "dense": a policy's name and its label, which may begin with the name.
std::string named_label(const std::string& name, const std::string& label);

/// Index arithmetic: when token t is the query, which earlier tokens may it see?
class IndexPolicy : public Policy {
 public:
  /// What query t (t >= 0) sees in a layer. What has left a view never comes back, and nothing but
  /// token t enters: view(t + 1) is a part of view(t) and t. The number of ranges is free.
  virtual View view(int64_t layer, int64_t t) const = 0;

  /// Whether `view` looks at the layer.
  virtual bool differs_by_layer() const { return false; }
  /// First tokens that are read before anything leaves; 0: none are.
  virtual int64_t prompt() const { return 0; }
  /// Whether nothing is ever evicted.
  virtual bool keeps_all() const { return false; }
};

/// Everything is kept, and a query head reads a part of it, which it chooses itself: pages, runs of
/// neighbours of the stream, by a bound on its products with their keys.
class ReadPolicy : public IndexPolicy {
 public:
  struct Reading {
    int64_t page;   ///< entries of a page; the first begins at place 0, the last may have fewer
    int64_t pages;  ///< that are read, the query's own among them
  };
  /// Nothing where a layer reads everything.
  virtual std::optional<Reading> reading(int64_t layer) const = 0;

  View view(int64_t, int64_t t) const override { return {{0, t}}; }
  std::optional<int64_t> capacity() const override { return std::nullopt; }
  bool keeps_all() const override { return true; }
};

/// Which pages a query head reads of those that it doesn't read anyway (its own, the last): of
/// `bounds`, which has an upper bound of its product with the keys of each, the pages - 1 largest;
/// among equals the older. Ascending, the last one included.
std::vector<int64_t> pages_read(const ReadPolicy::Reading& reading, std::span<const double> bounds);

/// Nothing is cached from one query to the next: what a query sees is computed afresh, by a pass
/// over the tokens of its view and itself, at positions from 0.
class RecomputePolicy : public Policy {
 public:
  /// The earlier tokens of query t's pass, on the terms of IndexPolicy::view.
  virtual View view(int64_t t) const = 0;

  /// Every how many tokens one is scored; 1 scores all.
  virtual int64_t stride() const = 0;
  /// Tokens of a pass, its query counted.
  std::optional<int64_t> size() const override { return *capacity() + 1; }
};

}  // namespace sinkbench
