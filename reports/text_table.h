// Columns of text as a table to read: on a terminal, as markdown or as HTML.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace sinkbench {

struct Column {
  std::string name;
  std::vector<std::string> cells = {};
  bool number = true;    ///< set right
  bool foldable = true;  ///< said once above the table where all rows have the same
  bool key = false;      ///< says what a row is of
};
using Columns = std::vector<Column>;

/// Stands where there is no value.
inline constexpr const char* none = "-";

/// A line for each row, under the columns' names; "" where there are no rows. What is wider than
/// `width` (0: no limit) becomes several tables, each with the key columns; where none is a key,
/// with the first.
std::string render(const Columns& columns, bool markdown, size_t width = 0);

/// The same as an HTML table. Key columns are the rows' headings.
std::string render_html(const Columns& columns, const std::string& caption_html);

/// `text` on one line, and without what a terminal obeys: control characters, line separators,
/// characters that change the direction of writing and bytes that aren't UTF-8 are written out as
/// "\n", "\x1b".
std::string printable(std::string_view text);

/// `printable` text with what HTML gives a meaning written as entities.
std::string html_escaped(std::string_view text);

/// A field of a CSV file, in quotes where it needs them (RFC 4180).
std::string csv_quoted(const std::string& text);

/// The columns of the terminal that standard output is, or 0 where it is none.
size_t terminal_width();

/// "768 KiB"
std::string format_bytes(int64_t bytes);

/// "18.40 %"
std::string percent(double share);

/// "1 core", "2 cores"
std::string counted(const std::string& number, const std::string& thing);

/// With so many digits after the point.
std::string fixed(double value, int digits);

/// Digits that a reader compares: four significant ones, all before the point, and a power of ten
/// from 1e9 on.
std::string significant(double value);
std::string significant(const std::optional<double>& value);

}  // namespace sinkbench
