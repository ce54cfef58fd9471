// Columns of text as a table to read, on a terminal or as markdown.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace sinkbench {

struct Column {
  std::string name;
  std::vector<std::string> cells = {};
  bool number = true;    ///< set right
  bool foldable = true;  ///< said once above the table where all rows have the same
};
using Columns = std::vector<Column>;

/// Stands where there is no value.
inline constexpr const char* none = "-";

/// A line for each row, under the columns' names; "" where there are no rows.
std::string render(const Columns& columns, bool markdown);

/// The same as an HTML table.
std::string render_html(const Columns& columns);

/// `text` with what HTML gives a meaning written as entities.
std::string html_escaped(const std::string& text);

/// "768 KiB"
std::string format_bytes(int64_t bytes);

/// Digits that a reader compares: four significant ones, all before the point, and a power of ten
/// from 1e9 on.
std::string significant(double value);
std::string significant(const std::optional<double>& value);

}  // namespace sinkbench
