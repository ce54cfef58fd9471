#include "reports/text_table.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <functional>

namespace sinkbench {
namespace {

/// Columns on a terminal that a text takes: its code points, all of ours being one wide.
size_t width_of(const std::string& text) {
  return static_cast<size_t>(std::count_if(text.begin(), text.end(), [](char c) {
    return (static_cast<unsigned char>(c) & 0xC0) != 0x80;
  }));
}

std::string padded(const std::string& text, size_t width, bool right) {
  const std::string space(width - std::min(width, width_of(text)), ' ');
  return right ? space + text : text + space;
}

}  // namespace

std::string render(const Columns& columns, bool markdown) {
  if (columns.empty() || columns.front().cells.empty()) return "";
  std::string text;
  std::vector<size_t> widths;
  for (const Column& column : columns) {
    size_t width = width_of(column.name);
    for (const std::string& cell : column.cells) width = std::max(width, width_of(cell));
    widths.push_back(width);
  }
  const auto line = [&](const std::function<std::string(size_t)>& cell) {
    std::string row = markdown ? "|" : " ";
    for (size_t c = 0; c < columns.size(); ++c) {
      row += " " + padded(cell(c), widths[c], columns[c].number) + (markdown ? " |" : " ");
    }
    row.erase(row.find_last_not_of(' ') + 1);
    text += row + "\n";
  };
  line([&](size_t c) { return columns[c].name; });
  if (markdown) {
    text += "|";
    for (size_t c = 0; c < columns.size(); ++c) {
      text += std::string(widths[c] + 1, '-') + (columns[c].number ? ":|" : "-|");
    }
    text += "\n";
  } else {
    line([&](size_t c) { return std::string(widths[c], '-'); });
  }
  for (size_t r = 0; r < columns.front().cells.size(); ++r) {
    line([&](size_t c) {
      std::string cell = columns[c].cells[r];
      if (markdown) {
        for (size_t p = 0; (p = cell.find('|', p)) != std::string::npos; p += 2)
          cell.insert(p, "\\");
      }
      return cell;
    });
  }
  return text;
}

std::string html_escaped(const std::string& text) {
  std::string result;
  for (const char c : text) {
    switch (c) {
      case '&':
        result += "&amp;";
        break;
      case '<':
        result += "&lt;";
        break;
      case '>':
        result += "&gt;";
        break;
      case '"':
        result += "&quot;";
        break;
      default:
        result += c;
    }
  }
  return result;
}

std::string render_html(const Columns& columns) {
  if (columns.empty() || columns.front().cells.empty()) return "";
  const auto row = [&](const char* tag, const auto& text) {
    std::string line = "<tr>";
    for (const Column& column : columns) {
      line += fmt::format("<{0}{1}>{2}</{0}>", tag, column.number ? " class=\"number\"" : "",
                          html_escaped(text(column)));
    }
    return line + "</tr>\n";
  };
  std::string table = "<table>\n<thead>" + row("th", [](const Column& c) { return c.name; }) +
                      "</thead>\n<tbody>\n";
  for (size_t i = 0; i < columns.front().cells.size(); ++i) {
    table += row("td", [i](const Column& c) { return c.cells[i]; });
  }
  return table + "</tbody>\n</table>\n";
}

std::string format_bytes(int64_t n) {
  constexpr const char* units[] = {"B", "KiB", "MiB", "GiB", "TiB"};
  double value = static_cast<double>(n);
  size_t unit = 0;
  while (value >= 1024 && unit + 1 < std::size(units)) {
    value /= 1024;
    ++unit;
  }
  return unit == 0 ? fmt::format("{} B", n)
                   : fmt::format("{:.{}f} {}", value,
                                 value < 10    ? 2
                                 : value < 100 ? 1
                                               : 0,
                                 units[unit]);
}

/// Digits that a reader compares: four significant ones.
std::string significant(double value) {
  if (!std::isfinite(value)) return none;
  const double size = std::abs(value);
  if (size >= 1e9) return fmt::format("{:.3e}", value);
  return fmt::format("{:.{}f}", value, size < 10 ? 3 : size < 100 ? 2 : size < 1000 ? 1 : 0);
}
std::string significant(const std::optional<double>& value) {
  return value ? significant(*value) : none;
}

}  // namespace sinkbench
