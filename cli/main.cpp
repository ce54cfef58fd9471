#include <fmt/format.h>
#include <malloc.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>

#include "base/error.h"
#include "cli/commands.h"
#include "eval/run/version.h"

namespace {

/// Settings that libraries read from the environment when they are loaded, which was before main:
/// the program starts itself once more with them. What the user has set stays.
void configure_libraries(char** argv) {
  constexpr const char* done = "SINKBENCH_LIBRARIES_CONFIGURED";
  if (getenv(done) != nullptr) return;
  setenv(done, "1", 1);
#if defined(__x86_64__)
  // OpenBLAS before 0.3.22 takes AMD's AVX-512 processors for older ones and runs its AVX2 kernels,
  // at half the speed.
  if (__builtin_cpu_is("amd") && __builtin_cpu_supports("avx512f") &&
      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512bw") &&
      __builtin_cpu_supports("avx512vl")) {
    setenv("OPENBLAS_CORETYPE", "SKYLAKEX", /*overwrite=*/0);
  }
#endif
  // A thread that waits for others spins for a few microseconds and then sleeps: asleep at once
  // costs a quarter of the scoring speed; spinning for long, as is the default, holds the core that
  // others need on a busy machine.
  if (getenv("OMP_WAIT_POLICY") == nullptr) setenv("GOMP_SPINCOUNT", "2000", /*overwrite=*/0);
  execv("/proc/self/exe", argv);  // where that fails, go on without
}

}  // namespace

int main(int argc, char** argv) {
  using namespace sinkbench;
  configure_libraries(argv);
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
