#include <fstream>
#include <vector>

#include "base/error.h"
#include "base/file.h"
#include "base/sha256.h"
#include "tests/catch.h"

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
