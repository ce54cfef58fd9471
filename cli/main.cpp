#include <fmt/format.h>
#include <malloc.h>
#include <unistd.h>

#include <cstdio>

#include "base/error.h"
#include "cli/commands.h"
#include "cli/tensors.h"
#include "eval/run/version.h"

namespace sinkbench {
namespace {

int run(int argc, char** argv) {
  // Blocks of a few megabytes come and go with every layer; handed back to the system each time,
  // they would cost a page fault for every 4 KiB.
  mallopt(M_MMAP_THRESHOLD, 1 << 30);
  mallopt(M_TRIM_THRESHOLD, 1 << 30);

  CLI::App app(
      "sinkbench measures what a KV-cache policy costs a language model and what it buys: "
      "perplexity, latency and memory over long text streams.");
  app.name("sinkbench");
  app.set_version_flag("--version", fmt::format("sinkbench {} ({})", version, commit));
  app.require_subcommand(1);
  app.footer("Example: sinkbench run configs/quickstart.yaml");
  add_run(app);
  add_slurm(app);
  add_reproduce(app);
  add_report(app);
  add_plot(app);
  add_tokenize(app);
  add_train(app);
  add_verify(app);
  add_bench(app);
  add_inspect(app);
  add_sinks(app);
  add_list(app);
  add_compare(app);
  add_history(app);
  add_completion(app);
  try {
    app.parse(argc, argv);
    return exit_ok;
  } catch (const CLI::ParseError& error) {
    const int status = app.exit(error);
    return status == 0 ? exit_ok : exit_bad_input;
  } catch (const Exit& exit) {
    return exit.status;
  } catch (const InputError& error) {
    fmt::print(stderr, "sinkbench: {}\n", error.what());
    return exit_bad_input;
  } catch (const std::exception& error) {
    fmt::print(stderr, "sinkbench: internal error: {}\n", error.what());
    return 70;  // EX_SOFTWARE
  }
}

}  // namespace
}  // namespace sinkbench

int main(int argc, char** argv) {
  const int status = sinkbench::run(argc, argv);
  if (!sinkbench::tensor_commands_loaded()) return status;
  // LibTorch would take a tenth of a second to give back what the system takes back anyway.
  std::fflush(nullptr);
  ::_exit(status);
}
