// Commands and their options. CLI11 does the work, and is in command_line.cpp: what its headers
// bring takes seconds in every source that includes them.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <vector>

namespace CLI {
class App;
class Option;
}  // namespace CLI

namespace sinkbench {

/// Looks at an option's text, which it may put into another form; why it is refused, or "".
using Check = std::function<std::string(std::string&)>;

/// An integer in decimal digits (010 is ten) from `least` to `most`.
Check integer(int64_t least, int64_t most);
/// A number within bounds, which NaN is not.
Check real(double least, double most);
/// A device: one of eval/experiment/engine_names.h.
Check device_name();

/// An option, or a positional, of a command: a handle, good for as long as the program runs.
class CommandOption {
 public:
  explicit CommandOption(CLI::Option* option) : option_(option) {}

  CommandOption required() const;
  CommandOption needs(CommandOption other) const;
  CommandOption excludes(CommandOption other) const;
  CommandOption check(const Check& check) const;
  /// One of these, which --help and completions name.
  CommandOption one_of(const std::vector<std::string>& names) const;
  /// --help says what the variable holds now, or this.
  CommandOption capture_default_str() const;
  CommandOption default_str(const std::string& text) const;
  /// Several values in one word.
  CommandOption delimiter(char delimiter) const;
  /// One value each time that a repeatable option stands there, not all words that follow.
  CommandOption repeatable() const;
  CommandOption expected(int least, int most) const;
  /// In --help, in the place of its type; of its name and type.
  CommandOption type_name(const std::string& text) const;
  CommandOption option_text(const std::string& text) const;

 private:
  CLI::Option* option_;
};

/// A command, or the program itself: a handle, too.
class CommandLine {
 public:
  explicit CommandLine(CLI::App& app) : app_(&app) {}
  CLI::App& app() const { return *app_; }

  CommandLine add_subcommand(const std::string& name, const std::string& help) const;
  /// A name with dashes, or without them that of a positional. T: text, a path, a number,
  /// optional ones, and vectors, which are repeatable; command_line.cpp has the list.
  template <typename T>
  CommandOption add_option(const std::string& name, T& value, const std::string& help) const;
  /// Calls `take` with the text.
  CommandOption add_option_function(const std::string& name,
                                    const std::function<void(const std::string&)>& take,
                                    const std::string& help) const;
  CommandOption add_flag(const std::string& name, bool& value, const std::string& help) const;
  void footer(const std::string& text) const;
  void callback(const std::function<void()>& run) const;
  void require_subcommand() const;

  /// The names of what was given.
  std::vector<std::string> given() const;
  bool is_given(const std::string& option) const;

 private:
  CLI::App* app_;
};

}  // namespace sinkbench
