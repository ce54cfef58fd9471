#include "datasets/documents.h"

#include <bzlib.h>
#include <fcntl.h>
#include <lzma.h>
#include <sys/stat.h>
#include <zlib.h>
#include <zstd.h>

#include <filesystem>
#include <functional>
#include <thread>

#include "base/error.h"
#include "tests/catch.h"
#include "tests/files.h"

using namespace sinkbench;
namespace fs = std::filesystem;

namespace {

using Folder = test::TemporaryFolder;

std::string zstd(const std::string& text) {
  std::string bytes(ZSTD_compressBound(text.size()), '\0');
  bytes.resize(ZSTD_compress(bytes.data(), bytes.size(), text.data(), text.size(), 3));
  return bytes;
}

std::string gzip(const std::string& text) {
  z_stream stream{};
  REQUIRE(deflateInit2(&stream, 6, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY) == Z_OK);
  std::string bytes(deflateBound(&stream, text.size()) + 64, '\0');
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(text.data()));
  stream.avail_in = static_cast<uInt>(text.size());
  stream.next_out = reinterpret_cast<Bytef*>(bytes.data());
  stream.avail_out = static_cast<uInt>(bytes.size());
  REQUIRE(deflate(&stream, Z_FINISH) == Z_STREAM_END);
  bytes.resize(stream.total_out);
  deflateEnd(&stream);
  return bytes;
}

std::string bzip2(const std::string& text) {
  auto size = static_cast<unsigned>(text.size() + text.size() / 50 + 1000);
  std::string bytes(size, '\0');
  REQUIRE(BZ2_bzBuffToBuffCompress(bytes.data(), &size, const_cast<char*>(text.data()),
                                   static_cast<unsigned>(text.size()), 9, 0, 0) == BZ_OK);
  bytes.resize(size);
  return bytes;
}

std::string xz(const std::string& text) {
  std::string bytes(lzma_stream_buffer_bound(text.size()), '\0');
  size_t size = 0;
  REQUIRE(lzma_easy_buffer_encode(6, LZMA_CHECK_CRC64, nullptr,
                                  reinterpret_cast<const uint8_t*>(text.data()), text.size(),
                                  reinterpret_cast<uint8_t*>(bytes.data()), &size,
                                  bytes.size()) == LZMA_OK);
  bytes.resize(size);
  return bytes;
}

struct Compression {
  const char* suffix;
  std::string (*compress)(const std::string&);
};
const std::vector<Compression> compressions = {
    {".zst", zstd}, {".gz", gzip}, {".bz2", bzip2}, {".xz", xz}};

/// ASCII as UTF-16.
std::string utf16(std::string_view ascii, bool big_endian) {
  std::string bytes = big_endian ? "\xFE\xFF" : "\xFF\xFE";
  for (const char c : ascii) {
    if (big_endian) bytes += '\0';
    bytes += c;
    if (!big_endian) bytes += '\0';
  }
  return bytes;
}

using Texts = std::vector<std::string>;

Texts texts(std::vector<fs::path> paths, const DocumentOptions& options = {}) {
  DocumentReader reader(std::move(paths), options);
  Texts all;
  while (auto document = reader.next()) all.push_back(document->text);
  return all;
}

Texts notes(const fs::path& path, const DocumentOptions& options = {}) {
  DocumentReader reader({path}, options);
  while (reader.next()) {
  }
  return reader.notes();
}

std::string refusal(const fs::path& path, const DocumentOptions& options = {}) {
  try {
    texts({path}, options);
  } catch (const InputError& error) {
    return error.what();
  }
  return "nothing was thrown";
}

const std::string lines =
    "{\"title\": \"First\", \"text\": \"one\\ntwo\"}\n\n"
    "{\"text\": \"\", \"title\": 7}\r\n"
    "{\"body\": \"x\", \"text\": \"caf\\u00e9\"}";
const Texts texts_of_lines = {"one\ntwo", "", "caf\xC3\xA9"};

}  // namespace

TEST_CASE("a text file is one document, its bytes unchanged") {
  const Folder folder;
  const fs::path file = folder.write("a book.txt", " One\n\ntwo \xC3\xA9\n");
  DocumentReader reader({file});
  const auto document = reader.next();
  REQUIRE(document);
  CHECK(document->text == " One\n\ntwo \xC3\xA9\n");
  CHECK(document->title == "a book");
  CHECK(document->file == file);
  CHECK(!reader.next());
  CHECK(reader.notes().empty());
  REQUIRE(reader.read().size() == 1);
  CHECK(reader.read()[0].file == file);
  CHECK(reader.read()[0].documents == 1);
  CHECK(reader.read()[0].characters == 12);
}

TEST_CASE("a byte order mark is no text, and CRLF is; both are said") {
  const Folder folder;
  const fs::path file = folder.write("a.txt", "\xEF\xBB\xBFOne\r\n\r\ntwo \xEF\xBB\xBF\n");
  CHECK(texts({file}) == Texts{"One\r\n\r\ntwo \xEF\xBB\xBF\n"});
  CHECK(notes(file) ==
        Texts{file.string() + ": a byte order mark at the start, which is no text and left out",
              file.string() + ": line ends are CRLF (2), kept as they are"});

  // Of a record, whose own file's line ends are no text.
  const fs::path jsonl =
      folder.write("a.jsonl", "\xEF\xBB\xBF{\"text\": \"\\ufeffone\"}\r\n{\"text\": \"two\"}\r\n");
  DocumentReader reader({jsonl});
  CHECK(reader.next()->text == "one");
  CHECK(reader.next()->text == "two");
  CHECK(!reader.next());
  CHECK(reader.read()[0].byte_order_marks == 2);
  CHECK(reader.read()[0].crlf_line_ends == 0);
}

TEST_CASE("UTF-16 with a byte order mark is read as the same text, and said") {
  const Folder folder;
  // Longer than a piece that is read at a time, with a pair of surrogates that falls on its border.
  std::string text(32 * 1024 - 2, 'x');
  for (const bool big_endian : {false, true}) {
    std::string bytes = utf16(text, big_endian);
    bytes += big_endian ? std::string("\xD8\x3D\xDE\x00", 4) : std::string("\x3D\xD8\x00\xDE", 4);
    bytes += utf16("end\r\n", big_endian).substr(2);
    const fs::path file = folder.write("a.txt", bytes);
    CHECK(texts({file}) == Texts{text + "\xF0\x9F\x98\x80"
                                        "end\r\n"});
    CHECK(notes(file).front() == file.string() + ": UTF-16, fed as the same text in UTF-8");
    CHECK(texts({folder.write("b.txt.gz", gzip(bytes))}).front().ends_with("end\r\n"));
    CHECK(texts({folder.write("b.jsonl", utf16(lines, big_endian))}) == texts_of_lines);
    CHECK_THAT(refusal(folder.write("c.txt", utf16("a", big_endian) + "\xD8\xD8")),
               ContainsSubstring("2 characters are no UTF-8"));
    CHECK_THAT(refusal(folder.write("d.txt", utf16("ab", big_endian).substr(2))),
               ContainsSubstring("d.txt: has 2 NUL bytes among its first 4"));
  }
}

TEST_CASE("a folder's texts come by name in byte order, and what is left out is said") {
  const Folder folder;
  folder.write("pg/10.txt", "ten");
  folder.write("pg/9.txt", "nine");
  folder.write("pg/B.TXT", "B");
  folder.write("pg/a.txt.zst", zstd("a"));
  folder.write("pg/b.Txt.GZ", gzip("b"));
  const fs::path pg = folder.path() / "pg";
  const Texts expected = {"ten", "nine", "B", "a", "b"};
  CHECK(texts({pg}) == expected);
  CHECK(notes(pg).empty());

  folder.write("pg/._10.txt", "Mac");
  folder.write("pg/readme.md", "not a text");
  folder.write("pg/b.jsonl", "{\"text\": \"x\"}");
  folder.write("pg/10.txt.gz", gzip("ten"));
  folder.write("pg/more/d.txt", "d");
  CHECK(texts({pg}) == expected);
  CHECK(notes(pg) ==
        Texts{pg.string() + ": a compressed copy of the file beside it and left out: 10.txt.gz",
              pg.string() + ": hidden and left out: ._10.txt",
              pg.string() + ": left out beside .txt files: b.jsonl, readme.md",
              pg.string() + ": a subfolder and left out (subfolders: true reads them): more"});
  CHECK(texts({pg}, {.subfolders = true}) == Texts{"ten", "nine", "B", "a", "b", "d"});
}

TEST_CASE("a folder without .txt files gives its JSON") {
  const Folder folder;
  folder.write("c4/1.json.gz", gzip("{\"text\": \"a\"}\n{\"text\": \"b\"}\n"));
  folder.write("c4/0.jsonl", "{\"text\": \"0\"}");
  folder.write("c4/x.parquet", "PAR1");
  CHECK(texts({folder.path() / "c4"}) == Texts{"0", "a", "b"});
  CHECK_THAT(notes(folder.path() / "c4").at(0),
             ContainsSubstring("c4: left out beside files of JSON: x.parquet"));
}

TEST_CASE("links in a folder that lead nowhere are errors, the others are followed") {
  const Folder folder;
  folder.write("pg/1.txt", "one");
  const fs::path pg = folder.path() / "pg";
  fs::create_symlink("1.txt", pg / "2.txt");
  CHECK(texts({pg}) == Texts{"one", "one"});
  fs::create_symlink("gone", pg / "3.txt");
  CHECK_THAT(refusal(pg), ContainsSubstring("3.txt: is a link to gone, which isn't there"));
  CHECK_THAT(refusal(pg / "3.txt"), ContainsSubstring("3.txt: is a link to gone"));
  fs::remove(pg / "3.txt");
  fs::create_symlink("4.txt", pg / "4.txt");
  CHECK_THAT(refusal(pg),
             ContainsSubstring("4.txt: is a link to 4.txt, which leads back to itself"));
  fs::remove(pg / "4.txt");
  folder.write("pg/sub/5.txt", "five");
  fs::create_directory_symlink("..", pg / "sub" / "up");
  CHECK_THAT(refusal(pg, {.subfolders = true}),
             ContainsSubstring("up: a link to a folder that it"));
}

TEST_CASE("JSON lines are a document a line, whatever the name's case and the compression") {
  const Folder folder;
  std::vector<fs::path> files = {folder.write("a.jsonl", lines), folder.write("b.NDJSON", lines),
                                 folder.write("c.json", lines)};
  for (const Compression& compression : compressions) {
    files.push_back(
        folder.write(std::string("d.jsonl") + compression.suffix, compression.compress(lines)));
    files.push_back(
        folder.write(std::string("e.JSON") + compression.suffix, compression.compress(lines)));
    // A name that says nothing, as a pipe's.
    files.push_back(
        folder.write(std::string("f-") + (compression.suffix + 1), compression.compress(lines)));
  }
  for (const fs::path& file : files) {
    INFO(file);
    CHECK(texts({file}) == texts_of_lines);
    CHECK(notes(file).empty());
    DocumentReader reader({file});
    const auto first = reader.next(), second = reader.next(), third = reader.next();
    CHECK(first->title == "First");
    CHECK(first->line == 1);
    CHECK(second->title == file.filename().string().substr(0, second->title.size()));
    CHECK(second->title.find('.') == std::string::npos);
    CHECK(third->line == 4);
  }
}

TEST_CASE("a file of JSON may be an array of records, or records over several lines") {
  const Folder folder;
  CHECK(texts({folder.write("a.json", " [{\"text\": \"a]}\\\"\"} ,\n {\"text\": \"b\"}\n] \n")}) ==
        Texts{"a]}\"", "b"});
  CHECK(texts({folder.write("b.json", "{\n \"text\": \"a\",\n \"x\": [{}]\n}{\"text\": \"b\"}")}) ==
        Texts{"a", "b"});
  CHECK(texts({folder.write("c.json", "[]")}).empty());
  CHECK(texts({folder.write("d.json", "")}).empty());

  CHECK_THAT(refusal(folder.write("e.json", "[{\"text\": \"a\"}\n")),
             ContainsSubstring("e.json: line 2: the array has no end"));
  CHECK_THAT(refusal(folder.write("f.json", "[{\"text\": \"a\"}\n{\"text\": \"b\"}]")),
             ContainsSubstring("f.json: line 2: expected a comma or the end of the array"));
  CHECK_THAT(refusal(folder.write("g.json", "[{\"text\": \"a\"},]")),
             ContainsSubstring("g.json: line 1: expected a JSON object"));
  CHECK_THAT(refusal(folder.write("h.json", "[] []")),
             ContainsSubstring("h.json: line 1: expected nothing behind the array"));
  CHECK_THAT(refusal(folder.write("i.json", "[12, 13]")),
             ContainsSubstring("expected a JSON object, found a number (token ids are given as "
                               "tokens_file"));
  CHECK_THAT(refusal(folder.write("j.json", "Call me Ishmael.")),
             ContainsSubstring("needs another name, such as .txt"));
}

TEST_CASE("records in a file of another name are read where they have the field, else said") {
  const Folder folder;
  const std::string records = "{\"id\": 1, \"text\" : \"a\"}\n{\"text\": \"b\"}\n";
  CHECK(texts({folder.write("shard-of-512", records)}) == Texts{"a", "b"});
  CHECK(texts({folder.write("array", "[" + records.substr(0, records.find('\n')) + "]")}).size() ==
        1);
  for (const fs::path& file : {folder.write("a.txt", records), folder.write("b", "{\"c\": 1}")}) {
    CHECK(texts({file}).front().starts_with("{"));
    REQUIRE(notes(file).size() == 1);
    CHECK_THAT(notes(file)[0], ContainsSubstring("begins as JSON records do, but is fed as"));
  }
  CHECK(notes(folder.write("c", "{ a set } of text")).empty());
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
  CHECK(texts({folder.write("long.jsonl.zst", zstd(lines))}) == expected);
}

TEST_CASE("another field can hold the text, and a list of paths is one sequence") {
  const Folder folder;
  const fs::path jsonl = folder.write("a.jsonl", R"({"content": "x", "text": "no"})");
  const fs::path text = folder.write("b.txt", "y");
  CHECK(texts({text, jsonl, text}, {.field = "content"}) == Texts{"y", "x", "y"});
}

TEST_CASE("bytes that aren't UTF-8 become U+FFFD where that is wanted, and are said") {
  const Folder folder;
  const DocumentOptions replace{.invalid = InvalidBytes::replace};
  const fs::path file = folder.write("a.txt", "a\xFF\xE2\x82z");
  CHECK(texts({file}, replace) == Texts{"a\xEF\xBF\xBD\xEF\xBF\xBDz"});
  CHECK(notes(file, replace) ==
        Texts{file.string() + ": bytes that are no UTF-8: 3; U+FFFD stands in their place"});
  CHECK(texts({folder.write("a.txt.zst", zstd("a\xFFz"))}, replace) == Texts{"a\xEF\xBF\xBDz"});
  const fs::path jsonl = folder.write("a.jsonl", "{\"text\": \"a\xFFz\"}");
  CHECK(texts({jsonl}, replace) == Texts{"a\xEF\xBF\xBDz"});

  // One in a thousand characters is let pass.
  CHECK(texts({folder.write("b.txt", std::string(999, 'x') + "\xFF")}).size() == 1);
  CHECK_THAT(refusal(folder.write("c.txt", std::string(998, 'x') + "\xFF")),
             ContainsSubstring("c.txt: 1 bytes among 999 characters are no UTF-8, more than 1 in "
                               "1,000; expected UTF-8"));
  // Of records, over the whole file: here the first one has a bad byte, and the second many
  // letters.
  const std::string record = "{\"text\": \"a\xFFz\"}\n{\"text\": \"";
  CHECK(texts({folder.write("d.jsonl", record + std::string(1000, 'x') + "\"}")}).size() == 2);
  CHECK_THAT(refusal(folder.write("e.jsonl", record + "xyz\"}")),
             ContainsSubstring("e.jsonl: 1 bytes among 6 characters"));
  DocumentReader reader({folder.write("e.jsonl", record + "xyz\"}")});
  reader.next();
  CHECK_THROWS_WITH(reader.finish(), ContainsSubstring("1 bytes among 3 characters"));
}

TEST_CASE("a file is read by what it is, in members and frames, with any window") {
  const Folder folder;
  std::string text;
  for (int i = 0; i < 50'000; ++i) text += fmt::format("{} ", i * 7919L);
  for (const auto& [suffix, compress] : compressions) {
    INFO(suffix);
    const std::string name = std::string("a.txt") + suffix;
    CHECK(texts({folder.write(name, compress(text))}) == Texts{text});
    CHECK(texts({folder.write("no-suffix", compress(text))}) == Texts{text});
    CHECK(texts({folder.write(name, compress("one ") + compress("two"))}) == Texts{"one two"});
    CHECK_THAT(refusal(folder.write(name, compress(compress(text)))),
               ContainsSubstring(name + ": is compressed twice"));
    const std::string whole = compress(text);
    for (const size_t left : {size_t{1}, whole.size() / 2}) {
      CHECK_THAT(refusal(folder.write(name, whole.substr(0, whole.size() - left))),
                 ContainsSubstring(name + ": the compressed data end too early"));
    }
    std::string damaged = whole;
    for (size_t i = whole.size() / 2; i < whole.size() / 2 + 40; ++i) damaged[i] ^= 0x55;
    CHECK_THAT(refusal(folder.write(name, damaged), {.invalid = InvalidBytes::replace}),
               ContainsSubstring(name + ": cannot be decomp"));
    CHECK_THAT(refusal(folder.write(name, whole + "something else")),
               ContainsSubstring(name + ": "));
    const fs::path plain = folder.write(name, "plain");
    CHECK(texts({plain}) == Texts{"plain"});
    CHECK(notes(plain) == Texts{plain.string() + ": not compressed, whatever the name says"});
  }
  CHECK(texts({folder.write("a.gz", gzip("one") + std::string(600, '\0'))}) == Texts{"one"});

  std::string skippable("\x50\x2A\x4D\x18\x03\0\0\0abc", 11);
  CHECK(texts({folder.write("b.txt.zst", skippable + zstd("one"))}) == Texts{"one"});
  std::string bytes(1000, '\0');
  ZSTD_CCtx* context = ZSTD_createCCtx();
  ZSTD_CCtx_setParameter(context, ZSTD_c_windowLog, 31);
  ZSTD_inBuffer in{"far back", 8, 0};
  ZSTD_outBuffer out{bytes.data(), bytes.size(), 0};
  ZSTD_compressStream2(context, &out, &in, ZSTD_e_flush);  // its size isn't known: the window is
  ZSTD_compressStream2(context, &out, &in, ZSTD_e_end);
  ZSTD_freeCCtx(context);
  CHECK(texts({folder.write("c.txt.zst", bytes.substr(0, out.pos))}) == Texts{"far back"});
}

TEST_CASE("a pipe is read as a file is") {
  const Folder folder;
  const fs::path pipe = folder.path() / "pipe";
  REQUIRE(::mkfifo(pipe.c_str(), 0600) == 0);
  std::string many;
  for (int i = 0; i < 20'000; ++i) many += fmt::format("{{\"text\": \"{}\"}}\n", i);
  for (const std::string& bytes : {many, gzip(many)}) {
    std::thread writer([&] {
      const int fd = ::open(pipe.c_str(), O_WRONLY);
      for (size_t at = 0; at < bytes.size();) {
        at += static_cast<size_t>(
            ::write(fd, bytes.data() + at, std::min<size_t>(bytes.size() - at, 999)));
      }
      ::close(fd);
    });
    const Texts read = texts({pipe});
    writer.join();
    CHECK(read.size() == 20'000);
    CHECK(read.back() == "19999");
  }
}

TEST_CASE("what is no text is refused by what it is, with the way out") {
  const Folder folder;
  const auto refused = [&](std::string_view bytes, const std::string& message) {
    CHECK_THAT(refusal(folder.write("a.txt", bytes)), ContainsSubstring("a.txt: " + message));
    CHECK_THAT(refusal(folder.write("a.txt.gz", gzip(std::string(bytes)))),
               ContainsSubstring("a.txt.gz: " + message));
  };
  refused("PAR1\x15\x04", "is a Parquet file, which is not read as text; convert it to JSON lines");
  refused(std::string_view("ARROW1\0\0", 8), "is an Arrow file");
  refused("PK\x03\x04", "is a ZIP archive");
  refused("%PDF-1.7", "is a PDF file");
  refused(std::string(257, 'x') + "ustar", "is a tar archive");
  refused(std::string_view("\xFF\xFE\0\0a\0\0\0", 8), "is text in UTF-32");
  refused("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 7\n",
          "is a Git LFS pointer to a file of 7 bytes");
  refused("<!DOCTYPE html><html>", "is an HTML page");
  refused(std::string(20, '\0'), "has 20 NUL bytes among its first 20");
  CHECK(texts({folder.write("page.html", "<!DOCTYPE html>")}).size() == 1);
}

TEST_CASE("a file that is made to fill a memory is refused") {
  const test::TemporaryFolder folder;
  const fs::path bomb = folder.write("bomb.txt.gz", gzip(std::string(size_t{300} << 20, 'a')));
  CHECK_THROWS_WITH(texts({bomb}), ContainsSubstring("expands to more than 250 times its size"));
  // As much as that of what is no more than monotonous.
  std::string poem;
  for (int i = 0; poem.size() < (size_t{2} << 20); ++i) poem += "line " + std::to_string(i) + "\n";
  CHECK(texts({folder.write("poem.txt.gz", gzip(poem))}).front() == poem);
}

TEST_CASE("bad datasets are refused by file, line, field and value") {
  const Folder folder;
  const auto refused = [&](const fs::path& path, const std::string& message) {
    CHECK_THAT(refusal(path), ContainsSubstring(message));
  };
  refused(folder.path() / "missing.txt", "missing.txt: no such file or folder");
  fs::create_directories(folder.path() / "empty");
  refused(folder.path() / "empty", "empty: expected a folder with .txt files");

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
  refused(folder.write("g.jsonl", good + R"({"text": "a", "score": NaN})"),
          "g.jsonl: line 17: expected a JSON object: parse error at line 1, column 24");
}
