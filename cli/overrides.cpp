#include <fmt/format.h>

#include <charconv>

#include "cli/commands.h"
#include "eval/experiment/engine_names.h"
#include "eval/experiment/experiment.h"

namespace sinkbench {

void add_overrides(CLI::App& command, Overrides& overrides, const std::string& threads) {
  command.add_option("--threads", overrides.threads, threads)->transform(integer(1, 4096));
  command.add_option("--device", overrides.device, device_names)->check(device_name());
  command.add_option("--limit", overrides.limit, "Feed no more than so many tokens")
      ->transform(integer(2, int64_t{1} << 40));
}

void add_plugins(CLI::App& command, std::vector<std::filesystem::path>& plugins) {
  command
      .add_option("--plugin", plugins,
                  "A shared library with policies, whose code is run (repeatable; docs/plugins.md)")
      ->type_name("FILE")
      ->allow_extra_args(false);
}

void add_weights(CLI::App& command, std::string& weights) {
  command
      .add_option(
          "--weights", weights,
          "decoded: as numbers of the precision; as-stored: in the form of the file, such as "
          "Q4_K or MXFP4, in less memory (default: decoded)")
      ->check(CLI::IsMember({"decoded", "as-stored"}));
}

CLI::Validator device_name() {
  return CLI::Validator(
      [](std::string& text) -> std::string {
        return is_device(text) ? "" : fmt::format("'{}'; expected {}", text, device_names);
      },
      "", "");
}

CLI::Validator integer(int64_t least, int64_t most) {
  return CLI::Validator(
      [=](std::string& text) -> std::string {
        int64_t value = 0;
        const char* const end = text.data() + text.size();
        const auto [last, error] = std::from_chars(text.data(), end, value);
        if (error != std::errc() || last != end || value < least || value > most) {
          return fmt::format("'{}'; expected an integer from {} to {}", text, least, most);
        }
        text = std::to_string(value);  // CLI11 would take 010 for octal
        return "";
      },
      "", "");
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
