// sinkbench run and eval: every cell of an experiment, then the tables and the pictures.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <map>
#include <optional>
#include <set>

#include "base/console.h"
#include "base/error.h"
#include "cli/commands.h"
#include "cli/run_experiment.h"
#include "cli/tensors.h"
#include "reports/findings.h"
#include "reports/plot.h"
#include "reports/tables.h"
#include "reports/text_table.h"

namespace sinkbench {
namespace {

struct RunArguments {
  std::string config;
  Overrides overrides;
  std::string out;
  std::optional<std::string> shard;
  std::vector<std::string> only;
  bool dry_run = false;
  bool fresh = false;
  bool quiet = false;
  bool no_plots = false;
};

void print_plan(const Plan& plan) {
  Column cell{.name = "cell", .number = false, .foldable = false};
  Column state{.name = "state", .number = false, .foldable = false};
  Column memory{.name = "memory", .foldable = false}, time{.name = "about", .foldable = false};
  std::map<std::string, size_t> states;
  std::set<std::string> problems;
  double seconds = 0, most_memory = 0;
  for (const PlannedCell& planned : plan.cells) {
    cell.cells.push_back(planned.id);
    state.cells.push_back(planned.state);
    const bool known = planned.problem.empty();
    memory.cells.push_back(
        known && planned.memory > 0 ? format_bytes(static_cast<int64_t>(planned.memory)) : none);
    time.cells.push_back(planned.seconds > 0 ? format_duration(planned.seconds) : none);
    ++states[planned.state];
    if (!known) problems.insert(planned.problem);
    seconds += planned.seconds;
    most_memory = std::max(most_memory, planned.memory);
  }
  print_out("{}", render({cell, state, memory, time}, /*markdown=*/false));
  std::vector<std::string> counts;
  for (const auto& [name, count] : states) counts.push_back(fmt::format("{} {}", count, name));
  print_out("{} cell{}: {}; results: {}\n", plan.cells.size(), plan.cells.size() == 1 ? "" : "s",
            fmt::join(counts, ", "), plan.folder.string());
  if (seconds > 0) print_out("time: about {}, a rough estimate\n", format_duration(seconds));
  if (most_memory > 0) {
    print_out("memory: up to {} of the {} that are available\n",
              format_bytes(static_cast<int64_t>(most_memory)),
              format_bytes(static_cast<int64_t>(plan.available_memory)));
  }
  for (const std::string& note : plan.notes) print_out("{}\n", note);
  for (const std::string& problem : problems) remark("sinkbench: {}\n", problem);
  if (!problems.empty()) throw Exit{exit_bad_input};
}

/// A run is worth its time without pictures too: what keeps them from being drawn is a line.
void draw(const RunOutcome& outcome) {
  const std::filesystem::path plots = outcome.folder / "plots";
  try {
    const Pictures pictures = draw_pictures(outcome.results, outcome.folder, plots);
    const auto& left_out = pictures.left_out;
    if (pictures.drawn.empty()) {
      if (!left_out.empty()) print_out("pictures: none; {}\n", left_out.front());
      return;
    }
    print_out("pictures: {}\n", plots.string());
    // What is missing in one of them; of those that there was nothing for, `plot` speaks.
    for (const std::string& line : left_out) {
      const std::string picture = line.substr(0, line.find(':'));
      if (std::find(pictures.drawn.begin(), pictures.drawn.end(), picture) !=
          pictures.drawn.end()) {
        print_out("left out: {}\n", line);
      }
    }
  } catch (const InputError& error) {
    print_out("pictures: none; {}\n", error.what());
  }
}

void run(const RunArguments& options, const Experiment& experiment) {
  RunOptions how = {
      .out = options.out, .fresh = options.fresh, .quiet = options.quiet, .only = options.only};
  if (options.shard) how.shard = Shard::parse(*options.shard);
  const auto& cells = experiment.cells;
  if (std::none_of(cells.begin(), cells.end(),
                   [&](const Cell& cell) { return is_chosen(cell.id, options.only); })) {
    // Those of a plug-in's policies are known here alone.
    const auto plugins = std::count_if(cells.begin(), cells.end(), [](const Cell& cell) {
      return !cell.policy.plugin.file.empty();
    });
    std::vector<std::string> ids = {cells.front().id};
    for (size_t i = 1; plugins > 0 && i < cells.size(); ++i) ids.push_back(cells[i].id);
    throw InputError::format(
        "--only '{}': no cell has such an id; {} {}", fmt::join(options.only, "', '"),
        plugins > 0 ? "there are" : "`run --dry-run` lists them, such as", fmt::join(ids, ", "));
  }
  const TensorCommands& tensors = tensor_commands(uses_cuda(cells));
  if (options.dry_run) {
    print_plan(tensors.plan(experiment, how));
    return;
  }
  const RunOutcome outcome = tensors.run_experiment(experiment, how);
  if (!outcome.results.cells.empty()) {
    print_out("{}\n", format_report(outcome.results, ReportFormat::table, terminal_width()));
    for (const std::string& line : findings(outcome.results)) print_out("{}\n", line);
    print_out("results: {}\n", outcome.folder.string());
    // Of a shard they would show a part; `report` and `plot` take the whole.
    if (!options.no_plots && !how.shard && !outcome.interrupted) draw(outcome);
  } else if (!outcome.interrupted && !outcome.failed) {
    print_out("no cells in this shard\n");
  }
  if (outcome.interrupted) throw Exit{exit_interrupted};
  if (outcome.failed) throw Exit{exit_incomplete};
}

/// The options of `run` and `eval` alike.
void add_run_options(CommandLine command, RunArguments& options) {
  command.add_option("--out", options.out, "Folder for the results (default: results/NAME)");
  add_overrides(command, options.overrides, "Threads (default: all cores)");
  add_plugins(command, options.overrides.plugins);
  command.add_flag("--fresh", options.fresh, "Start over instead of going on from earlier runs");
  command.add_flag("--dry-run", options.dry_run,
                   "Print the cells, the memory and about the time that they take, and stop");
  command.add_flag("--quiet", options.quiet, "No progress");
  command.add_flag("--no-plots", options.no_plots, "Draw no pictures");
}

}  // namespace

void add_run(CommandLine app) {
  auto options = std::make_shared<RunArguments>();
  CommandLine command = app.add_subcommand("run", "Run an experiment and print its tables");
  command
      .add_option("config", options->config, "The experiment, a YAML file (- for standard input)")
      .required();
  add_grid_options(command, options->overrides, options->only);
  command.add_option("--shard", options->shard,
                     "Run every N-th cell, the I-th part of N: I/N (results: OUT/shard-I-of-N)");
  add_run_options(command, *options);
  command.footer(
      "Example: sinkbench run configs/quickstart.yaml --set dataset.text=book.txt --limit 4096");
  command.callback([options] {
    options->overrides.load_plugins = !options->dry_run;
    run(*options, load_experiment(options->config, options->overrides));
  });
}

void add_eval(CommandLine app) {
  struct Quick {
    std::string model, text, dtype, engine, kv, weights;
    std::vector<std::string> policies, metrics;
    int64_t tokens = 8192;
    RunArguments options;
  };
  auto quick = std::make_shared<Quick>();
  CommandLine command =
      app.add_subcommand("eval", "Compare policies on a model and a text, without a YAML file");
  command.add_option("model", quick->model, "A checkpoint's folder or a .gguf").required();
  command.add_option("text", quick->text, "A text, or a folder of texts").required();
  command
      .add_option("--policy", quick->policies,
                  "NAME or NAME:KEY=VALUE,..., such as sinks:sinks=4,window=508 (repeatable; "
                  "default: dense; `list policies` has them)")
      .repeatable();
  command.add_option("--tokens", quick->tokens, "Feed so many tokens of the text")
      .check(integer(2, int64_t{1} << 40))
      .capture_default_str();
  command.add_option("--metrics", quick->metrics, "perplexity, latency, memory, ...")
      .delimiter(',');
  command.add_option("--dtype", quick->dtype, "float32, bfloat16, float16 or float64");
  add_weights(command, quick->weights);
  command.add_option("--engine", quick->engine, "chunked or stepwise");
  command.add_option("--kv", quick->kv,
                     "How caches are stored: q8_0, '{keys: q8_0, values: q4_0}', ...");
  add_run_options(command, quick->options);
  command.footer(
      "Example: sinkbench eval models/tiny book.txt --policy dense --policy "
      "sinks:sinks=4,window=60");
  command.callback([quick] {
    QuickExperiment experiment = {.model = quick->model,
                                  .text = quick->text,
                                  .policies = quick->policies,
                                  .tokens = quick->tokens,
                                  .metrics = quick->metrics,
                                  .dtype = quick->dtype,
                                  .engine = quick->engine,
                                  .kv = quick->kv,
                                  .weights = quick->weights};
    if (experiment.policies.empty()) experiment.policies = {"dense"};
    quick->options.overrides.load_plugins = !quick->options.dry_run;
    run(quick->options, quick_experiment(experiment, quick->options.overrides));
  });
}

}  // namespace sinkbench
