#include "cli/command_line.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <charconv>
#include <cstdlib>

#include "eval/experiment/engine_names.h"

namespace sinkbench {

Check integer(int64_t least, int64_t most) {
  return [=](std::string& text) -> std::string {
    int64_t value = 0;
    const char* const end = text.data() + text.size();
    const auto [last, error] = std::from_chars(text.data(), end, value);
    if (error != std::errc() || last != end || value < least || value > most) {
      return fmt::format("'{}'; expected an integer from {} to {}", text, least, most);
    }
    text = std::to_string(value);  // CLI11 would take 010 for octal
    return "";
  };
}

Check real(double least, double most) {
  return [=](std::string& text) -> std::string {
    char* end = nullptr;
    const double value = std::strtod(text.c_str(), &end);
    if (!text.empty() && *end == '\0' && value >= least && value <= most) return "";
    return fmt::format("'{}'; expected a number from {} to {}", text, least, most);
  };
}

Check device_name() {
  return [](std::string& text) -> std::string {
    return is_device(text) ? "" : fmt::format("'{}'; expected {}", text, device_names);
  };
}

CommandOption CommandOption::required() const {
  return CommandOption(option_->required());
}

CommandOption CommandOption::needs(CommandOption other) const {
  return CommandOption(option_->needs(other.option_));
}

CommandOption CommandOption::excludes(CommandOption other) const {
  return CommandOption(option_->excludes(other.option_));
}

CommandOption CommandOption::check(const Check& check) const {
  return CommandOption(option_->transform(CLI::Validator(check, "", "")));
}

CommandOption CommandOption::one_of(const std::vector<std::string>& names) const {
  return CommandOption(option_->check(CLI::IsMember(names)));
}

CommandOption CommandOption::capture_default_str() const {
  return CommandOption(option_->capture_default_str());
}

CommandOption CommandOption::default_str(const std::string& text) const {
  return CommandOption(option_->default_str(text));
}

CommandOption CommandOption::delimiter(char delimiter) const {
  return CommandOption(option_->delimiter(delimiter));
}

CommandOption CommandOption::repeatable() const {
  return CommandOption(option_->allow_extra_args(false));
}

CommandOption CommandOption::expected(int least, int most) const {
  return CommandOption(option_->expected(least, most));
}

CommandOption CommandOption::type_name(const std::string& text) const {
  return CommandOption(option_->type_name(text));
}

CommandOption CommandOption::option_text(const std::string& text) const {
  return CommandOption(option_->option_text(text));
}

CommandLine CommandLine::add_subcommand(const std::string& name, const std::string& help) const {
  return CommandLine(*app_->add_subcommand(name, help));
}

template <typename T>
CommandOption CommandLine::add_option(const std::string& name, T& value,
                                      const std::string& help) const {
  return CommandOption(app_->add_option(name, value, help));
}
#define SINKBENCH_OPTION(...)                                                                 \
  template CommandOption CommandLine::add_option(const std::string& name, __VA_ARGS__& value, \
                                                 const std::string& help) const;
SINKBENCH_OPTION(std::string)
SINKBENCH_OPTION(std::optional<std::string>)
SINKBENCH_OPTION(std::vector<std::string>)
SINKBENCH_OPTION(std::filesystem::path)
SINKBENCH_OPTION(std::vector<std::filesystem::path>)
SINKBENCH_OPTION(int64_t)
SINKBENCH_OPTION(std::optional<int64_t>)
SINKBENCH_OPTION(std::vector<int64_t>)
SINKBENCH_OPTION(uint64_t)
SINKBENCH_OPTION(int)
SINKBENCH_OPTION(double)
SINKBENCH_OPTION(std::optional<double>)
#undef SINKBENCH_OPTION

CommandOption CommandLine::add_option_function(const std::string& name,
                                               const std::function<void(const std::string&)>& take,
                                               const std::string& help) const {
  return CommandOption(app_->add_option_function<std::string>(name, take, help));
}

CommandOption CommandLine::add_flag(const std::string& name, bool& value,
                                    const std::string& help) const {
  return CommandOption(app_->add_flag(name, value, help));
}

void CommandLine::footer(const std::string& text) const {
  app_->footer(text);
}

void CommandLine::callback(const std::function<void()>& run) const {
  app_->callback(run);
}

void CommandLine::require_subcommand() const {
  app_->require_subcommand(1);
}

std::vector<std::string> CommandLine::given() const {
  std::vector<std::string> names;
  for (const CLI::Option* option : app_->get_options()) {
    if (option->count() > 0) names.push_back(option->get_name());
  }
  return names;
}

bool CommandLine::is_given(const std::string& option) const {
  return app_->count(option) > 0;
}

}  // namespace sinkbench
