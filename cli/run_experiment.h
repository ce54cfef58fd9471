// The cells of an experiment, one after the other, into a folder: what `run` does, and what other
// commands can do with an experiment.
#pragma once

#include <filesystem>
#include <optional>
#include <string>

#include "eval/experiment/experiment.h"
#include "eval/results/results.h"

namespace sinkbench {

class Runner;

/// Every n-th cell of a grid: the i-th of n parts, from 1.
struct Shard {
  int64_t index = 1;
  int64_t count = 1;
  /// "2/4"; InputError for anything else.
  static Shard parse(const std::string& text);
};

struct RunOptions {
  std::filesystem::path out = {};   ///< empty: results/NAME
  std::optional<Shard> shard = {};  ///< its results go to OUT/shard-I-of-N
  bool fresh = false;               ///< nothing of earlier runs is kept
  bool quiet = false;               ///< no progress
};

struct RunOutcome {
  Results results;               ///< of the cells that ran or were there, in the grid's order
  std::filesystem::path folder;  ///< where they are
  bool failed = false;           ///< some cells have an error, or the disk is full
  bool interrupted = false;      ///< SIGINT or SIGTERM, after a line that says how to go on
};

/// The part of a grid that a shard runs.
std::vector<Cell> cells_of(const Experiment& experiment, const std::optional<Shard>& shard);

/// Throws InputError as Runner::check does, and says what there is to know of the texts.
void check_cells(Runner& runner, const std::vector<Cell>& cells);

/// Runs what is not done yet. Finished cells of an earlier run into the same folder are kept where
/// settings, model, text, program and machine are the same, and a cell under way goes on from its
/// checkpoint; what was measured otherwise is said and run afresh. A cell that fails is recorded
/// and the others run. Throws InputError before anything is written where the input is bad, where
/// another run writes into the folder, or where the folder can't be written. Where the disk gets
/// full later on, what was written before is whole, and the same call goes on from there.
RunOutcome run_experiment(const Experiment& experiment, const RunOptions& options);

}  // namespace sinkbench
