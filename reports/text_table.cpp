#include "reports/text_table.h"

#include <fmt/format.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <initializer_list>

#include "base/utf8.h"
#include "datasets/unicode_classes.h"

namespace sinkbench {
namespace {

/// One character of UTF-8: its bytes, or a single one that isn't part of any.
struct Character {
  char32_t code = 0;
  size_t bytes = 1;
  bool valid = false;
};

Character character_at(std::string_view text, size_t i) {
  if (valid_utf8_prefix(text.substr(i, 4)) == 0) return {};
  const CodePoint c = decode_utf8(text.data() + i);
  return {c.value, static_cast<size_t>(c.length), true};
}

/// Inclusive ranges of characters.
using Ranges = std::initializer_list<std::pair<char32_t, char32_t>>;

bool is_within(char32_t c, Ranges ranges) {
  return std::any_of(ranges.begin(), ranges.end(),
                     [c](const auto& range) { return c >= range.first && c <= range.second; });
}

/// What a terminal acts upon instead of showing it, and what is no character.
bool is_obeyed(char32_t c) {
  return (c & 0xFFFE) == 0xFFFE || is_within(c, {{0, 0x1F},
                                                 {0x7F, 0x9F},
                                                 {0x61C, 0x61C},
                                                 {0x200E, 0x200F},
                                                 {0x2028, 0x202E},
                                                 {0x2066, 0x2069},
                                                 {0xFDD0, 0xFDEF},
                                                 {0xFEFF, 0xFEFF}});
}

/// Columns on a terminal: two of East Asian letters and pictures, none of marks on other letters.
size_t width_of(char32_t c) {
  if (is_within(c, {{0x300, 0x36F}, {0x200B, 0x200D}, {0xFE00, 0xFE0F}, {0x1F3FB, 0x1F3FF}}))
    return 0;
  return is_within(c, {{0x1100, 0x115F},
                       {0x2E80, 0x303E},
                       {0x3041, 0xA4CF},
                       {0xAC00, 0xD7A3},
                       {0xF900, 0xFAFF},
                       {0xFE30, 0xFE6F},
                       {0xFF00, 0xFF60},
                       {0xFFE0, 0xFFE6},
                       {0x1F300, 0x1FAFF},
                       {0x20000, 0x3FFFD}})
             ? 2
             : 1;
}

size_t width_of(const std::string& text) {
  size_t width = 0;
  for (size_t i = 0; i < text.size();) {
    const Character c = character_at(text, i);
    width += width_of(c.code);
    i += c.bytes;
  }
  return width;
}

std::string padded(const std::string& text, size_t width, bool right) {
  const std::string space(width - std::min(width, width_of(text)), ' ');
  return right ? space + text : text + space;
}

/// The columns, by their indices, of each of the tables that fit the width.
std::vector<std::vector<size_t>> folded(const Columns& columns, const std::vector<size_t>& widths,
                                        size_t width) {
  const auto total = [&](const std::vector<size_t>& part) {
    size_t sum = 1;
    for (const size_t c : part) sum += widths[c] + 2;
    return sum - 1;
  };
  std::vector<size_t> all(columns.size()), keys;
  for (size_t c = 0; c < columns.size(); ++c) {
    all[c] = c;
    if (columns[c].key) keys.push_back(c);
  }
  if (width == 0 || total(all) <= width) return {all};
  if (keys.empty()) keys = {0};
  std::vector<std::vector<size_t>> parts = {keys};
  for (size_t c = 0; c < columns.size(); ++c) {
    if (std::find(keys.begin(), keys.end(), c) != keys.end()) continue;
    std::vector<size_t> group = {c};  // a value and its error stay together
    while (c + 1 < columns.size() && columns[c + 1].name == "±") group.push_back(++c);
    std::vector<size_t> wider = parts.back();
    wider.insert(wider.end(), group.begin(), group.end());
    if (total(wider) > width && parts.back().size() > keys.size()) {
      parts.push_back(keys);
      parts.back().insert(parts.back().end(), group.begin(), group.end());
    } else {
      parts.back() = std::move(wider);
    }
  }
  return parts;
}

}  // namespace

std::string printable(std::string_view text) {
  std::string result;
  for (size_t i = 0; i < text.size();) {
    const Character c = character_at(text, i);
    if (c.valid && !is_obeyed(c.code)) {
      result += text.substr(i, c.bytes);
    } else if (c.valid && c.code >= 0x80) {
      result += fmt::format("\\u{:04x}", static_cast<uint32_t>(c.code));
    } else {
      const auto byte = static_cast<unsigned char>(text[i]);
      result += byte == '\n'   ? "\\n"
                : byte == '\r' ? "\\r"
                : byte == '\t' ? "\\t"
                               : fmt::format("\\x{:02x}", byte);
    }
    i += c.bytes;
  }
  return result;
}

std::string csv_quoted(const std::string& text) {
  if (text.find_first_of(",\"\r\n") == std::string::npos) return text;
  std::string result = "\"";
  for (const char c : text) {
    if (c == '"') result += '"';
    result += c;
  }
  return result + "\"";
}

size_t terminal_width() {
  winsize size{};
  return ::isatty(STDOUT_FILENO) != 0 && ::ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0
             ? size.ws_col
             : 0;
}

std::string render(const Columns& columns, bool markdown, size_t width) {
  if (columns.empty() || columns.front().cells.empty()) return "";
  Columns shown = columns;
  for (Column& column : shown) {
    for (std::string& cell : column.cells) {
      cell = printable(cell);
      if (!markdown) continue;
      for (size_t p = 0; (p = cell.find('|', p)) != std::string::npos; p += 2) cell.insert(p, "\\");
    }
  }
  std::string text;
  std::vector<size_t> widths;
  for (const Column& column : shown) {
    size_t widest = width_of(column.name);
    for (const std::string& cell : column.cells) widest = std::max(widest, width_of(cell));
    widths.push_back(widest);
  }
  for (const auto& part : folded(shown, widths, markdown ? 0 : width)) {
    if (!text.empty()) text += "\n";
    const auto line = [&](const std::function<std::string(size_t)>& cell) {
      std::string row = markdown ? "|" : " ";
      for (const size_t c : part) {
        row += " " + padded(cell(c), widths[c], shown[c].number) + (markdown ? " |" : " ");
      }
      row.erase(row.find_last_not_of(' ') + 1);
      text += row + "\n";
    };
    line([&](size_t c) { return shown[c].name; });
    if (markdown) {
      text += "|";
      for (const size_t c : part) {
        text += std::string(widths[c] + 1, '-') + (shown[c].number ? ":|" : "-|");
      }
      text += "\n";
    } else {
      line([&](size_t c) { return std::string(widths[c], '-'); });
    }
    for (size_t r = 0; r < shown.front().cells.size(); ++r) {
      line([&](size_t c) { return shown[c].cells[r]; });
    }
  }
  return text;
}

std::string html_escaped(std::string_view text) {
  std::string result;
  for (const char c : printable(text)) {
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

std::string render_html(const Columns& columns, const std::string& caption_html) {
  if (columns.empty() || columns.front().cells.empty()) return "";
  const auto row = [&](const char* scope, const auto& text) {
    std::string line = "<tr>";
    for (const Column& column : columns) {
      const bool heading = *scope == 'c' || column.key;
      line += fmt::format("<{0}{1}{2}>{3}</{0}>", heading ? "th" : "td",
                          heading ? fmt::format(" scope=\"{}\"", scope) : "",
                          column.number ? " class=\"number\"" : "", html_escaped(text(column)));
    }
    return line + "</tr>\n";
  };
  std::string table = "<table>\n<caption>" + caption_html + "</caption>\n<thead>" +
                      row("col", [](const Column& c) { return c.name; }) + "</thead>\n<tbody>\n";
  for (size_t i = 0; i < columns.front().cells.size(); ++i) {
    table += row("row", [i](const Column& c) { return c.cells[i]; });
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

std::string percent(double share) {
  return std::isfinite(share) ? fmt::format("{:.2f} %", 100 * share) : none;
}

std::string counted(const std::string& number, const std::string& thing) {
  return number + " " + thing + (number == "1" ? "" : "s");
}

std::string fixed(double value, int digits) {
  return std::isfinite(value) ? fmt::format("{:.{}f}", value, digits) : none;
}

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
