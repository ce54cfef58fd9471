// sinkbench compare: two runs, and an exit status that says whether the second is worse.
#include "reports/compare.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <filesystem>
#include <set>
#include <sstream>
#include <string_view>
#include <utility>

#include "base/console.h"
#include "base/error.h"
#include "cli/commands.h"
#include "cli/conformance.h"
#include "eval/experiment/engine_names.h"
#include "reports/exports.h"
#include "reports/history.h"

namespace sinkbench {
namespace {

struct Options {
  std::vector<std::string> folders;
  std::string thresholds;
  std::vector<std::string> assignments;
  std::vector<std::string> exports;
  std::string format = "table";
  std::string history;
  std::string branch = "main";
  ConformanceOptions kit;
};

ExitStatus status_of(Outcome outcome) {
  switch (outcome) {
    case Outcome::fine:
      return exit_ok;
    case Outcome::regression:
      return exit_differs;
    case Outcome::nothing_comparable:
      return exit_nothing_comparable;
    case Outcome::incomplete:
      return exit_incomplete;
    case Outcome::unsure:
      return exit_unsure;
  }
  return exit_ok;
}

/// The folder that was named, or the run of a history; nothing where that has none.
std::optional<MeasuredRun> baseline_of(const Options& options, const MeasuredRun& candidate) {
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

/// Verdicts in colour, each on its line.
std::string coloured(const std::string& text) {
  constexpr std::pair<std::string_view, const char*> colours[] = {
      {"  worse", "\033[31m"},       {"REGRESSION", "\033[31m"},   {"  better", "\033[32m"},
      {"no regression", "\033[32m"}, {"  can't tell", "\033[33m"}, {"CAN'T TELL", "\033[33m"},
      {"INCOMPLETE", "\033[33m"},    {"NOTHING COMP", "\033[33m"}};
  std::string result;
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    const auto found =
        std::find_if(std::begin(colours), std::end(colours), [&](const auto& colour) {
          return colour.first.front() == ' ' ? line.find(colour.first) != line.npos
                                             : line.starts_with(colour.first);
        });
    result += found == std::end(colours) ? line : found->second + line + "\033[0m";
    result += '\n';
  }
  return result;
}

/// Numbers of another program, and no results.
void run_kit(const Options& options) {
  if (!options.folders.empty()) {
    throw InputError::format("--golden stands beside '{}'; expected a kit and --nll, or folders",
                             options.folders.front());
  }
  if (options.kit.policy.empty() || options.kit.nll.empty()) {
    throw InputError::format("{} is missing beside --golden",
                             options.kit.nll.empty() ? "--nll FILE" : "--policy ID");
  }
  const char* idle = !options.thresholds.empty()    ? "--thresholds"
                     : !options.assignments.empty() ? "--threshold"
                     : !options.exports.empty()     ? "--export"
                     : !options.history.empty()     ? "--baseline-from"
                     : options.format != "table"    ? "--format"
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

void run(const Options& options) {
  if (!options.kit.kit.empty()) return run_kit(options);
  const size_t expected = options.history.empty() ? 2 : 1;
  if (options.folders.size() != expected) {
    throw InputError::format("{} folders; expected {}", options.folders.size(),
                             expected == 1 ? "the candidate's alone beside --baseline-from"
                                           : "two, the baseline's and the candidate's");
  }
  Thresholds thresholds;
  if (!options.thresholds.empty()) thresholds.read(options.thresholds);
  for (const std::string& assignment : options.assignments) thresholds.set(assignment);
  std::vector<Export> exports;
  for (const std::string& assignment : options.exports) {
    exports.push_back(parse_export(assignment));
    const std::string& file = exports.back().file;
    if (file != "-" && std::count_if(exports.begin(), exports.end(),
                                     [&](const Export& to) { return to.file == file; }) > 1) {
      throw InputError::format("--export {}: another one goes to that file, too", assignment);
    }
  }
  const MeasuredRun candidate = read_run(options.folders.back());
  const std::optional<MeasuredRun> baseline = baseline_of(options, candidate);
  Comparison comparison = {
      .baseline = fmt::format("branch {} of {}", options.branch, options.history),
      .candidate = candidate.name,
      .baseline_info = {.started = "no such run"},
      .candidate_info = candidate.results.info};
  if (baseline) {
    comparison = compare(*baseline, candidate, thresholds);
    const bool markdown = options.format == "markdown";
    const std::string text = format_comparison(comparison, markdown);
    write_output(has_colours() && !markdown ? coloured(text) : text);
  }
  const ExitStatus status = status_of(comparison.outcome());
  std::optional<InputError> failure;  // the others are written nevertheless
  for (const Export& to : exports) {
    try {
      write_export(to, comparison, candidate.results);
    } catch (const InputError& error) {
      if (!failure) failure = error;
      if (status != exit_ok) remark("not written: {}\n", error.what());
    }
  }
  if (status != exit_ok) throw Exit{status};
  if (failure) throw *failure;
}

}  // namespace

void add_compare(CLI::App& app) {
  auto options = std::make_shared<Options>();
  CLI::App* command =
      app.add_subcommand("compare", "Say whether a run is worse than an earlier one");
  command
      ->add_option("folders", options->folders, "The results of the baseline and of the candidate")
      ->option_text("BASELINE CANDIDATE")
      ->expected(0, 2);
  CLI::Option* history = command->add_option("--baseline-from", options->history,
                                             "Instead of BASELINE: the newest run in this history "
                                             "(`sinkbench history`) that is comparable");
  command->add_option("--branch", options->branch, "Of which branch in the history")
      ->needs(history)
      ->capture_default_str();
  command->add_option("--thresholds", options->thresholds,
                      "How large a change counts, a YAML file (docs/ci.md)");
  command
      ->add_option("--threshold", options->assignments,
                   "One of them: NAME=VALUE or PATTERN:NAME=VALUE, such as '*-dense-*:latency=0.2' "
                   "(repeatable)")
      ->allow_extra_args(false);
  command
      ->add_option("--export", options->exports,
                   "Also write FORMAT=FILE: junit, markdown, bencher, github-benchmark or "
                   "google-benchmark (repeatable)")
      ->allow_extra_args(false);
  command->add_option("--format", options->format, "table or markdown")
      ->check(CLI::IsMember({"table", "markdown"}))
      ->capture_default_str();
  CLI::Option* golden =
      command->add_option("--golden", options->kit.kit,
                          "Instead of folders: a kit of `sinkbench golden`, against which --nll "
                          "is held (docs/conformance.md)");
  command->add_option("--policy", options->kit.policy, "Which of the kit's policies: sinks-4+124")
      ->needs(golden);
  command
      ->add_option("--nll", options->kit.nll,
                   "Numbers of any program, NLLs in nats of the kit's tokens from the second on: a "
                   "JSON array, one a line, or raw float32")
      ->needs(golden);
  command
      ->add_option("--model", options->kit.model,
                   "The kit's model, for the likely cause (default: where it was)")
      ->needs(golden);
  command
      ->add_option("--tolerance", options->kit.tolerance,
                   "Nats by which a token may differ from the kit's")
      ->needs(golden)
      ->capture_default_str();
  command->add_option("--device", options->kit.device, device_names)
      ->check(device_name())
      ->needs(golden)
      ->capture_default_str();
  command->add_option("--threads", options->kit.threads, "Threads (default: all cores)")
      ->transform(integer(1, 4096))
      ->needs(golden);
  command->add_flag("--quiet", options->kit.quiet, "No progress")->needs(golden);
  command->footer(
      "Exits with 0 where nothing is worse, 1 where something is, 2 for bad input, 3 where "
      "nothing\n"
      "could be compared, 4 where cells failed or are missing, 5 where measurements are too few or "
      "the\n"
      "machine was too unsteady to tell.\n"
      "Examples: sinkbench compare results/before results/after --threshold latency=0.2\n"
      "          sinkbench compare --baseline-from history.db --branch main results/after\n"
      "          sinkbench compare --golden tiny-kit.json --policy sinks-4+124 --nll mine.json");
  command->callback([options] { run(*options); });
}

}  // namespace sinkbench
