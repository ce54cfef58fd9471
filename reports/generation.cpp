#include "reports/generation.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <numeric>
#include <optional>
#include <string_view>
#include <vector>

#include "base/utf8.h"
#include "reports/text_table.h"

namespace sinkbench {
namespace {

std::optional<double> mean_nll(const Generated& text, int64_t begin, int64_t end) {
  if (text.dense_nll.empty() || begin == end) return std::nullopt;
  return std::accumulate(text.dense_nll.begin() + begin, text.dense_nll.begin() + end, 0.0) /
         static_cast<double>(end - begin);
}

std::string whole_percent(double x) {
  return fmt::format("{:.0f} %", 100 * x);
}

/// With which token of the text the first one left the cache.
std::string leaves_at(const Generation& generation, const Generated& text) {
  if (!text.first_eviction) return none;
  const int64_t at = *text.first_eviction - generation.prompt_tokens;
  return at > 0 ? std::to_string(at) : "prompt";
}

Columns summary(const Generation& generation) {
  Columns columns = {{.name = "policy", .number = false, .key = true},
                     {.name = "written"},
                     {.name = "tokens/s"},
                     {.name = "first leaves at"},
                     {.name = "repeats"},
                     {.name = "NLL if dense"}};
  for (const Generated& text : generation.texts) {
    const auto count = std::ssize(text.ids);
    const std::string values[] = {
        printable(text.label),
        std::to_string(count) + (text.stopped ? ", stopped" : ""),
        text.seconds > 0 && text.steps > 0
            ? significant(static_cast<double>(text.steps) / text.seconds)
            : none,
        leaves_at(generation, text),
        whole_percent(repetition(text.ids, 0, count)),
        mean_nll(text, 0, count) ? fixed(*mean_nll(text, 0, count), 3) : none};
    for (size_t i = 0; i < columns.size(); ++i) columns[i].cells.push_back(values[i]);
  }
  return columns;
}

constexpr const char* legend =
    "first leaves at: the token with which the first one left the cache; repeats: tokens that end "
    "a "
    "run of four which was there before; NLL if dense: nats per token under dense attention";

std::string how(const Generation& generation) {
  const Sampling& sampling = generation.options.sampling;
  const std::string choice = sampling.temperature == 0
                                 ? "the most likely token each time"
                                 : fmt::format("temperature {}, top-p {}, seed {}",
                                               sampling.temperature, sampling.top_p, sampling.seed);
  return fmt::format("{}, {}, {}, {} threads; {} tokens after a prompt of {}; {}",
                     printable(generation.model), generation.dtype, generation.device,
                     generation.threads, generation.options.tokens, generation.prompt_tokens,
                     choice);
}

/// What is to be said of part p: "tokens 65-128, NLL 2.310, repeats 12 %".
std::string facts(const Generation& generation, const Generated& text, size_t p) {
  const int64_t begin = text.cuts[p], end = text.cuts[p + 1];
  std::string line = fmt::format("[{}-{}]", begin + 1, end);
  if (const auto nll = mean_nll(text, begin, end)) line += " NLL " + fixed(*nll, 2);
  line += ", repeats " + whole_percent(repetition(text.ids, begin, end));
  if (text.first_eviction) {
    const int64_t at = *text.first_eviction - generation.prompt_tokens;  // of what was written
    if (at > begin && at <= end) line += fmt::format(", first leaves at {}", at);
    if (p == 0 && at <= 0) line += ", the first left in the prompt";
  }
  return line;
}

size_t parts_of_longest(const Generation& generation) {
  size_t most = 0;
  for (const Generated& text : generation.texts) most = std::max(most, text.parts.size());
  return most;
}

size_t columns_of(std::string_view text) {
  return static_cast<size_t>(std::count_if(text.begin(), text.end(), [](char c) {
    return (static_cast<unsigned char>(c) & 0xC0) != 0x80;
  }));
}

/// Of a text, each fit to be shown.
std::vector<std::string> lines_of(const std::string& text) {
  std::vector<std::string> lines;
  for (size_t from = 0; from <= text.size();) {
    const size_t newline = std::min(text.find('\n', from), text.size());
    std::string line = text.substr(from, newline - from);
    if (line.ends_with('\r')) line.pop_back();
    for (size_t tab; (tab = line.find('\t')) != line.npos;) line.replace(tab, 1, "    ");
    lines.push_back(printable(line));
    from = newline + 1;
  }
  return lines;
}

std::string html_text(const std::string& text) {
  std::string result;
  for (const std::string& line : lines_of(text)) result += html_escaped(line) + "\n";
  result.pop_back();
  return result;
}

/// Lines of no more than `width` characters, cut at spaces where there are some.
std::vector<std::string> wrapped(const std::string& text, size_t width) {
  std::vector<std::string> lines;
  for (std::string& rest : lines_of(text)) {
    do {
      size_t end = 0, count = 0, space = 0;
      while (end < rest.size() && count < width) {
        size_t next = end + 1;
        while (next < rest.size() && (static_cast<unsigned char>(rest[next]) & 0xC0) == 0x80)
          ++next;
        if (rest[end] == ' ') space = next;
        end = next;
        ++count;
      }
      if (end < rest.size() && space > width / 2) end = space;
      lines.push_back(rest.substr(0, end));
      rest.erase(0, end);
    } while (!rest.empty());
  }
  return lines;
}

std::string markdown_escaped(const std::string& text) {
  std::string result;
  bool first = true;
  for (const std::string& line : lines_of(text)) {
    if (!first) result += "<br>";
    first = false;
    for (const char c : html_escaped(line)) {
      if (std::string_view("\\`*_[]|~#").find(c) != std::string_view::npos) result += '\\';
      result += c;
    }
  }
  return result;
}

}  // namespace

std::string format_generation(const Generation& generation, size_t width) {
  if (width == 0) width = 100;
  constexpr size_t narrowest = 30, gap = 3;
  std::string text =
      how(generation) + "\n\n" + render(summary(generation), false, width) + "\n" + legend + "\n";
  const size_t n = generation.texts.size();
  const size_t column = (width - gap * (n - 1)) / n;
  const auto part_of = [&](const Generated& of, size_t p, size_t columns) {
    std::vector<std::string> lines;
    if (p >= of.parts.size()) return lines;
    lines = wrapped(facts(generation, of, p), columns);
    for (std::string& line : wrapped(of.parts[p], columns)) lines.push_back(std::move(line));
    return lines;
  };
  if (n > 1 && column < narrowest) {
    for (const Generated& of : generation.texts) {
      text += fmt::format("\n== {} ==\n", printable(of.label));
      for (size_t p = 0; p < of.parts.size(); ++p) {
        for (const std::string& line : part_of(of, p, width)) text += line + "\n";
      }
    }
    return text;
  }
  const auto row = [&](const std::vector<std::string>& cells) {
    std::string line;
    for (size_t i = 0; i < n; ++i) {
      line += cells[i];
      if (i + 1 < n)
        line += std::string(column - std::min(column, columns_of(cells[i])) + gap, ' ');
    }
    while (line.ends_with(' ')) line.pop_back();
    text += line + "\n";
  };
  std::vector<std::string> heads;
  for (const Generated& of : generation.texts) heads.push_back("== " + printable(of.label) + " ==");
  text += "\n";
  row(heads);
  for (size_t p = 0; p < parts_of_longest(generation); ++p) {
    std::vector<std::vector<std::string>> parts;
    size_t height = 0;
    for (const Generated& of : generation.texts) {
      parts.push_back(part_of(of, p, column));
      height = std::max(height, parts.back().size());
    }
    for (size_t i = 0; i < height; ++i) {
      std::vector<std::string> cells;
      for (const auto& part : parts) cells.push_back(i < part.size() ? part[i] : "");
      row(cells);
    }
    text += "\n";
  }
  return text;
}

std::string generation_markdown(const Generation& generation) {
  std::string text =
      fmt::format("# What a model writes under each policy\n\n{}\n\n{}\n{}\n\n**Prompt:** {}\n\n|",
                  markdown_escaped(how(generation)), render(summary(generation), true), legend,
                  markdown_escaped(generation.prompt));
  for (const Generated& of : generation.texts) text += " " + markdown_escaped(of.label) + " |";
  text += "\n|";
  for (size_t i = 0; i < generation.texts.size(); ++i) text += "---|";
  text += "\n";
  for (size_t p = 0; p < parts_of_longest(generation); ++p) {
    text += "|";
    for (const Generated& of : generation.texts) {
      const bool there = p < of.parts.size();
      text += there ? fmt::format(" *{}*<br>{} |", markdown_escaped(facts(generation, of, p)),
                                  markdown_escaped(of.parts[p]))
                    : "  |";
    }
    text += "\n";
  }
  for (const std::string& note : generation.notes) text += "\n> " + markdown_escaped(note) + "\n";
  return text;
}

std::string generation_html(const Generation& generation) {
  constexpr const char* style = R"(
:root { color-scheme: light dark; --ink: #1b1b1b; --paper: #ffffff; --faint: #5f5f5f; --grid: #d8d8d8;
        --heat: 214 94 0; }
@media screen and (prefers-color-scheme: dark) {
  :root { --ink: #e8e8e8; --paper: #16181c; --faint: #a8adb5; --grid: #363a42; --heat: 255 138 76; }
}
body { font: 16px/1.5 system-ui, sans-serif; margin: 0 auto; padding: 1rem; max-width: 100rem;
       color: var(--ink); background: var(--paper); }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; }
th, td { text-align: left; vertical-align: top; padding: 0.35rem 0.75rem; border: 1px solid var(--grid); }
.number { text-align: right; font-variant-numeric: tabular-nums; }
.texts { table-layout: fixed; width: 100%; min-width: 40rem; }
.texts td { overflow-wrap: anywhere; background: rgb(var(--heat) / var(--shade, 0)); }
.facts { display: block; font-size: 0.8rem; color: var(--faint); }
.leaves { font-weight: 700; color: var(--ink); }
.text { white-space: pre-wrap; }
caption { text-align: left; padding-bottom: 0.5rem; }
)";
  std::string html = fmt::format(
      "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
      "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n"
      "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src "
      "'unsafe-inline'; img-src data:\">\n<link rel=\"icon\" href=\"data:,\">\n"
      "<title>What a model writes under each policy</title>\n<style>{}</style>\n</head>\n<body>\n"
      "<main>\n<h1>What a model writes under each policy</h1>\n<p>{}</p>\n<div class=\"scroll\" "
      "role=\"region\" tabindex=\"0\" aria-label=\"Policies\">\n{}</div>\n<p>{}. The darker a "
      "part, "
      "the less likely it is under dense attention.</p>\n<h2>Prompt</h2>\n<p "
      "class=\"text\">{}</p>\n"
      "<h2>Texts</h2>\n<div class=\"scroll\" role=\"region\" tabindex=\"0\" aria-label=\"Texts\">\n"
      "<table class=\"texts\">\n<thead>\n<tr>",
      style, html_escaped(printable(how(generation))),
      render_html(summary(generation), "What came out"), legend, html_text(generation.prompt));
  for (const Generated& of : generation.texts) {
    html += fmt::format("<th scope=\"col\">{}</th>", html_escaped(printable(of.label)));
  }
  html += "</tr>\n</thead>\n<tbody>\n";
  for (size_t p = 0; p < parts_of_longest(generation); ++p) {
    html += "<tr>";
    for (const Generated& of : generation.texts) {
      if (p >= of.parts.size()) {
        html += "<td></td>";
        continue;
      }
      const std::string said = facts(generation, of, p);
      const auto nll = mean_nll(of, of.cuts[p], of.cuts[p + 1]);
      // From nothing at 2 nats to its darkest at 8.
      const double shade = nll ? std::clamp((*nll - 2) / 6, 0.0, 1.0) * 0.6 : 0.0;
      html += fmt::format(
          "<td style=\"--shade: {:.2f}\"><span class=\"facts{}\">{}</span><span "
          "class=\"text\">{}</span></td>",
          shade, said.find("leaves at") != std::string::npos ? " leaves" : "", html_escaped(said),
          html_text(of.parts[p]));
    }
    html += "</tr>\n";
  }
  html += "</tbody>\n</table>\n</div>\n";
  for (const std::string& note : generation.notes) {
    html += fmt::format("<p>{}</p>\n", html_escaped(printable(note)));
  }
  return html + "</main>\n</body>\n</html>\n";
}

nlohmann::ordered_json generation_json(const Generation& generation) {
  using Json = nlohmann::ordered_json;
  Json texts = Json::array();
  for (const Generated& of : generation.texts) {
    Json parts = Json::array();
    for (size_t p = 0; p < of.parts.size(); ++p) {
      const int64_t begin = of.cuts[p], end = of.cuts[p + 1];
      const auto nll = mean_nll(of, begin, end);
      parts.push_back({{"begin", begin},
                       {"end", end},
                       {"text", to_valid_utf8(of.parts[p])},
                       {"repeats", repetition(of.ids, begin, end)},
                       {"dense_nll", nll ? Json(*nll) : Json(nullptr)}});
    }
    texts.push_back(
        {{"policy", of.label},
         {"ids", of.ids},
         {"stopped", of.stopped},
         {"first_eviction", of.first_eviction ? Json(*of.first_eviction) : Json(nullptr)},
         {"seconds", of.seconds},
         {"steps", of.steps},
         {"repeats", repetition(of.ids, 0, std::ssize(of.ids))},
         {"dense_nll", of.dense_nll},
         {"parts", parts}});
  }
  const Sampling& sampling = generation.options.sampling;
  return {{"model", generation.model},
          {"prompt", to_valid_utf8(generation.prompt)},
          {"prompt_tokens", generation.prompt_tokens},
          {"context", generation.context},
          {"tokens", generation.options.tokens},
          {"temperature", sampling.temperature},
          {"top_p", sampling.top_p},
          {"seed", sampling.seed},
          {"stop", generation.options.stop},
          {"dtype", generation.dtype},
          {"device", generation.device},
          {"threads", generation.threads},
          {"texts", texts},
          {"notes", generation.notes}};
}

}  // namespace sinkbench
