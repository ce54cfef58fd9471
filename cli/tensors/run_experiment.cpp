#include "cli/run_experiment.h"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <csignal>

#include "base/error.h"
#include "base/file.h"
#include "cli/notes.h"
#include "cli/tensors/commands.h"
#include "eval/metrics/batch_means.h"
#include "eval/results/nll_file.h"
#include "eval/run/cell_checkpoint.h"
#include "eval/run/machine.h"
#include "eval/run/run.h"
#include "policies/registry.h"
#include "reports/collapse.h"
#include "reports/tables.h"

namespace sinkbench {
namespace {

namespace fs = std::filesystem;

std::atomic<bool> interrupted = false;

/// For as long as it lives, SIGINT and SIGTERM ask for an orderly end; a second one ends the
/// program at once. Writing beyond a limit on files' sizes is an error like a full disk.
class Signals {
 public:
  Signals() {
    interrupted = false;
    for (const int signal : {SIGINT, SIGTERM}) {
      std::signal(signal, [](int number) {
        interrupted = true;
        std::signal(number, SIG_DFL);
      });
    }
    std::signal(SIGXFSZ, SIG_IGN);
  }
  ~Signals() {
    for (const int signal : {SIGINT, SIGTERM, SIGXFSZ}) std::signal(signal, SIG_DFL);
  }
};

void say(const std::string& text) {
  fmt::print(stderr, "{}\n", text);
}

std::string counted(size_t n, const std::string& noun) {
  return fmt::format("{} {}{}", n, noun, n == 1 ? "" : "s");
}

/// What an earlier run into the folder has finished.
class Earlier {
 public:
  Earlier(const fs::path& folder, bool fresh) : folder_(folder), fresh_(fresh) {
    if (!fs::exists(folder / "results.json")) return;
    try {
      results_ = read_results(folder);
    } catch (const InputError& error) {
      say(fmt::format("{}; nothing of it is used", error.what()));
      unused_ = true;
    }
  }

  /// The result of a cell if it is there, without an error, and all that it hangs on is the same.
  std::optional<CellResult> find(const Cell& cell, Runner& runner, const RunInfo& info) {
    const auto it = std::find_if(results_.cells.begin(), results_.cells.end(),
                                 [&](const CellResult& r) { return r.cell.id == cell.id; });
    if (fresh_ || it == results_.cells.end() || !it->error.empty()) return std::nullopt;
    std::string different =
        differences(cell_identity(*it, results_.info), cell_identity(runner.describe(cell), info));
    if (different.empty() && !has_nll(*it)) different = "the NLL file";
    if (!different.empty()) {
      say(fmt::format("{}: there are results, but not the same: {}; the cell is run afresh",
                      cell.id, different));
      return std::nullopt;
    }
    ++kept_;
    return *it;
  }

  size_t kept() const { return kept_; }
  const RunInfo& info() const { return results_.info; }

  /// Nobody loses a long measurement because a short one went to the same folder.
  void keep_copy() const {
    const auto finished =
        std::count_if(results_.cells.begin(), results_.cells.end(),
                      [](const CellResult& result) { return result.error.empty(); });
    if (!unused_ && static_cast<size_t>(finished) <= kept_) return;
    write_file_atomically(folder_ / "results.previous.json", read_file(folder_ / "results.json"));
    say(fmt::format("the earlier results are in {}", (folder_ / "results.previous.json").string()));
  }

 private:
  bool has_nll(const CellResult& result) const {
    if (!result.perplexity) return true;
    if (!result.decisions_file.empty() && !fs::exists(folder_ / result.decisions_file)) {
      return false;
    }
    try {
      BatchMeans means(result.perplexity->scored);
      for (const double value : read_nll_file(folder_ / result.nll_file)) means.add(value);
      return means.count() == result.perplexity->scored &&
             means.mean() == result.perplexity->nll_mean;
    } catch (const InputError&) {
      return false;
    }
  }

  const fs::path& folder_;
  bool fresh_;
  Results results_;
  bool unused_ = false;
  size_t kept_ = 0;
};

CellResult failure(const Cell& cell, const std::string& what) {
  CellResult result;
  result.cell = cell;
  const auto policy = make_policy(cell.policy);
  result.policy_label = policy->label();
  result.cache_label = policy->cache();
  result.cache_size = policy->size();
  result.error = what.substr(0, what.find('\n'));  // without LibTorch's stack
  return result;
}

void add_warning(RunInfo& info, const std::string& warning) {
  const auto it = std::find(info.warnings.begin(), info.warnings.end(), warning);
  if (it == info.warnings.end()) info.warnings.push_back(warning);
}

}  // namespace

void check_cells(Runner& runner, const std::vector<Cell>& cells) {
  Notes notes;
  for (const Cell& cell : cells) {
    runner.check(cell);
    notes.say(runner.text(cell).stream.facts.notes);
  }
}

std::vector<std::string> missing(const std::vector<Experiment>& experiments) {
  Runner runner(Progress::Style::silent);
  std::vector<std::string> lines;
  const auto add = [&](const std::string& line) {
    if (std::find(lines.begin(), lines.end(), line) == lines.end()) lines.push_back(line);
  };
  for (const Experiment& experiment : experiments) {
    for (const Cell& cell : experiment.cells) {
      const std::vector<std::string> inputs = missing_inputs(cell);
      for (const std::string& line : inputs) add(line);
      if (!inputs.empty()) continue;
      try {
        runner.check(cell);
      } catch (const InputError& error) {
        add(error.what());
      }
    }
  }
  return lines;
}

RunOutcome run_experiment(const Experiment& experiment, const RunOptions& options) {
  RunOutcome outcome;
  outcome.folder = options.out.empty() ? fs::path("results") / experiment.name : options.out;
  if (options.shard) {
    outcome.folder /= fmt::format("shard-{}-of-{}", options.shard->index, options.shard->count);
  }
  const fs::path& folder = outcome.folder;
  const std::vector<Cell> cells = cells_of(experiment, options.shard);
  RunInfo& info = outcome.results.info;
  info = describe_run(experiment.name, experiment.sha256,
                      std::any_of(cells.begin(), cells.end(),
                                  [](const Cell& cell) { return cell.device == "cpu"; }));
  Runner runner(options.quiet ? Progress::Style::silent : Progress::detect(), &interrupted);
  check_cells(runner, cells);
  for (const Cell& cell : cells) {
    for (const std::string& note : runner.config(cell).notes) {
      add_warning(info, fmt::format("model {}: {}", cell.model.path.string(), note));
    }
  }

  std::error_code error;
  fs::create_directories(folder / "nll", error);
  if (error) {
    throw InputError::format("{}: cannot create the folder: {}", folder.string(), error.message());
  }
  const FolderLock lock(folder);
  remove_leftovers(folder);
  remove_leftovers(folder / "nll");
  const auto nll_file = [&](const Cell& cell) { return folder / "nll" / nll_name(cell); };

  Earlier earlier(folder, options.fresh);
  std::vector<std::optional<CellResult>> results;
  for (const Cell& cell : cells) {
    results.push_back(earlier.find(cell, runner, info));
    if (results.back()) {
      results.back()->cell.reference = cell.reference;
      results.back()->collapse.reset();  // which is no measurement: made anew at the end
    }
    // What is left of an unfinished run of a finished cell has no use.
    if (options.fresh || results.back()) forget_cell(nll_file(cell));
  }
  earlier.keep_copy();
  if (earlier.kept() > 0) {
    say(fmt::format("{} of {} in {} from before", earlier.kept(), counted(cells.size(), "cell"),
                    folder.string()));
    info.started = earlier.info().started;
    if (earlier.kept() == cells.size()) {  // nothing is measured now
      info.machine = earlier.info().machine;
      info.warnings.clear();
    }
    for (const std::string& warning : earlier.info().warnings) add_warning(info, warning);
  }

  const auto gather = [&] {
    outcome.results.cells.clear();
    for (const auto& result : results) {
      if (result) outcome.results.cells.push_back(*result);
    }
    write_results(outcome.results, folder);
    write_tables(outcome.results, folder);
  };
  const auto how_to_go_on = [&](const std::string& what) {
    return fmt::format("{}; {} of {} done, and the same command goes on from there", what,
                       outcome.results.cells.size(), counted(cells.size(), "cell"));
  };
  const Signals signals;  // from here on there is something to lose
  try {
    if (earlier.kept() == cells.size()) gather();
    for (size_t i = 0; i < cells.size(); ++i) {
      if (results[i]) continue;
      if (interrupted) throw Interrupted("before " + cells[i].id);
      const fs::path nll = nll_file(cells[i]);
      try {
        results[i] = runner.run(cells[i], nll, info);
      } catch (const Interrupted&) {
        throw;
      } catch (const DiskError&) {
        throw;
      } catch (const std::exception& exception) {
        forget_cell(nll);
        outcome.failed = true;
        results[i] = failure(cells[i], exception.what());
      }
      gather();
      forget_cell(nll);  // only now that its results are safe
    }
    if (experiment.collapse) {
      find_collapses(outcome.results, folder, *experiment.collapse);
      write_results(outcome.results, folder);
      write_tables(outcome.results, folder);
    }
  } catch (const Interrupted& exception) {
    outcome.interrupted = true;
    say(how_to_go_on(fmt::format("sinkbench: interrupted {}", exception.what())));
  } catch (const DiskError& exception) {
    outcome.failed = true;
    say(how_to_go_on(fmt::format("sinkbench: {}", exception.what())));
  }
  return outcome;
}

}  // namespace sinkbench
