// sinkbench run: every cell of an experiment, then the three tables.
#include "eval/run.h"

#include <csignal>
#include <filesystem>

#include "base/error.h"
#include "cli/commands.h"
#include "eval/machine.h"
#include "reports/tables.h"

namespace sinkbench {
namespace {

namespace fs = std::filesystem;

struct Options {
  std::string config;
  Overrides overrides;
  std::string out;
  bool dry_run = false;
  bool quiet = false;
};

std::atomic<bool> interrupted = false;

void print_grid(const Experiment& experiment) {
  for (const Cell& cell : experiment.cells) fmt::print("{}\n", cell.id);
  fmt::print("{} cell{}\n", experiment.cells.size(), experiment.cells.size() == 1 ? "" : "s");
}

void run(const Options& options) {
  const Experiment experiment = load_experiment(options.config, options.overrides);
  if (options.dry_run) {
    print_grid(experiment);
    return;
  }
  RunInfo info = describe_run(experiment.name, experiment.sha256);
  Runner runner(options.quiet ? Progress::Style::silent : Progress::detect(), &interrupted);
  for (const Cell& cell : experiment.cells) runner.check(cell);

  const fs::path folder =
      options.out.empty() ? fs::path("results") / experiment.name : fs::path(options.out);
  std::error_code error;
  fs::create_directories(folder / "nll", error);
  if (error) {
    throw InputError::format("{}: cannot create the folder: {}", folder.string(), error.message());
  }

  // A second SIGINT ends the program at once.
  std::signal(SIGINT, [](int) {
    interrupted = true;
    std::signal(SIGINT, SIG_DFL);
  });
  Results results{.info = std::move(info), .cells = {}};
  bool failed = false;
  for (const Cell& cell : experiment.cells) {
    try {
      results.cells.push_back(runner.run(cell, folder / "nll" / (cell.id + ".f32")));
    } catch (const Interrupted&) {
      break;
    } catch (const std::exception& exception) {
      failed = true;
      CellResult result;
      result.cell = cell;
      result.policy_label =
          make_policy(cell.policy.name, cell.policy.arguments, cell.policy.positions)->label();
      const std::string what = exception.what();
      result.error = what.substr(0, what.find('\n'));  // without LibTorch's stack
      results.cells.push_back(std::move(result));
    }
    write_results(results, folder);
    write_tables(results, folder);
  }
  if (!results.cells.empty()) {
    fmt::print("{}\nresults: {}\n", format_report(results, ReportFormat::table), folder.string());
  }
  if (interrupted) {
    fmt::print(stderr, "sinkbench: interrupted after {} of {} cells\n", results.cells.size(),
               experiment.cells.size());
    throw Exit{exit_interrupted};
  }
  if (failed) throw Exit{exit_incomplete};
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
  command->add_flag("--dry-run", options->dry_run, "Print the grid and stop");
  command->add_flag("--quiet", options->quiet, "No progress");
  command->footer(
      "Example: sinkbench run configs/quickstart.yaml --set dataset.text=book.txt --limit 4096");
  command->callback([options] { run(*options); });
}

}  // namespace sinkbench
