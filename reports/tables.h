// Results as tables: formatting only.
#pragma once

#include <array>
#include <string>
#include <vector>

#include "eval/results/results.h"

namespace sinkbench {

enum class Table { perplexity, fidelity, latency, memory };
inline constexpr std::array all_tables = {Table::perplexity, Table::fidelity, Table::latency,
                                          Table::memory};
std::string to_string(Table table);
std::string title(Table table);

enum class ReportFormat { table, markdown, csv, html };

/// For people: the last part of the model's path, or of the first text's and how many more there
/// are.
std::string model_name(const Cell& cell);
std::string dataset_name(const Cell& cell);

/// What every row of every table has in common: "dtype float32".
std::vector<std::string> common_facts(const Results& results);

/// One table. As `table`, `markdown` and `html`, for reading: human units, columns that are the
/// same in every row named once above the table instead. As `csv`, for programs: every column,
/// plain units.
std::string format_table(const Results& results, Table table, ReportFormat format);

/// As `table`, `markdown` or `csv`: all tables that have rows, what they have in common, cells that
/// failed and why, warnings.
std::string format_report(const Results& results, ReportFormat format);

/// perplexity.csv, fidelity.csv, latency.csv and memory.csv, each replaced as a whole.
void write_tables(const Results& results, const std::filesystem::path& folder);

}  // namespace sinkbench
