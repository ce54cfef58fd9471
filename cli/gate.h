// Two runs compared, and an exit status that says whether the second is worse.
#pragma once

#include <string>
#include <vector>

#include "cli/command_line.h"
#include "reports/compare.h"
#include "reports/exports.h"

namespace sinkbench {

struct GateOptions {
  std::string thresholds;  ///< a YAML file
  std::vector<std::string> assignments;
  std::vector<std::string> exports;
  std::string format = "table";
};

/// --thresholds, --threshold, --export and --format.
void add_gate_options(CommandLine command, GateOptions& options);

/// What the exit statuses mean, for a command's help.
extern const char* const gate_statuses;

class Gate {
 public:
  /// Throws InputError for bad settings, before there is anything to compare.
  explicit Gate(const GateOptions& options);

  /// Compares and prints.
  Comparison compare(const MeasuredRun& baseline, const MeasuredRun& candidate) const;
  /// Writes the exports, and throws Exit with the outcome's status unless all is well.
  void close(const Comparison& comparison, const Results& candidate) const;

 private:
  bool markdown_;
  Thresholds thresholds_;
  std::vector<Export> exports_;
};

}  // namespace sinkbench
