#include "cli/gate.h"

#include <algorithm>
#include <optional>
#include <sstream>
#include <string_view>
#include <utility>

#include "base/console.h"
#include "base/error.h"
#include "cli/commands.h"

namespace sinkbench {
namespace {

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

}  // namespace

const char* const gate_statuses =
    "Exits with 0 where nothing is worse, 1 where something is, 2 for bad input, 3 where "
    "nothing\n"
    "could be compared, 4 where cells failed or are missing, 5 where measurements are too few or "
    "the\n"
    "machine was too unsteady to tell.\n";

void add_gate_options(CommandLine command, GateOptions& options) {
  command.add_option("--thresholds", options.thresholds,
                     "How large a change counts, a YAML file (docs/ci.md)");
  command
      .add_option("--threshold", options.assignments,
                  "One of them: NAME=VALUE or PATTERN:NAME=VALUE, such as '*-dense-*:latency=0.2' "
                  "(repeatable)")
      .repeatable();
  command
      .add_option("--export", options.exports,
                  "Also write FORMAT=FILE: junit, markdown, bencher, github-benchmark or "
                  "google-benchmark (repeatable)")
      .repeatable();
  command.add_option("--format", options.format, "table or markdown")
      .one_of({"table", "markdown"})
      .capture_default_str();
}

Gate::Gate(const GateOptions& options) : markdown_(options.format == "markdown") {
  if (!options.thresholds.empty()) thresholds_.read(options.thresholds);
  for (const std::string& assignment : options.assignments) thresholds_.set(assignment);
  for (const std::string& assignment : options.exports) {
    exports_.push_back(parse_export(assignment));
    const std::string& file = exports_.back().file;
    if (file != "-" && std::count_if(exports_.begin(), exports_.end(),
                                     [&](const Export& to) { return to.file == file; }) > 1) {
      throw InputError::format("--export {}: another one goes to that file, too", assignment);
    }
  }
}

Comparison Gate::compare(const MeasuredRun& baseline, const MeasuredRun& candidate) const {
  Comparison comparison = sinkbench::compare(baseline, candidate, thresholds_);
  const std::string text = format_comparison(comparison, markdown_);
  write_output(has_colours() && !markdown_ ? coloured(text) : text);
  return comparison;
}

void Gate::close(const Comparison& comparison, const Results& candidate) const {
  const ExitStatus status = status_of(comparison.outcome());
  std::optional<InputError> failure;  // the others are written nevertheless
  for (const Export& to : exports_) {
    try {
      write_export(to, comparison, candidate);
    } catch (const InputError& error) {
      if (!failure) failure = error;
      if (status != exit_ok) remark("not written: {}\n", error.what());
    }
  }
  if (status != exit_ok) throw Exit{status};
  if (failure) throw *failure;
}

}  // namespace sinkbench
