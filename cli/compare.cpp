// sinkbench compare: two runs that were made before, or one and a kit.
#include <fmt/ranges.h>

#include <filesystem>
#include <set>

#include "base/console.h"
#include "base/error.h"
#include "cli/commands.h"
#include "cli/conformance.h"
#include "cli/gate.h"
#include "eval/experiment/engine_names.h"
#include "reports/history.h"

namespace sinkbench {
namespace {

struct CompareOptions {
  std::vector<std::string> folders;
  GateOptions gate;
  std::string history;
  std::string branch = "main";
  ConformanceOptions kit;
};

/// The folder that was named, or the run of a history; nothing where that has none.
std::optional<MeasuredRun> baseline_of(const CompareOptions& options, const MeasuredRun& candidate) {
  if (options.history.empty()) {
    std::error_code error;
    if (std::filesystem::equivalent(options.folders.front(), options.folders.back(), error)) {
      remark("note: {} is compared with itself\n", options.folders.front());
    }
    return read_run(options.folders.front());
  }
  std::optional<MeasuredRun> baseline =
      baseline_from_history(options.history, options.branch, candidate.results);
  if (!baseline) {
    std::set<std::string> branches;
    if (std::filesystem::exists(options.history)) {
      for (const HistoryRun& run : read_history(options.history, "")) branches.insert(run.branch);
    }
    print_out(
        "NOTHING COMPARABLE: no other run of branch '{}' in {} has a cell of {} (branches there: "
        "{})\n",
        options.branch, options.history, candidate.name,
        branches.empty() ? "none" : fmt::format("{}", fmt::join(branches, ", ")));
  }
  return baseline;
}

/// Numbers of another program, and no results.
void run_kit(const CompareOptions& options) {
  if (!options.folders.empty()) {
    throw InputError::format("--golden stands beside '{}'; expected a kit and --nll, or folders",
                             options.folders.front());
  }
  if (options.kit.policy.empty() || options.kit.nll.empty()) {
    throw InputError::format("{} is missing beside --golden",
                             options.kit.nll.empty() ? "--nll FILE" : "--policy ID");
  }
  const char* idle = !options.gate.thresholds.empty()    ? "--thresholds"
                     : !options.gate.assignments.empty() ? "--threshold"
                     : !options.gate.exports.empty()     ? "--export"
                     : !options.history.empty()          ? "--baseline-from"
                     : options.gate.format != "table"    ? "--format"
                                                         : nullptr;
  if (idle != nullptr) {
    throw InputError::format("{} is of results, and means nothing beside --golden", idle);
  }
  constexpr double most = 10;  // beyond that nothing departs
  if (!(options.kit.tolerance > 0 && options.kit.tolerance <= most)) {
    throw InputError::format("--tolerance {}: expected nats above 0, {} at the most",
                             options.kit.tolerance, most);
  }
  const ExitStatus status = compare_with_kit(options.kit);
  if (status != exit_ok) throw Exit{status};
}

void run(const CompareOptions& options) {
  if (!options.kit.kit.empty()) return run_kit(options);
  const size_t expected = options.history.empty() ? 2 : 1;
  if (options.folders.size() != expected) {
    throw InputError::format("{} folders; expected {}", options.folders.size(),
                             expected == 1 ? "the candidate's alone beside --baseline-from"
                                           : "two, the baseline's and the candidate's");
  }
  const Gate gate(options.gate);
  const MeasuredRun candidate = read_run(options.folders.back());
  const std::optional<MeasuredRun> baseline = baseline_of(options, candidate);
  Comparison comparison = {
      .baseline = fmt::format("branch {} of {}", options.branch, options.history),
      .candidate = candidate.name,
      .baseline_info = {.started = "no such run"},
      .candidate_info = candidate.results.info};
  if (baseline) comparison = gate.compare(*baseline, candidate);
  gate.close(comparison, candidate.results);
}

}  // namespace

void add_compare(CommandLine app) {
  auto options = std::make_shared<CompareOptions>();
  CommandLine command =
      app.add_subcommand("compare", "Say whether a run is worse than an earlier one");
  command
      .add_option("folders", options->folders, "The results of the baseline and of the candidate")
      .option_text("BASELINE CANDIDATE")
      .expected(0, 2);
  CommandOption history = command.add_option("--baseline-from", options->history,
                                             "Instead of BASELINE: the newest run in this history "
                                             "(`sinkbench history`) that is comparable");
  command.add_option("--branch", options->branch, "Of which branch in the history")
      .needs(history)
      .capture_default_str();
  add_gate_options(command, options->gate);
  CommandOption golden =
      command.add_option("--golden", options->kit.kit,
                         "Instead of folders: a kit of `sinkbench golden`, against which --nll "
                         "is held (docs/conformance.md)");
  command.add_option("--policy", options->kit.policy, "Which of the kit's policies: sinks-4+124")
      .needs(golden);
  command
      .add_option("--nll", options->kit.nll,
                  "Numbers of any program, NLLs in nats of the kit's tokens from the second on: a "
                  "JSON array, one a line, or raw float32")
      .needs(golden);
  command
      .add_option("--model", options->kit.model,
                  "The kit's model, for the likely cause (default: where it was)")
      .needs(golden);
  command
      .add_option("--tolerance", options->kit.tolerance,
                  "Nats by which a token may differ from the kit's")
      .needs(golden)
      .capture_default_str();
  command.add_option("--device", options->kit.device, device_names)
      .check(device_name())
      .needs(golden)
      .capture_default_str();
  command.add_option("--threads", options->kit.threads, "Threads (default: all cores)")
      .check(integer(1, 4096))
      .needs(golden);
  command.add_flag("--quiet", options->kit.quiet, "No progress").needs(golden);
  command.footer(
      std::string(gate_statuses) +
      "Examples: sinkbench compare results/before results/after --threshold latency=0.2\n"
      "          sinkbench compare --baseline-from history.db --branch main results/after\n"
      "          sinkbench compare --golden tiny-kit.json --policy sinks-4+124 --nll mine.json");
  command.callback([options] { run(*options); });
}

}  // namespace sinkbench
