// sinkbench golden: the conformance kit of an experiment.
#include <fmt/format.h>

#include <cmath>
#include <filesystem>

#include "base/console.h"
#include "base/error.h"
#include "cli/commands.h"
#include "cli/tensors.h"
#include "eval/conformance/kit.h"
#include "eval/experiment/experiment.h"
#include "reports/tables.h"
#include "reports/text_table.h"

namespace sinkbench {
namespace {

struct GoldenOptions {
  std::string config, out;
  Overrides overrides;
  bool decisions = false, quiet = false;
};

/// One model, one text and one setting, of which every token is scored.
void check(const Experiment& experiment, const std::string& config) {
  const Cell& first = experiment.cells.front();
  for (const Cell& cell : experiment.cells) {
    const char* several = cell.model != first.model       ? "models"
                          : cell.dataset != first.dataset ? "texts"
                          : cell.dtype != first.dtype     ? "dtypes"
                          : cell.engine != first.engine   ? "engines"
                          : cell.chunk != first.chunk     ? "chunks"
                          : cell.kv != first.kv           ? "forms of storage (kv)"
                                                          : nullptr;
    if (several != nullptr) {
      throw InputError::format(
          "{}: has several {}; a kit has one, and policies (--set chooses one)", config, several);
    }
    if (cell.dataset.is_task()) {
      throw InputError::format("{}: has a task; a kit is of a text, one stream", config);
    }
    if (cell.dataset.reset) {
      throw InputError::format(
          "{}: dataset.reset cuts the text into pieces; a kit is of one stream", config);
    }
    if (!cell.kv.is_native()) {
      throw InputError::format("{}: kv is {}; a kit is of caches that store numbers as they are",
                               config, storage_label(cell.kv));
    }
    if (cell.model.random) {
      throw InputError::format("{}: the model's weights are random; a kit is of a checkpoint",
                               config);
    }
    const auto stride = cell.policy.arguments.find("stride");
    if (cell.policy.name == "recompute" && stride != cell.policy.arguments.end() &&
        stride->second != PolicyValue(1)) {
      throw InputError::format("{}: recompute has a stride of {}; a kit has every token's NLL",
                               config, to_string(stride->second));
    }
  }
}

void golden(const GoldenOptions& options) {
  Overrides overrides = options.overrides;
  overrides.load_plugins = true;
  Experiment experiment = load_experiment(options.config, overrides);
  check(experiment, options.config);
  // Before minutes are spent on what can't be kept.
  const auto is_file_to_be = [&] {
    return !options.out.empty() && !std::filesystem::is_directory(options.out) &&
           std::filesystem::is_directory(std::filesystem::absolute(options.out).parent_path());
  };
  if (!is_file_to_be()) {
    throw InputError::format("--out '{}': expected a file in a folder that is there", options.out);
  }
  const TensorCommands& tensors = tensor_commands(uses_cuda(experiment.cells));
  const Kit kit = tensors.make_kit(experiment, options.decisions,
                                   options.quiet ? Progress::Style::silent : Progress::detect());
  write_kit(kit, options.out);
  Columns columns = {{.name = "policy", .number = false, .key = true},
                     {.name = "cached"},
                     {.name = "perplexity"},
                     {.name = "first token with something evicted before it", .number = false}};
  std::vector<std::string> never;
  for (const KitPolicy& policy : kit.policies) {
    columns[0].cells.push_back(policy.id);
    columns[1].cells.push_back(policy.cached ? std::to_string(*policy.cached) : "all");
    columns[2].cells.push_back(significant(perplexity_of(policy.nll)));
    columns[3].cells.push_back(policy.first ? std::to_string(*policy.first) : none);
    if (!policy.first && policy.policy.name != "dense") never.push_back(policy.id);
  }
  print_out("kit: {}, {} tokens of {}, {}\n{}\n{}\n", kit.model_name, kit.ids.size(), kit.text,
            kit.dtype, render(columns, /*markdown=*/false), options.out);
  for (const std::string& id : never) {
    remark(
        "warning: {}: nothing is ever evicted in this stream, so that dense attention would pass "
        "for it; expected more tokens\n",
        id);
  }
}

}  // namespace

void add_golden(CommandLine app) {
  auto options = std::make_shared<GoldenOptions>();
  CommandLine command = app.add_subcommand(
      "golden", "Write a conformance kit: what an exact cache gives, token by token");
  command.add_option("config", options->config, "The experiment, a YAML file").required();
  command.add_option("--out", options->out, "The kit, a JSON file").required();
  command.add_flag("--decisions", options->decisions,
                   "Also what each round of a policy by score evicted");
  command.add_option("--set", options->overrides.set, "Replace a value, as with run (repeatable)")
      .repeatable();
  add_overrides(command, options->overrides, "Threads (default: all cores)");
  add_plugins(command, options->overrides.plugins);
  command.add_flag("--quiet", options->quiet, "No progress");
  command.footer(
      "The experiment has one model and one text. `sinkbench compare --golden KIT` holds numbers "
      "of\n"
      "any other program against it (docs/conformance.md).\n"
      "Example: sinkbench golden configs/kits/tiny.yaml --out tiny-kit.json");
  command.callback([options] { golden(*options); });
}

}  // namespace sinkbench
