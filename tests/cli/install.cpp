// The program where cmake --install has put it, and where that was moved to.
#include <cstdlib>
#include <filesystem>

#include "tests/catch.h"
#include "tests/environment.h"
#include "tests/files.h"

using namespace sinkbench;
namespace fs = std::filesystem;

TEST_CASE("an installation is whole, and may be moved") {
  const test::TemporaryFolder folder;
  const fs::path build = fs::path(SINKBENCH_PROGRAM).parent_path().parent_path();
  const test::Variable place("BUILD", build.c_str());
  const auto run = [&](const std::string& command) {
    const int status = std::system(
        fmt::format("cd {} && {{ {}; }} >out 2>err", folder.path().string(), command).c_str());
    INFO(command << ": " << read_file(folder.path() / "err"));
    CHECK(WEXITSTATUS(status) == 0);
    return read_file(folder.path() / "out");
  };
  run("cmake --install \"$BUILD\" --prefix first");
  fs::rename(folder.path() / "first", folder.path() / "prefix");

  // Tensors' libraries are found beside the program, not where they were built.
  const std::string files =
      run("LD_DEBUG=files prefix/bin/sinkbench inspect prefix/share/sinkbench/models/tiny 2>&1");
  CHECK_THAT(files, ContainsSubstring((folder.path() / "prefix/bin/..").string()));
  CHECK_THAT(files, !ContainsSubstring(build.string()));
  CHECK_THAT(files, ContainsSubstring("1.85 million"));
  CHECK_THAT(run("! prefix/bin/sinkbench reproduce nowhere 2>&1"), ContainsSubstring("tiny"));
  folder.write("text.txt", "Call me Ishmael. Some years ago - never mind how long precisely.");
  run("prefix/bin/sinkbench run prefix/share/sinkbench/configs/quickstart.yaml --dry-run "
      "--set dataset.text=$PWD/text.txt");
  for (const char* name : {"share/sinkbench/LICENSE", "share/sinkbench/docs/policies.md",
                           "share/sinkbench/scripts/get-model", "share/man/man1/sinkbench-run.1",
                           "share/bash-completion/completions/sinkbench"}) {
    INFO(name);
    CHECK(fs::exists(folder.path() / "prefix" / name));
  }
}
