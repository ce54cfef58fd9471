#include "reports/exports.h"

#include <cstdio>
#include <limits>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "tests/catch.h"
#include "tests/eval/experiment/example.h"
#include "tests/files.h"

using namespace sinkbench;
using nlohmann::json;

namespace {

/// What the command prints; nothing where it fails.
std::string output_of(const std::string& command) {
  std::FILE* pipe = ::popen(command.c_str(), "r");
  REQUIRE(pipe != nullptr);
  std::string text;
  for (int c; (c = std::fgetc(pipe)) != EOF;) text += static_cast<char>(c);
  return ::pclose(pipe) == 0 ? text : "";
}

/// Example results that became worse in one respect, with a failed, a refused and a missing part.
Comparison example_comparison() {
  Comparison comparison{.baseline = "results/a & b", .candidate = "results/\"c\" <d>"};
  comparison.candidate_info = test::example_results().info;
  CellComparison cell{.id = "tiny-sinks-4+252", .seconds = 12.5};
  cell.quantities = {
      {.quantity = Quantity::perplexity,
       .baseline = 20,
       .candidate = 21,
       .change = 0.0488,
       .low = 0.04,
       .high = 0.06,
       .limit = 0.001,
       .verdict = Verdict::worse},
      {.quantity = Quantity::latency,
       .cache_entries = 256,
       .baseline = 1,
       .candidate = 2,
       .verdict = Verdict::refused,
       .note = "another machine"},
      {.quantity = Quantity::latency, .cache_entries = 8191, .verdict = Verdict::missing},
      {.quantity = Quantity::kv_bytes_held, .baseline = 8, .candidate = 8}};
  comparison.cells = {cell};
  comparison.failed = {{"tiny-window-0+256", "out of <memory>\x01 & \xff patience \xef\xbf\xbe"}};
  comparison.missing = {{"tiny-dense", "no such cell in the candidate"}};
  return comparison;
}

}  // namespace

TEST_CASE("JUnit is well-formed XML with a case for every quantity") {
  const test::TemporaryFolder folder;
  const std::string file = (folder.path() / "report.xml").string();
  write_export({.format = "junit", .file = file}, example_comparison(), test::example_results());
  const auto xpath = [&](const std::string& expression) {
    std::string text = output_of("xmllint --xpath '" + expression + "' " + file);
    while (!text.empty() && text.back() == '\n') text.pop_back();
    return text;
  };
  REQUIRE(std::system(("xmllint --noout " + file).c_str()) == 0);
  CHECK(xpath("count(/testsuites/testsuite)") == "1");
  CHECK(xpath("count(//testcase)") == "7");
  // The counts that the suite states are those of its cases.
  CHECK(xpath("number(//testsuite/@tests) = count(//testcase)") == "true");
  CHECK(xpath("number(//testsuite/@failures) = count(//failure)") == "true");
  CHECK(xpath("number(//testsuite/@errors) = count(//error)") == "true");
  CHECK(xpath("number(//testsuite/@skipped) = count(//skipped)") == "true");
  CHECK(xpath("string(//testcase[failure]/@name)") == "perplexity");
  CHECK(xpath("string(//testcase[skipped]/@name)") == "latency at 256 cached");
  CHECK(xpath("string(//skipped/@message)") == "another machine");
  CHECK(xpath("string(//failure/@message)") ==
        "21, was 20; change +0.0488, limit 0.001, interval +0.04 to +0.06");
  CHECK(xpath("count(//error)") == "3");
  CHECK(xpath("string(//testcase[@classname=\"tiny-window-0+256\"]/error)") ==
        "out of <memory>  & \xef\xbf\xbd patience \xef\xbf\xbd");
  CHECK(xpath("string(//property[@name=\"candidate\"]/@value)") == "results/\"c\" <d>");
  // What Ant's schema wants in this order, of these types.
  CHECK(xpath("string(//testsuite/@timestamp)") == "2026-01-02T03:04:05");
  CHECK(xpath("name(//testsuite/*[1])") == "properties");
  CHECK(xpath("name(//testsuite/*[last() - 1])") == "system-out");
  CHECK(xpath("name(//testsuite/*[last()])") == "system-err");
  CHECK(xpath("count(//testcase[not(@classname and @name and number(@time) >= 0)])") == "0");
}

TEST_CASE("Bencher Metric Format has numbers alone, by benchmark and measure") {
  const json root =
      json::parse(export_text("bencher", example_comparison(), test::example_results()));
  REQUIRE(root.is_object());
  for (const auto& [benchmark, measures] : root.items()) {
    CHECK(benchmark.size() <= 1024);
    for (const auto& [measure, metric] : measures.items()) {
      INFO(benchmark << " " << measure);
      CHECK(measure.size() <= 64);
      REQUIRE(metric.at("value").is_number());
      for (const auto& [name, value] : metric.items()) {
        CHECK((name == "value" || name == "lower_value" || name == "upper_value"));
        CHECK(value.is_number());
      }
      CHECK(metric.value("lower_value", -1e30) <= metric["value"].get<double>());
      CHECK(metric.value("upper_value", 1e30) >= metric["value"].get<double>());
    }
  }
  CHECK(root["tiny-book-8192-sinks-4+252-float32"]["perplexity"]["value"] == 45.678);
  CHECK(root["tiny-book-8192-sinks-4+252-float32"]["latency"]["value"] == 1.5e6);
  CHECK(root["tiny-book-8192-dense-float32/8191"]["latency"]["value"] == 10.125e6);
  CHECK(root["tiny-book-8192-dense-float32"]["kv-bytes-held"]["value"] == 12'582'912);
  CHECK(!root.contains("tiny-book-8192-window-0+256-float32"));
}

TEST_CASE("github-action-benchmark gets a list of names, units and values") {
  const json root =
      json::parse(export_text("github-benchmark", example_comparison(), test::example_results()));
  REQUIRE(root.is_array());
  std::map<std::string, json> entries;
  for (const json& entry : root) {
    CHECK(entry.at("unit").is_string());
    CHECK(entry.at("value").is_number());
    for (const char* text : {"range", "extra"}) {
      if (entry.contains(text)) CHECK(entry[text].is_string());
    }
    CHECK(entries.emplace(entry.at("name"), entry).second);
  }
  const json& perplexity = entries.at("tiny-book-8192-sinks-4+252-float32 perplexity");
  CHECK(perplexity["value"] == 45.678);
  CHECK(perplexity["range"] == "± 0.4321");
  CHECK(entries.at("tiny-book-8192-dense-float32/256 latency")["value"] == 1.5);
  CHECK(entries.at("tiny-book-8192-dense-float32 weight_bytes")["value"] == 6'291'456);
}

TEST_CASE("Google Benchmark's JSON has a repetition for each timed step") {
  const json root =
      json::parse(export_text("google-benchmark", example_comparison(), test::example_results()));
  CHECK(root["context"]["num_cpus"] == 2);
  CHECK(root["context"]["library_build_type"] == "release");
  std::map<std::string, std::vector<double>> times;
  for (const json& benchmark : root.at("benchmarks")) {
    CHECK(benchmark.at("run_type") == "iteration");
    CHECK(benchmark.at("time_unit") == "ms");
    CHECK(benchmark.at("run_name") == benchmark.at("name"));
    CHECK(benchmark.at("cpu_time").is_number());
    auto& samples = times[benchmark.at("name")];
    CHECK(benchmark.at("repetition_index") == samples.size());
    samples.push_back(benchmark.at("real_time"));
  }
  CHECK(times["tiny-book-8192-dense-float32/256"] == std::vector<double>{1.5, 1.25, 2.25});
  CHECK(times["tiny-book-8192-dense-float32/8191"] == std::vector<double>{10, 10.25});
  CHECK(root["benchmarks"][0]["perplexity"] == 1234.5678);
}

TEST_CASE("what is no number in JSON is left out, and a machine's cores may be words") {
  Results results = test::example_results();
  for (CellResult& cell : results.cells) {
    if (cell.perplexity) cell.perplexity->token = std::numeric_limits<double>::infinity();
  }
  results.info.machine["cores"] = "two";
  for (const char* format : {"bencher", "github-benchmark", "google-benchmark"}) {
    const std::string text = export_text(format, example_comparison(), results);
    INFO(format);
    CHECK(text.find("null") == text.npos);
    CHECK(text.find("perplexity") == text.npos);
    CHECK(text.find("kv") != text.npos);
  }
  const json root = json::parse(export_text("google-benchmark", example_comparison(), results));
  CHECK(root["context"]["num_cpus"] == 0);
}

TEST_CASE("Google Benchmark's JSON has the processors' time where it was measured") {
  Results results = test::example_results();
  LatencyResult& timing = results.cells[0].latency.at(0);
  timing.samples_ms = {1.5, 1.25, 2.25};
  timing.rounds = {{.samples = 2, .processor_ms = 2.5}, {.samples = 1, .processor_ms = 3.5}};
  const json root = json::parse(export_text("google-benchmark", example_comparison(), results));
  CHECK(root["benchmarks"][1]["cpu_time"] == 2.5);
  CHECK(root["benchmarks"][2]["cpu_time"] == 3.5);
}

TEST_CASE("markdown leads with the outcome") {
  const std::string text = export_text("markdown", example_comparison(), test::example_results());
  CHECK_THAT(text, Catch::Matchers::StartsWith("# REGRESSION: 1 worse, "));
  CHECK_THAT(text, ContainsSubstring("| **worse** |"));
  CHECK_THAT(text, ContainsSubstring("- tiny-dense: no such cell in the candidate\n"));
}

TEST_CASE("an export is a known format and a file") {
  CHECK(parse_export("junit=a=b.xml").file == "a=b.xml");
  CHECK_THROWS_AS(parse_export("junit"), InputError);
  CHECK_THROWS_AS(parse_export("junit="), InputError);
  CHECK_THROWS_WITH(parse_export("junt=a.xml"), ContainsSubstring("did you mean 'junit'?"));
  const test::TemporaryFolder folder;
  CHECK_THROWS_AS(write_export({.format = "junit", .file = folder.path() / "no/such/file"},
                               example_comparison(), test::example_results()),
                  InputError);
}
