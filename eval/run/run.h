// Runs the cells of an experiment.
#pragma once

#include <atomic>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/progress.h"
#include "eval/engines/decisions.h"
#include "eval/experiment/experiment.h"
#include "eval/results/results.h"
#include "eval/run/scoring.h"

namespace sinkbench {

class Decoder;
struct DecoderConfig;
struct MemoryNeed;

/// The files that a cell names and that aren't there: for each a line that says how to get it.
std::vector<std::string> missing_inputs(const Cell& cell);

/// Loads models and datasets, keeping the last of each, so that neighbouring cells share them.
class Runner {
 public:
  /// `stop`: set from outside (a signal) to leave a cell early.
  explicit Runner(Progress::Style progress, const std::atomic<bool>* stop = nullptr);
  ~Runner();

  /// Throws InputError for everything about a cell that can be known without running it: device,
  /// precision, configuration, names and shapes of tensors, tokenizer, text, token ids.
  void check(const Cell& cell);

  /// The cell with the hashes of what it reads and the threads it will have: what `run` begins
  /// with, but without loading the model.
  CellResult describe(const Cell& cell);

  /// What a cell's model is, its tensors looked through but not read; InputError as `check` has it.
  const DecoderConfig& config(const Cell& cell);

  /// The text of a cell, good until another one is asked for.
  struct Text {
    const TokenStream& stream;
    std::string tokenizer_sha256;  ///< "" of a file of token ids
    std::vector<int32_t> prefix;   ///< that was put before the text
  };
  Text text(const Cell& cell);

  /// The model of a cell, good until another one is asked for, and the threads it has.
  struct Model {
    const Decoder& decoder;
    int64_t threads;
  };
  Model load(const Cell& cell);

  /// The NLL of every scored token, in nats. Where decisions are followed, `disagreement` becomes
  /// the engine's first of its own.
  std::vector<double> score(const Cell& cell, const DecisionOptions& decisions = {},
                            std::optional<Disagreement>* disagreement = nullptr);

  /// Measures. With perplexity, the NLL of each scored token is written to `nll_file` as raw
  /// little-endian float32, in a float64 cell float64. Where a checkpoint of the same cell, model,
  /// text, program and machine lies beside it, scoring goes on from there; when interrupted, one is
  /// left there. `place` stands before the cell's id in the progress: "2 of 5: ".
  CellResult run(const Cell& cell, const std::filesystem::path& nll_file, const RunInfo& info,
                 const std::string& place = "");

  /// What a cell will take of memory; InputError as `check` has it.
  MemoryNeed memory(const Cell& cell);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace sinkbench
