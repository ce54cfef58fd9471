#include <fmt/format.h>

#include "cli/commands.h"
#include "eval/experiment/engine_names.h"
#include "eval/experiment/experiment.h"

namespace sinkbench {

void add_overrides(CommandLine command, Overrides& overrides, const std::string& threads) {
  command.add_option("--threads", overrides.threads, threads).check(integer(1, 4096));
  command.add_option("--device", overrides.device, device_names).check(device_name());
  command.add_option("--limit", overrides.limit, "Feed no more than so many tokens")
      .check(integer(2, int64_t{1} << 40));
}

void add_grid_options(CommandLine command, Overrides& overrides, std::vector<std::string>& only) {
  command
      .add_option("--set", overrides.set,
                  "Replace a value: key=value, such as dataset.tokens=4096 (repeatable)")
      .repeatable();
  command
      .add_option("--only", only,
                  "Run the cells whose id matches, such as '*-sinks-*' (repeatable)")
      .repeatable();
}

void add_plugins(CommandLine command, std::vector<std::filesystem::path>& plugins) {
  command
      .add_option("--plugin", plugins,
                  "A shared library with policies, whose code is run (repeatable; docs/plugins.md)")
      .type_name("FILE")
      .repeatable();
}

void add_weights(CommandLine command, std::string& weights) {
  command
      .add_option(
          "--weights", weights,
          "decoded: as numbers of the precision; as-stored: in the form of the file, such as "
          "Q4_K or MXFP4, in less memory (default: decoded)")
      .one_of({"decoded", "as-stored"});
}

void add_document_options(CommandLine command, DocumentOptions& options) {
  command.add_option("--field", options.field, "The field of a JSON record that holds the text")
      .capture_default_str();
  command.add_flag("--subfolders", options.subfolders, "Read the folders in a folder, too");
  const std::map<std::string, InvalidBytes> choices = {{"refuse", InvalidBytes::refuse},
                                                       {"replace", InvalidBytes::replace}};
  command
      .add_option_function(
          "--invalid",
          [&options, choices](const std::string& name) { options.invalid = choices.at(name); },
          "Bytes that are no UTF-8: refuse (more than 1 in 1,000 characters), or replace")
      .one_of({"refuse", "replace"})
      .default_str("refuse");
}

}  // namespace sinkbench
