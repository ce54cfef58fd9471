// What every command says of itself. CLI11 refuses clashes of names when the commands are set up,
// the older versions fewer of them than the newer; and one clash ends every command.
#include <algorithm>
#include <set>
#include <sstream>

#include "tests/catch.h"
#include "tests/cli/program.h"
#include "tests/data.h"
#include "tests/environment.h"
#include "tests/files.h"

using namespace sinkbench;

namespace {

using Strings = std::vector<std::string>;

/// The names in a command's help, options without their dashes.
struct Help {
  Strings positionals, options, subcommands;
};

Help parse_help(const std::string& text) {
  Help help;
  Strings* section = nullptr;
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    std::transform(line.begin(), line.end(), line.begin(), ::tolower);
    if (line == "positionals:") section = &help.positionals;
    if (line == "options:") section = &help.options;
    if (line == "subcommands:") section = &help.subcommands;
    if (line.empty()) section = nullptr;
    const size_t column = line.find_first_not_of(' ');
    if (section == nullptr || column == 0 || column > 10) continue;  // descriptions stand at 30
    std::istringstream names(line.substr(column, line.find(' ', column) - column));
    for (std::string name; std::getline(names, name, ',');) {
      section->push_back(name.substr(name.find_first_not_of('-')));
    }
  }
  return help;
}

std::string joined(const Strings& words) {
  std::string text;
  for (const std::string& word : words) text += (text.empty() ? "" : " ") + word;
  return text;
}

Help ask(const Strings& command, const std::filesystem::path& folder) {
  Strings arguments = command;
  arguments.push_back("--help");
  const test::Outcome outcome = test::Program(std::move(arguments), folder).wait();
  INFO("sinkbench " << joined(command) << " --help: " << outcome.err);
  REQUIRE(outcome.status == 0);
  CHECK(outcome.err == "");
  const Help help = parse_help(outcome.out);
  REQUIRE_FALSE(help.options.empty());
  return help;
}

/// A command and those below it, added to `seen`.
void check_names(const Strings& command, const Help& parent, const std::filesystem::path& folder,
                 std::set<std::string>& seen) {
  const Help help = ask(command, folder);
  seen.insert(joined(command));
  INFO("sinkbench " << joined(command));
  std::set<std::string> names;
  for (const Strings* section : {&help.positionals, &help.options, &help.subcommands}) {
    for (const std::string& name : *section) {
      INFO(name << " has the name of another option or positional");
      CHECK(names.insert(name).second);
    }
  }
  for (const std::string& name : help.options) {
    INFO(name << " has the name of a positional of the command above");
    CHECK(std::count(parent.positionals.begin(), parent.positionals.end(), name) == 0);
  }
  for (const std::string& name : help.subcommands) {
    Strings below = command;
    below.push_back(name);
    check_names(below, help, folder, seen);
  }
}

}  // namespace

TEST_CASE("every command has a help, and no two of its options and positionals one name") {
  const test::TemporaryFolder folder;
  std::set<std::string> seen;
  check_names({}, {}, folder.path(), seen);
  for (const char* command :
       {"run",     "slurm",    "reproduce", "report",      "plot",         "tokenize",    "train",
        "verify",  "bench",    "inspect",   "sinks",       "list",         "compare",     "ab",
        "history", "generate", "recall",    "history add", "history show", "history plot"}) {
    INFO(command);
    CHECK(seen.count(command) == 1);
  }
}

TEST_CASE("names are found in the help of older and newer versions of CLI11") {
  for (const char* text : {"Print\nUsage: sinkbench x [OPTIONS] set [more...] [SUBCOMMAND]\n\n"
                           "Positionals:\n"
                           "  set TEXT REQUIRED           The\n"
                           "                              set\n"
                           "  more TEXT ...               More\n\n"
                           "Options:\n"
                           "  -h,--help                   Print\n"
                           "  --set TEXT:{a,b}            Set\n\n"
                           "Subcommands:\n"
                           "  add                         Add\n\n"
                           "Example:\n"
                           "  sinkbench\n",
                           "Print\n\nsinkbench x [OPTIONS] set [more...] [SUBCOMMAND]\n\n"
                           "POSITIONALS:\n"
                           "  set TEXT REQUIRED           The\n"
                           "                              set\n"
                           "  more TEXT ...               More\n\n"
                           "OPTIONS:\n"
                           "  -h,     --help              Print\n"
                           "          --set TEXT:{a,b}    Set\n\n"
                           "SUBCOMMANDS:\n"
                           "  add                         Add\n"}) {
    const Help help = parse_help(text);
    CHECK(help.positionals == Strings{"set", "more"});
    CHECK(help.options.front() == "h");
    CHECK(help.options.back() == "set");
    CHECK(help.subcommands == Strings{"add"});
  }
}

TEST_CASE("commands without tensors don't load LibTorch") {
  const test::TemporaryFolder folder;
  const auto loaded = [&](const Strings& arguments) {
    const test::Variable debug("LD_DEBUG", "files");
    const test::Outcome outcome = test::Program(arguments, folder.path()).wait();
    INFO("sinkbench " << joined(arguments));
    CHECK_THAT(outcome.err, ContainsSubstring("libc.so"));
    return outcome.err.find("libtorch") != std::string::npos;
  };
  const std::string model = test::data("families/llama_gqa").string();
  folder.write("a.txt", "Call me Ishmael.");
  folder.write("run.yaml",
               "model: " + model + "\ndataset: {text: a.txt}\npolicies: [{name: dense}]\n");
  for (const Strings& arguments : std::vector<Strings>{{"--version"},
                                                       {"--help"},
                                                       {"run", "--help"},
                                                       {"run", "nowhere.yaml"},
                                                       {"list", "policies"},
                                                       {"list", "families"},
                                                       {"list", "formats"},
                                                       {"report", "nowhere"},
                                                       {"plot", "nowhere"},
                                                       {"compare", "nowhere", "nowhere"},
                                                       {"ab", "nowhere", "nowhere.yaml"},
                                                       {"history", "nowhere.sqlite"},
                                                       {"slurm", "run.yaml", "--shards", "2"},
                                                       {"tokenize", model, "a.txt"}}) {
    CHECK_FALSE(loaded(arguments));
  }
  CHECK(loaded({"inspect", model}));
}
