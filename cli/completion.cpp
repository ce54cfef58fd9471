// sinkbench completion: what a shell completes, from the commands and options that there are.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "base/console.h"
#include "cli/commands.h"
#include "cli/shell.h"

namespace sinkbench {
namespace {

using Strings = std::vector<std::string>;

struct Argument {
  Strings names;  ///< with their dashes; none for a positional
  std::string description;
  bool takes_value = true;
  bool repeatable = false;
  Strings values;  ///< where one of these is expected, otherwise a file as like as not
};

struct Command {
  Strings path;  ///< "history", "add"; none for the program itself
  std::string description;
  std::vector<Argument> options, positionals;
  Strings subcommands;
};

/// What a check for membership has put into an option's type: TEXT:{table,markdown,json}.
Strings values_of(const CLI::Option& option) {
  const std::string type = option.get_type_name();
  const size_t open = type.find('{'), close = type.find('}', open);
  if (close == type.npos) return {};
  return CLI::detail::split(type.substr(open + 1, close - open - 1), ',');
}

/// A command and those below it, from the top.
void collect(const CLI::App& app, const Strings& path, std::vector<Command>& commands) {
  Command command;
  command.path = path;
  command.description = app.get_description();
  for (const CLI::Option* option : app.get_options()) {
    if (option->get_group().empty()) continue;  // not in --help either
    Argument argument{.names = {},
                      .description = option->get_description(),
                      .takes_value = option->get_items_expected_max() > 0,
                      .repeatable = option->get_items_expected_max() > 1,
                      .values = values_of(*option)};
    for (const std::string& name : option->get_snames()) argument.names.push_back("-" + name);
    for (const std::string& name : option->get_lnames()) argument.names.push_back("--" + name);
    (argument.names.empty() ? command.positionals : command.options).push_back(argument);
  }
  const auto below = app.get_subcommands([](const CLI::App*) { return true; });
  for (const CLI::App* subcommand : below) command.subcommands.push_back(subcommand->get_name());
  commands.push_back(command);
  for (const CLI::App* subcommand : below) {
    Strings longer = path;
    longer.push_back(subcommand->get_name());
    collect(*subcommand, longer, commands);
  }
}

std::string joined(const Strings& words, const char* between = " ") {
  return fmt::format("{}", fmt::join(words, between));
}

const Command& find(const std::vector<Command>& commands, const Strings& path) {
  return *std::find_if(commands.begin(), commands.end(),
                       [&](const Command& command) { return command.path == path; });
}

Strings below(const Command& command, const std::string& subcommand) {
  Strings path = command.path;
  path.push_back(subcommand);
  return path;
}

/// Where nothing is completed by these words, bash goes on with files.
std::string bash(const std::vector<Command>& commands) {
  std::string paths, values, words;
  for (const Command& command : commands) {
    const std::string path = joined(command.path);
    Strings options;
    for (const Argument& option : command.options) {
      options.insert(options.end(), option.names.begin(), option.names.end());
      if (!option.takes_value) continue;
      for (const std::string& name : option.names) {
        values += fmt::format("    {}) words={} ;;\n", shell_word(path + " " + name),
                              shell_word(joined(option.values)));
      }
    }
    Strings others = command.subcommands;
    for (const Argument& positional : command.positionals) {
      others.insert(others.end(), positional.values.begin(), positional.values.end());
    }
    words += fmt::format("        {}) options={} words={} ;;\n", shell_word(path),
                         shell_word(joined(options)), shell_word(joined(others)));
    for (const std::string& name : command.subcommands) {
      const std::string longer = shell_word(joined(below(command, name)));
      paths += fmt::format("      {}) command={} ;;\n", shell_word(path + " " + name), longer);
    }
  }
  return fmt::format(
      R"(# bash completion of sinkbench: source it, or make it a file of bash-completion's.
_sinkbench() {{
  local word=${{COMP_WORDS[COMP_CWORD]}} command='' options='' words='' i
  for ((i = 1; i < COMP_CWORD; ++i)); do
    case "$command ${{COMP_WORDS[i]}}" in
{}    esac
  done
  case "$command ${{COMP_WORDS[COMP_CWORD - 1]}}" in
{}    *)
      case "$command" in
{}      esac
      [[ $word != -* ]] || words=$options ;;
  esac
  COMPREPLY=($(compgen -W "$words" -- "$word"))
}}
complete -o default -F _sinkbench sinkbench
)",
      paths, values, words);
}

/// A word of zsh's _arguments within quotes: colons and brackets have a meaning there.
std::string zsh_text(const std::string& text) {
  std::string result;
  for (const char c : text) {
    if (c == ':' || c == '[' || c == ']' || c == '\\') result += '\\';
    result += c;
  }
  return result;
}

std::string zsh(const std::vector<Command>& commands) {
  std::string text =
      "#compdef sinkbench\n# zsh completion of sinkbench: a file _sinkbench in $fpath.\n";
  for (const Command& command : commands) {
    text += fmt::format("\n_sinkbench{}{}() {{\n", command.path.empty() ? "" : "_",
                        joined(command.path, "_"));
    std::string arguments;
    const auto action = [](const Argument& argument) {
      return argument.values.empty() ? "_files" : "(" + joined(argument.values) + ")";
    };
    for (const Argument& option : command.options) {
      for (const std::string& name : option.names) {
        arguments += " \\\n    " +
                     shell_word(fmt::format("{}{}[{}]{}", option.repeatable ? "*" : "", name,
                                            zsh_text(option.description),
                                            option.takes_value ? ":value:" + action(option) : ""));
      }
    }
    for (const Argument& positional : command.positionals) {
      arguments += " \\\n    " +
                   shell_word(fmt::format("{}:{}:{}", positional.repeatable ? "*" : "",
                                          zsh_text(positional.description), action(positional)));
    }
    if (command.subcommands.empty()) {
      text += "  _arguments -s" + arguments + "\n}\n";
      continue;
    }
    std::string described, cases;
    for (const std::string& name : command.subcommands) {
      const Command& subcommand = find(commands, below(command, name));
      described += "\n    " + shell_word(zsh_text(name) + ":" + zsh_text(subcommand.description));
      cases += fmt::format("      {}) _sinkbench_{} ;;\n", name, joined(subcommand.path, "_"));
    }
    text += fmt::format(
        "  local -a commands\n  local context state state_descr line\n  typeset -A opt_args\n"
        "  commands=({})\n"
        "  _arguments -C{} \\\n    '1: :->command' '*:: :->arguments'\n"
        "  case $state in\n"
        "    command) _describe -t commands command commands ;;\n"
        "    arguments)\n      case $line[1] in\n{}      esac ;;\n"
        "  esac\n}}\n",
        described, arguments, cases);
  }
  return text + "\n_sinkbench \"$@\"\n";
}

/// Words of fish's: within quotes, only these two are escaped.
std::string fish_word(const std::string& text) {
  std::string result = "'";
  for (const char c : text) {
    if (c == '\'' || c == '\\') result += '\\';
    result += c;
  }
  return result + "'";
}

std::string fish(const std::vector<Command>& commands) {
  std::string text = R"(# fish completion of sinkbench: a file of ~/.config/fish/completions.
function __sinkbench_words
    string match -qr -- "^\S*sinkbench$argv" (commandline -opc | string join ' ')
end
)";
  for (const Command& command : commands) {
    std::string words;
    for (const std::string& word : command.path) words += " " + word;
    words += command.subcommands.empty() ? "( |$)" : "( -\\S*)*$";  // and none of those below it
    const std::string condition = "__sinkbench_words " + fish_word(words);
    const std::string start = "complete -c sinkbench -n " + fish_word(condition);
    for (const std::string& name : command.subcommands) {
      text += fmt::format("{} -f -a {} -d {}\n", start, name,
                          fish_word(find(commands, below(command, name)).description));
    }
    for (const Argument& option : command.options) {
      text += start;
      for (const std::string& name : option.names) {
        text += name.starts_with("--") ? " -l " + name.substr(2) : " -s " + name.substr(1);
      }
      if (!option.values.empty()) {
        text += " -x -a " + fish_word(joined(option.values));
      } else if (option.takes_value) {
        text += " -r";
      }
      text += " -d " + fish_word(option.description) + "\n";
    }
    for (const Argument& positional : command.positionals) {
      if (positional.values.empty()) continue;  // files, as fish has it
      text += fmt::format("{} -f -a {}\n", start, fish_word(joined(positional.values)));
    }
  }
  return text;
}

}  // namespace

void add_completion(CommandLine app) {
  static const std::map<std::string, std::string (*)(const std::vector<Command>&)> shells = {
      {"bash", bash}, {"fish", fish}, {"zsh", zsh}};
  Strings names;
  for (const auto& [name, make] : shells) names.push_back(name);
  const auto shell = std::make_shared<std::string>();
  const CommandLine command =
      app.add_subcommand("completion", "Print what a shell completes commands by");
  command.add_option("shell", *shell, fmt::format("{}", fmt::join(names, ", ")))
      .required()
      .one_of(names);
  command.footer("Example: source <(sinkbench completion bash)");
  command.callback([app, shell] {
    std::vector<Command> commands;
    collect(app.app(), {}, commands);
    print_out("{}", shells.at(*shell)(commands));
  });
}

}  // namespace sinkbench
