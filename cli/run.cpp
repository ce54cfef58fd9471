// sinkbench run: every cell of an experiment, then the three tables.
#include <fmt/format.h>

#include "cli/commands.h"
#include "cli/run_experiment.h"
#include "reports/tables.h"

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
};

void print_grid(const std::vector<Cell>& cells) {
  for (const Cell& cell : cells) fmt::print("{}\n", cell.id);
  fmt::print("{} cell{}\n", cells.size(), cells.size() == 1 ? "" : "s");
}

void run(const Options& options) {
  std::optional<Shard> shard;
  if (!options.shard.empty()) shard = Shard::parse(options.shard);
  const Experiment experiment = load_experiment(options.config, options.overrides);
  if (options.dry_run) {
    print_grid(cells_of(experiment, shard));
    return;
  }
  const RunOutcome outcome = run_experiment(
      experiment,
      {.out = options.out, .shard = shard, .fresh = options.fresh, .quiet = options.quiet});
  if (!outcome.results.cells.empty()) {
    fmt::print("{}\nresults: {}\n", format_report(outcome.results, ReportFormat::table),
               outcome.folder.string());
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
  command->add_option("--threads", options->overrides.threads, "Threads (default: all cores)")
      ->check(CLI::Range(1, 4096));
  command->add_option("--device", options->overrides.device, "cpu or cuda")
      ->check(CLI::IsMember({"cpu", "cuda"}));
  command->add_option("--limit", options->overrides.limit, "Feed no more than so many tokens")
      ->check(CLI::Range(int64_t{2}, int64_t{1} << 40));
  command->add_option("--shard", options->shard,
                      "Run every N-th cell, the I-th part of N: I/N (results: OUT/shard-I-of-N)");
  command->add_flag("--fresh", options->fresh, "Start over instead of going on from earlier runs");
  command->add_flag("--dry-run", options->dry_run, "Print the grid and stop");
  command->add_flag("--quiet", options->quiet, "No progress");
  command->footer(
      "Example: sinkbench run configs/quickstart.yaml --set dataset.text=book.txt --limit 4096");
  command->callback([options] { run(*options); });
}

}  // namespace sinkbench
