// ./sinkbench and scripts/prepare.sh over a small program: what they build, and what they say where
// they can't. Packages are stood in for; CMake, ninja and the compiler are real where nothing is
// said.
#include <unistd.h>

#include <cstdlib>
#include <filesystem>

#include "tests/catch.h"
#include "tests/cli/program.h"
#include "tests/environment.h"
#include "tests/files.h"

using namespace sinkbench;
namespace fs = std::filesystem;

namespace {

struct Checkout : test::TemporaryFolder {
  fs::path root;  ///< of the checkout, which prints what cli/word.h says

  explicit Checkout(const std::string& name = "checkout") : root(path() / name) {
    fs::permissions(path(), fs::perms(0755));
    const fs::path own = fs::path(SINKBENCH_TESTS).parent_path();
    fs::create_directories(root / "scripts");
    fs::copy(own / "sinkbench", root);
    fs::copy(own / "scripts/prepare.sh", root / "scripts");
    write(name + "/CMakeLists.txt",
          "cmake_minimum_required(VERSION 3.20)\nproject(small C)\n"
          "file(GLOB sources CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/cli/*.c)\n"
          "add_executable(sinkbench ${sources})\n"
          "set_target_properties(sinkbench PROPERTIES RUNTIME_OUTPUT_DIRECTORY cli)\n");
    write(name + "/cli/main.c",
          "#include \"word.h\"\n#include <stdio.h>\nint main(void) { return puts(WORD) < 0; }\n");
    write(name + "/.cache/king-james.txt", "In the beginning\n");
    say(root, "first");
    program("dpkg-query", "for package; do printf 'installed:%s ' \"$package\"; done");
  }

  void say(const fs::path& checkout, const std::string& word) const {
    write_file_atomically(checkout / "cli/word.h", "#define WORD \"" + word + "\"\n");
  }

  /// A program that is found before the system's.
  void program(const std::string& name, const std::string& script) const {
    const fs::path file = write("bin/" + name, "#!/bin/sh\n" + script + "\n");
    fs::permissions(file, fs::perms(0755));
  }

  /// Calls the wrapper, `before` standing before it on the command line.
  test::Outcome operator()(const fs::path& checkout, const std::string& before = "") const {
    const test::Variable wrapper("WRAPPER", (checkout / "sinkbench").c_str());
    const test::Variable torch("SINKBENCH_TORCH", nullptr);
    const std::string command = fmt::format(
        "cd {0} && PATH={0}/bin:$PATH XDG_CACHE_HOME={0}/cache {1} \"$WRAPPER\" >out 2>err",
        path().string(), before);
    const int status = std::system(command.c_str());
    return {WEXITSTATUS(status), read_file(path() / "out"), read_file(path() / "err")};
  }
};

void check_says(const test::Outcome& outcome, const std::string& word) {
  INFO(outcome.err);
  CHECK(outcome.status == 0);
  CHECK(outcome.out == word + "\n");
}

size_t lines(const std::string& text) {
  return std::count(text.begin(), text.end(), '\n');
}

}  // namespace

TEST_CASE("a checkout that was copied or moved with its build folder builds its own sources") {
  const Checkout checkout;
  check_says(checkout(checkout.root), "first");
  const fs::path copy = checkout.path() / "copy", moved = checkout.path() / "moved";
  fs::copy(checkout.root, copy, fs::copy_options::recursive);
  checkout.say(copy, "copied");
  const test::Outcome outcome = checkout(copy);
  check_says(outcome, "copied");
  CHECK_THAT(outcome.err,
             ContainsSubstring(fmt::format("{} is of a checkout in {}", (copy / "build").string(),
                                           checkout.root.string())));
  fs::rename(checkout.root, moved);
  checkout.say(moved, "moved");
  check_says(checkout(moved), "moved");
  CHECK_FALSE(fs::exists(checkout.root));
}

TEST_CASE("a folder whose name CMake or ninja can't take is built in all the same, and once") {
  const Checkout checkout("R&D's; *^ $x");
  check_says(checkout(checkout.root), "first");
  check_says(checkout(checkout.root), "first");
  CHECK_THAT(read_file(checkout.root / "build/build.log"),
             ContainsSubstring("ninja: no work to do"));
  checkout.say(checkout.root, "second");
  check_says(checkout(checkout.root), "second");

  fs::remove_all(checkout.path() / "cache");  // and where no link can be made
  checkout.write("cache", "");
  const test::Outcome outcome = checkout(checkout.root);
  CHECK(outcome.status == 1);
  CHECK(lines(outcome.err) == 1);
  CHECK_THAT(outcome.err, ContainsSubstring("move the checkout"));
}

TEST_CASE(
    "without locks a build goes on with a warning, and behind another's it says that it waits") {
  const Checkout checkout;
  checkout.program("flock", "echo 'flock: 9: Function not implemented' >&2; exit 65");
  const test::Outcome outcome = checkout(checkout.root);
  check_says(outcome, "first");
  CHECK_THAT(outcome.err, ContainsSubstring("can't be locked (Function not implemented)"));
  fs::remove(checkout.path() / "bin/flock");

  const std::string lock = (checkout.root / "build/.lock").string();
  const test::Outcome waited = checkout(
      checkout.root, fmt::format("sh -c 'flock {} sleep 4 & sleep 0.5; exec \"$@\"' sh", lock));
  check_says(waited, "first");
  CHECK_THAT(waited.err, ContainsSubstring("waiting for another process"));
}

TEST_CASE("what somebody else has built, and only they can, is run as it is") {
  const Checkout checkout;
  const bool root = ::geteuid() == 0;
  const std::string other = root ? "setpriv --reuid=65534 --regid=65534 --clear-groups" : "";
  const auto permit = [&](int mode) {  // root isn't stopped by permissions: another user is
    for (const fs::path& folder : {checkout.root / "build", checkout.root}) {
      if (!root && fs::exists(folder)) fs::permissions(folder, fs::perms(mode));
    }
  };
  permit(0555);
  const test::Outcome refused = checkout(checkout.root, other);
  CHECK(refused.status == 1);  // nothing is built yet
  CHECK(lines(refused.err) == 1);
  CHECK_THAT(refused.err, ContainsSubstring("build: can't be written"));

  permit(0755);
  check_says(checkout(checkout.root), "first");
  permit(0555);
  const test::Outcome outcome = checkout(checkout.root, other);
  check_says(outcome, "first");
  CHECK(outcome.err.empty());
  permit(0755);
}

TEST_CASE("a build that fails says why and where its log is") {
  const Checkout checkout;
  const auto check_fails = [&](const std::string& reason, size_t said) {
    const test::Outcome outcome = checkout(checkout.root);
    INFO(outcome.err);
    CHECK(outcome.status == 1);
    CHECK(outcome.out.empty());
    CHECK(lines(outcome.err) == said);
    CHECK_THAT(outcome.err, ContainsSubstring("sinkbench: the build failed: " + reason +
                                              "; the "
                                              "whole log is in " +
                                              (checkout.root / "build/build.log").string()));
  };
  checkout.program("cmake", "exit 127");
  check_fails("cmake is not installed", 2);  // and that it configures
  fs::remove(checkout.path() / "bin/cmake");
  check_says(checkout(checkout.root), "first");

  checkout.program("ninja", "exit 3");
  check_fails("ninja ended with status 3", 1);
  checkout.program("ninja", "exit 127");
  check_fails("ninja is not installed", 1);
  checkout.program("ninja", "echo '[1/2] Building error.cpp.o'; echo 'a.cpp:1: error: no'; exit 1");
  check_fails("ninja ended with status 1", 2);
  checkout.program("ninja", "kill -9 $$");
  const test::Outcome killed = checkout(checkout.root);
  CHECK(killed.status == 1);
  CHECK_THAT(killed.err, ContainsSubstring("the build failed: ninja was ended by SIGKILL; the "));
  checkout.program("ninja", "echo 'ninja: build stopped: interrupted by user.'; exit 2");
  const test::Outcome interrupted = checkout(checkout.root);
  CHECK(interrupted.status == 130);
  CHECK(interrupted.err == "sinkbench: the build was interrupted; the next call goes on with it\n");
}

TEST_CASE("packages are installed behind another's lock") {
  const Checkout checkout;
  checkout.program("dpkg-query", "exit 1");
  checkout.program("sudo", "[ $1 = -n ] && shift; exec \"$@\"");
  checkout.program("apt-get", "echo \"$*\" >>apt");
  check_says(checkout(checkout.root), "first");
  const std::string said = read_file(checkout.path() / "apt");
  CHECK_THAT(said, ContainsSubstring("-o DPkg::Lock::Timeout="));
  CHECK_THAT(said, ContainsSubstring("install --no-install-recommends g++ cmake ninja-build"));
}
