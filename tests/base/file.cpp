#include "base/file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <thread>

#include "tests/catch.h"
#include "tests/files.h"

using namespace sinkbench;
namespace fs = std::filesystem;

namespace {

mode_t mode_of(const fs::path& path) {
  struct stat info {};
  REQUIRE(::lstat(path.c_str(), &info) == 0);
  return info.st_mode;
}

size_t entries(const fs::path& folder) {
  return static_cast<size_t>(std::distance(fs::directory_iterator(folder), {}));
}

}  // namespace

TEST_CASE("a file is replaced whole, or not at all") {
  const test::TemporaryFolder folder;
  const fs::path file = folder.write("a.txt", "old");
  ::chmod(file.c_str(), 0640);
  {
    AtomicFile other(file);
    other.write(std::string_view("half"));
  }
  CHECK(read_file(file) == "old");
  write_file_atomically(file, "new");
  CHECK(read_file(file) == "new");
  CHECK((mode_of(file) & 0777) == 0640);
  CHECK(entries(folder.path()) == 1);
}

TEST_CASE("links stay, and what they lead to is written") {
  const test::TemporaryFolder folder;
  const fs::path target = folder.write("there/target.txt", "old"), link = folder.path() / "link";
  fs::create_symlink("there/target.txt", link);
  write_file_atomically(link, "new");
  CHECK(fs::is_symlink(link));
  CHECK(read_file(target) == "new");
  CHECK(entries(folder.path() / "there") == 1);
  // Also where there is nothing yet, through a link to a link.
  fs::create_symlink("there/none.txt", folder.path() / "first");
  fs::create_symlink("first", folder.path() / "second");
  write_file_atomically(folder.path() / "second", "made");
  CHECK(read_file(folder.path() / "there/none.txt") == "made");
  CHECK(fs::is_symlink(folder.path() / "second"));
}

TEST_CASE("two dots lead to where a path really is") {
  const test::TemporaryFolder folder;
  fs::create_directories(folder.path() / "data/set/deep");
  fs::create_directories(folder.path() / "links");
  fs::create_directory_symlink(folder.path() / "data/set/deep", folder.path() / "links/deep");
  folder.write("data/set/text", "there");
  const fs::path behind = without_dots(folder.path() / "links/deep/../text");
  CHECK(fs::equivalent(behind, folder.path() / "data/set/text"));
  CHECK(without_dots(folder.path() / "links/./../data/set/") == folder.path() / "data/set/");
  CHECK(without_dots("../../a/./b/../c") == "../../a/c");
  CHECK(without_dots("a/..") == ".");
  CHECK(without_dots("/../a") == "/a");
}

TEST_CASE("pipes and devices are written, not replaced") {
  const test::TemporaryFolder folder;
  const fs::path pipe = folder.path() / "pipe";
  REQUIRE(::mkfifo(pipe.c_str(), 0600) == 0);
  std::string got;
  std::thread reader([&] { got = read_stream(pipe); });
  write_file_atomically(pipe, "through");
  reader.join();
  CHECK(got == "through");
  CHECK(S_ISFIFO(mode_of(pipe)));
  if (::access("/dev/full", W_OK) == 0) {
    CHECK_THROWS_AS(write_file_atomically("/dev/full", "too much"), DiskError);
    CHECK(S_ISCHR(mode_of("/dev/full")));
    write_file_atomically("/dev/null", "nothing");
    CHECK(S_ISCHR(mode_of("/dev/null")));
  }
  CHECK_THROWS_WITH(AtomicFile(folder.path()), ContainsSubstring("is a folder; expected a file"));
}

TEST_CASE("a stream of this process is written where it stands") {
  const test::TemporaryFolder folder;
  const fs::path file = folder.path() / "out";
  const int fd = ::open(file.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600);
  REQUIRE(::write(fd, "one ", 4) == 4);
  write_file_atomically("/dev/fd/" + std::to_string(fd), "two ");
  write_file_atomically("/proc/self/fd/" + std::to_string(fd), "three ");
  REQUIRE(::write(fd, "four", 4) == 4);
  ::close(fd);
  CHECK(read_file(file) == "one two three four");
}

TEST_CASE("what somebody has put in the way of a new file is not written through") {
  const test::TemporaryFolder folder;
  const fs::path precious = folder.write("precious", "kept"), file = folder.path() / "a.txt";
  const fs::path beside = file.string() + "." + std::to_string(::getpid()) + ".beside";
  fs::create_symlink("precious", beside);
  write_file_atomically(file, "new");
  CHECK(read_file(precious) == "kept");
  CHECK(read_file(file) == "new");
}

TEST_CASE("a stream is read whole, whatever it is") {
  const test::TemporaryFolder folder;
  CHECK(read_stream(folder.write("a", "plain")) == "plain");
  CHECK(read_stream("/dev/null").empty());
  CHECK_THROWS_WITH(read_stream(folder.path() / "none"), ContainsSubstring("cannot open"));
}
