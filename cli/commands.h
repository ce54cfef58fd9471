// One function per subcommand, each in the file of its name: adds it to the program, with a
// callback that does the work.
#pragma once

#include <CLI/CLI.hpp>
#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

namespace sinkbench {

void add_run(CLI::App& app);
void add_eval(CLI::App& app);
void add_generate(CLI::App& app);
void add_recall(CLI::App& app);
void add_slurm(CLI::App& app);
void add_reproduce(CLI::App& app);
void add_report(CLI::App& app);
void add_plot(CLI::App& app);
void add_tokenize(CLI::App& app);
void add_train(CLI::App& app);
void add_verify(CLI::App& app);
void add_bench(CLI::App& app);
void add_inspect(CLI::App& app);
void add_sinks(CLI::App& app);
void add_list(CLI::App& app);
void add_compare(CLI::App& app);
void add_ab(CLI::App& app);
void add_golden(CLI::App& app);
void add_history(CLI::App& app);
void add_completion(CLI::App& app);
void add_decisions(CLI::App& app);

struct DocumentOptions;
struct Overrides;

/// The options of every command that runs experiments and that stand for what their files say:
/// --threads (`threads` is its help), --device, --limit.
void add_overrides(CLI::App& command, Overrides& overrides, const std::string& threads);

/// The options of every command that is given texts: --field, --subfolders, --invalid.
void add_document_options(CLI::App& command, DocumentOptions& options);

/// The option of every command that loads plug-ins: --plugin.
void add_plugins(CLI::App& command, std::vector<std::filesystem::path>& plugins);

/// The option of every command that loads a model: --weights.
void add_weights(CLI::App& command, std::string& weights);

/// For an option that takes an integer: decimal digits (010 is ten) from `least` to `most`.
CLI::Validator integer(int64_t least, int64_t most);

/// For an option that takes a device: one of eval/experiment/engine_names.h.
CLI::Validator device_name();

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
