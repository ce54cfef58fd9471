#include "cli/sink_runs.h"

#include <algorithm>

#include "base/console.h"
#include "base/error.h"
#include "base/file.h"
#include "cli/notes.h"
#include "cli/tensors.h"
#include "eval/experiment/engine_names.h"
#include "reports/sink_report.h"

namespace sinkbench {

namespace fs = std::filesystem;

std::vector<MeasuredSinks> run_sink_experiment(const SinkExperiment& experiment,
                                               const fs::path& folder, bool quiet) {
  const bool cuda = std::any_of(experiment.cells.begin(), experiment.cells.end(),
                                [](const SinkCell& cell) { return is_cuda(cell.cell.device); });
  const TensorCommands& tensors = tensor_commands(cuda);
  const std::vector<MeasuredSinks> earlier = read_sink_experiment(experiment, folder);
  std::vector<MeasuredSinks> measured;
  Notes notes;
  for (size_t i = 0; i < experiment.cells.size(); ++i) {
    const SinkCell& cell = experiment.cells[i];
    const auto before = std::find_if(earlier.begin(), earlier.end(),
                                     [&](const MeasuredSinks& m) { return m.id == cell.id; });
    const auto is_whole = [&](const SinkResults& results) {
      const bool no_logits = results.options.logit_layers.empty();
      return fs::exists(folder / cell.id / "attention-maps.csv") &&
             (no_logits || fs::exists(folder / cell.id / "logits.csv"));
    };
    const SinkResults* there =
        before != earlier.end() && is_whole(before->results) ? &before->results : nullptr;
    SinkResults results =
        tensors.run_sinks(cell.cell, cell.sampling, cell.options,
                          quiet ? Progress::Style::silent : Progress::detect(), there);
    notes.say(results.text.notes);
    const bool is_new = there == nullptr || results.info.started != there->info.started;
    if (!quiet) {
      remark("measurement {} of {}: {}: Sink_0 {:.1f} %{}\n", i + 1, experiment.cells.size(),
             cell.id, results.statistics.sink_rate.front(), is_new ? "" : ", measured before");
    }
    if (is_new) {
      write_sinks(results, folder / cell.id);
      try {
        draw_sinks(results, folder / cell.id / "plots");
      } catch (const InputError& error) {
        remark("no pictures: {}\n", error.what());
      }
    }
    measured.push_back({.id = cell.id, .results = std::move(results)});
  }
  std::vector<SinkResults> all;
  for (const MeasuredSinks& m : measured) all.push_back(m.results);
  write_file_atomically(folder / "summary.csv", sink_summary_csv(all));
  return measured;
}

std::vector<MeasuredSinks> read_sink_experiment(const SinkExperiment& experiment,
                                                const fs::path& folder) {
  std::vector<MeasuredSinks> found;
  for (const SinkCell& cell : experiment.cells) {
    if (!fs::exists(folder / cell.id / "sinks.json")) continue;
    try {
      found.push_back({.id = cell.id, .results = read_sinks(folder / cell.id)});
    } catch (const InputError& error) {
      remark("{}; nothing of it is used\n", error.what());
    }
  }
  return found;
}

std::string format_sink_experiment(const std::vector<MeasuredSinks>& measured, size_t width) {
  std::vector<SinkResults> all;
  for (const MeasuredSinks& m : measured) all.push_back(m.results);
  return "Sinks\n" + render(sink_summary(all), /*markdown=*/false, width);
}

Experiment inputs_of(const SinkExperiment& experiment) {
  Experiment inputs{.name = experiment.name, .cells = {}, .sha256 = {}};
  for (const SinkCell& cell : experiment.cells) {
    inputs.cells.push_back(cell.cell);
    inputs.cells.back().dataset.tokens = cell.sampling.tokens;
  }
  return inputs;
}

}  // namespace sinkbench
