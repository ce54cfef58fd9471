// sinkbench bench: its rows, for people and for programs. No time is looked at.
#include <nlohmann/json.hpp>
#include <sstream>

#include "tests/catch.h"
#include "tests/cli/program.h"
#include "tests/data.h"
#include "tests/files.h"

using namespace sinkbench;
using nlohmann::json;

namespace {

test::Outcome bench(std::vector<std::string> more, const test::TemporaryFolder& folder) {
  std::vector<std::string> arguments = {
      "bench",           test::data("families/llama_gqa").string(),
      "--cache",         "2+6,2+14",
      "--tokens",        "40",
      "--recomputed",    "2",
      "--repeats",       "2",
      "--samples",       "3",
      "--passes",        "1",
      "--dense",         "20",
      "--policy-tokens", "0",
      "--ceilings",      "0",
      "--dtype",         "float32"};
  arguments.insert(arguments.end(), more.begin(), more.end());
  return test::Program(std::move(arguments), folder.path()).wait();
}

}  // namespace

TEST_CASE("bench has a row for each cache and kind of work") {
  const test::TemporaryFolder folder;
  const test::Outcome outcome = bench({"--format", "json"}, folder);
  INFO(outcome.err);
  REQUIRE(outcome.status == 0);
  const json report = json::parse(outcome.out);
  CHECK(report["device"] == "cpu");
  CHECK(report["ceilings"]["float32_flops"].get<double>() > 0);
  CHECK(report["ceilings"]["read_bytes"].get<double>() > 0);
  std::vector<std::string> rows;
  for (const json& row : report["rows"]) {
    rows.push_back(row["cache"].get<std::string>() + " " + row["what"].get<std::string>());
    CHECK(row["tokens_per_second"].get<double>() > 0);
    CHECK(row["spread"].get<double>() >= 0);
    CHECK(row["rate"].get<double>() <= row["ceiling"].get<double>());
    CHECK(row["unit"] == (row["what"] == "decode" ? "B/s" : "FLOP/s"));
  }
  CHECK(rows == std::vector<std::string>{"2+6 scoring", "2+6 recompute", "2+6 dense 20", "2+6 pass",
                                         "2+6 decode", "2+14 scoring", "2+14 recompute",
                                         "2+14 dense 20", "2+14 pass", "2+14 decode"});

  const test::Outcome table = bench({}, folder);
  CHECK_THAT(table.out, ContainsSubstring("float32 product") && ContainsSubstring("of ceiling"));
  std::istringstream csv(bench({"--format", "csv"}, folder).out);
  std::string line;
  std::getline(csv, line);
  CHECK(line.starts_with("dtype,cache,what,tokens_per_second,spread,"));
  int64_t lines = 0;
  for (; std::getline(csv, line); ++lines) CHECK(line.starts_with("\"float32\",\"2+"));
  CHECK(lines == 10);
}

TEST_CASE("bench says what is wrong with what it is given") {
  const test::TemporaryFolder folder;
  const auto error = [&](std::vector<std::string> more) {
    const test::Outcome outcome = bench(std::move(more), folder);
    CHECK(outcome.status == 2);
    return outcome.err;
  };
  CHECK_THAT(error({"--cache", "512"}),
             ContainsSubstring("--cache is '512'; expected sinks+window"));
  CHECK_THAT(error({"--llama-bench", "/bin/true"}), ContainsSubstring("is no .gguf"));
  CHECK_THAT(error({"--device", "tpu"}), ContainsSubstring("tpu"));
}

TEST_CASE("bench shows llama.cpp's rates beside its own") {
  const test::TemporaryFolder folder;
  const auto gguf = test::data("gguf/llama3_v5.gguf");
  folder.write("arguments", "");
  const auto program = folder.write(
      "llama-bench",
      "#!/bin/sh\nprintf '%s ' \"$@\" >arguments\n"
      "echo '[{\"n_prompt\": 512, \"n_gen\": 0, \"avg_ts\": 541.25, \"stddev_ts\": 5.4125, "
      "\"model_type\": \"llama\"}, {\"n_prompt\": 0, \"n_gen\": 3, \"avg_ts\": 32, "
      "\"stddev_ts\": 0, \"model_type\": \"llama\"}]'\n");
  std::filesystem::permissions(program, std::filesystem::perms::owner_all);
  std::vector<std::string> arguments = {
      "bench",        gguf.string(), "--cache",         "2+6", "--tokens",      "20",
      "--recomputed", "0",           "--repeats",       "1",   "--samples",     "3",
      "--ceilings",   "0",           "--policy-tokens", "0",   "--dtype",       "float32",
      "--format",     "json",        "--threads",       "1",   "--llama-bench", program.string()};
  const test::Outcome outcome = test::Program(arguments, folder.path()).wait();
  INFO(outcome.err);
  REQUIRE(outcome.status == 0);
  const json rows = json::parse(outcome.out)["rows"];
  CHECK(read_file(folder.path() / "arguments") ==
        "-m " + gguf.string() + " -p 512 -n 3 -d 8 -r 1 -t 1 -ngl 0 -o json ");
  REQUIRE(rows.size() == 4);
  CHECK(rows[2]["what"] == "llama.cpp, prompt");
  CHECK(rows[2]["tokens_per_second"] == 541.25);
  CHECK(rows[2]["spread"].get<double>() == Approx(0.01));
  CHECK(rows[3]["what"] == "llama.cpp, decode");
  CHECK(rows[3]["milliseconds"].get<double>() == Approx(1000.0 / 32));

  folder.write("llama-bench", "#!/bin/sh\nexit 3\n");
  std::filesystem::permissions(program, std::filesystem::perms::owner_all);
  const test::Outcome failed = test::Program(arguments, folder.path()).wait();
  CHECK(failed.status == 2);
  CHECK_THAT(failed.err, ContainsSubstring("ended with status 3"));
}
