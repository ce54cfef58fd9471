// Results as tables: formatting only.
#pragma once

#include <array>
#include <string>
#include <vector>

#include "eval/results/results.h"
#include "reports/names.h"

namespace sinkbench {

enum class Table { perplexity, recall, fidelity, latency, memory };
inline constexpr std::array all_tables = {Table::perplexity, Table::recall, Table::fidelity,
                                          Table::latency, Table::memory};
std::string to_string(Table table);
std::string title(Table table);

enum class ReportFormat { table, markdown, csv, html };

/// "40 tokens", or "whole text" where no limit was set.
std::string stream_length(const CellResult& cell);

/// What every row of every table has in common: "dtype float32".
std::vector<std::string> common_facts(const Results& results);

/// One table. As `table`, `markdown` and `html`, for reading: human units, columns that are the
/// same in every row of all tables named once above them instead. Each row says what it is of.
/// As `table` it is folded where it is wider than `width` (0: never). As `csv`, for programs: every
/// column, plain units.
std::string format_table(const Results& results, Table table, ReportFormat format,
                         size_t width = 0);

/// As HTML with a caption of one's own.
std::string html_table(const Results& results, Table table, const std::string& caption_html);

/// As `table`, `markdown` or `csv`: all tables that have rows, what they have in common, cells that
/// failed and why, warnings.
std::string format_report(const Results& results, ReportFormat format, size_t width = 0);

/// perplexity.csv, recall.csv, fidelity.csv, latency.csv and memory.csv and, of several texts,
/// spread.csv (reports/spread.h), each replaced as a whole.
void write_tables(const Results& results, const std::filesystem::path& folder);

}  // namespace sinkbench
