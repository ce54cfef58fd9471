// Texts as people have them, through run, tokenize and sinks: the same ids whatever they come in.
#include <zlib.h>
#include <algorithm>
#include <nlohmann/json.hpp>

#include "eval/results/results.h"
#include "tests/catch.h"
#include "tests/cli/model_and_book.h"
#include "tests/cli/program.h"

using namespace sinkbench;
namespace fs = std::filesystem;

namespace {

const std::string book = "It was a bright cold day, and the clocks were wrong.\n";

struct Workplace : test::ModelAndBook {
  Workplace() {
    write("t.yaml", R"({name: t, model: model, dataset: {text: book.txt}, policies: [dense],
                        metrics: [perplexity], threads: 1})");
    write("record.jsonl", nlohmann::json{{"text", book}}.dump() + "\n");
    write("array.json", nlohmann::json{{{"text", book}}}.dump());
    write_gzip("book.txt.gz", book);
    write_gzip("record.json.gz", nlohmann::json{{"text", book}}.dump());
    write("mark.txt", "\xEF\xBB\xBF" + book);
  }

  void write_gzip(const char* name, const std::string& text) const {
    const gzFile file = gzopen((path() / name).c_str(), "wb");
    gzwrite(file, text.data(), static_cast<unsigned>(text.size()));
    gzclose(file);
  }

  test::Outcome operator()(std::vector<std::string> arguments) const {
    return test::Program(std::move(arguments), path()).wait();
  }

  test::Outcome run(const std::string& text) const {
    return (*this)({"run", "t.yaml", "--set", "dataset.text=" + text, "--out", "out", "--fresh",
                    "--quiet", "--no-plots"});
  }

  CellResult result() const { return read_results(path() / "out").cells.at(0); }
};

/// Standard error without what depends on the machine's load.
std::string notes(const test::Outcome& outcome) {
  std::string notes;
  for (size_t at = 0; at < outcome.err.size();) {
    const size_t end = outcome.err.find('\n', at) + 1;
    if (outcome.err.compare(at, 6, "note: ") == 0) notes += outcome.err.substr(at, end - at);
    at = end;
  }
  return notes;
}

}  // namespace

TEST_CASE("run and tokenize feed the same ids, whatever a text comes in") {
  const Workplace workplace;
  REQUIRE(workplace.run("book.txt").status == 0);
  const CellResult plain = workplace.result();
  CHECK(plain.text.documents == 1);
  CHECK(plain.text.characters == static_cast<int64_t>(book.size()));
  CHECK(plain.text.notes.empty());
  const auto ids = workplace({"tokenize", "model", "book.txt"}).out;
  for (const char* name : {"book.txt.gz", "record.jsonl", "array.json", "record.json.gz"}) {
    INFO(name);
    const test::Outcome outcome = workplace.run(name);
    REQUIRE(outcome.status == 0);
    CHECK(notes(outcome).empty());
    CHECK(workplace.result().dataset_sha256 == plain.dataset_sha256);
    CHECK(workplace.result().text.files == std::vector<fs::path>{workplace.path() / name});
    const test::Outcome tokenized = workplace({"tokenize", "model", name});
    CHECK(tokenized.out == ids);
    CHECK(tokenized.err.empty());
  }
}

TEST_CASE("what there is to know of a text is said once, and is in the results") {
  const Workplace workplace;
  const std::string note =
      "mark.txt: a byte order mark at the start, which is no text and left out";
  const test::Outcome outcome = workplace.run("mark.txt");
  REQUIRE(outcome.status == 0);
  CHECK(notes(outcome) == "note: " + (workplace.path() / note).string() + "\n");
  CHECK(workplace.result().text.byte_order_marks == 1);
  CHECK(workplace.result().text.notes ==
        std::vector<std::string>{(workplace.path() / note).string()});
  CHECK(workplace({"tokenize", "model", "mark.txt"}).err == "note: " + note + "\n");
  const test::Outcome sinks = workplace({"sinks", "model", "--dataset", "mark.txt", "--samples",
                                         "1", "--tokens", "8", "--no-plots", "--quiet"});
  CHECK(sinks.status == 0);
  CHECK_THAT(sinks.err, ContainsSubstring(note));
}

TEST_CASE("a text in Latin-1 is refused, or read where that is asked for") {
  const Workplace workplace;
  workplace.write("latin.txt", "caf\xE9 au lait, caf\xE9 noir\n");
  const test::Outcome refused = workplace.run("latin.txt");
  CHECK(refused.status == 2);
  CHECK_THAT(refused.err, ContainsSubstring("latin.txt: 2 bytes among 24 characters are no UTF-8"));
  CHECK(workplace({"tokenize", "model", "latin.txt"}).status == 2);
  CHECK(workplace({"tokenize", "model", "latin.txt", "--invalid", "replace"}).status == 0);
  const test::Outcome replaced =
      workplace({"run", "t.yaml", "--set", "dataset={text: latin.txt, invalid: replace}", "--out",
                 "out", "--quiet", "--no-plots"});
  CHECK(replaced.status == 0);
  CHECK(workplace.result().text.replaced_bytes == 2);
  CHECK(workplace.result().cell.dataset.documents.invalid == InvalidBytes::replace);
}

TEST_CASE("a folder's subfolders are read where that is asked for") {
  const Workplace workplace;
  workplace.write("pg/1.txt", book);
  workplace.write("pg/more/2.txt", book);
  REQUIRE(workplace.run("pg").status == 0);
  CHECK(workplace.result().text.documents == 1);
  CHECK(workplace.result().text.notes.size() == 1);
  REQUIRE(workplace({"run", "t.yaml", "--set", "dataset={text: pg, subfolders: true}", "--out",
                     "out", "--quiet", "--no-plots"})
              .status == 0);
  CHECK(workplace.result().text.documents == 2);
  CHECK(workplace.result().text.notes.empty());
}

TEST_CASE("a pipe is read where one reading is enough") {
  const Workplace workplace;
  const std::string program = SINKBENCH_PROGRAM;
  const auto shell = [&](const std::string& command) {
    return std::system(("cd " + workplace.path().string() + " && " + command).c_str());
  };
  const std::string run = "cat book.txt.gz | " + program +
                          " run t.yaml --set dataset.text=/dev/stdin --out out --quiet --no-plots ";
  REQUIRE(workplace.run("book.txt").status == 0);
  const CellResult plain = workplace.result();
  CHECK(shell(run + "--set 'policies=[dense, window: {window: 5}]' >/dev/null 2>err") == 0);
  CHECK(workplace.result().dataset_sha256 == plain.dataset_sha256);
  CHECK(shell(run + "--set 'dataset.tokens=[5, 10]' >/dev/null 2>err") != 0);
  CHECK_THAT(read_file(workplace.path() / "err"),
             ContainsSubstring("/dev/stdin: a pipe can be read only once"));
}

TEST_CASE("perplexity per word is left out where words make no sense") {
  const Workplace workplace;
  std::string chinese;
  for (int i = 0; i < 20; ++i) chinese += "\xE5\xA4\xA9\xE5\x9C\xB0";
  workplace.write("zh.txt", chinese + "\n");
  const test::Outcome outcome = workplace.run("zh.txt");
  REQUIRE(outcome.status == 0);
  CHECK(!workplace.result().perplexity->word);
  CHECK(workplace.result().perplexity->byte);
  std::istringstream table(workplace({"report", "out", "--format", "table"}).out);
  std::string line;
  while (line.find("per word") == std::string::npos && std::getline(table, line)) {
  }
  // In columns: the header's ± takes two bytes.
  const auto past = line.begin() + static_cast<std::ptrdiff_t>(line.find("per word") + 8);
  const auto end = static_cast<size_t>(std::count_if(
      line.begin(), past, [](char c) { return (static_cast<unsigned char>(c) & 0xC0) != 0x80; }));
  std::getline(table, line);
  std::getline(table, line);
  CHECK(line.substr(end - 8, 8) == "       -");
}
