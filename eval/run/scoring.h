// Scores a cell's stream into its NLL file, going on from where a run that ended early was.
#pragma once

#include <atomic>
#include <filesystem>
#include <optional>
#include <stdexcept>

#include "base/progress.h"
#include "datasets/stream.h"
#include "eval/engines/engine.h"
#include "eval/metrics/batch_means.h"
#include "eval/metrics/divergence.h"
#include "eval/results/results.h"
#include "eval/run/cell_checkpoint.h"
#include "eval/tasks/answers.h"

namespace sinkbench {

/// Thrown where the flag that was given is set; says how far it was.
struct Interrupted : std::runtime_error {
  using std::runtime_error::runtime_error;
};

struct ScoringJob {
  const Cell& cell;
  const Decoder& decoder;
  const Policy& policy;
  const Policy* reference;  ///< of the cell that divergence is measured from; null: it isn't
  const Stream& stream;
  const std::vector<TaskQuestion>* questions;  ///< of a task; null: there are none
  const std::filesystem::path& nll_file;
  const CellIdentity& identity;
  Progress::Style progress;
  const std::string& label;       ///< of the progress
  const std::atomic<bool>* stop;  ///< looked at after each block; may be null
};

struct Scored {
  BatchMeans means;
  double seconds;          ///< wall time of all scoring, without that of divergence
  double earlier_seconds;  ///< wall time of both before the checkpoint that was gone on from
  std::optional<DivergenceResult> divergence = {};
  std::vector<Answer> answers = {};  ///< to the questions
};

/// What an engine takes of a text.
Stream as_stream(const TokenStream& text);

/// With a checkpoint of the same identity beside the NLL file, goes on from there, to the same
/// numbers to the last bit; another one is said to be of no use. A checkpoint is written now and
/// then, before Interrupted is thrown, and at the end. The NLL file is put in place when it is
/// whole; throws DiskError where the disk is full.
Scored score_to_file(const ScoringJob& job);

}  // namespace sinkbench
