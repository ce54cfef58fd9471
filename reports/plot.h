// Results as pictures, drawn by gnuplot.
#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include "eval/results/results.h"

namespace sinkbench {

/// A stretch of a stream of NLLs.
struct NllBlock {
  double position = 0;  ///< the middle of the scored tokens' places in the stream, from 1
  double mean = 0;      ///< of the NLL, nats
  double error = 0;     ///< of the mean, by the means of 8 parts, as neighbours are correlated
};

/// The running mean of an NLL stream of which one token in `stride` was scored. A block holds 32
/// values, or a twentieth of what was before it if that is more, so that the points are as dense at
/// the start as a logarithmic axis shows it. What is left at the end and makes no block is dropped.
std::vector<NllBlock> nll_blocks(std::span<const double> nll, int64_t stride);

struct Picture;

struct Pictures {
  std::vector<std::string> drawn;     ///< names without extension, in DIR/plots
  std::vector<std::string> left_out;  ///< one line each: which picture and why
};

/// For each model and dataset of a results folder (NLL over position; perplexity, decode latency
/// and memory by cache size): NAME.svg, NAME.png, and what they are drawn from, NAME.gp and
/// NAME.csv, in `plots`. NLL files are read relative to `folder`. Each file is replaced as a whole;
/// pictures of earlier calls that aren't drawn any more are removed. Throws InputError, where
/// gnuplot is missing for one.
Pictures draw_pictures(const Results& results, const std::filesystem::path& folder,
                       const std::filesystem::path& plots);

/// Of a results folder's tasks alone: what was recalled, by distance and along the stream, and maps
/// by length and depth.
Pictures draw_answers(const Results& results, const std::filesystem::path& folder,
                      const std::filesystem::path& plots);

/// A run among others, in their order.
struct TrendRun {
  std::string label;  ///< below the axis
  const Results* results;
};

/// For each model and dataset: perplexity, decode latency and memory over the runs, a line for each
/// cell (as `compare` identifies it) that was measured in two runs or more. Files as above.
Pictures draw_trends(std::span<const TrendRun> runs, const std::filesystem::path& plots);

/// Those that have lines, whose names all begin with `kind`.
Pictures draw_pictures(const std::vector<Picture>& pictures, const char* kind,
                       const std::filesystem::path& plots);

}  // namespace sinkbench
