#include "reports/html.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <map>
#include <set>
#include <sstream>

#include "base/error.h"
#include "base/file.h"
#include "reports/names.h"
#include "reports/picture.h"
#include "reports/published.h"
#include "reports/sink_report.h"
#include "reports/spread.h"
#include "reports/svg.h"
#include "reports/tables.h"
#include "reports/text_table.h"

namespace sinkbench {
namespace {

constexpr const char* style = R"(
:root { color-scheme: light dark; --ink: #1b1b1b; --paper: #ffffff; --faint: #5f5f5f; --grid: #e4e4e4;
        --warning: #b84a00; --link: #0b5cad; --line0: #1b1b1b; --line1: #0072b2; --line2: #d55e00;
        --line3: #008a64; --line4: #b5598d; --line5: #9a6a00; --line6: #2f8fc9; }
@media screen and (prefers-color-scheme: dark) {
  :root { --ink: #e8e8e8; --paper: #16181c; --faint: #a8adb5; --grid: #363a42; --warning: #ff9a5c;
          --link: #7fb8f5; --line0: #e8e8e8; --line1: #4da3e0; --line2: #ff8a4c; --line3: #2fc898;
          --line4: #e79cc4; --line5: #f0b429; --line6: #9ad5ff; }
}
body { font: 16px/1.5 system-ui, sans-serif; max-width: 72rem; margin: 0 auto; padding: 1rem;
       color: var(--ink); background: var(--paper); }
a { color: var(--link); }
h1, h2, h3 { line-height: 1.2; overflow-wrap: anywhere; }
h2 { margin-top: 2.5rem; border-top: 2px solid var(--grid); padding-top: 1.5rem; }
.scroll { overflow-x: auto; margin: 1.5rem 0; }
table { border-collapse: collapse; font-size: 0.9rem; }
caption :is(h2, h3) { margin: 0; border: 0; padding: 0; font-size: 1.17rem; }
caption { text-align: left; padding-bottom: 0.5rem; }
th, td { padding: 0.25rem 0.75rem 0.25rem 0; text-align: left; white-space: nowrap;
         border-bottom: 1px solid var(--grid); }
tbody th { font-weight: inherit; }
th:first-child { position: sticky; left: 0; background: var(--paper); }
.number { text-align: right; font-variant-numeric: tabular-nums; }
thead button { font: inherit; color: inherit; background: none; border: 0; padding: 0; cursor: pointer; }
thead button::after { content: "\2195"; opacity: 0.5; padding-left: 0.2em; }
[aria-sort] button::after { opacity: 1; }
[aria-sort=ascending] button::after { content: "\2191"; }
[aria-sort=descending] button::after { content: "\2193"; }
figure { margin: 1.5rem 0; }
figure .scroll { margin: 0.5rem 0; }
figcaption, .facts, dd { overflow-wrap: anywhere; }
figcaption strong { display: block; }
.drawn { max-width: 100%; background: #ffffff; }
summary { font-size: 1.17rem; font-weight: 700; }
dt { font-weight: 600; overflow-wrap: anywhere; }
dd { margin: 0 0 0.5rem 1rem; }
.warning { border-left: 4px solid var(--warning); padding-left: 0.75rem; overflow-wrap: anywhere; }
pre { white-space: pre-wrap; overflow-wrap: anywhere; font-size: 0.85rem; }
@media print {
  body { max-width: none; padding: 0; font-size: 10pt; }
  .scroll { overflow: visible; }
  table { font-size: 7pt; line-height: 1.25; }
  th, td { white-space: normal; padding: 1pt 5pt 1pt 0; }
  /* A heading with a button in it isn't repeated on each page. */
  thead button { display: contents; }
  thead button::after { content: none; }
  td.number { white-space: nowrap; }
  th:first-child { position: static; }
  thead, tr, figure { break-inside: avoid; }
  h2, h3, caption { break-after: avoid; }
  svg { min-width: 0; max-height: 8.5cm; }
}
)";

/// A heading sorts its table's rows, again the other way round; what has no value comes last.
constexpr const char* page_script = R"(
const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];
const order = new Intl.Collator('en', {numeric: true});
function amount(text) {
  const found = /^([+-]?\d+(?:\.\d+)?(?:e[+-]?\d+)?)(?: (B|[KMGT]iB)$)?/.exec(text);
  return found ? Number(found[1]) * 1024 ** Math.max(0, units.indexOf(found[2])) : NaN;
}
function sort(heading) {
  const up = heading.getAttribute('aria-sort') !== 'ascending';
  for (const other of heading.parentNode.children) other.removeAttribute('aria-sort');
  heading.setAttribute('aria-sort', up ? 'ascending' : 'descending');
  const body = heading.closest('table').tBodies[0];
  const number = heading.classList.contains('number');
  const rows = Array.from(body.rows, (row) => {
    const text = row.cells[heading.cellIndex].textContent;
    return {row, text, amount: number ? amount(text) : 0};
  });
  rows.sort((a, b) => {
    if (isNaN(a.amount) || isNaN(b.amount)) return isNaN(a.amount) - isNaN(b.amount);
    return (up ? 1 : -1) * (a.amount - b.amount || order.compare(a.text, b.text));
  });
  body.append(...rows.map((entry) => entry.row));
}
for (const heading of document.querySelectorAll('thead th')) {
  const button = document.createElement('button');
  button.type = 'button';
  button.append(...heading.childNodes);
  button.addEventListener('click', () => sort(heading));
  heading.append(button);
}
addEventListener('beforeprint', () => {
  for (const details of document.querySelectorAll('details')) details.open = true;
});
)";

constexpr const char* conventions = R"(<h2>Conventions</h2>
<dl>
<dt>±</dt><dd>one standard error of the mean, by batch means, as neighbouring tokens are
correlated.</dd>
<dt>perplexity</dt><dd>exp of the mean NLL (natural logarithm) over all scored tokens. Per word and bits per byte
count the words and bytes of the text that the scored tokens stand for.</dd>
<dt>same tokens</dt><dd>perplexity over the tokens that all policies scored of the same stream, where one
scored every so many: to be held against each other, where those over other tokens are not.</dd>
<dt>fidelity</dt><dd>KL is the Kullback-Leibler divergence of the cell's next-token distribution
from the reference's, in nats; same top the share of tokens whose most likely one is the same;
collapse the place in the stream from where on the NLL stays above the reference's by a margin, "-" where the
stream is too short to tell; evicted
mass the share of dense attention that goes to tokens which the policy has evicted; output error how far
the output of attention is off without them, of its length, on the same states.</dd>
<dt>cache</dt><dd>sinks + window: so many of the stream's first tokens, and so many of the last,
are kept; 0+W is a sliding window, a single number the tokens of a recomputed pass, or the entries that a round of a policy by score
leaves in each head's cache, with what departs from its defaults; "all" dense. Cached are, of a step, the entries that the query
attends to beside itself, of memory those that are kept.</dd>
<dt>above dense, over texts</dt><dd>mean NLL above that of dense attention on the same text, in nats; its mean over
texts, the standard deviation over texts and, where a policy draws, over seeds, least and most of the texts.</dd>
<dt>†</dt><dd>an upper bound and no policy to be ranked: the oracle sees queries before they come,
quest keeps every token and reads a part.</dd>
<dt>latency</dt><dd>one decode step of one token at a full cache, quantiles of single steps,
whole rounds of eviction among them, and the longest; for recomputation one pass. Scoring speed (tokens/s) is never a latency.</dd>
<dt>memory</dt><dd>keys and values by formula (slots × layers × key heads × head size × 2 ×
bytes) and as counted on the tensors; the peak is the process's while the cell ran.</dd>
</dl>
)";

std::string paragraph(const std::string& text, const char* kind) {
  return fmt::format("<p class=\"{}\">{}</p>\n", kind, html_escaped(text));
}

constexpr std::string_view region =
    R"(<div class="scroll" role="region" tabindex="0" aria-label=")";

/// What may be wider than the screen can be scrolled, by the keyboard too.
std::string scrolling(const std::string& content, const std::string& name) {
  return fmt::format("{}{}\">\n{}</div>\n", region, html_escaped(name), content);
}

/// The same with a name of its own for each such part of the page, so that they are told apart
/// without being seen: "table1: Perplexity".
std::string with_own_names(const std::string& html, const std::string& part,
                           std::set<std::string>& seen) {
  std::string result;
  size_t from = 0;
  for (size_t at = html.find(region); at != html.npos; at = html.find(region, from)) {
    const size_t begin = at + region.size(), end = html.find('"', begin);
    std::string name = (part.empty() ? "" : html_escaped(part) + ": ");
    name += html.substr(begin, end - begin);
    std::string own = name;
    for (int n = 2; !seen.insert(own).second; ++n) own = fmt::format("{} ({})", name, n);
    result += html.substr(from, begin - from) + own;
    from = end;
  }
  return result + html.substr(from);
}

/// Of a part of a section: the page's second level, or the third below the sections' titles.
struct Headings {
  int level = 2;
  std::string operator()(const std::string& text) const {
    return fmt::format("<h{0}>{1}</h{0}>", level, html_escaped(text));
  }
};

std::string figure(const Picture& picture) {
  const std::string found = finding(picture);
  return fmt::format(
      "<figure>\n<figcaption><strong>{}</strong> {}</figcaption>\n{}</figure>\n",
      html_escaped(picture.title), html_escaped(found),
      scrolling(svg_picture(picture, picture.title + ". " + found), "Picture: " + picture.title));
}

/// From these results, whatever pictures lie beside them.
std::string pictures(const HtmlSection& section, const Headings& heading) {
  std::string notes;
  std::vector<Picture> candidates;
  try {
    candidates = result_pictures(section.results, section.folder);
  } catch (const InputError& error) {
    notes = paragraph(fmt::format("no picture of the NLL: {}", error.what()), "warning");
    candidates = result_pictures(section.results, "");
  }
  const Drawable chosen = drawable(candidates);
  std::string html;
  for (const Picture& picture : chosen.pictures) html += figure(picture);
  for (const std::string& line : chosen.left_out) {
    if (line.ends_with(not_measured)) continue;  // nobody asked for it
    notes += paragraph("not drawn: " + line, "facts");
  }
  return html.empty() ? notes : heading("Pictures") + "\n" + html + notes;
}

/// What a published value is of: "perplexity of the first 1024".
std::string quantity_name(const Published& value) {
  if (value.quantity == PublishedQuantity::latency_ms) return "ms a step";
  if (value.quantity == PublishedQuantity::memory_gib) return "GiB";
  if (value.quantity == PublishedQuantity::accuracy) {
    return fmt::format("right answers (%) {} lines back", value.lines);
  }
  return value.first == 0 ? "perplexity" : fmt::format("perplexity, first {}", value.first);
}

std::string published(const HtmlSection& section, const Headings& heading) {
  const std::string title = "Published values beside the measured";
  const Names names(measured_cells(section.results));
  Columns columns = {{.name = "model", .number = false, .key = true},
                     {.name = "policy", .number = false, .key = true},
                     {.name = "cache", .key = true},
                     {.name = "of", .number = false},
                     {.name = "measured"},
                     {.name = "published"},
                     {.name = "where", .number = false},
                     {.name = "over or on", .number = false}};
  for (const CellResult& cell : section.results.cells) {
    for (const Published& value : published_for(cell)) {
      const std::optional<double> ours = measured(value, cell, section.folder);
      if (!ours) continue;
      const std::vector<std::string> row = {
          names.model(cell),        cell.cell.policy.name,  cell.cache_label,
          quantity_name(value),     significant(*ours),     fmt::format("{}", value.value),
          std::string(value.where), std::string(value.over)};
      for (size_t i = 0; i < row.size(); ++i) columns[i].cells.push_back(row[i]);
    }
  }
  if (columns[0].cells.empty()) return "";
  return scrolling(render_html(columns, heading(title)), title) +
         "<p>Figures and tables are the StreamingLLM paper's (arXiv 2309.17453v4), what the "
         "benchmark of attention_sinks 0.4.0 published is perplexity over the first so many scored "
         "tokens; TOVA is arXiv 2401.06104, and names with a slash are others' runs, on GitHub. "
         "Steps are their medians, memory is that of weights and cache. Another text, "
         "another share of it, or another machine has other values.</p>\n";
}

std::string inputs(const Results& results, const Headings& heading) {
  const Names names(measured_cells(results));
  std::map<std::string, std::string> items;
  for (const CellResult& cell : results.cells) {
    if (!cell.error.empty()) continue;
    items["model " + names.model(cell)] =
        fmt::format("{:.1f} million parameters, trained on {} positions, SHA-256 {}",
                    static_cast<double>(cell.parameters) / 1e6,
                    cell.context > 0 ? std::to_string(cell.context) : "an unstated number of",
                    cell.model_sha256);
    std::string& hashes = items["dataset " + names.dataset(cell)];
    if (hashes.find(cell.dataset_sha256) == hashes.npos) {
      hashes += (hashes.empty() ? "SHA-256 of the token ids " : ", ") + cell.dataset_sha256;
    }
  }
  std::string html;
  for (const auto& [name, text] : items) {
    html += fmt::format("<dt>{}</dt><dd>{}</dd>\n", html_escaped(name), html_escaped(text));
  }
  return html.empty() ? "" : heading("What was measured") + "\n<dl>\n" + html + "</dl>\n";
}

std::string machine(const RunInfo& info) {
  std::string html = fmt::format("<dt>{}</dt><dd>", html_escaped("started"));
  html += html_escaped(info.started) + "</dd>\n";
  for (const auto* facts : {&info.machine, &info.versions}) {
    for (const auto& [name, text] : *facts) {
      html += fmt::format("<dt>{}</dt><dd>{}</dd>\n", html_escaped(name), html_escaped(text));
    }
  }
  return "<details><summary>Machine and program</summary>\n<dl>\n" + html + "</dl>\n</details>\n";
}

std::string base64(std::string_view bytes) {
  constexpr std::string_view letters =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string text;
  for (size_t i = 0; i < bytes.size(); i += 3) {
    uint32_t group = 0;
    const size_t count = std::min<size_t>(3, bytes.size() - i);
    for (size_t j = 0; j < 3; ++j) {
      group = group << 8 | (j < count ? static_cast<unsigned char>(bytes[i + j]) : 0);
    }
    for (size_t j = 0; j < 4; ++j) {
      text += j <= count ? letters[group >> (18 - 6 * j) & 63] : '=';
    }
  }
  return text;
}

/// A picture that gnuplot has drawn of a measurement, as it lies in the measurement's folder.
std::string drawn(const std::filesystem::path& folder, const char* name, const std::string& title,
                  const std::string& found) {
  const std::filesystem::path file = folder / "plots" / fmt::format("{}.png", name);
  if (folder.empty() || !std::filesystem::exists(file)) return "";
  return fmt::format(
      "<figure>\n<figcaption><strong>{0}</strong> {1}</figcaption>\n{2}</figure>\n",
      html_escaped(title), html_escaped(found),
      scrolling(fmt::format("<img class=\"drawn\" alt=\"{}. {}\" "
                            "src=\"data:image/png;base64,{}\">\n",
                            html_escaped(title), html_escaped(found), base64(read_file(file))),
                "Picture: " + title));
}

/// Of an experiment that measured sinks.
std::string sinks_body(const HtmlSection& section, const Headings& heading) {
  std::string html;
  if (!section.description.empty()) html += paragraph(section.description, "facts");
  html += scrolling(render_html(sink_summary(section.sinks), heading("Sinks")), "Sinks");
  const Drawable chosen = drawable(sink_pictures(section.sinks));
  html += heading("Pictures") + "\n";
  for (const Picture& picture : chosen.pictures) html += figure(picture);
  for (size_t i = 0; i < section.sinks.size(); ++i) {
    const SinkResults& results = section.sinks[i];
    const SinkStatistics& s = results.statistics;
    const std::string found =
        fmt::format("{}: Sink_0 {:.1f} % at epsilon {:g} and {} tokens.", section.sink_folders[i],
                    s.sink_rate.front(), s.epsilon, s.tokens);
    const std::filesystem::path folder =
        section.folder.empty() ? "" : section.folder / section.sink_folders[i];
    html += drawn(folder, "sinks", "Mean attention to position 0 by layer and head", found);
    const std::string logits = drawn(folder, "logits", "Mean attention logits", found);
    html += logits.empty() ? drawn(folder, "attention-maps", "Attention maps", found) : logits;
  }
  return section.sinks.empty() ? html : html + machine(section.sinks.front().info);
}

std::string section_body(const HtmlSection& section, const Headings& heading) {
  if (!section.sinks.empty()) return sinks_body(section, heading);
  const Results& results = section.results;
  std::string html;
  if (!section.description.empty()) html += paragraph(section.description, "facts");
  if (const auto facts = common_facts(results); !facts.empty()) {
    html += paragraph(fmt::format("{}", fmt::join(facts, ", ")), "facts");
  }
  for (const std::string& warning : results.info.warnings) {
    html += paragraph("warning: " + warning, "warning");
  }
  for (const CellResult& cell : results.cells) {
    if (cell.error.empty()) continue;
    html += paragraph(fmt::format("failed: {}: {}", cell.cell.id, cell.error), "warning");
  }
  // First what several texts say together: tables of each text alone are long.
  if (const Columns spread = spread_table(results); !spread.front().cells.empty()) {
    html += scrolling(render_html(spread, heading(spread_title)), spread_title);
  }
  for (const Table table : all_tables) {
    const std::string body = html_table(results, table, heading(title(table)));
    if (!body.empty()) html += scrolling(body, title(table));
  }
  html += published(section, heading) + pictures(section, heading) + inputs(results, heading) +
          machine(results.info);
  if (!section.provenance.empty()) {
    html += heading("Where the cells come from") + "\n<pre>";
    std::istringstream lines(section.provenance);
    for (std::string line; std::getline(lines, line);) html += html_escaped(line) + "\n";
    html += "</pre>\n";
  }
  return html;
}

/// What stands in no section alone.
std::string costs(std::span<const HtmlSection> sections) {
  std::vector<SinkResults> sinks;
  std::vector<Results> results;
  for (const HtmlSection& section : sections) {
    sinks.insert(sinks.end(), section.sinks.begin(), section.sinks.end());
    if (section.sinks.empty()) results.push_back(section.results);
  }
  const Columns columns = sinks_beside_costs(sinks, results);
  if (columns.front().cells.empty()) return "";
  const std::string title = "Sinks beside what losing them costs";
  return scrolling(render_html(columns, "<h2>" + title + "</h2>"), title);
}

}  // namespace

std::string html_page(const std::string& title, std::span<const HtmlSection> sections) {
  std::string html = fmt::format(
      "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
      "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n"
      "<meta name=\"color-scheme\" content=\"light dark\">\n"
      "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; "
      "style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:\">\n"
      "<link rel=\"icon\" href=\"data:,\">\n"
      "<title>{0}</title>\n<style>{1}{2}</style>\n</head>\n<body>\n<main>\n<h1>{0}</h1>\n",
      html_escaped(title), style, svg_style);
  const bool several = sections.size() > 1;
  if (several) {
    html += "<nav aria-label=\"Parts\">\n<ul>\n";
    for (size_t i = 0; i < sections.size(); ++i) {
      html += fmt::format("<li><a href=\"#part-{}\">{}</a></li>\n", i + 1,
                          html_escaped(sections[i].title));
    }
    html += "</ul>\n</nav>\n";
  }
  std::set<std::string> regions;
  html += with_own_names(costs(sections), "", regions);
  for (size_t i = 0; i < sections.size(); ++i) {
    if (several) {
      html += fmt::format("<h2 id=\"part-{}\">{}</h2>\n", i + 1, html_escaped(sections[i].title));
    }
    html += with_own_names(section_body(sections[i], {several ? 3 : 2}),
                           several ? sections[i].title : "", regions);
  }
  return html + conventions + "</main>\n<script>" + page_script + "</script>\n</body>\n</html>\n";
}

}  // namespace sinkbench
