#include <fmt/format.h>
#include <fmt/ranges.h>
#include <malloc.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <csignal>
#include <cstdio>

#include "base/console.h"
#include "base/error.h"
#include "cli/commands.h"
#include "cli/tensors.h"
#include "eval/run/version.h"

namespace sinkbench {
namespace {

/// What is built, and of what.
std::string version_text() {
  const std::string cli11 = CLI11_VERSION;
  return fmt::format(
      "sinkbench {} ({}, {})\nLibTorch {}, CLI11 {}, fmt {}.{}.{}, nlohmann-json {}.{}.{}, "
      "compiled by {} {}",
      version, commit, build_type, SINKBENCH_TORCH_VERSION, cli11, FMT_VERSION / 10000,
      FMT_VERSION / 100 % 100, FMT_VERSION % 100, NLOHMANN_JSON_VERSION_MAJOR,
      NLOHMANN_JSON_VERSION_MINOR, NLOHMANN_JSON_VERSION_PATCH,
#ifdef __clang__
      "clang", __clang_version__
#else
      "g++", __VERSION__
#endif
  );
}

/// The command that the arguments call, or the app itself.
const CLI::App& command_of(const CLI::App& app) {
  for (const CLI::App* command : app.get_subcommands()) return command_of(*command);
  return app;
}

/// "sinkbench history show"
std::string full_name(const CLI::App& command) {
  std::string name;
  for (const CLI::App* part = &command; part != nullptr; part = part->get_parent()) {
    name = part->get_name() + (name.empty() ? "" : " " + name);
  }
  return name;
}

/// One line, as all that is refused.
std::string usage_error(const CLI::App* app, const CLI::Error& error) {
  const CLI::App& command = command_of(*app);
  std::string reason = error.what();
  if (error.get_exit_code() == static_cast<int>(CLI::ExitCodes::ExtrasError)) {
    std::vector<std::string> options;
    for (const CLI::Option* option : command.get_options()) {
      for (const std::string& known : option->get_lnames()) options.push_back("--" + known);
    }
    const std::vector<std::string> left = app->remaining(/*recurse=*/true);
    const auto unknown = std::find_if(left.begin(), left.end(),
                                      [](const std::string& arg) { return arg.starts_with('-'); });
    if (unknown != left.end()) {
      const std::string option = unknown->substr(0, unknown->find('='));
      const std::string meant = nearest(option, options);
      reason = fmt::format("unknown option '{}'{}", option,
                           meant.empty() ? "" : "; did you mean '" + meant + "'?");
    } else {
      reason = fmt::format("unexpected '{}'", fmt::join(left, " "));
    }
  }
  return fmt::format("sinkbench: {} (see {} --help)\n", reason, full_name(command));
}

/// Throws where the first words are no command.
void check_command(const CLI::App& app, const std::vector<std::string>& arguments) {
  const CLI::App* command = &app;
  std::string words;
  for (const std::string& word : arguments) {
    const auto parts = command->get_subcommands([](const CLI::App*) { return true; });
    if (parts.empty() || word.starts_with('-')) return;
    words += (words.empty() ? "" : " ") + word;
    std::vector<std::string> names;
    if (command == &app) names.push_back("help");
    for (const CLI::App* part : parts) names.push_back(part->get_name());
    const auto found = std::find_if(parts.begin(), parts.end(),
                                    [&](const CLI::App* part) { return part->get_name() == word; });
    if (found == parts.end()) {
      throw InputError::format("unknown command '{}'{} (see {} --help)", words,
                               suggestion(word, names), full_name(*command));
    }
    command = *found;
  }
}

int run(int argc, char** argv) {
  // Blocks of a few megabytes come and go with every layer; handed back to the system each time,
  // they would cost a page fault for every 4 KiB.
  mallopt(M_MMAP_THRESHOLD, 1 << 30);
  mallopt(M_TRIM_THRESHOLD, 1 << 30);

  CLI::App app(
      "sinkbench measures what a KV-cache policy costs a language model and what it buys: "
      "perplexity, latency and memory over long text streams.");
  app.name("sinkbench");
  app.set_version_flag("-V,--version", version_text);
  app.require_subcommand(1);
  app.failure_message(usage_error);
  app.footer("Example: sinkbench run configs/quickstart.yaml");
  const CommandLine line(app);
  add_run(line);
  add_eval(line);
  add_generate(line);
  add_recall(line);
  add_slurm(line);
  add_reproduce(line);
  add_report(line);
  add_plot(line);
  add_decisions(line);
  add_tokenize(line);
  add_train(line);
  add_verify(line);
  add_bench(line);
  add_inspect(line);
  add_sinks(line);
  add_list(line);
  add_compare(line);
  add_ab(line);
  add_golden(line);
  add_history(line);
  add_completion(line);
  try {
    std::vector<std::string> arguments(argv + 1, argv + argc);
    if (!arguments.empty() && arguments.front() == "help") {  // help [COMMAND]
      arguments.erase(arguments.begin());
      arguments.push_back("--help");
    }
    check_command(app, arguments);
    std::reverse(arguments.begin(), arguments.end());  // as CLI11 wants them
    app.parse(arguments);
    return exit_ok;
  } catch (const CLI::ParseError& error) {
    const int status = app.exit(error);
    return status == 0 ? exit_ok : exit_bad_input;
  } catch (const Exit& exit) {
    return exit.status;
  } catch (const InputError& error) {
    remark("sinkbench: {}\n", error.what());
    return exit_bad_input;
  } catch (const std::exception& error) {
    remark("sinkbench: internal error: {}\n", error.what());
    return 70;  // EX_SOFTWARE
  }
}

}  // namespace
}  // namespace sinkbench

int main(int argc, char** argv) {
  // A file beyond the size that is allowed is an error of its writing, not the program's end.
  std::signal(SIGXFSZ, SIG_IGN);
  sinkbench::guard_standard_streams();
  int status = sinkbench::run(argc, argv);
  if (const std::string reason = sinkbench::finish_output(); !reason.empty()) {
    sinkbench::remark("sinkbench: standard output: cannot be written: {}\n", reason);
    if (status == sinkbench::exit_ok) status = sinkbench::exit_incomplete;
  }
  if (!sinkbench::tensor_commands_loaded()) return status;
  // LibTorch would take a tenth of a second to give back what the system takes back anyway.
  std::fflush(nullptr);
  ::_exit(status);
}
