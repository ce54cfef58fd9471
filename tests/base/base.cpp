#include <chrono>
#include <fstream>
#include <memory>
#include <thread>
#include <vector>

#include "base/error.h"
#include "base/file.h"
#include "base/sha256.h"
#include "tests/catch.h"
#include "tests/environment.h"

using namespace sinkbench;

TEST_CASE("suggestion names the nearest word, else all of them") {
  const std::vector<std::string> words = {"dense", "window", "sinks", "recompute"};
  CHECK(nearest("windw", words) == "window");
  CHECK(nearest("sniks", words) == "sinks");
  CHECK(nearest("elephant", words).empty());
  CHECK(suggestion("windwo", words) == "; did you mean 'window'?");
  CHECK_THAT(suggestion("elephant", words), ContainsSubstring("dense, window, sinks, recompute"));
}

TEST_CASE("SHA-256 equals the published test vectors") {  // FIPS 180-4 examples
  CHECK(sha256_hex("") == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  Sha256 hash;
  hash.update("a");
  hash.update("bc");
  CHECK(hash.hex() == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

TEST_CASE("the SHA-256 of large files is remembered until they change") {
  namespace fs = std::filesystem;
  const auto folder = fs::temp_directory_path() / "sinkbench_sha256_test";
  fs::remove_all(folder);
  fs::create_directories(folder);
  const test::Variable cache("XDG_CACHE_HOME", (folder / "cache").c_str());
  const auto file = folder / "weights";
  const auto hash = [&] {
    const std::vector<std::shared_ptr<const MappedFile>> files{std::make_shared<MappedFile>(file)};
    return sha256_of(files);
  };
  const auto notes = [&] {
    const auto memory = folder / "cache/sinkbench/sha256";
    return fs::exists(memory) ? std::distance(fs::directory_iterator(memory), {}) : 0;
  };
  const std::string a(size_t{1} << 24, 'a'), b(a.size(), 'b');
  write_file_atomically(file, a);
  CHECK(hash() == sha256_hex(a));
  CHECK(notes() == 0);  // it has just been written
  while (MappedFile(file).changed_within(5))
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
  CHECK(hash() == sha256_hex(a));
  REQUIRE(notes() == 1);
  const auto note = fs::directory_iterator(folder / "cache/sinkbench/sha256")->path();
  const std::string other(64, '0');
  write_file_atomically(note, other);
  CHECK(hash() == other);  // so it was not read again
  write_file_atomically(note, "no digest");
  CHECK(hash() == sha256_hex(a));
  // Another content of the same size and time of writing.
  const auto written = fs::last_write_time(file);
  std::fstream(file, std::ios::in | std::ios::out | std::ios::binary) << b;
  fs::last_write_time(file, written);
  CHECK(hash() == sha256_hex(b));
  fs::remove_all(folder);
}

TEST_CASE("files are replaced whole, and errors leave the old one") {
  const auto folder = std::filesystem::temp_directory_path() / "sinkbench_base_test";
  std::filesystem::remove_all(folder);
  std::filesystem::create_directories(folder);
  const auto path = folder / "a.txt";
  write_file_atomically(path, "one");
  write_file_atomically(path, "two");
  CHECK(read_file(path) == "two");
  CHECK(std::distance(std::filesystem::directory_iterator(folder), {}) == 1);
  CHECK_THROWS_WITH(read_file(folder / "none"), ContainsSubstring("none: cannot open"));
  CHECK_THROWS_WITH(read_file(folder), ContainsSubstring("found a folder"));
  CHECK_THROWS_AS(write_file_atomically(folder / "no" / "b.txt", "x"), InputError);
  // A folder stands where the file should go: the rename fails and nothing is left beside it.
  std::filesystem::create_directories(folder / "c" / "d");
  CHECK_THROWS_AS(write_file_atomically(folder / "c", "x"), InputError);
  CHECK(std::distance(std::filesystem::directory_iterator(folder), {}) == 2);
}
