// What is kept of a cell under way, so that a run that was killed goes on from there.
#pragma once

#include <ATen/core/Tensor.h>

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "eval/results/results.h"

namespace sinkbench {

/// All that a cell's numbers hang on, by name: its settings, the hashes of model, tokenizer and
/// token ids, threads, program and processor. Two runs of the same identity give the same NLLs to
/// the last bit.
using CellIdentity = std::map<std::string, std::string>;
CellIdentity cell_identity(const CellResult& result, const RunInfo& info);
/// Names of what is not the same: "model, threads"; "" where everything is.
std::string differences(const CellIdentity& a, const CellIdentity& b);

struct CellCheckpoint {
  CellIdentity identity;
  int64_t next = 0;                    ///< as Engine::next
  std::vector<at::Tensor> state;       ///< as Engine::state; nothing at the stream's end
  int64_t scored = 0;                  ///< NLLs so far, which are in the NLL file
  double nll_mean = 0;                 ///< of these, to know the file again
  std::vector<at::Tensor> divergence;  ///< as Divergence::state; nothing where it isn't measured
  std::vector<at::Tensor> answers;     ///< as AnswerLog::state; nothing where there is no task
  double seconds = 0;                  ///< that they took
  int64_t decision_bytes = 0;          ///< of the decision log so far
};

/// Beside the cell's NLL file.
std::filesystem::path checkpoint_path(const std::filesystem::path& nll_file);

/// Atomically: a crash at any moment leaves the last one or this one.
void write_checkpoint(const CellCheckpoint& checkpoint, const std::filesystem::path& path);
/// InputError where the file is damaged or none of ours.
CellCheckpoint read_checkpoint(const std::filesystem::path& path);

/// Removes what is there of an unfinished cell: the checkpoint, then the NLLs.
void forget_cell(const std::filesystem::path& nll_file);

/// When a checkpoint is due: every 15 seconds (or $SINKBENCH_CHECKPOINT_SECONDS), but so seldom
/// that writing them takes no more than a fiftieth of the time.
class CheckpointClock {
 public:
  CheckpointClock();
  bool due() const { return Clock::now() >= next_; }
  /// One has been written, or tried to, since `begin`.
  using Clock = std::chrono::steady_clock;
  void written(Clock::time_point begin);

 private:
  std::chrono::duration<double> interval_;
  Clock::time_point next_;
};

}  // namespace sinkbench
