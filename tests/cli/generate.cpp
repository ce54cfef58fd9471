// What a model writes, from the command line.
#include <nlohmann/json.hpp>

#include "base/file.h"
#include "tests/catch.h"
#include "tests/cli/program.h"
#include "tests/files.h"

using namespace sinkbench;
namespace fs = std::filesystem;
using Json = nlohmann::json;

namespace {

using Strings = std::vector<std::string>;
const std::string model = (fs::path(SINKBENCH_TESTS).parent_path() / "models/tiny").string();

test::Outcome generated(const test::TemporaryFolder& folder, Strings arguments) {
  arguments.insert(arguments.begin(), {"generate", model});
  return test::Program(std::move(arguments), folder.path()).wait();
}

}  // namespace

TEST_CASE("generate writes under each policy, shows it and leaves pages") {
  const test::TemporaryFolder folder;
  folder.write("prompt.txt", "In the beginning God created");
  const Strings arguments = {
      "--prompt", "prompt.txt", "--policy",      "dense", "--policy", "sinks:sinks=4,window=28",
      "--tokens", "150",        "--temperature", "0.8",   "--out",    "a.json",
      "--out",    "a.html",     "--out",         "a.md"};
  const test::Outcome outcome = generated(folder, arguments);
  INFO(outcome.err);
  REQUIRE(outcome.status == 0);
  const Json json = Json::parse(read_file(folder.path() / "a.json"));
  CHECK(json["prompt"] == "In the beginning God created");
  CHECK(json["texts"].size() == 2);
  const Json& dense = json["texts"][0];
  const Json& sinks = json["texts"][1];
  CHECK(dense["ids"].size() == 150);
  CHECK(dense["dense_nll"].size() == 150);
  CHECK(dense["first_eviction"].is_null());
  CHECK(sinks["first_eviction"] == 33);
  // The same until a token has left that mattered.
  const int64_t prompt = json["prompt_tokens"];
  for (int64_t i = 0; i < 33 - prompt; ++i) CHECK(dense["ids"][i] == sinks["ids"][i]);
  CHECK(dense["ids"] != sinks["ids"]);
  // The parts, one after the other, are what was shown as it was written.
  for (const Json& text : json["texts"]) {
    std::string whole;
    int64_t at = 0;
    for (const Json& part : text["parts"]) {
      CHECK(part["begin"] == at);
      at = part["end"];
      whole += part["text"].get<std::string>();
    }
    CHECK(at == 150);
    CHECK_THAT(outcome.out, ContainsSubstring(whole));
  }
  CHECK_THAT(read_file(folder.path() / "a.html"),
             ContainsSubstring("<th scope=\"col\">sinks 4+28"));
  CHECK_THAT(read_file(folder.path() / "a.md"), ContainsSubstring("| dense | sinks 4+28 |"));
  CHECK_THAT(outcome.out, ContainsSubstring("written: a.md"));
  const test::Outcome again = generated(folder, arguments);
  const Json same = Json::parse(read_file(folder.path() / "a.json"));
  CHECK(same["texts"][1]["ids"] == sinks["ids"]);
  // Quietly the texts come once, in the end.
  const test::Outcome quiet = generated(folder, {"--prompt", "In the", "--tokens", "5", "--quiet"});
  CHECK(quiet.status == 0);
  CHECK_THAT(quiet.out, !ContainsSubstring("== dense ==\n\n"));
}

TEST_CASE("generate refuses in one line what it can't do, and writes nothing") {
  const test::TemporaryFolder folder;
  const auto refused = [&](Strings arguments) {
    const test::Outcome outcome = generated(folder, std::move(arguments));
    CHECK(outcome.status == 2);
    CHECK(outcome.out.empty());
    return outcome.err;
  };
  CHECK_THAT(refused({"--prompt", "a", "--out", "a.txt"}),
             ContainsSubstring("--out a.txt: it ends in '.txt'; expected .md, .html or .json"));
  CHECK_THAT(refused({"--prompt", "a", "--policy", "oracle:capacity=30"}),
             ContainsSubstring("it sees queries before they come"));
  CHECK_THAT(refused({"--prompt", "a", "--policy", "sink"}),
             ContainsSubstring("did you mean 'sinks'"));
  CHECK_THAT(refused({"--prompt", "a", "--policy", "dense", "--policy", "dense"}),
             ContainsSubstring("--policy dense: it is given twice"));
  CHECK_THAT(refused({"--prompt", "a", "--stop", "<|nowhere|>"}), ContainsSubstring("--stop"));
  CHECK_THAT(refused({"--prompt", "a", "--temperature", "-1"}), ContainsSubstring("--temperature"));
  CHECK_THAT(refused({"--prompt", "a", "--tokens", "0"}), ContainsSubstring("--tokens"));
  CHECK_THAT(refused({"--prompt", "a", "--temperature", "nan"}),
             ContainsSubstring("'nan'; expected a number from 0 to 100"));
  CHECK_THAT(refused({"--prompt", "a", "--seed", "-1"}), ContainsSubstring("--seed"));
  CHECK_THAT(refused({"--prompt", "a\xff"}), ContainsSubstring("it is no valid UTF-8"));
  CHECK_THAT(refused({"--prompt", "a", "--out", "nowhere/x.md"}),
             ContainsSubstring("there is no such folder"));
}

TEST_CASE("a prompt that looks like a file which isn't there is said to be the text") {
  const test::TemporaryFolder folder;
  const std::string note = "note: there is no file 'nosuch.txt', so the prompt is these characters";
  CHECK_THAT(generated(folder, {"--prompt", "nosuch.txt", "--tokens", "2"}).err,
             ContainsSubstring(note));
  for (const char* text : {"In the beginning. And", "The end.", "word"}) {
    CHECK_THAT(generated(folder, {"--prompt", text, "--tokens", "2"}).err,
               !ContainsSubstring("there is no file"));
  }
}
