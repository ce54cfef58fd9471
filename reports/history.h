// Runs over time, in an SQLite file.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "eval/results/results.h"
#include "reports/compare.h"

namespace sinkbench {

struct HistoryRun {
  int64_t id = 0;      ///< from 1, in the order of adding
  std::string branch;  ///< empty: not known
  std::string commit;  ///< empty: not known
  Results results;
};

/// The version of the tables, SQLite's user_version; a reader refuses others. `runs` has a row for
/// each run; `cells` one for each cell, with what compare joins cells by (`identity`), the cell as
/// results.json has it (`record`) and each token's NLL (`nll`, raw little-endian float32); the view
/// `measured` has the quantities as columns, for queries.
inline constexpr int history_schema_version = 1;

/// Adds the results of a folder, with their NLLs, in one transaction: all or nothing. Makes the
/// file where there is none. The same results are there once: adding them again changes nothing.
struct Added {
  int64_t run = 0;                       ///< its id
  bool was_there = false;                ///< before
  std::string branch = {}, commit = {};  ///< as they stand there
};
Added add_to_history(const std::filesystem::path& database, const std::filesystem::path& folder,
                     const std::string& branch, const std::string& commit);

/// All runs, those that started first first; with a branch those of that branch, which has to have
/// some. Throws InputError for what is no history or has another schema.
std::vector<HistoryRun> read_history(const std::filesystem::path& database,
                                     const std::string& branch = "");

/// Of a branch's runs that have most of the candidate's measured cells the newest, to compare with;
/// nothing where none has any. The candidate itself, if it was added already, doesn't count.
std::optional<MeasuredRun> baseline_from_history(const std::filesystem::path& database,
                                                 const std::string& branch,
                                                 const Results& candidate);

enum class HistoryFormat { table, csv, json };

/// The quantities of each cell whose id matches the pattern (a glob), run by run. csv and json have
/// all of them, the table those that a person follows.
std::string format_history(std::span<const HistoryRun> runs, const std::string& pattern,
                           HistoryFormat format);

}  // namespace sinkbench
