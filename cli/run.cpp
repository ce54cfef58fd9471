// sinkbench run: every cell of an experiment, then the three tables and the pictures.
#include <fmt/format.h>

#include "base/error.h"
#include "cli/commands.h"
#include "cli/run_experiment.h"
#include "cli/tensors.h"
#include "reports/plot.h"
#include "reports/tables.h"
#include "reports/text_table.h"

namespace sinkbench {
namespace {

struct Options {
  std::string config;
  Overrides overrides;
  std::string out;
  std::string shard;
  bool dry_run = false;
  bool fresh = false;
  bool quiet = false;
  bool no_plots = false;
};

void print_grid(const std::vector<Cell>& cells) {
  for (const Cell& cell : cells) fmt::print("{}\n", cell.id);
  fmt::print("{} cell{}\n", cells.size(), cells.size() == 1 ? "" : "s");
}

/// A run is worth its time without pictures too: what keeps them from being drawn is a line.
void draw(const RunOutcome& outcome) {
  const std::filesystem::path plots = outcome.folder / "plots";
  try {
    const Pictures pictures = draw_pictures(outcome.results, outcome.folder, plots);
    if (!pictures.drawn.empty()) fmt::print("pictures: {}\n", plots.string());
    for (const std::string& line : pictures.left_out) fmt::print("left out: {}\n", line);
  } catch (const InputError& error) {
    fmt::print("pictures: none; {}\n", error.what());
  }
}

void run(const Options& options) {
  std::optional<Shard> shard;
  if (!options.shard.empty()) shard = Shard::parse(options.shard);
  const Experiment experiment = load_experiment(options.config, options.overrides);
  if (options.dry_run) {
    print_grid(cells_of(experiment, shard));
    return;
  }
  const RunOutcome outcome =
      tensor_commands(uses_cuda(experiment.cells))
          .run_experiment(
              experiment,
              {.out = options.out, .shard = shard, .fresh = options.fresh, .quiet = options.quiet});
  if (!outcome.results.cells.empty()) {
    fmt::print("{}\nresults: {}\n",
               format_report(outcome.results, ReportFormat::table, terminal_width()),
               outcome.folder.string());
    // Of a shard they would show a part; `report` and `plot` take the whole.
    if (!options.no_plots && !shard && !outcome.interrupted) draw(outcome);
  }
  if (outcome.interrupted) throw Exit{exit_interrupted};
  if (outcome.failed) throw Exit{exit_incomplete};
}

}  // namespace

void add_run(CLI::App& app) {
  auto options = std::make_shared<Options>();
  CLI::App* command = app.add_subcommand("run", "Run an experiment and print its tables");
  command->add_option("config", options->config, "The experiment, a YAML file")->required();
  command
      ->add_option("--set", options->overrides.set,
                   "Replace a value: key=value, such as dataset.tokens=4096 (repeatable)")
      ->allow_extra_args(false);
  command->add_option("--out", options->out, "Folder for the results (default: results/NAME)");
  add_overrides(*command, options->overrides, "Threads (default: all cores)");
  command->add_option("--shard", options->shard,
                      "Run every N-th cell, the I-th part of N: I/N (results: OUT/shard-I-of-N)");
  command->add_flag("--fresh", options->fresh, "Start over instead of going on from earlier runs");
  command->add_flag("--dry-run", options->dry_run, "Print the grid and stop");
  command->add_flag("--quiet", options->quiet, "No progress");
  command->add_flag("--no-plots", options->no_plots, "Draw no pictures");
  command->footer(
      "Example: sinkbench run configs/quickstart.yaml --set dataset.text=book.txt --limit 4096");
  command->callback([options] { run(*options); });
}

}  // namespace sinkbench
