// sinkbench verify: the chunked engine against the stepwise one, cell by cell.
#include "cli/commands.h"
#include "cli/tensors.h"

namespace sinkbench {

void add_verify(CLI::App& app) {
  auto options = std::make_shared<VerifyOptions>();
  CLI::App* command = app.add_subcommand(
      "verify", "Compare the chunked engine with the stepwise one, token by token");
  command->add_option("config", options->config, "The experiment, a YAML file")->required();
  command->add_option("--set", options->overrides.set, "Replace a value: key=value (repeatable)")
      ->allow_extra_args(false);
  command
      ->add_option("--limit", options->overrides.limit,
                   "Feed no more than so many tokens (default: 2048)")
      ->transform(integer(2, int64_t{1} << 40));
  command->add_option("--threads", options->overrides.threads, "Threads (default: all cores)")
      ->transform(integer(1, 4096));
  command->add_option(
      "--tolerance", options->tolerance,
      "Largest difference allowed, in nats per token (default: 1e-4, in float64 1e-9)");
  command->add_flag("--quiet", options->quiet, "No progress");
  command->footer(
      "Under a policy that evicts by content both engines follow one log of decisions, and the\n"
      "first that one of them would have made otherwise is shown.\n"
      "Exits with status 1 where a cell differs by more than the tolerance, or in float64 in a\n"
      "decision.\n"
      "Example: sinkbench verify configs/quickstart.yaml --limit 1024");
  command->callback([options] {
    if (!options->overrides.limit) options->overrides.limit = 2048;
    const Experiment experiment = load_experiment(options->config, options->overrides);
    if (!tensor_commands(uses_cuda(experiment.cells)).verify(experiment, *options)) {
      throw Exit{exit_differs};
    }
  });
}

}  // namespace sinkbench
