#include "reports/tables.h"

#include <functional>
#include <limits>
#include <sstream>

#include "base/file.h"
#include "tests/catch.h"
#include "tests/eval/experiment/example.h"
#include "tests/files.h"

using namespace sinkbench;

namespace {

std::vector<std::string> lines_of(const std::string& text) {
  std::vector<std::string> lines;
  std::istringstream stream(text);
  for (std::string line; std::getline(stream, line);) lines.push_back(line);
  return lines;
}

/// Results of one cell under sinks, to be changed by a test.
Results one_cell() {
  Results results = test::example_results();
  results.cells = {results.cells[1]};
  return results;
}

}  // namespace

TEST_CASE("the tables of a run, whole") {
  CHECK(
      format_report(test::example_results(), ReportFormat::table) ==
      R"(example: model tiny, dataset book.txt, bos stream, dtype float32, device cpu, threads 2, engine chunked, positions cache
A Processor, 2 cores, 2026-01-02T03:04:05Z

Perplexity
  policy     cache  perplexity      ±     NLL  per word  bits/byte         scored  tokens/s
  ---------  -----  ----------  -----  ------  --------  ---------  -------------  --------
  dense        all        1235  12.25  7.1185     98765      1.875           8191      2048
  sinks      4+252       45.68  0.432  3.8216     345.7      1.322           8191      4096
  recompute    256       44.50  1.250  3.7955         -          -  1024 (1 in 8)        16

Latency of one decode step at a full cache (recompute: of one pass)
  policy  cache  cached  p50 ms  p90 ms  p99 ms  max ms  samples
  ------  -----  ------  ------  ------  ------  ------  -------
  dense     all     256   1.500   1.750   2.250   2.250        3
  dense     all    8191  10.125  11.000  12.000  12.500        2
  sinks   4+252     256   1.500   1.600   1.700   1.750      128

Memory
  policy  cache  cached  KV by formula   KV held   weights  peak of process
  ------  -----  ------  -------------  --------  --------  ---------------
  dense     all    8191       12.0 MiB  12.0 MiB  6.00 MiB          512 MiB
  sinks   4+252     256        384 KiB   384 KiB  6.00 MiB          100 MiB

Failed
  tiny-book-8192-window-0+256-float32: out of memory

warning: the machine is busy
)");
}

TEST_CASE("markdown is the same as a table of GitHub's") {
  CHECK(format_table(test::example_results(), Table::latency, ReportFormat::markdown) ==
        R"(| policy | cache | cached | p50 ms | p90 ms | p99 ms | max ms | samples |
|--------|------:|-------:|-------:|-------:|-------:|-------:|--------:|
| dense  |   all |    256 |  1.500 |  1.750 |  2.250 |  2.250 |       3 |
| dense  |   all |   8191 | 10.125 | 11.000 | 12.000 | 12.500 |       2 |
| sinks  | 4+252 |    256 |  1.500 |  1.600 |  1.700 |  1.750 |     128 |
)");
  const std::string report = format_report(test::example_results(), ReportFormat::markdown);
  for (const char* part :
       {"# example: model tiny, ", "\n## Perplexity\n\n| policy ", "\n## Memory\n\n| policy ",
        "\n## Failed\n\n- tiny-book-8192-window-0+256-float32: out of memory\n",
        "\n> warning: the machine is busy\n"}) {
    CHECK_THAT(report, ContainsSubstring(part));
  }
}

TEST_CASE("CSV has every column in plain units") {
  CHECK(
      format_table(test::example_results(), Table::memory, ReportFormat::csv) ==
      "id,model,dataset,bos,bos_token,special_tokens,reset,policy,label,positions,engine,dtype,"
      "device,"
      "threads,cache_entries,kv_bytes_formula,kv_bytes_held,weight_bytes,peak_rss_bytes\n"
      "tiny-book-8192-dense-float32,/models/tiny,/texts/book.txt,stream,,parse,,dense,dense,cache,"
      "chunked,float32,cpu,2,8191,12582912,12582912,6291456,536870912\n"
      "tiny-book-8192-sinks-4+252-float32,/models/tiny,/texts/"
      "book.txt,stream,,parse,,sinks,4+252,cache,"
      "chunked,float32,cpu,2,256,393216,393216,6291456,104857600\n");
  const auto rows =
      lines_of(format_table(test::example_results(), Table::perplexity, ReportFormat::csv));
  REQUIRE(rows.size() == 4);
  CHECK_THAT(rows[0],
             Catch::Matchers::EndsWith(
                 "perplexity,perplexity_stderr,nll_mean,nll_stderr,nll_over_float32,"
                 "word_perplexity,byte_perplexity,bits_per_byte,scored,stride,scoring_seconds"));
  CHECK_THAT(rows[1], Catch::Matchers::EndsWith(
                          ",1234.5678,12.25,7.11847,0.0099225,,98765.4321,3.668,1.875,8191,1,4"));
  CHECK_THAT(rows[3], Catch::Matchers::EndsWith(",44.5,1.25,3.79549,0.02809,,,,,1024,8,64"));
}

TEST_CASE("CSV quotes what would break it") {
  Results results = one_cell();
  results.cells[0].cell.model.path = "/models/a \"b\", c\nd";
  const std::string csv = format_table(results, Table::memory, ReportFormat::csv);
  CHECK_THAT(csv, ContainsSubstring(",\"/models/a \"\"b\"\", c\nd\",/texts/book.txt,"));
  results = one_cell();
  results.cells[0].cell.dataset.texts = {"/a.txt", "/b.txt"};
  CHECK_THAT(format_table(results, Table::memory, ReportFormat::csv),
             ContainsSubstring(",/a.txt;/b.txt,"));
}

TEST_CASE("what differs between rows is a column, what doesn't is said once") {
  Results results = one_cell();
  results.cells.push_back(results.cells[0]);
  results.cells[1].cell.dtype = "bfloat16";
  results.cells[1].cell.policy.positions = Positions::original;
  const std::string report = format_report(results, ReportFormat::table);
  const auto lines = lines_of(report);
  CHECK(lines[0] ==
        "example: model tiny, dataset book.txt, bos stream, device cpu, threads 2, engine chunked");
  const auto table = lines_of(format_table(results, Table::memory, ReportFormat::table));
  REQUIRE(table.size() == 4);
  CHECK_THAT(table[0], Catch::Matchers::StartsWith("  dtype     positions  policy  cache  "));
  CHECK_THAT(table[2], Catch::Matchers::StartsWith("  float32   cache      sinks   4+252  "));
  CHECK_THAT(table[3], Catch::Matchers::StartsWith("  bfloat16  original   sinks   4+252  "));
}

TEST_CASE("what bfloat16 changed stands beside it, where the same cell ran in float32") {
  Results results = one_cell();
  results.cells.push_back(results.cells[0]);
  results.cells[1].cell.dtype = "bfloat16";
  results.cells[1].perplexity->nll_mean = 3.82402;  // 0.0024 more
  results.cells[1].perplexity->token = 45.788;
  const auto table = lines_of(format_table(results, Table::perplexity, ReportFormat::table));
  REQUIRE(table.size() == 4);
  CHECK_THAT(table[0], ContainsSubstring("  NLL  over float32  per word"));
  CHECK_THAT(table[2], ContainsSubstring("  3.8216             -  "));
  CHECK_THAT(table[3], ContainsSubstring("  3.8240       +0.0024  "));
  CHECK_THAT(format_table(results, Table::perplexity, ReportFormat::csv),
             ContainsSubstring(",0.00946,0.0024"));
  // Of another text or length it says nothing.
  for (const auto& change : std::vector<std::function<void(CellResult&)>>{
           [](CellResult& cell) { cell.dataset_sha256 = "d1"; },
           [](CellResult& cell) { cell.policy_label = "4+124"; },
           [](CellResult& cell) { cell.perplexity->scored = 4095; }}) {
    Results other = results;
    change(other.cells[0]);
    CHECK_THAT(format_table(other, Table::perplexity, ReportFormat::table),
               !ContainsSubstring("over float32"));
  }
}

TEST_CASE("fidelity: what was measured against the reference") {
  Results results = test::example_results();
  const std::string dense = results.cells[0].cell.id;
  CHECK(format_table(results, Table::fidelity, ReportFormat::table).empty());
  results.cells[0].divergence = {
      .reference = dense, .kl_stderr = 0, .same_top = 1, .same_top_stderr = 0, .tokens = 8191};
  results.cells[1].divergence = {.reference = dense,
                                 .kl_mean = 0.123456,
                                 .kl_stderr = 0.00125,
                                 .kl_max = 7.25,
                                 .same_top = 0.8125,
                                 .same_top_stderr = 0.0046,
                                 .tokens = 8191};
  results.cells[1].collapse = {.reference = dense, .window = 256, .margin = 0.5, .onset = 4711};
  results.cells[2].collapse = {.reference = dense, .window = 256, .margin = 0.5, .onset = {}};
  results.cells[1].evicted_mass = {.mean = 0.3, .tokens = 4096, .by_head = {{0.3}}};
  CHECK(
      format_table(results, Table::fidelity, ReportFormat::table) ==
      R"(  policy     cache      KL       ±  largest  same top      ±  tokens  collapse  evicted mass
  ---------  -----  ------  ------  -------  --------  -----  ------  --------  ------------
  dense        all  0.0000  0.0000     0.00   100.00%  0.00%    8191         -             -
  sinks      4+252  0.1235  0.0013     7.25    81.25%  0.46%    8191      4711        30.00%
  recompute    256       -       -        -         -      -       -      none             -
)");
  CHECK_THAT(format_report(results, ReportFormat::table), ContainsSubstring(", reference dense\n"));
  const auto rows = lines_of(format_table(results, Table::fidelity, ReportFormat::csv));
  REQUIRE(rows.size() == 4);
  CHECK_THAT(rows[0], Catch::Matchers::EndsWith(
                          "divergence_reference,kl_mean,kl_stderr,kl_max,same_top,same_top_stderr,"
                          "divergence_tokens,collapse_reference,collapse_window,collapse_margin,"
                          "collapse_onset,evicted_mass,evicted_mass_tokens"));
  CHECK_THAT(rows[1], Catch::Matchers::EndsWith("," + dense + ",0,0,0,1,0,8191,,,,,,"));
  CHECK_THAT(rows[2],
             Catch::Matchers::EndsWith("," + dense + ",0.123456,0.00125,7.25,0.8125,0.0046,8191," +
                                       dense + ",256,0.5,4711,0.3,4096"));
  CHECK_THAT(rows[3], Catch::Matchers::EndsWith(",,,,,,,," + dense + ",256,0.5,none,,"));
  CHECK_THAT(format_table(results, Table::fidelity, ReportFormat::markdown),
             ContainsSubstring("     KL |"));
  CHECK_THAT(format_table(results, Table::fidelity, ReportFormat::html), ContainsSubstring("4711"));
}

TEST_CASE("models and datasets are called by their names") {
  Results results = one_cell();
  Cell& cell = results.cells[0].cell;
  const auto header = [&] { return lines_of(format_report(results, ReportFormat::table))[0]; };
  cell.model.path = "/models/tiny/";
  CHECK_THAT(header(), ContainsSubstring("model tiny,"));
  cell.model = {.path = "/shapes/llama-10m.json", .random = true};
  CHECK_THAT(header(), ContainsSubstring("model llama-10m (random weights),"));
  cell.model = {.path = "/shapes/big/config.json", .random = true};
  CHECK_THAT(header(), ContainsSubstring("model big (random weights),"));
  cell.dataset = {.texts = {"/a.txt", "/b.txt", "/c.txt"}};
  CHECK_THAT(header(), ContainsSubstring("dataset a.txt and 2 more,"));
  cell.dataset = {.tokens_file = "/ids.json"};
  CHECK_THAT(header(), ContainsSubstring("dataset ids.json,"));
}

TEST_CASE("columns line up for letters of several bytes, and a bar breaks no markdown") {
  Results results = one_cell();
  results.cells.push_back(results.cells[0]);
  results.cells[0].cell.model.path = "/models/käse";
  results.cells[1].cell.model.path = "/models/a|b|c|d";
  const auto table = lines_of(format_table(results, Table::memory, ReportFormat::table));
  REQUIRE(table.size() == 4);
  CHECK_THAT(table[2], Catch::Matchers::StartsWith("  käse     sinks   4+252  "));
  CHECK_THAT(table[3], Catch::Matchers::StartsWith("  a|b|c|d  sinks   4+252  "));
  CHECK_THAT(format_table(results, Table::memory, ReportFormat::markdown),
             ContainsSubstring("| a\\|b\\|c\\|d | sinks  |"));
}

TEST_CASE("numbers have the digits that a reader compares") {
  Results results = one_cell();
  const auto perplexity = [&](double value) {
    results.cells[0].perplexity->token = value;
    const auto row = lines_of(format_table(results, Table::perplexity, ReportFormat::table))[2];
    std::istringstream words(row);
    std::string policy, cache, shown;
    words >> policy >> cache >> shown;
    return shown;
  };
  CHECK(perplexity(1.23456) == "1.235");
  CHECK(perplexity(12.3456) == "12.35");
  CHECK(perplexity(123.456) == "123.5");
  CHECK(perplexity(123456.7) == "123457");
  CHECK(perplexity(123456789.4) == "123456789");
  CHECK(perplexity(1.23456e226) == "1.235e+226");
  CHECK(perplexity(std::numeric_limits<double>::quiet_NaN()) == "-");

  const auto held = [&](int64_t value) {
    results.cells[0].memory->kv_bytes_formula = value;
    const auto row = lines_of(format_table(results, Table::memory, ReportFormat::table))[2];
    std::istringstream words(row);
    std::string policy, cache, cached, shown, unit;
    words >> policy >> cache >> cached >> shown >> unit;
    return shown + " " + unit;
  };
  CHECK(held(0) == "0 B");
  CHECK(held(1023) == "1023 B");
  CHECK(held(1024) == "1.00 KiB");
  CHECK(held(1536 * 1024) == "1.50 MiB");
  CHECK(held(int64_t{80} << 30) == "80.0 GiB");
  CHECK(held(int64_t{5000} << 40) == "5000 TiB");
}

TEST_CASE("a table without rows is left out") {
  Results results = test::example_results();
  results.cells = {results.cells[2]};  // perplexity alone
  CHECK(format_table(results, Table::latency, ReportFormat::table).empty());
  const std::string report = format_report(results, ReportFormat::table);
  CHECK_THAT(report, ContainsSubstring("\nPerplexity\n"));
  CHECK_THAT(report, !ContainsSubstring("Latency"));
  CHECK_THAT(report, !ContainsSubstring("Memory"));
  CHECK_THAT(report, !ContainsSubstring("Failed"));
  // Programs find the header all the same.
  CHECK(lines_of(format_table(results, Table::latency, ReportFormat::csv)).size() == 1);
}

TEST_CASE("the tables of one model and one text fit a terminal of 100 columns") {
  Results results = test::example_results();
  results.cells[0].perplexity->scored = 10'000'000;
  results.cells[2].perplexity->scored = 10'000'000;
  for (const Table table : all_tables) {
    for (const std::string& line : lines_of(format_table(results, table, ReportFormat::table))) {
      INFO(line);
      CHECK(line.size() <= 100);
    }
  }
}

TEST_CASE("each table is written as a file of its name") {
  const test::TemporaryFolder folder;
  const Results results = test::example_results();
  write_tables(results, folder.path());
  for (const Table table : all_tables) {
    CHECK(read_file(folder.path() / (to_string(table) + ".csv")) ==
          format_table(results, table, ReportFormat::csv));
  }
}
