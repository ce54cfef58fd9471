// How measurements of sinks are run into folders.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "eval/experiment/sink_experiment.h"
#include "eval/results/sink_results.h"

namespace sinkbench {

/// A measurement in a folder of an experiment's.
struct MeasuredSinks {
  std::string id;
  SinkResults results;
};

/// Measures, into FOLDER/ID each, what isn't there yet or was measured otherwise, with pictures.
std::vector<MeasuredSinks> run_sink_experiment(const SinkExperiment& experiment,
                                               const std::filesystem::path& folder, bool quiet);

/// What is there of an experiment's measurements.
std::vector<MeasuredSinks> read_sink_experiment(const SinkExperiment& experiment,
                                                const std::filesystem::path& folder);

/// The summary as a table, for a terminal so many columns wide.
std::string format_sink_experiment(const std::vector<MeasuredSinks>& measured, size_t width);

/// What is missing: an Experiment of the same inputs, as the check of all takes it.
Experiment inputs_of(const SinkExperiment& experiment);

}  // namespace sinkbench
