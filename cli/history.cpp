// sinkbench history: runs over time in an SQLite file.
#include "reports/history.h"
#include "base/console.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>
#include <memory>

#include "base/error.h"
#include "base/file.h"
#include "cli/commands.h"
#include "cli/run_experiment.h"
#include "cli/shell.h"
#include "reports/plot.h"

namespace sinkbench {
namespace {

/// What git says in the current folder, one line; "" where it says nothing.
std::string git(const std::string& arguments) {
  const std::string text = run_command("git " + arguments).text;
  return text.substr(0, text.find('\n'));
}

/// The branch that is measured: what git says, or the service where it has checked out a commit.
std::string current_branch() {
  const std::string branch = git("symbolic-ref --quiet --short HEAD");
  if (!branch.empty()) return branch;
  for (const char* variable : {"GITHUB_HEAD_REF", "GITHUB_REF_NAME", "CI_COMMIT_REF_NAME",
                               "BUILDKITE_BRANCH", "CIRCLE_BRANCH", "BRANCH_NAME"}) {
    const char* value = std::getenv(variable);
    if (value != nullptr && *value != '\0') return value;
  }
  return "";
}

void history_add(CommandLine history) {
  struct Options {
    std::string database, folder;
    std::optional<std::string> branch, commit;
  };
  auto options = std::make_shared<Options>();
  CommandLine command = history.add_subcommand("add", "Add the results of a run");
  command.add_option("database", options->database, "The history, made if there is none")
      .required();
  command.add_option("folder", options->folder, "The folder that `run` wrote").required();
  command.add_option("--branch", options->branch,
                     "The branch that was measured (default: what git says here)");
  command.add_option("--commit", options->commit,
                     "The commit that was measured (default: what git says here)");
  command.footer("Example: sinkbench history add history.db results/ci --branch main");
  command.callback([options] {
    const std::string branch = options->branch ? *options->branch : current_branch();
    const std::string commit = options->commit ? *options->commit : git("rev-parse HEAD");
    const Added added = add_to_history(options->database, options->folder, branch, commit);
    print_out("run {}: {}; branch {}, commit {}\n", added.run,
              added.was_there ? "was there already, nothing is added" : "added",
              added.branch.empty() ? "not known" : added.branch,
              added.commit.empty() ? "not known" : added.commit);
    if (added.branch.empty()) {
      remark(
          "note: no branch is checked out here; --branch NAME says which one was measured, and "
          "`compare --baseline-from` looks for it\n");
    }
  });
}

void history_show(CommandLine history) {
  struct Options {
    std::string database, branch, format = "table", cell = "*";
  };
  auto options = std::make_shared<Options>();
  CommandLine command = history.add_subcommand("show", "Print what was measured, run by run");
  command.add_option("database", options->database, "The history").required();
  command.add_option("--cell", options->cell, "Cells whose id matches, such as '*-sinks-*'");
  command.add_option("--branch", options->branch, "Runs of this branch alone");
  command.add_option("--format", options->format, "table, csv or json (with every quantity)")
      .one_of({"table", "csv", "json"})
      .capture_default_str();
  command.footer("Example: sinkbench history show history.db --cell '*-sinks-*'");
  command.callback([options] {
    const std::vector<HistoryRun> runs = read_history(options->database, options->branch);
    const bool found = std::any_of(runs.begin(), runs.end(), [&](const HistoryRun& run) {
      return std::any_of(
          run.results.cells.begin(), run.results.cells.end(),
          [&](const CellResult& cell) { return is_chosen(cell.cell.id, {options->cell}); });
    });
    if (!found && options->cell != "*") {
      throw InputError::format("--cell {}: no cell of {} matches", options->cell,
                               options->database);
    }
    print_out("{}", format_history(runs, options->cell,
                                   options->format == "csv"    ? HistoryFormat::csv
                                   : options->format == "json" ? HistoryFormat::json
                                                               : HistoryFormat::table));
  });
}

void history_plot(CommandLine history) {
  struct Options {
    std::string database, branch, out;
  };
  auto options = std::make_shared<Options>();
  CommandLine command =
      history.add_subcommand("plot", "Draw perplexity, latency and memory over the runs");
  command.add_option("database", options->database, "The history").required();
  command.add_option("--out", options->out, "Folder for the pictures, SVG and PNG").required();
  command.add_option("--branch", options->branch, "Runs of this branch alone");
  command.footer("Example: sinkbench history plot history.db --branch main --out trends");
  command.callback([options] {
    const std::vector<HistoryRun> runs = read_history(options->database, options->branch);
    std::vector<TrendRun> trend;
    for (const HistoryRun& run : runs) {
      std::string label = run.results.info.started.substr(0, 10);
      if (!run.commit.empty()) label += " " + run.commit.substr(0, 7);
      trend.push_back({.label = label, .results = &run.results});
    }
    const Pictures pictures = draw_trends(trend, options->out);
    for (const std::string& name : pictures.drawn) {
      for (const char* extension : {".svg", ".png"}) {
        print_out("{}\n", (std::filesystem::path(options->out) / (name + extension)).string());
      }
    }
    for (const std::string& line : pictures.left_out) print_out("left out: {}\n", line);
  });
}

}  // namespace

void add_history(CommandLine app) {
  CommandLine history = app.add_subcommand("history", "Keep runs over time in an SQLite file");
  history.require_subcommand();
  history_add(history);
  history_show(history);
  history_plot(history);
  history.footer("Example: sinkbench history add history.db results/ci --branch main");
}

}  // namespace sinkbench
