// How an experiment is run into a folder, and what comes of it. cli/tensors.h has what runs it.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "eval/experiment/experiment.h"
#include "eval/results/results.h"

namespace sinkbench {

/// Every n-th cell of a grid: the i-th of n parts, from 1.
struct Shard {
  int64_t index = 1;
  int64_t count = 1;
  /// "2/4"; InputError for anything else.
  static Shard parse(const std::string& text);
};

struct RunOptions {
  std::filesystem::path out = {};      ///< empty: results/NAME
  std::optional<Shard> shard = {};     ///< its results go to OUT/shard-I-of-N
  bool fresh = false;                  ///< nothing of earlier runs is kept
  bool quiet = false;                  ///< no progress
  std::vector<std::string> only = {};  ///< patterns of ids; other cells stay as they are
};

struct RunOutcome {
  Results results;               ///< of the cells that ran or were there, in the grid's order
  std::filesystem::path folder;  ///< where they are
  bool failed = false;           ///< some cells have an error, or the disk is full
  bool interrupted = false;      ///< SIGINT or SIGTERM, after a line that says how to go on
};

/// What `run --dry-run` says of a cell.
struct PlannedCell {
  std::string id;
  std::string state;         ///< "done", "under way", "to do", "refused"
  std::string problem = {};  ///< why it is refused
  double memory = 0;         ///< bytes
  double seconds = 0;        ///< about how long what is to do takes
};
struct Plan {
  std::filesystem::path folder;
  std::vector<PlannedCell> cells;
  double available_memory = 0;  ///< bytes
  std::vector<std::string> notes = {};
};

/// The part of a grid that a shard runs.
std::vector<Cell> cells_of(const Experiment& experiment, const std::optional<Shard>& shard);

/// Whether an id matches one of the patterns; with none every one does.
bool is_chosen(const std::string& id, const std::vector<std::string>& only);

/// Whether any of them runs on a CUDA device.
bool uses_cuda(const std::vector<Cell>& cells);

}  // namespace sinkbench
