// sinkbench tokenize --speed.
#include "tests/catch.h"
#include "tests/cli/program.h"
#include "tests/data.h"
#include "tests/files.h"

using namespace sinkbench;

TEST_CASE("tokenize --speed counts the tokens that --count does") {
  const test::TemporaryFolder folder;
  std::string text;
  for (int i = 0; i < 1000; ++i) text += "hello world, hello again\n";
  folder.write("book.txt", text);
  const std::string tokenizer = test::data("tokenizers/byte_level.json").string();
  const auto run = [&](const std::string& flag) {
    return test::Program({"tokenize", tokenizer, "book.txt", flag}, folder.path()).wait();
  };
  const std::string count = run("--count").out;
  const test::Outcome speed = run("--speed");
  CHECK(speed.status == 0);
  CHECK_THAT(speed.out, Catch::Matchers::StartsWith(
                            "25000 bytes, " + count.substr(0, count.size() - 1) + " tokens: "));
  CHECK_THAT(speed.out, ContainsSubstring(" MB/s at best of 5 passes"));
}
