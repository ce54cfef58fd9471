#include "reports/history.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <fnmatch.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <nlohmann/json.hpp>
#include <set>

#include "base/error.h"
#include "base/json.h"
#include "base/sha256.h"
#include "reports/sqlite.h"
#include "reports/text_table.h"

namespace sinkbench {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using sqlite::Database;
using sqlite::Statement;
using sqlite::Transaction;

constexpr int64_t application_id = 0x534E4B42;  // "SNKB", in the file's header

constexpr const char* tables = R"(
CREATE TABLE runs (
  id INTEGER PRIMARY KEY,
  name TEXT NOT NULL,
  started TEXT NOT NULL,
  branch TEXT NOT NULL,
  commit_id TEXT NOT NULL,
  machine TEXT NOT NULL,
  versions TEXT NOT NULL,
  record TEXT NOT NULL,
  sha256 TEXT NOT NULL UNIQUE
);
CREATE TABLE cells (
  run INTEGER NOT NULL REFERENCES runs (id),
  place INTEGER NOT NULL,
  id TEXT NOT NULL,
  identity TEXT NOT NULL,
  record TEXT NOT NULL,
  nll BLOB,
  PRIMARY KEY (run, place)
);
CREATE VIEW measured AS SELECT
  runs.id AS run, runs.started, runs.branch, runs.commit_id, runs.name, cells.id AS cell,
  json_extract(cells.record, '$.perplexity.token') AS perplexity,
  json_extract(cells.record, '$.perplexity.nll_mean') AS nll_mean,
  json_extract(cells.record, '$.perplexity.stderr') AS nll_stderr,
  json_extract(cells.record, '$.latency[0].cache_entries') AS latency_cache_entries,
  json_extract(cells.record, '$.latency[0].p50_ms') AS p50_ms,
  json_extract(cells.record, '$.latency[0].p90_ms') AS p90_ms,
  json_extract(cells.record, '$.latency[0].p99_ms') AS p99_ms,
  json_extract(cells.record, '$.memory.cache_entries') AS cache_entries,
  json_extract(cells.record, '$.memory.kv_bytes_formula') AS kv_bytes_formula,
  json_extract(cells.record, '$.memory.kv_bytes_held') AS kv_bytes_held,
  json_extract(cells.record, '$.memory.weight_bytes') AS weight_bytes,
  json_extract(cells.record, '$.memory.peak_rss_bytes') AS peak_rss_bytes
FROM cells JOIN runs ON runs.id = cells.run;
)";

std::string text_of(const json& object) {
  return object.dump(-1, ' ', false, json::error_handler_t::replace);
}

std::string fingerprint(const Results& results) {
  return sha256_hex(text_of(to_json(results)));
}

/// Throws unless the file is a history of this schema; false for one that has nothing in it yet.
bool check_schema(Database& database) {
  const int64_t application = database.integer("PRAGMA application_id");
  if (application != application_id) {
    if (application == 0 && database.integer("SELECT count(*) FROM sqlite_master") == 0) {
      return false;
    }
    throw InputError::format("{}: an SQLite file, but no history of sinkbench's runs",
                             database.file().string());
  }
  const int64_t version = database.integer("PRAGMA user_version");
  if (version != history_schema_version) {
    throw InputError::format("{}: schema version is {}; this program reads {}",
                             database.file().string(), version, history_schema_version);
  }
  return true;
}

Results read_record(Database& database, const fs::path& file, int64_t run,
                    const std::string& record) {
  try {
    json object = parse_json(record);
    object["cells"] = json::array();
    Statement cells(database, "SELECT record FROM cells WHERE run = ? ORDER BY place");
    cells.bind(0, run);
    while (cells.step()) object["cells"].push_back(parse_json(cells.text(0)));
    return results_from_json(object);
  } catch (const json::exception& error) {
    throw InputError::format("{}: run {}: {}", file.string(), run, json_reason(error));
  }
}

std::vector<HistoryRun> read_runs(Database& database, const std::string& branch) {
  if (!check_schema(database)) {
    throw InputError::format("{}: empty; expected what `sinkbench history add` wrote",
                             database.file().string());
  }
  std::vector<HistoryRun> runs;
  std::set<std::string> branches;
  Statement statement(database,
                      "SELECT id, branch, commit_id, record FROM runs ORDER BY started, id");
  while (statement.step()) {
    HistoryRun run{.id = statement.integer(0),
                   .branch = statement.text(1),
                   .commit = statement.text(2),
                   .results = {}};
    branches.insert(run.branch.empty() ? "(none)" : run.branch);
    if (!branch.empty() && run.branch != branch) continue;
    run.results = read_record(database, database.file(), run.id, statement.text(3));
    runs.push_back(std::move(run));
  }
  if (runs.empty()) {
    throw InputError::format("{}: no run of branch '{}'; there are: {}", database.file().string(),
                             branch, fmt::join(branches, ", "));
  }
  return runs;
}

std::string run_name(const fs::path& file, const HistoryRun& run) {
  std::string name = fmt::format("run {} of {}", run.id, file.string());
  if (!run.branch.empty()) name += ", " + run.branch;
  if (!run.commit.empty()) name += " at " + run.commit.substr(0, 12);
  return name;
}

/// What `blob_of` made.
std::vector<double> values_of(const std::string& bytes, bool wide) {
  std::vector<double> values(bytes.size() / (wide ? sizeof(double) : sizeof(float)));
  if (wide) {
    std::memcpy(values.data(), bytes.data(), bytes.size());
    return values;
  }
  std::vector<float> narrow(values.size());
  std::memcpy(narrow.data(), bytes.data(), narrow.size() * sizeof(float));
  std::copy(narrow.begin(), narrow.end(), values.begin());
  return values;
}

/// NLLs as the database has them: in the precision of their file.
std::string blob_of(const std::vector<double>& values, bool wide) {
  const auto bytes = [](const auto& numbers) {
    return std::string(reinterpret_cast<const char*>(numbers.data()),
                       numbers.size() * sizeof(numbers[0]));
  };
  if (wide) return bytes(values);
  return bytes(std::vector<float>(values.begin(), values.end()));
}

std::vector<double> read_nll(const fs::path& file, int64_t run, const CellResult& cell) {
  Database database(file, Database::Mode::read);
  Statement statement(database, "SELECT nll FROM cells WHERE run = ? AND id = ?");
  statement.bind(0, run).bind(1, cell.cell.id);
  if (!statement.step()) throw InputError::format("{}: run {} is gone", file.string(), run);
  return values_of(statement.text(0), cell.cell.dtype == "float64");
}

/// A quantity of a cell, by its name in results.json.
struct Value {
  std::string quantity;
  int64_t cache_entries;  ///< of latency, else 0
  double value;
};

std::vector<Value> values_of(const CellResult& cell) {
  std::vector<Value> values;
  const auto add = [&](const char* quantity, double value, int64_t cache_entries = 0) {
    if (std::isfinite(value)) values.push_back({quantity, cache_entries, value});
  };
  if (cell.perplexity) {
    const PerplexityResult& p = *cell.perplexity;
    add("perplexity", p.token);
    add("perplexity_stderr", p.token_stderr);
    add("nll_mean", p.nll_mean);
    add("nll_stderr", p.nll_stderr);
    if (p.word) add("word_perplexity", *p.word);
    if (p.byte) add("byte_perplexity", *p.byte);
    if (p.bits_per_byte) add("bits_per_byte", *p.bits_per_byte);
  }
  for (const LatencyResult& latency : cell.latency) {
    add("p50_ms", latency.p50_ms, latency.cache_entries);
    add("p90_ms", latency.p90_ms, latency.cache_entries);
    add("p99_ms", latency.p99_ms, latency.cache_entries);
  }
  if (cell.memory) {
    add("cache_entries", static_cast<double>(cell.memory->cache_entries));
    add("kv_bytes_formula", static_cast<double>(cell.memory->kv_bytes_formula));
    add("kv_bytes_held", static_cast<double>(cell.memory->kv_bytes_held));
    add("weight_bytes", static_cast<double>(cell.memory->weight_bytes));
    add("peak_rss_bytes", static_cast<double>(cell.memory->peak_rss_bytes));
  }
  return values;
}

std::string csv_field(const std::string& text) {
  if (text.find_first_of(",\"\n\r") == text.npos) return text;
  std::string quoted;
  for (const char c : text) quoted.append(c == '"' ? 2 : 1, c);
  return fmt::format("\"{}\"", quoted);
}

std::string as_csv(std::span<const HistoryRun> runs, const std::string& pattern) {
  std::string text = "run,name,started,branch,commit,cell,quantity,cache_entries,value\n";
  for (const HistoryRun& run : runs) {
    for (const CellResult& cell : run.results.cells) {
      if (::fnmatch(pattern.c_str(), cell.cell.id.c_str(), 0) != 0) continue;
      for (const Value& value : values_of(cell)) {
        text +=
            fmt::format("{},{},{},{},{},{},{},{},{}\n", run.id, csv_field(run.results.info.name),
                        run.results.info.started, csv_field(run.branch), csv_field(run.commit),
                        csv_field(cell.cell.id), value.quantity, value.cache_entries, value.value);
      }
    }
  }
  return text;
}

std::string as_json(std::span<const HistoryRun> runs, const std::string& pattern) {
  json list = json::array();
  for (const HistoryRun& run : runs) {
    Results results = run.results;
    std::erase_if(results.cells, [&](const CellResult& cell) {
      return ::fnmatch(pattern.c_str(), cell.cell.id.c_str(), 0) != 0;
    });
    json object = to_json(results);
    object["run"] = run.id;
    object["branch"] = run.branch.empty() ? json(nullptr) : json(run.branch);
    object["commit"] = run.commit.empty() ? json(nullptr) : json(run.commit);
    list.push_back(std::move(object));
  }
  return list.dump(2, ' ', false, json::error_handler_t::replace) + "\n";
}

std::string as_table(std::span<const HistoryRun> runs, const std::string& pattern) {
  std::vector<std::string> ids;  // in the order of their first appearance
  for (const HistoryRun& run : runs) {
    for (const CellResult& cell : run.results.cells) {
      const std::string& id = cell.cell.id;
      if (::fnmatch(pattern.c_str(), id.c_str(), 0) == 0 &&
          std::find(ids.begin(), ids.end(), id) == ids.end()) {
        ids.push_back(id);
      }
    }
  }
  std::string text;
  for (const std::string& id : ids) {
    Columns columns = {{.name = "run"},
                       {.name = "started", .number = false},
                       {.name = "branch", .number = false},
                       {.name = "commit", .number = false},
                       {.name = "perplexity"},
                       {.name = "NLL"},
                       {.name = "cached"},
                       {.name = "p50 ms"},
                       {.name = "KV held"},
                       {.name = "peak"}};
    for (Column& column : columns) column.foldable = false;
    for (const HistoryRun& run : runs) {
      for (const CellResult& cell : run.results.cells) {
        if (cell.cell.id != id) continue;
        const auto or_none = [](const std::string& s) { return s.empty() ? none : s; };
        std::vector<LatencyResult> timings = cell.latency;
        if (timings.empty()) timings.emplace_back();
        for (size_t i = 0; i < timings.size(); ++i) {
          const bool first = i == 0, timed = !cell.latency.empty();
          const std::vector<std::string> row = {
              std::to_string(run.id),
              run.results.info.started,
              or_none(run.branch),
              or_none(run.commit.substr(0, 12)),
              first && cell.perplexity       ? significant(cell.perplexity->token)
              : first && !cell.error.empty() ? "failed"
                                             : none,
              first && cell.perplexity ? fmt::format("{:.4f}", cell.perplexity->nll_mean) : none,
              timed ? std::to_string(timings[i].cache_entries) : none,
              timed ? fmt::format("{:.3f}", timings[i].p50_ms) : none,
              first && cell.memory ? format_bytes(cell.memory->kv_bytes_held) : none,
              first && cell.memory ? format_bytes(cell.memory->peak_rss_bytes) : none};
          for (size_t c = 0; c < row.size(); ++c) columns[c].cells.push_back(row[c]);
        }
      }
    }
    text += fmt::format("{}{}\n{}", text.empty() ? "" : "\n", id, render(columns, false));
  }
  return text;
}

}  // namespace

Added add_to_history(const fs::path& file, const fs::path& folder, const std::string& branch,
                     const std::string& commit) {
  // All is read before anything is written.
  const MeasuredRun run = read_run(folder);
  const Results& results = run.results;
  std::vector<std::vector<double>> nll;
  for (const CellResult& cell : results.cells) {
    nll.push_back(cell.perplexity ? run.nll(cell).tokens : std::vector<double>());
  }
  json record = to_json(results);
  const json cells = std::move(record["cells"]);
  record.erase("cells");
  const std::string sha256 = fingerprint(results);

  Database database(file, Database::Mode::write);
  Transaction transaction(database);
  if (!check_schema(database)) {
    database.execute(tables);
    database.execute(fmt::format("PRAGMA application_id = {}", application_id));
    database.execute(fmt::format("PRAGMA user_version = {}", history_schema_version));
  }
  // By what they hold: an older program's record of the same run lacks the fields that came later.
  Statement before(database,
                   "SELECT id, record, branch, commit_id FROM runs WHERE started = ? AND name = ?");
  before.bind(0, results.info.started).bind(1, results.info.name);
  while (before.step()) {
    const Results there = read_record(database, file, before.integer(0), before.text(1));
    if (fingerprint(there) != sha256) continue;
    return {.run = before.integer(0),
            .was_there = true,
            .branch = before.text(2),
            .commit = before.text(3)};
  }

  const std::string machine = text_of(record["machine"]), versions = text_of(record["versions"]);
  const std::string text = text_of(record);
  Statement add_run(database,
                    "INSERT INTO runs (name, started, branch, commit_id, machine, versions, "
                    "record, sha256) VALUES (?, ?, ?, ?, ?, ?, ?, ?)");
  add_run.bind(0, results.info.name).bind(1, results.info.started).bind(2, branch).bind(3, commit);
  add_run.bind(4, machine).bind(5, versions).bind(6, text).bind(7, sha256);
  add_run.step();
  const int64_t id = database.last_insert_id();
  for (size_t i = 0; i < results.cells.size(); ++i) {
    const CellResult& cell = results.cells[i];
    const std::string identity = identity_text(cell), cell_text = text_of(cells[i]);
    std::string blob;
    Statement add_cell(database,
                       "INSERT INTO cells (run, place, id, identity, record, nll) "
                       "VALUES (?, ?, ?, ?, ?, ?)");
    add_cell.bind(0, id).bind(1, static_cast<int64_t>(i)).bind(2, cell.cell.id);
    add_cell.bind(3, identity).bind(4, cell_text);
    if (cell.perplexity) {
      blob = blob_of(nll[i], cell.cell.dtype == "float64");
      add_cell.bind_blob(5, blob);
    }
    add_cell.step();
  }
  transaction.commit();
  return {.run = id, .branch = branch, .commit = commit};
}

std::vector<HistoryRun> read_history(const fs::path& file, const std::string& branch) {
  Database database(file, Database::Mode::read);
  return read_runs(database, branch);
}

std::optional<MeasuredRun> baseline_from_history(const fs::path& file, const std::string& branch,
                                                 const Results& candidate) {
  std::set<std::string> wanted;
  for (const CellResult& cell : candidate.cells) {
    if (cell.error.empty()) wanted.insert(identity_text(cell));
  }
  const std::string itself = fingerprint(candidate);
  if (!fs::exists(file)) return std::nullopt;  // the first run makes it
  std::vector<HistoryRun> runs = read_history(file, "");
  std::erase_if(runs, [&](const HistoryRun& run) { return run.branch != branch; });
  // Of those with most of its cells the newest: a run of a few must not hide the others.
  HistoryRun* chosen = nullptr;
  int64_t most = 0;
  for (auto run = runs.rbegin(); run != runs.rend(); ++run) {
    const auto& cells = run->results.cells;
    if (fingerprint(run->results) == itself) continue;
    const int64_t shared = std::count_if(cells.begin(), cells.end(), [&](const CellResult& cell) {
      return cell.error.empty() && wanted.contains(identity_text(cell));
    });
    if (shared <= most) continue;
    most = shared;
    chosen = &*run;
  }
  if (chosen == nullptr) return std::nullopt;
  const std::string name = run_name(file, *chosen);
  return MeasuredRun{.name = name,
                     .results = std::move(chosen->results),
                     .nll = [file, name, id = chosen->id](const CellResult& cell) {
                       return nll_series(cell, read_nll(file, id, cell), name);
                     }};
}

std::string format_history(std::span<const HistoryRun> runs, const std::string& pattern,
                           HistoryFormat format) {
  switch (format) {
    case HistoryFormat::csv:
      return as_csv(runs, pattern);
    case HistoryFormat::json:
      return as_json(runs, pattern);
    case HistoryFormat::table:
      break;
  }
  return as_table(runs, pattern);
}

}  // namespace sinkbench
