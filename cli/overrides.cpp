#include "cli/commands.h"
#include "eval/experiment/experiment.h"

namespace sinkbench {

void add_overrides(CLI::App& command, Overrides& overrides, const std::string& threads) {
  command.add_option("--threads", overrides.threads, threads)->check(CLI::Range(1, 4096));
  command.add_option("--device", overrides.device, "cpu or cuda")
      ->check(CLI::IsMember({"cpu", "cuda"}));
  command.add_option("--limit", overrides.limit, "Feed no more than so many tokens")
      ->check(CLI::Range(int64_t{2}, int64_t{1} << 40));
}

}  // namespace sinkbench
