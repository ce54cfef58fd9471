// How well a cache predicts what stood in the stream before, by how far back: a split of the NLLs
// that runs wrote.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "eval/results/results.h"
#include "reports/picture.h"

namespace sinkbench {

/// What was fed: ids, and where pieces of it begin.
struct FedStream {
  std::vector<int32_t> ids;
  std::vector<int64_t> pieces = {0};
};

/// For each token of a stream how far back the same token last followed the same token before it,
/// within its piece: x[t-d-1] = x[t-1] and x[t-d] = x[t], with the least such d (the "hits" of
/// Arora et al. 2023, Zoology, arXiv 2312.04927). 0 where it never did, or where the pair is not
/// rare: it stands in the stream more than `rare` times.
std::vector<int64_t> recall_distances(const FedStream& stream, int64_t rare);

/// NLLs of tokens whose pair stood between `least` and `most` tokens ago.
struct RecallBin {
  int64_t least = 0, most = 0;
  int64_t tokens = 0;
  double nll = 0;  ///< mean, nats
  /// Standard error of the mean: of a distance's tokens taken as independent, since they lie far
  /// apart; of the others by batch means. NaN where there are too few.
  double error = 0;
};

struct RecallSplit {
  const CellResult* cell = nullptr;
  /// Distances 1, 2-3, 4-7 ... up to the farthest that there is; a bin may have no tokens.
  std::vector<RecallBin> bins;
  RecallBin rest;  ///< tokens that are no hit
};

/// The split of a cell's NLLs, which were read from its file. InputError where they are not as many
/// as the stream has scored tokens, or where a stride left out tokens.
RecallSplit split_recall(const CellResult& cell, const FedStream& stream,
                         std::span<const double> nll, int64_t rare);

/// Splits of cells of one model and text as a table, a row for each distance: text for `width`
/// columns (0: any), or Markdown.
std::string format_recall(std::span<const RecallSplit> splits, bool markdown, size_t width);
/// A row for each cell and distance, those without tokens left out.
std::string recall_csv(std::span<const RecallSplit> splits);

/// NLL over distance, a line for each cell, a picture for each group: "recall", or of several
/// "recall-1" and so on.
std::vector<Picture> recall_pictures(std::span<const std::vector<RecallSplit>> groups);

}  // namespace sinkbench
