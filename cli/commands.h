// One function per subcommand, each in the file of its name: adds it to the program, with a
// callback that does the work.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "cli/command_line.h"

namespace sinkbench {

void add_run(CommandLine app);
void add_eval(CommandLine app);
void add_generate(CommandLine app);
void add_recall(CommandLine app);
void add_slurm(CommandLine app);
void add_reproduce(CommandLine app);
void add_report(CommandLine app);
void add_plot(CommandLine app);
void add_tokenize(CommandLine app);
void add_train(CommandLine app);
void add_verify(CommandLine app);
void add_bench(CommandLine app);
void add_inspect(CommandLine app);
void add_sinks(CommandLine app);
void add_list(CommandLine app);
void add_compare(CommandLine app);
void add_ab(CommandLine app);
void add_golden(CommandLine app);
void add_history(CommandLine app);
void add_completion(CommandLine app);
void add_decisions(CommandLine app);

struct DocumentOptions;
struct Overrides;

/// The options of every command that runs experiments and that stand for what their files say:
/// --threads (`threads` is its help), --device, --limit.
void add_overrides(CommandLine command, Overrides& overrides, const std::string& threads);

/// The options of every command that runs the cells of one experiment's file: --set, --only.
void add_grid_options(CommandLine command, Overrides& overrides, std::vector<std::string>& only);

/// The options of every command that is given texts: --field, --subfolders, --invalid.
void add_document_options(CommandLine command, DocumentOptions& options);

/// The option of every command that loads plug-ins: --plugin.
void add_plugins(CommandLine command, std::vector<std::filesystem::path>& plugins);

/// The option of every command that loads a model: --weights.
void add_weights(CommandLine command, std::string& weights);

/// Exit statuses, the same for every subcommand.
enum ExitStatus : int {
  exit_ok = 0,
  exit_differs = 1,             ///< a comparison found a difference
  exit_bad_input = 2,           ///< nothing was run; one line on standard error says why
  exit_nothing_comparable = 3,  ///< of a comparison
  exit_incomplete = 4,          ///< some of the work failed, the rest is there
  exit_unsure = 5,         ///< a comparison can't tell: too few measurements, an unsteady machine
  exit_interrupted = 130,  ///< SIGINT, as shells have it
};

/// Thrown by a callback to end the program with a status after it has said what there is to say.
struct Exit {
  ExitStatus status;
};

}  // namespace sinkbench
