// sinkbench verify: the chunked engine against the stepwise one, cell by cell.
#include <cmath>

#include "base/error.h"
#include "cli/commands.h"
#include "cli/tensors.h"
#include "policies/plugin.h"

namespace sinkbench {

void add_verify(CommandLine app) {
  auto options = std::make_shared<VerifyOptions>();
  CommandLine command = app.add_subcommand(
      "verify", "Compare the chunked engine with the stepwise one, token by token");
  command.add_option("config", options->config,
                     "The experiment, a YAML file; may be left out beside --plugin");
  add_plugins(command, options->overrides.plugins);
  command.add_option("--set", options->overrides.set, "Replace a value: key=value (repeatable)")
      .repeatable();
  command
      .add_option("--limit", options->overrides.limit,
                  "Feed no more than so many tokens (default: 2048)")
      .check(integer(2, int64_t{1} << 40));
  command.add_option("--threads", options->overrides.threads, "Threads (default: all cores)")
      .check(integer(1, 4096));
  command.add_option(
      "--tolerance", options->tolerance,
      "Largest difference allowed, in nats per token (default: 1e-4, in float64 1e-9)");
  command.add_flag("--quiet", options->quiet, "No progress");
  command.footer(
      "With --plugin the plug-in's policies are tried on the terms that every policy keeps.\n"
      "Under a policy that evicts by content both engines follow one log of decisions, and the\n"
      "first that one of them would have made otherwise is shown.\n"
      "Exits with status 1 where a cell differs by more than the tolerance, or in float64 in a\n"
      "decision.\n"
      "Example: sinkbench verify configs/quickstart.yaml --limit 1024");
  command.callback([options] {
    if (!options->overrides.limit) options->overrides.limit = 2048;
    if (options->tolerance && !(*options->tolerance >= 0 && std::isfinite(*options->tolerance))) {
      throw InputError::format("--tolerance is {}; expected nats, a number of 0 or more",
                               *options->tolerance);
    }
    options->overrides.load_plugins = true;
    const std::vector<std::filesystem::path>& plugins = options->overrides.plugins;
    if (options->config.empty() && plugins.empty()) {
      throw InputError("config is missing; expected an experiment, a YAML file, or --plugin");
    }
    for (const std::filesystem::path& plugin : plugins) load_plugin(plugin);
    if (!plugins.empty() && !tensor_commands(false).verify_policies(plugins)) {
      throw Exit{exit_differs};
    }
    if (options->config.empty()) return;
    const Experiment experiment = load_experiment(options->config, options->overrides);
    if (!tensor_commands(uses_cuda(experiment.cells)).verify(experiment, *options)) {
      throw Exit{exit_differs};
    }
  });
}

}  // namespace sinkbench
