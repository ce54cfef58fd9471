// An experiment that looks at attention itself instead of at policies: a YAML file with `sinks` in
// the place of `policies`, unfolded into the grid that it describes. The keys are in
// configs/README.md.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "eval/experiment/experiment.h"
#include "eval/experiment/sink_options.h"

namespace sinkbench {

/// One measurement: of the cell its model, dataset, dtype, device and threads count.
struct SinkCell {
  std::string id;  ///< names its folder below the experiment's
  Cell cell;
  SinkSampling sampling;
  SinkOptions options;
};

struct SinkExperiment {
  std::string name;
  std::vector<SinkCell> cells;  ///< model by model, dataset by dataset
};

/// Whether a YAML file is one. Throws InputError where it is no valid YAML.
bool is_sink_experiment(const std::filesystem::path& yaml);

/// Throws InputError as load_experiment does. `limit` of the overrides: no more samples.
SinkExperiment load_sink_experiment(const std::filesystem::path& yaml, const Overrides& overrides);

}  // namespace sinkbench
