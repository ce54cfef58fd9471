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

void add_document_options(CLI::App& command, DocumentOptions& options) {
  command.add_option("--field", options.field, "The field of a JSON record that holds the text")
      ->capture_default_str();
  command.add_flag("--subfolders", options.subfolders, "Read the folders in a folder, too");
  const std::map<std::string, InvalidBytes> choices = {{"refuse", InvalidBytes::refuse},
                                                       {"replace", InvalidBytes::replace}};
  command
      .add_option_function<std::string>(
          "--invalid",
          [&options, choices](const std::string& name) { options.invalid = choices.at(name); },
          "Bytes that are no UTF-8: refuse (more than 1 in 1,000 characters), or replace")
      ->check(CLI::IsMember({"refuse", "replace"}))
      ->default_str("refuse");
}

}  // namespace sinkbench
