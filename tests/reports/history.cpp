#include "reports/history.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "eval/results/nll_file.h"
#include "reports/gnuplot.h"
#include "reports/plot.h"
#include "reports/sqlite.h"
#include "tests/catch.h"
#include "tests/eval/experiment/example.h"
#include "tests/files.h"

using namespace sinkbench;
namespace fs = std::filesystem;

namespace {

/// Folders as runs leave them, and a history.
struct Workplace : test::TemporaryFolder {
  fs::path database = path() / "history.db";

  /// The example's results, started on that day of January, its NLLs by a formula with `shift`
  /// more.
  fs::path run(
      int day, float shift = 0,
      const std::function<void(Results&)>& change = [](Results&) {}) const {
    Results results = test::example_results();
    results.info.started = fmt::format("2026-01-{:02}T03:04:05Z", day);
    for (CellResult& cell : results.cells) {
      if (!cell.perplexity || shift == 0) continue;
      cell.perplexity->nll_mean += shift;
      cell.perplexity->token = std::exp(cell.perplexity->nll_mean);
    }
    change(results);
    const fs::path folder = path() / fmt::format("run-{}-{}", day, shift);
    fs::create_directories(folder / "nll");
    for (const CellResult& cell : results.cells) {
      if (!cell.perplexity) continue;
      NllFile file(folder / cell.nll_file, NllPrecision::float32);
      // Waves in pairs, so that the mean is the results'.
      const int64_t scored = cell.perplexity->scored, pairs = scored / 2;
      for (int64_t i = 0; i < scored; ++i) {
        const double wave = std::sin(static_cast<double>(i % std::max<int64_t>(1, pairs)));
        const double value = cell.perplexity->nll_mean + (i < pairs       ? wave
                                                          : i < 2 * pairs ? -wave
                                                                          : 0);
        file.append({&value, 1});
      }
      file.finish();
    }
    write_results(results, folder);
    return folder;
  }
  Added add(const fs::path& folder, const std::string& branch = "main") const {
    return add_to_history(database, folder, branch, "0123456789abcdef");
  }
  std::string refusal(const std::function<void()>& action) const {
    try {
      action();
    } catch (const InputError& error) {
      return error.what();
    }
    return "nothing refused";
  }
};

}  // namespace

TEST_CASE("a history gives back the runs that were added, in the order they started") {
  const Workplace place;
  const fs::path later = place.run(2), earlier = place.run(1);
  CHECK(place.add(later).run == 1);
  CHECK(place.add(earlier, "topic").run == 2);
  const std::vector<HistoryRun> runs = read_history(place.database);
  REQUIRE(runs.size() == 2);
  CHECK(runs[0].id == 2);
  CHECK(runs[0].branch == "topic");
  CHECK(runs[0].commit == "0123456789abcdef");
  CHECK(to_json(runs[0].results) == to_json(read_results(earlier)));
  CHECK(to_json(runs[1].results) == to_json(read_results(later)));
  CHECK(read_history(place.database, "topic").size() == 1);
  CHECK_THAT(place.refusal([&] { read_history(place.database, "mian"); }),
             ContainsSubstring("history.db: no run of branch 'mian'; there are: main, topic"));
}

TEST_CASE("the same results are in a history once") {
  const Workplace place;
  const fs::path folder = place.run(1);
  CHECK_FALSE(place.add(folder).was_there);
  const std::string before = read_file(place.database);
  const Added again = place.add(folder, "other");
  CHECK(again.was_there);
  CHECK(again.run == 1);
  CHECK(read_file(place.database) == before);
}

TEST_CASE("a comparison with a run of a history is that with its folder") {
  const Workplace place;
  const fs::path before = place.run(1), after = place.run(2, 0.25F, [](Results&results) {
    results.cells[0].memory->kv_bytes_held += 1;
    for (double& sample : results.cells[1].latency[0].samples_ms) sample *= 2;
  });
  place.add(before);
  const MeasuredRun candidate = read_run(after);
  MeasuredRun from_folder = read_run(before);
  const auto from_history = baseline_from_history(place.database, "main", candidate.results);
  REQUIRE(from_history);
  CHECK(from_history->name == "run 1 of " + place.database.string() + ", main at 0123456789ab");
  from_folder.name = from_history->name;
  Thresholds thresholds;
  thresholds.set("token_nll=0.1");
  const Comparison a = compare(from_folder, candidate, thresholds);
  const Comparison b = compare(*from_history, candidate, thresholds);
  // Three cells' perplexity and tokens, one cell's bytes and another's steps.
  CHECK(a.count(Verdict::worse) == 8);
  REQUIRE(a.cells.size() == b.cells.size());
  for (size_t c = 0; c < a.cells.size(); ++c) {
    REQUIRE(a.cells[c].quantities.size() == b.cells[c].quantities.size());
    for (size_t q = 0; q < a.cells[c].quantities.size(); ++q) {
      const QuantityComparison &x = a.cells[c].quantities[q], &y = b.cells[c].quantities[q];
      INFO(a.cells[c].id << " " << to_string(x.quantity));
      CHECK(x.change == y.change);
      CHECK(x.low == y.low);
      CHECK(x.high == y.high);
      CHECK(x.verdict == y.verdict);
    }
  }
  CHECK(format_comparison(a, false) == format_comparison(b, false));
}

TEST_CASE("the baseline is the newest run of the branch that has a cell of the candidate") {
  const Workplace place;
  const auto other_model = [](Results& results) {
    for (CellResult& cell : results.cells) cell.model_sha256 = "m1";
  };
  place.add(place.run(3));
  place.add(place.run(1));
  place.add(place.run(4, 0, other_model));
  place.add(place.run(5), "topic");
  const fs::path folder = place.run(6);
  const Results candidate = read_results(folder);
  const auto started = [&] {
    return baseline_from_history(place.database, "main", candidate)->results.info.started;
  };
  CHECK(started() == "2026-01-03T03:04:05Z");
  place.add(folder);  // it is not compared with itself
  CHECK(started() == "2026-01-03T03:04:05Z");
  // A newer one of a few cells doesn't hide the others.
  place.add(place.run(8, 0, [](Results& results) { results.cells.resize(1); }));
  CHECK(started() == "2026-01-03T03:04:05Z");
  const Results another = read_results(place.run(7, 0, [](Results& results) {
    for (CellResult& cell : results.cells) cell.dataset_sha256 = "d1";
  }));
  CHECK_FALSE(baseline_from_history(place.database, "main", another));
}

TEST_CASE("a run that was added by an older program is there already") {
  const Workplace place;
  const fs::path folder = place.run(1);
  CHECK(!place.add(folder).was_there);
  {  // its record had fewer fields, and so another sum
    sqlite::Database database(place.database, sqlite::Database::Mode::write);
    database.execute("UPDATE runs SET sha256 = 'of before'");
    database.execute(
        "UPDATE cells SET record = json_remove(record, '$.model.local_layers', '$.kv')");
  }
  const Added again = place.add(folder, "topic");
  CHECK(again.was_there);
  CHECK(again.branch == "main");
  CHECK(again.commit == "0123456789abcdef");
  CHECK(read_history(place.database).size() == 1);
}

TEST_CASE("a history is plain tables for SQL") {
  const Workplace place;
  place.add(place.run(1));
  sqlite::Database database(place.database, sqlite::Database::Mode::read);
  sqlite::Statement query(database,
                          "SELECT cell, perplexity, p50_ms, kv_bytes_held FROM measured "
                          "WHERE branch = 'main' AND cell LIKE '%-sinks-%'");
  REQUIRE(query.step());
  CHECK(query.text(0) == "tiny-book-8192-sinks-4+252-float32");
  CHECK(query.number(1) == 45.678);
  CHECK(query.number(2) == 1.5);
  CHECK(query.integer(3) == 393'216);
  CHECK_FALSE(query.step());
  // NLLs are the file's bytes.
  sqlite::Statement nll(database, "SELECT nll FROM cells WHERE place = 2");
  REQUIRE(nll.step());
  CHECK(nll.text(0) == read_file(place.run(1) / test::example_results().cells[2].nll_file));
  CHECK(database.integer("SELECT count(*) FROM cells WHERE nll IS NULL") == 1);  // it failed
}

TEST_CASE("what is no history of this schema is refused, and left as it was") {
  const Workplace place;
  const fs::path folder = place.run(1);
  const auto both_refuse = [&](const std::string& message) {
    const bool there = fs::exists(place.database);
    const std::string before = there ? read_file(place.database) : "";
    CHECK_THAT(place.refusal([&] { read_history(place.database); }), ContainsSubstring(message));
    CHECK_THAT(place.refusal([&] { place.add(folder); }), ContainsSubstring(message));
    if (there) CHECK(read_file(place.database) == before);
  };
  SECTION("no database") {
    place.write("history.db", std::string(5000, 'x'));
    both_refuse("history.db: file is not a database");
  }
  SECTION("another program's database") {
    sqlite::Database(place.database, sqlite::Database::Mode::write).execute("CREATE TABLE t (a)");
    both_refuse("history.db: an SQLite file, but no history of sinkbench's runs");
  }
  SECTION("another version's") {
    place.add(folder);
    sqlite::Database(place.database, sqlite::Database::Mode::write)
        .execute("PRAGMA user_version = 7");
    both_refuse("history.db: schema version is 7; this program reads 1");
  }
  SECTION("no file: to read") {
    CHECK_THAT(place.refusal([&] { read_history(place.database); }),
               ContainsSubstring("history.db: no such file"));
    CHECK_FALSE(fs::exists(place.database));
  }
  SECTION("no folder for it") {
    fs::create_directories(place.database);
    CHECK_THAT(place.refusal([&] { place.add(folder); }),
               ContainsSubstring("history.db: unable to open database file"));
  }
}

TEST_CASE("a run that can't be read whole adds nothing") {
  const Workplace place;
  const fs::path folder = place.run(1);
  const fs::path nll = folder / test::example_results().cells[2].nll_file;  // the last one
  SECTION("the history is new") {
    fs::remove(nll);
    CHECK_THROWS_AS(place.add(folder), InputError);
    CHECK_FALSE(fs::exists(place.database));
  }
  SECTION("there is one") {
    place.add(place.run(2));
    const std::string before = read_file(place.database);
    fs::resize_file(nll, 8);
    CHECK_THAT(place.refusal([&] { place.add(folder); }), ContainsSubstring(": 2 numbers"));
    CHECK(read_file(place.database) == before);
  }
}

TEST_CASE("a writer that is cut short leaves what was there") {
  const Workplace place;
  place.add(place.run(1));
  {
    sqlite::Database database(place.database, sqlite::Database::Mode::write);
    const sqlite::Transaction transaction(database);
    database.execute("DELETE FROM cells; DELETE FROM runs");
    CHECK(database.integer("SELECT count(*) FROM runs") == 0);
  }
  CHECK(read_history(place.database).at(0).results.cells.size() == 4);
}

TEST_CASE("a history is shown as a table, as CSV and as JSON") {
  const Workplace place;
  place.add(place.run(1));
  place.add(place.run(2), "top,ic");
  const auto runs = read_history(place.database);
  const std::string table = format_history(runs, "*-sinks-*", HistoryFormat::table);
  CHECK_THAT(table, ContainsSubstring("tiny-book-8192-sinks-4+252-float32\n"));
  CHECK_THAT(table, !ContainsSubstring("dense"));
  CHECK_THAT(table, ContainsSubstring("2026-01-02T03:04:05Z"));
  CHECK_THAT(table, ContainsSubstring("45.68"));
  CHECK_THAT(table, ContainsSubstring("0123456789ab "));
  const std::string csv = format_history(runs, "*", HistoryFormat::csv);
  CHECK_THAT(csv, ContainsSubstring("\n2,example,2026-01-02T03:04:05Z,\"top,ic\",0123456789abcdef,"
                                    "tiny-book-8192-dense-float32,p50_ms,8191,10.125\n"));
  // Of the columns, seven of dense and sinks' perplexity, four of recompute's, of latency three for
  // each of three timings, of memory five for each of two cells.
  CHECK(std::count(csv.begin(), csv.end(), '\n') == 1 + 2 * (7 + 7 + 4 + 9 + 10));
  const auto json = nlohmann::json::parse(format_history(runs, "*-dense-*", HistoryFormat::json));
  REQUIRE(json.size() == 2);
  CHECK(json[1]["branch"] == "top,ic");
  CHECK(json[1]["run"] == 2);
  REQUIRE(json[1]["cells"].size() == 1);
  CHECK(json[1]["cells"][0]["memory"]["kv_bytes_held"] == 12'582'912);
}

TEST_CASE("trends are drawn of cells that were measured twice") {
  if (find_gnuplot().empty()) {
    WARN("gnuplot is not installed; not tested");
    return;
  }
  const Workplace place;
  place.add(place.run(1));
  const auto draw = [&] {
    const auto runs = read_history(place.database);
    std::vector<TrendRun> trend;
    for (const HistoryRun& run : runs) {
      trend.push_back({.label = run.results.info.started.substr(0, 10), .results = &run.results});
    }
    return draw_trends(trend, place.path() / "trends");
  };
  const Pictures nothing = draw();
  CHECK(nothing.drawn.empty());
  REQUIRE(nothing.left_out.size() == 3);
  CHECK(nothing.left_out[0] == "perplexity-trend: no cell was measured in two runs");

  place.add(place.run(2, 0, [](Results& results) {
    results.cells[1].perplexity->nll_mean = std::log(50);
    results.cells[1].perplexity->token = 50;
    results.cells[2].model_sha256 = "m1";  // another cell of the same name
  }));
  CHECK(draw().drawn ==
        std::vector<std::string>{"perplexity-trend", "latency-trend", "memory-trend"});
  const std::string csv = read_file(place.path() / "trends/perplexity-trend.csv");
  CHECK_THAT(csv, ContainsSubstring("sinks 4+252,1,45.678,"));
  CHECK_THAT(csv, ContainsSubstring("sinks 4+252,2,50,"));
  CHECK_THAT(csv, !ContainsSubstring("recompute"));
  const std::string latency = read_file(place.path() / "trends/latency-trend.csv");
  CHECK_THAT(latency, ContainsSubstring("dense @ 8191,2,10.125,10.125,11\n"));
  CHECK_THAT(read_file(place.path() / "trends/memory-trend.gp"),
             ContainsSubstring("'2026-01-01' 1, '2026-01-02' 2"));
  CHECK(fs::file_size(place.path() / "trends/memory-trend.png") > 1000);
  CHECK_THAT(read_file(place.path() / "trends/memory-trend.svg"), ContainsSubstring("2026-01-02"));
}
