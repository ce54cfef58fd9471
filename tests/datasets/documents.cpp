#include "datasets/documents.h"

#include <zstd.h>

#include <filesystem>

#include "base/error.h"
#include "base/file.h"
#include "tests/catch.h"
#include "tests/data.h"

using namespace sinkbench;
namespace fs = std::filesystem;

namespace {

/// A folder of this process that is empty at first and gone at the end.
class Folder {
 public:
  Folder() : path_(fs::temp_directory_path() / fmt::format("sinkbench-documents-{}", ::getpid())) {
    fs::remove_all(path_);
    fs::create_directories(path_);
  }
  ~Folder() { fs::remove_all(path_); }

  fs::path write(const fs::path& name, std::string_view content) const {
    fs::create_directories((path_ / name).parent_path());
    write_file_atomically(path_ / name, content);
    return path_ / name;
  }
  fs::path operator/(const char* name) const { return path_ / name; }
  const fs::path& path() const { return path_; }

 private:
  fs::path path_;
};

std::string compressed(const std::string& text) {
  std::string bytes(ZSTD_compressBound(text.size()), '\0');
  bytes.resize(ZSTD_compress(bytes.data(), bytes.size(), text.data(), text.size(), 3));
  return bytes;
}

std::vector<std::string> texts(std::vector<fs::path> paths, const std::string& field = "text") {
  DocumentReader reader(std::move(paths), field);
  std::vector<std::string> all;
  while (auto document = reader.next()) all.push_back(document->text);
  return all;
}

using Texts = std::vector<std::string>;

}  // namespace

TEST_CASE("a text file is one document, its bytes unchanged") {
  const Folder folder;
  const fs::path file = folder.write("a book.txt", "\xEF\xBB\xBFOne\r\n\r\ntwo \xC3\xA9\n");
  DocumentReader reader({file});
  const auto document = reader.next();
  REQUIRE(document);
  CHECK(document->text == "\xEF\xBB\xBFOne\r\n\r\ntwo \xC3\xA9\n");
  CHECK(document->title == "a book");
  CHECK(document->file == file);
  CHECK(!reader.next());
}

TEST_CASE("a folder's texts come by name in byte order") {
  const Folder folder;
  folder.write("pg/10.txt", "ten");
  folder.write("pg/9.txt", "nine");
  folder.write("pg/B.txt", "B");
  folder.write("pg/a.txt.zst", compressed("a"));
  folder.write("pg/readme.md", "not a text");
  CHECK(texts({folder / "pg"}) == Texts{"ten", "nine", "B", "a"});
}

TEST_CASE("a JSONL file is a document a line, plain or compressed") {
  const Folder folder;
  const std::string lines =
      "{\"title\": \"First\", \"text\": \"one\\ntwo\"}\n\n"
      "{\"text\": \"\", \"title\": 7}\r\n"
      "{\"body\": \"x\", \"text\": \"caf\\u00e9\"}";
  for (const fs::path& file :
       {folder.write("a.jsonl", lines), folder.write("b.jsonl.zst", compressed(lines))}) {
    CHECK(texts({file}) == Texts{"one\ntwo", "", "caf\xC3\xA9"});
    DocumentReader reader({file});
    const auto first = reader.next(), second = reader.next(), third = reader.next();
    CHECK(first->title == "First");
    CHECK(first->line == 1);
    CHECK(second->title == file.filename().string().substr(0, 1));
    CHECK(third->line == 4);
  }
}

TEST_CASE("lines far longer than a read arrive whole") {
  const Folder folder;
  Texts expected;
  std::string lines;
  for (int i = 0; i < 5; ++i) {
    expected.push_back(std::string(700'000 * i + 3, static_cast<char>('a' + i)));
    lines += "{\"text\": \"" + expected.back() + "\"}\n";
  }
  CHECK(texts({folder.write("long.jsonl", lines)}) == expected);
  CHECK(texts({folder.write("long.jsonl.zst", compressed(lines))}) == expected);
}

TEST_CASE("another field can hold the text, and a list of paths is one sequence") {
  const Folder folder;
  const fs::path jsonl = folder.write("a.jsonl", R"({"content": "x", "text": "no"})");
  const fs::path text = folder.write("b.txt", "y");
  CHECK(texts({text, jsonl, text}, "content") == Texts{"y", "x", "y"});
}

TEST_CASE("bytes that aren't UTF-8 become U+FFFD") {
  const Folder folder;
  CHECK(texts({folder.write("a.txt", "a\xFF\xE2\x82z")}) == Texts{"a\xEF\xBF\xBD\xEF\xBF\xBDz"});
  CHECK(texts({folder.write("a.txt.zst", compressed("a\xFFz"))}) == Texts{"a\xEF\xBF\xBDz"});
  CHECK(texts({folder.write("a.jsonl", "{\"text\": \"a\xFFz\"}")}) == Texts{"a\xEF\xBF\xBDz"});
}

TEST_CASE("bad datasets are refused by file, line, field and value") {
  const Folder folder;
  const auto refused = [&](const fs::path& path, const std::string& message) {
    CHECK_THROWS_MATCHES(texts({path}), InputError,
                         Catch::Matchers::Predicate<InputError>(
                             [&](const InputError& error) {
                               INFO(error.what());
                               return std::string(error.what()).find(message) != std::string::npos;
                             },
                             message));
  };
  refused(folder / "missing.txt", "missing.txt: no such file or folder");
  fs::create_directories(folder / "empty");
  refused(folder / "empty", "empty: expected a folder with .txt files");

  const std::string good(16, '\n');  // blank lines are passed over but counted
  refused(folder.write("a.jsonl", good + "[1]"),
          "a.jsonl: line 17: expected a JSON object, found an array");
  refused(folder.write("b.jsonl", good + "{\"text\": \"cut"),
          "b.jsonl: line 17: expected a JSON object");
  refused(folder.write("c.jsonl", good + R"({"txt": "a"})"),
          "c.jsonl: line 17: no field 'text' with the text; did you mean 'txt'?");
  refused(folder.write("d.jsonl", good + "{}"), "d.jsonl: line 17: no field 'text'");
  refused(folder.write("e.jsonl", good + R"({"text": 12})"),
          "e.jsonl: line 17: field 'text': expected a string, found a number");
  refused(folder.write("f.jsonl", good + R"({"text": "\ud800"})"),
          "f.jsonl: line 17: expected a JSON object");

  refused(folder.write("g.txt.zst", "plain"), "g.txt.zst: cannot decompress");
  const std::string whole = compressed(std::string(5000, 'x') + "end");
  refused(folder.write("h.txt.zst", whole.substr(0, whole.size() - 4)), "ends too early");
}
