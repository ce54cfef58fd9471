#include "reports/html.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <openssl/evp.h>

#include <algorithm>
#include <map>
#include <set>

#include "base/file.h"
#include "reports/published.h"
#include "reports/tables.h"
#include "reports/text_table.h"

namespace sinkbench {
namespace {

namespace fs = std::filesystem;

constexpr const char* style = R"(
:root { color: #1b1b1b; background: #ffffff; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 72rem; margin: 0 auto; padding: 1rem; }
h1, h2, h3 { line-height: 1.2; }
h2 { margin-top: 2.5rem; border-top: 2px solid #dddddd; padding-top: 1.5rem; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-size: 0.9rem; }
th, td { padding: 0.25rem 0.75rem 0.25rem 0; text-align: left; white-space: nowrap;
         border-bottom: 1px solid #e4e4e4; }
.number { text-align: right; font-variant-numeric: tabular-nums; }
figure { margin: 1.5rem 0; overflow-x: auto; }
img { max-width: 100%; min-width: 36rem; height: auto; }
summary { font-size: 1.17rem; font-weight: 700; }
dt { font-weight: 600; }
dd { margin: 0 0 0.5rem 1rem; overflow-wrap: anywhere; }
.facts { overflow-wrap: anywhere; }
.warning { border-left: 4px solid #d55e00; padding-left: 0.75rem; overflow-wrap: anywhere; }
pre { white-space: pre-wrap; overflow-wrap: anywhere; font-size: 0.85rem; }
)";

constexpr const char* conventions = R"(<h2>Conventions</h2>
<dl>
<dt>perplexity</dt><dd>exp of the mean NLL (natural logarithm) over all scored tokens; ± is one
standard error by batch means, as neighbouring tokens are correlated. Per word and bits per byte
count the words and bytes of the text that the scored tokens stand for.</dd>
<dt>fidelity</dt><dd>KL is the Kullback-Leibler divergence of the cell's next-token distribution
from the reference's, in nats; same top the share of tokens whose most likely one is the same;
collapse the place in the stream from where on the NLL stays above the reference's by a margin; evicted
mass the share of dense attention that goes to tokens which the policy has evicted.</dd>
<dt>cache</dt><dd>sinks + window: so many of the stream's first tokens, and so many of the last,
are kept; 0+W is a sliding window, a single number the tokens of a recomputed pass, or the entries that a round of a policy by score
leaves in each head's cache, with what departs from its defaults; "all" dense.</dd>
<dt>latency</dt><dd>one decode step of one token at a full cache, quantiles of single steps,
whole rounds of eviction among them, and the longest; for recomputation one pass. Scoring speed (tokens/s) is never a latency.</dd>
<dt>memory</dt><dd>keys and values by formula (slots × layers × key heads × head size × 2 ×
bytes) and as counted on the tensors; the peak is the process's while the cell ran.</dd>
</dl>
)";

std::string paragraph(const std::string& text, const char* kind) {
  return fmt::format("<p class=\"{}\">{}</p>\n", kind, html_escaped(text));
}

std::string scrolling(const std::string& table) {
  return "<div class=\"scroll\">\n" + table + "</div>\n";
}

/// An image of its own: what two SVGs call by the same name can't get mixed up.
std::string figure(const fs::path& svg) {
  const std::string bytes = read_file(svg);
  std::string encoded(4 * ((bytes.size() + 2) / 3) + 1, '\0');
  const int size = EVP_EncodeBlock(reinterpret_cast<unsigned char*>(encoded.data()),
                                   reinterpret_cast<const unsigned char*>(bytes.data()),
                                   static_cast<int>(bytes.size()));
  encoded.resize(static_cast<size_t>(size));
  std::string name = svg.stem().string();
  std::replace(name.begin(), name.end(), '-', ' ');
  return fmt::format(
      "<figure><img alt=\"{}\" width=\"760\" height=\"440\" "
      "src=\"data:image/svg+xml;base64,{}\"></figure>\n",
      html_escaped(name), encoded);
}

std::string pictures(const fs::path& folder) {
  std::vector<fs::path> files;
  if (!folder.empty() && fs::is_directory(folder / "plots")) {
    for (const auto& entry : fs::directory_iterator(folder / "plots")) {
      if (entry.path().extension() == ".svg") files.push_back(entry.path());
    }
  }
  // In the order of the tables: NLL and perplexity, latency, memory.
  const auto rank = [](const fs::path& file) {
    const std::string name = file.filename().string();
    int rank = 0;
    for (const char* kind : {"nll-", "perplexity-", "latency-", "memory-"}) {
      if (name.starts_with(kind)) break;
      ++rank;
    }
    return std::pair(rank, name);
  };
  std::sort(files.begin(), files.end(),
            [&](const fs::path& a, const fs::path& b) { return rank(a) < rank(b); });
  std::string html;
  for (const fs::path& file : files) html += figure(file);
  return html.empty() ? "" : "<h3>Pictures</h3>\n" + html;
}

/// What a published value is of: "perplexity of the first 1024".
std::string quantity_name(const Published& value) {
  if (value.quantity == PublishedQuantity::latency_ms) return "ms a step";
  if (value.quantity == PublishedQuantity::memory_gib) return "GiB";
  return value.first == 0 ? "perplexity" : fmt::format("perplexity, first {}", value.first);
}

std::string published(const HtmlSection& section) {
  Columns columns = {{.name = "model", .number = false},
                     {.name = "policy", .number = false},
                     {.name = "cache"},
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
          model_name(cell.cell),    cell.cell.policy.name,  cell.cache_label,
          quantity_name(value),     significant(*ours),     fmt::format("{}", value.value),
          std::string(value.where), std::string(value.over)};
      for (size_t i = 0; i < row.size(); ++i) columns[i].cells.push_back(row[i]);
    }
  }
  if (columns[0].cells.empty()) return "";
  return "<h3>Published values beside the measured</h3>\n" + scrolling(render_html(columns)) +
         "<p>Figures and tables are the StreamingLLM paper's (arXiv 2309.17453v4), what the "
         "benchmark of attention_sinks 0.4.0 published is perplexity over the first so many scored "
         "tokens. Steps are their medians, memory is that of weights and cache. Another text, "
         "another share of it, or another machine has other values.</p>\n";
}

std::string inputs(const Results& results) {
  std::map<std::string, std::string> items;
  for (const CellResult& cell : results.cells) {
    if (!cell.error.empty()) continue;
    items["model " + model_name(cell.cell)] =
        fmt::format("{:.1f} million parameters, trained on {} positions, SHA-256 {}",
                    static_cast<double>(cell.parameters) / 1e6,
                    cell.context > 0 ? std::to_string(cell.context) : "an unstated number of",
                    cell.model_sha256);
    items["dataset " + dataset_name(cell.cell)] = "SHA-256 of the token ids " + cell.dataset_sha256;
  }
  std::string html;
  for (const auto& [name, text] : items) {
    html += fmt::format("<dt>{}</dt><dd>{}</dd>\n", html_escaped(name), html_escaped(text));
  }
  return html.empty() ? "" : "<h3>What was measured</h3>\n<dl>\n" + html + "</dl>\n";
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

std::string section_body(const HtmlSection& section) {
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
  for (const Table table : all_tables) {
    const std::string body = format_table(results, table, ReportFormat::html);
    if (body.empty()) continue;
    html += fmt::format("<h3>{}</h3>\n", html_escaped(title(table))) + scrolling(body);
  }
  html += published(section) + pictures(section.folder) + inputs(results) + machine(results.info);
  if (!section.provenance.empty()) {
    html += fmt::format("<h3>Where the cells come from</h3>\n<pre>{}</pre>\n",
                        html_escaped(section.provenance));
  }
  return html;
}

}  // namespace

std::string html_page(const std::string& title, std::span<const HtmlSection> sections) {
  std::string html = fmt::format(
      "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
      "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n"
      "<link rel=\"icon\" href=\"data:,\">\n"
      "<title>{0}</title>\n<style>{1}</style>\n</head>\n<body>\n<h1>{0}</h1>\n",
      html_escaped(title), style);
  if (sections.size() > 1) {
    html += "<ul>\n";
    for (size_t i = 0; i < sections.size(); ++i) {
      html += fmt::format("<li><a href=\"#part-{}\">{}</a></li>\n", i + 1,
                          html_escaped(sections[i].title));
    }
    html += "</ul>\n";
  }
  for (size_t i = 0; i < sections.size(); ++i) {
    if (sections.size() > 1) {
      html += fmt::format("<h2 id=\"part-{}\">{}</h2>\n", i + 1, html_escaped(sections[i].title));
    }
    html += section_body(sections[i]);
  }
  return html + conventions + "</body>\n</html>\n";
}

}  // namespace sinkbench
