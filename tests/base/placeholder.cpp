#include "base/placeholder.h"

#include "base/error.h"
#include "tests/catch.h"

using namespace sinkbench;

namespace {

std::string refusal(const std::string& file, std::string_view bytes) {
  try {
    refuse_placeholder(file, bytes);
  } catch (const InputError& error) {
    return error.what();
  }
  return "";
}

}  // namespace

TEST_CASE("a Git LFS pointer is refused, with the size of what it stands for") {
  const std::string pointer =
      "version https://git-lfs.github.com/spec/v1\n"
      "oid sha256:4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393\nsize 12345\n";
  CHECK(refusal("m/book.txt", pointer) ==
        "m/book.txt: is a Git LFS pointer to a file of 12345 bytes, not the file itself; fetch it "
        "with: git lfs pull");
  CHECK_THAT(refusal("a", "version https://hawser.github.com/spec/v1\n"),
             ContainsSubstring("is a Git LFS pointer to a file, not the file itself"));
  CHECK(refusal("a", "The version https://git-lfs.github.com/spec/v1 is the first.") == "");
}

TEST_CASE("pages and error messages in a file's place are refused") {
  const std::string html = "a.txt: is an HTML page, not the file that its name says";
  CHECK_THAT(refusal("a.txt", "\n <!DOCTYPE html>\n<html>"), Catch::Matchers::StartsWith(html));
  CHECK_THAT(refusal("a.txt", "<HTML lang=en>"), Catch::Matchers::StartsWith(html));
  CHECK_THAT(refusal("a.txt", "\xEF\xBB\xBF<?xml version='1.0'?>\n<!-- x -->\n<html>"),
             Catch::Matchers::StartsWith(html));
  CHECK_THAT(refusal("a.gz", "<?xml version=\"1.0\"?><Error><Code>AccessDenied</Code></Error>"),
             ContainsSubstring("is an error message in XML"));
  CHECK_THAT(refusal("a.gguf", "Entry not found\n"), ContainsSubstring("'Entry not found'"));
  CHECK(refusal("page.html", "<!doctype html>") == "");
  CHECK(refusal("a.txt", "Entry not found in the index, he wrote.") == "");
  CHECK(refusal("a.xml", "<?xml version=\"1.0\"?><book>") == "");
  CHECK(refusal("a.xml", "<?xml") == "");
  CHECK(refusal("a.txt", "") == "");
}
