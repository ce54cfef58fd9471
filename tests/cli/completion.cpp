// What shells complete and man pages say is what --help says.
#include <cstdlib>
#include <filesystem>
#include <map>
#include <set>
#include <sstream>

#include "tests/catch.h"
#include "tests/cli/program.h"
#include "tests/environment.h"
#include "tests/files.h"

using namespace sinkbench;

namespace {

using Strings = std::vector<std::string>;
using Names = std::set<std::string>;

Names words(const std::string& text) {
  std::istringstream stream(text);
  Names names;
  for (std::string word; stream >> word;) names.insert(word);
  return names;
}

struct Known {
  Names options, subcommands;
};

/// Every command's options, with their dashes, and the commands below it, by its words.
void collect(const Strings& command, const test::TemporaryFolder& folder,
             std::map<std::string, Known>& commands) {
  std::string path;
  Strings arguments = command;
  for (const std::string& word : command) path += (path.empty() ? "" : " ") + word;
  arguments.push_back("--help");
  std::istringstream help(test::Program(arguments, folder.path()).wait().out);
  Known& known = commands[path];
  bool below = false;
  for (std::string line; std::getline(help, line);) {
    const size_t column = line.find_first_not_of(' ');
    if (line.empty()) below = false;
    if (line == "Subcommands:" || line == "SUBCOMMANDS:") below = true;
    if (column == line.npos || column == 0 || column > 10) continue;
    if (below) known.subcommands.insert(line.substr(column, line.find(' ', column) - column));
    if (line[column] != '-') continue;
    std::istringstream names(line.substr(column, 28));
    for (std::string part; std::getline(names, part, ',');) {
      const size_t dash = part.find_first_not_of(' ');  // else it is one of an option's choices
      if (dash != part.npos && part[dash] == '-')
        known.options.insert(part.substr(dash, part.find(' ', dash) - dash));
    }
  }
  for (const std::string& name : Names(known.subcommands)) {
    Strings longer = command;
    longer.push_back(name);
    collect(longer, folder, commands);
  }
}

struct Fixture : test::TemporaryFolder {
  std::map<std::string, Known> commands;
  Fixture() {
    collect({}, *this, commands);
    REQUIRE(commands.size() > 15);
    REQUIRE(commands.at("run").options.count("--set") == 1);
    REQUIRE(commands.at("").options.count("-h") == 1);
    REQUIRE(commands.at("history").subcommands == Names{"add", "plot", "show"});
  }

  std::string completion(const std::string& shell) const {
    const test::Outcome outcome = test::Program({"completion", shell}, path()).wait();
    REQUIRE(outcome.status == 0);
    write("completion." + shell, outcome.out);
    return outcome.out;
  }

  /// What a command of the system prints, run in the folder.
  test::Outcome shell(const std::string& command) const {
    const test::Variable home("HOME", path().c_str());
    const int status =
        std::system(fmt::format("cd {} && {{ {}\n}} >out 2>err", path().string(), command).c_str());
    return {WEXITSTATUS(status), read_file(path() / "out"), read_file(path() / "err")};
  }
  bool has(const std::string& program) const { return shell("command -v " + program).status == 0; }
};

std::string replaced(std::string text, const std::string& what, const std::string& by) {
  for (size_t at = 0; (at = text.find(what, at)) != text.npos; at += by.size()) {
    text.replace(at, what.size(), by);
  }
  return text;
}

}  // namespace

TEST_CASE_METHOD(Fixture, "bash completes every command and every option, and nothing else") {
  completion("bash");
  const auto completed = [&](const std::string& line) {
    const test::Outcome outcome =
        shell("bash -c 'source completion.bash; COMP_WORDS=(sinkbench " + line +
              "); COMP_CWORD=$((${#COMP_WORDS[@]} - 1)); _sinkbench; "
              "printf \"%s\\n\" \"${COMPREPLY[@]}\"'");
    INFO(line);
    CHECK(outcome.status == 0);
    CHECK(outcome.err.empty());
    return words(outcome.out);
  };
  CHECK(shell("bash -n completion.bash").status == 0);
  for (const auto& [command, known] : commands) {
    CHECK(completed(command + " -") == known.options);
    if (!known.subcommands.empty()) CHECK(completed(command + " \"\"") == known.subcommands);
  }
  CHECK(completed("history sh") == Names{"show"});
  CHECK(completed("report results --format j") == Names{"json"});
  CHECK(completed("completion \"\"") == Names{"bash", "fish", "zsh"});
  CHECK(completed("run --out \"\"").empty());  // files, by bash itself
}

TEST_CASE_METHOD(Fixture, "zsh's and fish's completions have every command and every option") {
  const std::string zsh = completion("zsh"), fish = completion("fish");
  for (const auto& [command, known] : commands) {
    INFO("sinkbench " << command);
    const std::string name =
        "\n_sinkbench" + (command.empty() ? "" : "_" + replaced(command, " ", "_")) + "() {\n";
    const size_t start = zsh.find(name);
    REQUIRE(start != zsh.npos);
    const std::string function = zsh.substr(start, zsh.find("\n}\n", start) - start);
    std::string lines;  // of this command
    const std::string words = (command.empty() ? "" : " " + command) +
                              (known.subcommands.empty() ? "( |$)" : R"(( -\\\\S*)*$)");
    std::istringstream stream(fish);
    for (std::string line; std::getline(stream, line);) {
      if (line.find("__sinkbench_words \\'" + words + "\\'") != line.npos) lines += line + "\n";
    }
    for (const std::string& option : known.options) {
      INFO(option);
      CHECK((function.find("'" + option + "[") != function.npos ||
             function.find("'*" + option + "[") != function.npos));
      CHECK_THAT(lines, ContainsSubstring((option.starts_with("--") ? " -l " : " -s ") +
                                          option.substr(option.find_first_not_of('-')) + " "));
    }
    for (const std::string& below : known.subcommands) {
      CHECK_THAT(function, ContainsSubstring("'" + below + ":"));
      CHECK_THAT(lines, ContainsSubstring(" -f -a " + below + " -d "));
    }
  }
  if (has("zsh")) CHECK(shell("zsh -n completion.zsh").status == 0);
  if (has("fish")) {
    CHECK(shell("fish --no-execute completion.fish").status == 0);
    CHECK(words(shell("fish -c 'source completion.fish; complete -C \"sinkbench list --format j\"'")
                    .out)
              .count("json") == 1);
  }
}

TEST_CASE_METHOD(Fixture, "every command has a man page with all its options") {
  const test::Variable script(
      "SCRIPT",
      (std::filesystem::path(SINKBENCH_TESTS).parent_path() / "scripts/make-documents").c_str());
  const test::Variable program("PROGRAM", SINKBENCH_PROGRAM);
  const test::Outcome outcome = shell("\"$SCRIPT\" \"$PROGRAM\" share");
  INFO(outcome.err);
  REQUIRE(outcome.status == 0);
  CHECK(read_file(path() / "share/bash-completion/completions/sinkbench") == completion("bash"));
  for (const auto& [command, known] : commands) {
    const std::string name =
        "sinkbench" + (command.empty() ? "" : "-" + replaced(command, " ", "-"));
    const std::string page = read_file(path() / "share/man/man1" / (name + ".1"));
    INFO(page);
    for (const std::string& option : known.options) {
      CHECK_THAT(page, ContainsSubstring(replaced(option, "-", "\\-")));
    }
    for (const std::string& below : known.subcommands) {
      CHECK_THAT(page, ContainsSubstring("\n.TP\n.B " + below + "\n"));
      CHECK_THAT(page, ContainsSubstring(".BR " + replaced(name + "-" + below, "-", "\\-")));
    }
    CHECK_THAT(page, ContainsSubstring("\n.SH SYNOPSIS\n.B sinkbench "));
    CHECK_THAT(page, ContainsSubstring("\n.SH EXAMPLE\n"));
  }
  if (has("groff")) {
    const test::Outcome warnings =
        shell("groff -ww -man -Tutf8 share/man/man1/*.1 2>&1 >/dev/null");
    CHECK(warnings.out.empty());
  }
}
