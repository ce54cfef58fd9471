// What rounds evict: written down, and followed.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "policies/score_policy.h"

namespace sinkbench {

/// A round after token t of a piece of the stream that evicted something.
struct Decision {
  int64_t piece = 0, t = 0, layer = 0, head = 0;
  std::vector<int64_t> places = {};  ///< in the piece, ascending
  auto operator<=>(const Decision&) const = default;
};

/// Gets the decisions of each block, in order.
using DecisionSink = std::function<void(std::span<const Decision>)>;

/// A round whose own choice was another than that of the log that was followed.
struct Disagreement {
  Decision own;
  std::vector<int64_t> followed;
  double gap = 0;  ///< between the scores of what only one of the two evicts, the largest
};

struct DecisionOptions {
  DecisionSink sink = {};                         ///< empty: they are forgotten
  const std::vector<Decision>* follow = nullptr;  ///< of the same stream, in order; must outlive it
};

/// One engine's decisions.
class Decisions {
 public:
  Decisions(const DecisionOptions& options, int64_t layers, int64_t heads);

  void begin_piece(int64_t piece) { piece_ = piece; }
  /// Indices of the entries that rounds evict: of one head, whose decision is that of the `copies`
  /// - 1 heads after it, too, or with an adaptive budget of all heads of a layer, which have more
  /// entries together than a round leaves. May be called for different heads or layers at once.
  std::vector<std::vector<int64_t>> decide(const ScorePolicy& policy, std::span<Round> rounds,
                                           int64_t copies = 1);
  /// A block ends.
  void flush();
  /// The first in the stream, where a log is followed.
  std::optional<Disagreement> disagreement() const;

 private:
  std::vector<int64_t> follow(const Round& round, std::span<const double> scores,
                              const std::vector<int64_t>& own, bool counts_differ);
  DecisionOptions options_;
  int64_t heads_, piece_ = 0;
  std::vector<std::vector<Decision>> pending_;              // [layers * heads]
  std::vector<std::optional<Disagreement>> disagreements_;  // the same
  std::vector<std::map<std::pair<int64_t, int64_t>, const Decision*>> followed_;  // by piece and t
};

}  // namespace sinkbench
