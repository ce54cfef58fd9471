#include "cli/run_experiment.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <chrono>
#include <iterator>
#include <map>

#include "base/console.h"
#include "base/error.h"
#include "base/file.h"
#include "base/machine_limits.h"
#include "cli/interruption.h"
#include "cli/notes.h"
#include "cli/tensors/commands.h"
#include "eval/experiment/engine_names.h"
#include "eval/metrics/batch_means.h"
#include "eval/results/common_tokens.h"
#include "eval/results/nll_file.h"
#include "eval/run/bench.h"
#include "eval/run/cell_checkpoint.h"
#include "eval/run/dtype.h"
#include "eval/run/machine.h"
#include "eval/run/memory_need.h"
#include "eval/run/run.h"
#include "eval/run/scoring.h"
#include "eval/run/turns.h"
#include "eval/tasks/task.h"
#include "models/cuda/graph.h"
#include "policies/plugin.h"
#include "policies/registry.h"
#include "reports/collapse.h"
#include "reports/tables.h"
#include "reports/text_table.h"

namespace sinkbench {
namespace {

namespace fs = std::filesystem;

void say(const std::string& text) {
  remark("{}\n", text);
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
  /// Of a chosen cell it is said where it is not the same; what is not chosen stays, fresh or not.
  std::optional<CellResult> find(const Cell& cell, Runner& runner, const RunInfo& info,
                                 bool chosen = true) {
    const auto it = std::find_if(results_.cells.begin(), results_.cells.end(),
                                 [&](const CellResult& r) { return r.cell.id == cell.id; });
    if ((fresh_ && chosen) || it == results_.cells.end() || !it->error.empty()) return std::nullopt;
    std::string different =
        differences(cell_identity(*it, results_.info), cell_identity(runner.describe(cell), info));
    if (different.empty() && !has_nll(*it)) different = "the NLL file";
    if (!different.empty()) {
      if (chosen) {
        say(fmt::format("{}: there are results, but not the same: {}; the cell is run afresh",
                        cell.id, different));
      }
      return std::nullopt;
    }
    ++kept_;
    return *it;
  }

  size_t kept() const { return kept_; }
  const RunInfo& info() const { return results_.info; }

  /// The same of a cell that was not asked for, whose inputs need not be there.
  std::optional<CellResult> find_unchosen(const Cell& cell, Runner& runner, const RunInfo& info) {
    try {
      return find(cell, runner, info, /*chosen=*/false);
    } catch (const InputError&) {
      return std::nullopt;
    }
  }

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
      if (!result.answers_file.empty()) {
        read_answers(folder_ / result.answers_file, result.answers);
      }
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

/// What came of a cell, in a line: "perplexity 25.3, decode 1.2 ms, cache 96.0 KiB".
std::string row(const CellResult& result) {
  if (!result.error.empty()) return "FAILED: " + result.error;
  std::vector<std::string> parts;
  if (!result.answers.empty()) {
    const AnswerBin& all = result.answers.front();
    parts.push_back(fmt::format("{} of {} answers right, log-probability {:.2f}",
                                percent(all.accuracy), all.answers, all.log_probability));
  } else if (result.perplexity) {
    parts.push_back("perplexity " + significant(result.perplexity->token));
  }
  for (const LatencyResult& timing : result.latency) {
    parts.push_back(fmt::format("decode {} ms", significant(timing.p50_ms)));
  }
  if (result.memory) parts.push_back("cache " + format_bytes(result.memory->kv_bytes_held));
  return fmt::format("{}", fmt::join(parts, ", "));
}

void add_warning(RunInfo& info, const std::string& warning) {
  const auto it = std::find(info.warnings.begin(), info.warnings.end(), warning);
  if (it == info.warnings.end()) info.warnings.push_back(warning);
}

/// Where a task's samples are longer than what the model was trained on.
std::optional<std::string> beyond_context(Runner& runner, const Cell& cell) {
  const int64_t context = runner.config(cell).context;
  if (!cell.dataset.is_task() || context == 0) return std::nullopt;
  const auto policy = make_policy(cell.policy);
  // A cache keeps a query's distances within itself; else they are those of the stream.
  const bool within =
      cell.policy.positions == Positions::cache && policy->capacity().value_or(context) < context;
  const int64_t longest = as_stream(runner.text(cell).stream).longest() + 1;
  if (within || longest <= context) return std::nullopt;
  return fmt::format(
      "{}: a sample has {} tokens, and model {} was trained on {}: what '{}' answers says more "
      "about "
      "that than about its cache",
      task_label(cell.dataset.task), longest, cell.model.path.string(), context, policy->label());
}

fs::path results_folder(const Experiment& experiment, const RunOptions& options) {
  const fs::path folder = options.out.empty() ? fs::path("results") / experiment.name : options.out;
  if (!options.shard) return folder;
  return folder / fmt::format("shard-{}-of-{}", options.shard->index, options.shard->count);
}

/// About how long a cell takes: operations at half of a product's rate (of recomputing with what
/// windows share), stepwise and timed steps at the rate of reading weights and cache.
double estimated_seconds(const Cell& cell, Runner& runner, const MemoryNeed& need, double flops,
                         double bytes_per_second) {
  const DecoderConfig& config = runner.config(cell);
  const auto fed = static_cast<int64_t>(runner.text(cell).stream.ids.size()) - 1;
  const double step = (need.weights + need.cache) / bytes_per_second;
  const auto policy = make_policy(cell.policy);
  const double keys = static_cast<double>(std::min(fed, policy->size().value_or(fed / 2)) + 1);
  double operations = flops_per_token(config, keys) * static_cast<double>(fed);
  if (const auto* recompute = dynamic_cast<const RecomputePolicy*>(policy.get())) {
    operations = scoring_flops(config, *recompute, fed);
  }
  double seconds = 0;
  if (cell.metrics.contains(Metric::perplexity)) {
    const bool stepwise = cell.engine == "stepwise";
    seconds += stepwise ? step * static_cast<double>(fed) : operations / (0.5 * flops);
    if (cell.metrics.contains(Metric::divergence)) seconds *= 2;
  }
  if (cell.metrics.contains(Metric::latency)) {
    const auto steps = static_cast<double>(cell.latency.samples + cell.latency.warmup);
    seconds += std::min(30.0, std::max(cell.latency.seconds, steps * step));
  }
  return seconds;
}

}  // namespace

FedStream fed_stream(const Cell& cell) {
  Runner runner(Progress::Style::silent);
  const Runner::Text text = runner.text(cell);
  return {.ids = text.stream.ids, .pieces = text.stream.pieces};
}

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
    for (const fs::path& plugin : experiment.plugins) load_plugin(plugin);
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

Plan plan(const Experiment& experiment, const RunOptions& options) {
  Plan plan;
  plan.folder = results_folder(experiment, options);
  plan.available_memory = available_memory();
  const std::vector<Cell> cells = cells_of(experiment, options.shard);
  const RunInfo info = describe_run(experiment.name, experiment.sha256, false);
  Runner runner(Progress::Style::silent);
  Earlier earlier(plan.folder, options.fresh);
  const double bytes_per_second = read_ceiling(int64_t{1} << 28, at::kCPU).measure(0.1);
  std::map<std::string, double> flops;  // by dtype
  for (const Cell& cell : cells) {
    if (!is_chosen(cell.id, options.only)) continue;
    plan.cells.push_back({.id = cell.id, .state = "to do"});
    PlannedCell& planned = plan.cells.back();
    if (policy_named(cell.policy.name) == nullptr) {  // of a plug-in, which isn't loaded here
      const std::string note = fmt::format(
          "policies of {} are not checked: --dry-run loads no plug-ins, and `run` may give their "
          "cells other ids",
          cell.policy.plugin.file);
      planned.state = "unknown";
      if (plan.notes.empty()) plan.notes.push_back(note);
      continue;
    }
    MemoryNeed need;
    try {
      need = runner.memory(cell);
    } catch (const InputError& error) {
      planned.state = "refused";
      planned.problem = error.what();
      continue;
    }
    planned.memory = need.total();
    if (!options.fresh && earlier.find(cell, runner, info, /*chosen=*/false)) {
      planned.state = "done";
    } else if (!options.fresh &&
               fs::exists(checkpoint_path(plan.folder / "nll" / nll_name(cell)))) {
      planned.state = "under way";
    }
    if (planned.state != "done" && cell.device == "cpu") {
      const auto [rate, is_new] = flops.emplace(cell.dtype, 0);
      if (is_new) rate->second = product_ceiling(to_scalar_type(cell.dtype), at::kCPU).measure(0.2);
      planned.seconds = estimated_seconds(cell, runner, need, rate->second, bytes_per_second);
    }
  }
  return plan;
}

RunOutcome run_experiment(const Experiment& experiment, const RunOptions& options) {
  RunOutcome outcome;
  outcome.folder = results_folder(experiment, options);
  const fs::path& folder = outcome.folder;
  Turns* const turns = Turns::taken();
  for (const fs::path& plugin : experiment.plugins) load_plugin(plugin);
  const std::vector<Cell> cells = cells_of(experiment, options.shard);
  const auto chosen = [&](const Cell& cell) { return is_chosen(cell.id, options.only); };
  RunInfo& info = outcome.results.info;
  info = describe_run(experiment.name, experiment.sha256,
                      std::any_of(cells.begin(), cells.end(),
                                  [](const Cell& cell) { return cell.device == "cpu"; }));
  Runner runner(options.quiet ? Progress::Style::silent : Progress::detect(),
                &Interruption::asked());
  std::vector<Cell> to_check;
  std::copy_if(cells.begin(), cells.end(), std::back_inserter(to_check), chosen);
  check_cells(runner, to_check);
  const auto on_card = std::find_if(to_check.begin(), to_check.end(),
                                    [](const Cell& cell) { return is_cuda(cell.device); });
  if (on_card != to_check.end()) info.machine["gpu"] = device_title(use_device(on_card->device));
  for (const Cell& cell : to_check) {
    for (const std::string& note : runner.config(cell).notes) {
      add_warning(info, fmt::format("model {}: {}", cell.model.path.string(), note));
    }
  }

  for (const Cell& cell : to_check) {
    if (const auto warning = beyond_context(runner, cell)) add_warning(info, *warning);
  }

  const int64_t cores = available_cores().count;
  for (const Cell& cell : to_check) {
    if (cell.threads <= cores) continue;
    add_warning(info,
                fmt::format("{} threads on {} {}: times are not what they would be on so many",
                            cell.threads, cores, cores == 1 ? "core" : "cores"));
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
  size_t to_do = 0;
  for (const Cell& cell : cells) {
    results.push_back(chosen(cell) ? earlier.find(cell, runner, info)
                                   : earlier.find_unchosen(cell, runner, info));
    if (results.back()) {
      results.back()->cell.reference = cell.reference;
      // What is no measurement is made anew at the end.
      results.back()->collapse.reset();
      results.back()->common.reset();
    } else if (chosen(cell)) {
      ++to_do;
    }
    // What is left of an unfinished run of a finished cell has no use.
    if (results.back() || (options.fresh && chosen(cell))) forget_cell(nll_file(cell));
  }
  earlier.keep_copy();
  if (earlier.kept() > 0) {
    say(fmt::format("{} of {} in {} from before", earlier.kept(), counted(cells.size(), "cell"),
                    folder.string()));
    info.started = earlier.info().started;
    if (to_do == 0) {  // nothing is measured now
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
    // A cell's steps in turn with another program's are timed from the start again.
    return fmt::format("{}; {} of {} done{}", what, outcome.results.cells.size(),
                       counted(cells.size(), "cell"),
                       turns == nullptr ? ", and the same command goes on from there" : "");
  };
  const Interruption interruption;  // from here on there is something to lose
  try {
    if (turns != nullptr) turns->next();
    if (to_do == 0) gather();
    const auto begin = std::chrono::steady_clock::now();
    size_t done = 0;
    for (size_t i = 0; i < cells.size(); ++i) {
      if (results[i] || !chosen(cells[i])) continue;
      if (Interruption::asked()) throw Interrupted("before " + cells[i].id);
      const fs::path nll = nll_file(cells[i]);
      try {
        const std::string place =
            to_do > 1 ? fmt::format("cell {} of {}: ", done + 1, to_do) : std::string();
        within_device_memory([&] { results[i] = runner.run(cells[i], nll, info, place); });
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
      ++done;
      if (options.quiet || to_do == 1) continue;
      const std::chrono::duration<double> passed = std::chrono::steady_clock::now() - begin;
      const double left =
          passed.count() / static_cast<double>(done) * static_cast<double>(to_do - done);
      say(fmt::format("cell {} of {}: {}: {}{}", done, to_do, cells[i].id, row(*results[i]),
                      done == to_do ? "" : fmt::format("; about {} left", format_duration(left))));
    }
    const bool common = find_common_tokens(outcome.results, folder);
    if (experiment.collapse) find_collapses(outcome.results, folder, *experiment.collapse);
    if (common || experiment.collapse) {
      write_results(outcome.results, folder);
      write_tables(outcome.results, folder);
    }
  } catch (const Interrupted& exception) {
    outcome.interrupted = true;
    say(how_to_go_on(fmt::format("sinkbench: interrupted {}", exception.what())));
  } catch (const InputError& exception) {  // of writing, by now
    outcome.failed = true;
    say(how_to_go_on(fmt::format("sinkbench: {}", exception.what())));
  }
  return outcome;
}

}  // namespace sinkbench
