// sinkbench slurm: an experiment as a job array on a cluster.
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>

#include "base/console.h"
#include "base/error.h"
#include "base/file.h"
#include "cli/commands.h"
#include "cli/run_experiment.h"
#include "cli/shell.h"
#include "eval/experiment/experiment.h"

namespace sinkbench {
namespace {

namespace fs = std::filesystem;

struct SlurmOptions {
  std::string config;
  Overrides overrides;
  std::string out;
  int64_t shards = 0;
  std::vector<std::string> sbatch;
};

std::string script(const SlurmOptions& options) {
  if (!fs::is_regular_file(options.config) &&
      (options.config == "-" || fs::exists(options.config))) {
    throw InputError::format("{}: expected a file, which the job's tasks can read again",
                             options.config);
  }
  const Experiment experiment = load_experiment(options.config, options.overrides);
  const auto cells = static_cast<int64_t>(experiment.cells.size());
  // Slurm refuses arrays beyond its MaxArraySize, 1001 unless it is set otherwise.
  constexpr int64_t most_tasks = 1000;
  const int64_t shards = options.shards > 0 ? options.shards : std::min(cells, most_tasks);
  if (shards > cells) {
    throw InputError::format("--shards is {}; expected no more than the {} cells of the grid",
                             shards, cells);
  }
  for (const std::string& option : options.sbatch) {
    if (!option.starts_with("--") || option.find('\n') != option.npos) {
      throw InputError::format(
          "--sbatch is '{}'; expected an option of sbatch, such as --time=8:00", option);
    }
  }
  const fs::path out = fs::absolute(options.out.empty() ? fs::path("results") / experiment.name
                                                        : fs::path(options.out));
  const std::string program = shell_word(fs::read_symlink("/proc/self/exe").string());

  std::string run = fmt::format("{} run {} --out {}", program,
                                shell_word(without_dots(fs::absolute(options.config)).string()),
                                shell_word(out.string()));
  for (const std::string& set : options.overrides.set) run += " --set " + shell_word(set);
  if (options.overrides.limit) run += fmt::format(" --limit {}", *options.overrides.limit);
  if (options.overrides.threads) run += fmt::format(" --threads {}", *options.overrides.threads);
  if (options.overrides.device) run += " --device " + *options.overrides.device;

  std::string text = "#!/bin/bash\n";
  const auto directive = [&](const std::string& option) { text += "#SBATCH " + option + "\n"; };
  const std::string job =
      fmt::format("sinkbench-{}", fs::path(experiment.name).filename().string());
  directive("--job-name=" + shell_word(job));
  directive(fmt::format("--array=1-{}", shards));
  directive(fmt::format("--output={}", shell_word(job + "-%a.log")));
  if (options.overrides.threads) {
    directive(fmt::format("--cpus-per-task={}", *options.overrides.threads));
  }
  const bool has_gpu = std::any_of(options.sbatch.begin(), options.sbatch.end(), [](const auto& o) {
    return o.find("--g") != std::string::npos;  // --gres=gpu:..., --gpus...
  });
  // A card for each task: what Slurm gives it, it sees as cuda:0.
  if (uses_cuda(experiment.cells) && !has_gpu) directive("--gres=gpu:1");
  // A task that is stopped or moved goes on from its checkpoint.
  directive("--open-mode=append");
  directive("--requeue");
  directive("--signal=B:TERM@60");
  for (const std::string& option : options.sbatch) directive(option);
  text += "set -eu\n";
  text += fmt::format("cd {}\n", shell_word(fs::current_path().string()));
  if (const char* libraries = std::getenv("LD_LIBRARY_PATH")) {
    text += fmt::format("export LD_LIBRARY_PATH={}\n", shell_word(libraries));
  }
  text += fmt::format(
      R"(
# The first task has the shards' results merged once all tasks have ended.
if [ "$SLURM_ARRAY_TASK_ID" = 1 ] && [ "${{SLURM_RESTART_COUNT:-0}}" = 0 ]; then
  mkdir -p {out}
  sbatch --job-name={job} --dependency=afterany:"$SLURM_ARRAY_JOB_ID" --output={report} <<'MERGE'
#!/bin/bash
exec {program} report {out}/shard-*-of-{shards}
MERGE
fi
exec {run} --shard "$SLURM_ARRAY_TASK_ID/{shards}"
)",
      fmt::arg("out", shell_word(out.string())), fmt::arg("job", shell_word(job + "-report")),
      fmt::arg("report", shell_word((out / "report.txt").string())), fmt::arg("program", program),
      fmt::arg("shards", shards), fmt::arg("run", run));
  return text;
}

}  // namespace

void add_slurm(CommandLine app) {
  auto options = std::make_shared<SlurmOptions>();
  CommandLine command =
      app.add_subcommand("slurm", "Print a Slurm job array that runs an experiment");
  command.add_option("config", options->config, "The experiment, a YAML file").required();
  command
      .add_option("--shards", options->shards,
                  "Tasks (default: one for each cell, 1000 at the most)")
      .check(integer(1, 1'000'000));
  command.add_option("--set", options->overrides.set, "Replace a value: key=value (repeatable)")
      .repeatable();
  command.add_option("--out", options->out, "Folder for the results (default: results/NAME)");
  add_overrides(command, options->overrides, "Threads, and cores of each task");
  command
      .add_option("--sbatch", options->sbatch,
                  "An option of sbatch for each task, such as --sbatch=--time=8:00:00 (repeatable)")
      .repeatable();
  command.footer(
      "Submit it with sbatch; submit it again to go on where tasks were stopped.\n"
      "Example: sinkbench slurm configs/long.yaml --shards 4 --sbatch=--mem=16G > job.sbatch");
  command.callback([options] { print_out("{}", script(*options)); });
}

}  // namespace sinkbench
