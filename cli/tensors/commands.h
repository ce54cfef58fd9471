// The work of the commands that need tensors.
#pragma once

#include "cli/tensors.h"

namespace sinkbench {

class Runner;

/// The token ids that a cell feeds, read again. InputError where they can't be.
FedStream fed_stream(const Cell& cell);

/// Throws InputError as Runner::check does, and says what there is to know of the texts.
void check_cells(Runner& runner, const std::vector<Cell>& cells);

/// Runs what is not done yet. Finished cells of an earlier run into the same folder are kept where
/// settings, model, text, program and machine are the same, and a cell under way goes on from its
/// checkpoint; what was measured otherwise is said and run afresh. A cell that fails is recorded
/// and the others run. Throws InputError before anything is written where the input is bad, where
/// another run writes into the folder, or where the folder can't be written. Where the disk gets
/// full later on, what was written before is whole, and the same call goes on from there.
RunOutcome run_experiment(const Experiment& experiment, const RunOptions& options);

/// What `run_experiment` would do: nothing is written and no model loaded. Times are rough: the
/// operations at half of what a product reaches here, the timed steps at the rate of reading.
Plan plan(const Experiment& experiment, const RunOptions& options);

/// All that keeps experiments from being run, a line each: files that aren't there, and what
/// Runner::check says.
std::vector<std::string> missing(const std::vector<Experiment>& experiments);

/// Compares and prints; whether all cells agree.
bool verify(const Experiment& experiment, const VerifyOptions& options);

/// Tries the policies of these plug-ins on the terms of policies/properties.h and, with a small
/// random model, on those of engines, and prints; whether all keep them.
bool verify_policies(const std::vector<std::filesystem::path>& plugins);

/// The kit of an experiment of one model and one text; with decisions, those of its policies by
/// score. InputError as Runner::check has it.
Kit make_kit(const Experiment& experiment, bool decisions, Progress::Style progress);

/// The NLLs of each variant on the kit's ids with a model of the kit's SHA-256, `model` or where
/// the kit says that it was; none of a variant that the model can't be run under. InputError where
/// there is no such model, or it is another one.
std::vector<std::vector<double>> score_variants(const Kit& kit, const std::string& model,
                                                const std::vector<Variant>& variants,
                                                const std::string& device, int64_t threads,
                                                Progress::Style progress);

void bench(const BenchOptions& options);

/// Trains and prints; false where it was interrupted.
bool run_training(const TrainingOptions& options);

}  // namespace sinkbench
