#include "reports/tables.h"

#include <functional>
#include <limits>
#include <set>
#include <sstream>

#include "base/file.h"
#include "reports/text_table.h"
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

±: one standard error of the mean, neighbouring tokens being correlated

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
       {"# example\n\nmodel tiny, ", "\n## Perplexity\n\n| policy ", "\n## Memory\n\n| policy ",
        "\n## Failed\n\n- tiny-book-8192-window-0+256-float32: out of memory\n",
        "\n> warning: the machine is busy\n"}) {
    CHECK_THAT(report, ContainsSubstring(part));
  }
}

TEST_CASE("CSV has every column in plain units") {
  CHECK(
      format_table(test::example_results(), Table::memory, ReportFormat::csv) ==
      "id,model,dataset,bos,bos_token,special_tokens,reset,policy,label,positions,engine,dtype,kv,"
      "device,"
      "threads,cache_entries,mean_entries,kv_bytes_formula,kv_bytes_held,weight_bytes,peak_rss_"
      "bytes,device_held_bytes,device_peak_bytes\n"
      "tiny-book-8192-dense-float32,/models/tiny,/texts/book.txt,stream,,parse,,dense,dense,cache,"
      "chunked,float32,native,cpu,2,8191,8191,12582912,12582912,6291456,536870912,0,0\n"
      "tiny-book-8192-sinks-4+252-float32,/models/tiny,/texts/"
      "book.txt,stream,,parse,,sinks,4+252,cache,"
      "chunked,float32,native,cpu,2,256,256,393216,393216,6291456,104857600,0,0\n");
  const auto rows =
      lines_of(format_table(test::example_results(), Table::perplexity, ReportFormat::csv));
  REQUIRE(rows.size() == 4);
  CHECK_THAT(rows[0],
             Catch::Matchers::EndsWith(
                 "perplexity,perplexity_stderr,nll_mean,nll_stderr,nll_over_float32,"
                 "word_perplexity,byte_perplexity,bits_per_byte,scored,stride,common_perplexity,"
                 "common_scored,scoring_seconds"));
  CHECK_THAT(rows[1], Catch::Matchers::EndsWith(
                          ",1234.5678,12.25,7.11847,0.0099225,,98765.4321,3.668,1.875,8191,1,,,4"));
  CHECK_THAT(rows[3], Catch::Matchers::EndsWith(",44.5,1.25,3.79549,0.02809,,,,,1024,8,,,64"));
}

TEST_CASE("what a device held, and that its events timed steps, is said where there is one") {
  Results results = test::example_results();
  const auto table = [&](Table which) { return format_table(results, which, ReportFormat::table); };
  CHECK_THAT(table(Table::memory), !ContainsSubstring("device"));
  CHECK_THAT(table(Table::latency), !ContainsSubstring("timed"));
  results.info.machine["gpu"] = "NVIDIA H100";
  CellResult& cell = results.cells.front();
  cell.memory->device_held_bytes = 3 << 20;
  cell.memory->device_peak_bytes = 5 << 20;
  for (LatencyResult& latency : cell.latency) latency.by_events = true;
  const auto rows = lines_of(table(Table::memory));
  CHECK_THAT(rows[0], Catch::Matchers::EndsWith("held on device  peak on device"));
  CHECK_THAT(rows[2], Catch::Matchers::EndsWith("3.00 MiB        5.00 MiB"));
  CHECK_THAT(rows[3], Catch::Matchers::EndsWith("-               -"));
  CHECK_THAT(lines_of(table(Table::latency))[2], ContainsSubstring("the device's events"));
  CHECK_THAT(table(Table::latency), ContainsSubstring("the clock"));
  for (CellResult& each : results.cells) {
    for (LatencyResult& latency : each.latency) latency.by_events = true;
  }
  const std::string report = format_report(results, ReportFormat::table);
  CHECK_THAT(report, ContainsSubstring("steps timed by the device's events"));
  CHECK_THAT(report, ContainsSubstring("NVIDIA H100, "));
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
  results.cells[1].evicted_mass = {.mean = 0.3,
                                   .tokens = 4096,
                                   .by_head = {{0.3}},
                                   .output_error = {0.25, 0.75},
                                   .to_sink_logit = {{0.5, 0.25}}};
  CHECK(
      format_table(results, Table::fidelity, ReportFormat::table) ==
      R"(  policy     cache      KL       ±  largest  same top       ±  tokens  collapse  evicted mass  output error  to sink logit
  ---------  -----  ------  ------  -------  --------  ------  ------  --------  ------------  ------------  -------------
  dense        all  0.0000  0.0000     0.00  100.00 %  0.00 %    8191         -             -             -              -
  sinks      4+252  0.1235  0.0013     7.25   81.25 %  0.46 %    8191      4711       30.00 %       50.00 %        37.50 %
  recompute    256       -       -        -         -       -       -      none             -             -              -
)");
  CHECK_THAT(format_report(results, ReportFormat::table), ContainsSubstring(", reference dense\n"));
  const auto rows = lines_of(format_table(results, Table::fidelity, ReportFormat::csv));
  REQUIRE(rows.size() == 4);
  CHECK_THAT(rows[0],
             Catch::Matchers::EndsWith(
                 "divergence_reference,kl_mean,kl_stderr,kl_max,same_top,same_top_stderr,"
                 "divergence_tokens,collapse_reference,collapse_window,collapse_margin,"
                 "collapse_onset,evicted_mass,evicted_mass_tokens,output_error,to_sink_logit"));
  CHECK_THAT(rows[1], Catch::Matchers::EndsWith("," + dense + ",0,0,0,1,0,8191,,,,,,,,"));
  CHECK_THAT(rows[2],
             Catch::Matchers::EndsWith("," + dense + ",0.123456,0.00125,7.25,0.8125,0.0046,8191," +
                                       dense + ",256,0.5,4711,0.3,4096,0.5,0.375"));
  CHECK_THAT(rows[3], Catch::Matchers::EndsWith(",,,,,,,," + dense + ",256,0.5,none,,,,"));
  CHECK_THAT(format_table(results, Table::fidelity, ReportFormat::markdown),
             ContainsSubstring("     KL |"));
  CHECK_THAT(format_table(results, Table::fidelity, ReportFormat::html), ContainsSubstring("4711"));
}

TEST_CASE("what isn't a finite number is no number in any table") {
  Results results = one_cell();
  CellResult& cell = results.cells[0];
  const double nan = std::numeric_limits<double>::quiet_NaN();
  cell.perplexity = {.token = nan,
                     .token_stderr = nan,
                     .nll_mean = nan,
                     .nll_stderr = nan,
                     .scored = 2,
                     .word = nan,
                     .byte = nan,
                     .bits_per_byte = nan};
  cell.scoring_seconds = 0;
  cell.latency[0].p50_ms = cell.latency[0].max_ms = nan;
  cell.divergence = {.reference = cell.cell.id,
                     .kl_mean = nan,
                     .kl_stderr = nan,
                     .kl_max = std::numeric_limits<double>::infinity(),
                     .same_top = nan,
                     .same_top_stderr = nan,
                     .tokens = 2};
  cell.evicted_mass = {.mean = nan, .tokens = 2, .by_head = {}};
  for (const ReportFormat format :
       {ReportFormat::table, ReportFormat::markdown, ReportFormat::csv, ReportFormat::html}) {
    for (const Table table : all_tables) {
      const std::string text = format_table(results, table, format);
      CHECK_THAT(text, !ContainsSubstring("nan") && !ContainsSubstring("inf"));
    }
  }
}

TEST_CASE("a stream too short for a collapse to be found has none to say") {
  Results results = test::example_results();
  for (CellResult& cell : results.cells) {
    if (cell.perplexity && cell.cell.policy.name != "dense")
      cell.collapse = {
          .reference = results.cells[0].cell.id, .window = 256, .margin = 0.5, .onset = {}};
  }
  const auto collapse = [&](size_t cell) {
    const std::string row =
        lines_of(format_table(results, Table::fidelity, ReportFormat::csv))[cell];
    return row.substr(row.rfind(",0.5,") + 5);
  };
  CHECK(collapse(1) == "none,,,,");
  CHECK(collapse(2) == "none,,,,");  // every 8th of 8191 tokens are 1024
  results.cells[1].perplexity->scored = 512;
  CHECK(collapse(1) == "none,,,,");
  results.cells[1].perplexity->scored = 511;
  CHECK(collapse(1) == ",,,,");
  CHECK_THAT(format_table(results, Table::fidelity, ReportFormat::table),
             ContainsSubstring("sinks      4+252         -\n"));
  results.cells[0].perplexity->scored = 8 * 511;  // of which recomputation has 511
  CHECK(collapse(2) == ",,,,");
  results.cells[1].collapse->onset = 17;  // what was found was found
  CHECK(collapse(1) == "17,,,,");
}

namespace {

/// No two rows of a table begin with the same settings: all but the numbers.
void check_told_apart(const Results& results) {
  for (const Table table : all_tables) {
    const std::string text = format_table(results, table, ReportFormat::html);
    INFO(text);
    std::set<std::string> rows;
    size_t count = 0;
    for (const std::string& line : lines_of(text)) {
      if (!line.starts_with("<tr>")) continue;
      ++count;
      std::string keys;
      for (size_t at = 0; (at = line.find("<th", at)) != line.npos; ++at) {
        keys += line.substr(at, line.find("</th>", at) - at);
      }
      rows.insert(keys);
    }
    CHECK(rows.size() == count);
  }
}

}  // namespace

TEST_CASE("whatever differs between cells, each row says what it is of") {
  Results results = one_cell();
  results.cells[0].divergence = {.reference = results.cells[0].cell.id, .tokens = 8191};
  results.cells[0].answers = {{.answers = 20, .accuracy = 0.5}};
  results.cells.push_back(results.cells[0]);
  results.cells[1].cell.id = "another";
  Cell& cell = results.cells[1].cell;
  const auto shown = [&](const std::string& text) {
    check_told_apart(results);
    for (const Table table : all_tables) {
      CHECK_THAT(format_table(results, table, ReportFormat::table), ContainsSubstring(text));
    }
  };
  SECTION("models of one name") {
    cell.model.path = "/other/tiny";
    shown("models/tiny  ");
    shown("other/tiny   ");
  }
  SECTION("models whose folders have one name, too") {
    cell.model.path = "/other/models/tiny/";
    shown("/models/tiny ");
    shown("other/models/tiny ");
  }
  SECTION("texts of one name") {
    cell.dataset.texts = {"/books/book.txt"};
    shown("texts/book.txt  ");
    shown("books/book.txt  ");
  }
  SECTION("texts that begin with the same file") {
    results.cells[0].cell.dataset.texts = {"/texts/book.txt", "/texts/a.txt"};
    cell.dataset.texts = {"/texts/book.txt", "/texts/b.txt"};
    shown("book.txt + a.txt");
    shown("book.txt + b.txt");
  }
  SECTION("lengths") {
    cell.dataset.tokens = 40;
    shown(" 8192 tokens  ");
    shown("   40 tokens  ");
    cell.dataset.tokens.reset();
    shown("   whole text  ");
  }
  SECTION("strides of recomputation") {
    for (CellResult& result : results.cells) {
      result.cell.policy = {.name = "recompute", .arguments = {{"window", 256}, {"stride", 1}}};
      result.cache_label = "256";
    }
    cell.policy.arguments["stride"] = 4;
    shown("  stride  ");
    check_told_apart(results);
  }
  SECTION("random weights") {
    for (CellResult& result : results.cells)
      result.cell.model = {.path = "/shapes/a.json", .random = true, .seed = 1};
    cell.model.seed = 2;
    shown("a (random weights, seed 2)");
  }
  SECTION("a model that has changed in its place") {
    results.cells[1].model_sha256 = "0123456789abcdef";
    shown("tiny @m0");
    shown("tiny @0123456 ");
  }
  SECTION("a text that has changed in its place") {
    results.cells[1].dataset_sha256 = "0123456789abcdef";
    shown("token ids");
  }
  SECTION("engines") {
    cell.engine = "stepwise";
    shown("stepwise");
  }
  SECTION("what no column is for") {
    cell.chunk = 64;
    shown("another");
  }
}

TEST_CASE("what a table doesn't fold away there is no fact of all") {
  Results results = one_cell();
  results.cells.push_back(results.cells[0]);
  results.cells[1].cell.model.path = "/models/other";
  results.cells[1].memory.reset();
  const auto lines = lines_of(format_report(results, ReportFormat::table));
  CHECK(lines[0].starts_with("example: dataset book.txt, bos stream,"));
  CHECK_THAT(format_table(results, Table::memory, ReportFormat::table),
             Catch::Matchers::StartsWith("  model  policy  cache  "));
}

TEST_CASE("a snapshot in the hub's cache is called by its repository") {
  Results results = one_cell();
  Cell& cell = results.cells[0].cell;
  const std::string hub = "/home/me/.cache/huggingface/hub/models--";
  cell.model.path =
      hub + "EleutherAI--pythia-70m/snapshots/a39f36b100fe8a5377810d56c3f4789b9c53ac42";
  CHECK(model_name(cell) == "pythia-70m");
  results.cells.push_back(results.cells[0]);
  Cell& other = results.cells[1].cell;
  const auto both = [&] {
    const Names names(measured_cells(results));
    return std::pair(names.model(results.cells[0]), names.model(results.cells[1]));
  };
  other.model.path = hub + "me--pythia-70m/snapshots/0123456789abcdef0123456789abcdef01234567";
  CHECK(both() == std::pair<std::string, std::string>("EleutherAI/pythia-70m", "me/pythia-70m"));
  other.model.path =
      hub + "EleutherAI--pythia-70m/snapshots/0123456789abcdef0123456789abcdef01234567";
  CHECK(both() == std::pair<std::string, std::string>("pythia-70m@a39f36b", "pythia-70m@0123456"));
  cell.model.path = hub + "gpt2/snapshots/a39f36b100fe8a5377810d56c3f4789b9c53ac42/";
  CHECK(model_name(cell) == "gpt2");
  cell.model.path = "/models--of--mine/x";
  CHECK(model_name(cell) == "x");
}

TEST_CASE("names can't break a table or speak to a terminal") {
  Results results = one_cell();
  results.info.warnings = {"a\nb"};
  results.cells.push_back(results.cells[0]);
  results.cells[0].cell.dataset.texts = {"/texts/a\nb.txt"};
  results.cells[1].cell.dataset.texts = {"/texts/\x1b[31mred\u202e\u009b\xff.txt"};
  results.cells[1].cell.policy.positions = Positions::original;
  for (const ReportFormat format : {ReportFormat::table, ReportFormat::markdown}) {
    const std::string text = format_report(results, format);
    CHECK_THAT(text, ContainsSubstring(" a\\nb.txt ") &&
                         ContainsSubstring(" \\x1b[31mred\\u202e\\u009b\\xff.txt ") &&
                         ContainsSubstring("warning: a\\nb\n"));
    CHECK(std::none_of(text.begin(), text.end(),
                       [](char c) { return c != '\n' && static_cast<unsigned char>(c) < ' '; }));
  }
  CHECK_THAT(format_table(results, Table::memory, ReportFormat::html),
             ContainsSubstring(">a\\nb.txt</th>"));
  // Letters of every script stay as they are.
  CHECK(printable("Käse, книга, 本, 👍🏽, a\u200db") ==
        "Käse, книга, 本, 👍🏽, a\u200db");
}

TEST_CASE("a table is folded where the terminal is narrower, and each part says what rows are of") {
  const Results results = test::example_results();
  CHECK(format_table(results, Table::latency, ReportFormat::table, 45) ==
        R"(  policy  cache  cached  p50 ms  p90 ms
  ------  -----  ------  ------  ------
  dense     all     256   1.500   1.750
  dense     all    8191  10.125  11.000
  sinks   4+252     256   1.500   1.600

  policy  cache  cached  p99 ms  max ms
  ------  -----  ------  ------  ------
  dense     all     256   2.250   2.250
  dense     all    8191  12.000  12.500
  sinks   4+252     256   1.700   1.750

  policy  cache  cached  samples
  ------  -----  ------  -------
  dense     all     256        3
  dense     all    8191        2
  sinks   4+252     256      128
)");
  for (const Table table : all_tables) {
    const std::string whole = format_table(results, table, ReportFormat::table);
    size_t widest = 0;
    for (const std::string& line : lines_of(whole)) widest = std::max(widest, line.size());
    CHECK(format_table(results, table, ReportFormat::table, widest) == whole);
    for (size_t width = 50; width < widest; ++width) {
      for (std::string line : lines_of(format_table(results, table, ReportFormat::table, width))) {
        INFO(line);
        if (const size_t two = line.find("±"); two != line.npos) {
          line.erase(two, 1);                                  // one column, two bytes
          CHECK_THAT(line, ContainsSubstring("perplexity "));  // never alone
        }
        CHECK(line.size() <= width);
      }
    }
    CHECK(format_table(results, table, ReportFormat::markdown, 40) ==
          format_table(results, table, ReportFormat::markdown));
  }
}

TEST_CASE("one of a thing isn't several") {
  CHECK(counted("1", "core") == "1 core");
  CHECK(counted("2", "core") == "2 cores");
  Results results = one_cell();
  results.info.machine["cores"] = "1";
  CHECK_THAT(format_report(results, ReportFormat::table),
             ContainsSubstring("A Processor, 1 core, "));
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
  results.cells[1].cell.model.path = "/models/日本";  // letters of two columns each
  const auto wide = lines_of(format_table(results, Table::memory, ReportFormat::table));
  CHECK_THAT(wide[0], Catch::Matchers::StartsWith("  model  policy  "));
  CHECK_THAT(wide[2], Catch::Matchers::StartsWith("  käse   sinks   "));
  CHECK_THAT(wide[3], Catch::Matchers::StartsWith("  日本   sinks   "));
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

TEST_CASE("an upper bound is marked, and said to be one") {
  Results results = test::example_results();
  CHECK_THAT(format_report(results, ReportFormat::table, 0), !ContainsSubstring("†"));
  results.cells[1].cell.policy = {.name = "oracle", .arguments = {{"capacity", 64}}};
  const std::string text = format_report(results, ReportFormat::table, 0);
  CHECK_THAT(text, ContainsSubstring("  oracle†  "));
  CHECK_THAT(text, ContainsSubstring("\n†: an upper bound and no policy to be ranked: oracle sees "
                                     "queries before they come, and so has no latency\n"));
  CHECK_THAT(format_table(results, Table::perplexity, ReportFormat::csv), !ContainsSubstring("†"));
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
