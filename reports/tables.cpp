#include "reports/tables.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <optional>
#include <tuple>

#include "base/file.h"
#include "reports/text_table.h"

namespace sinkbench {

std::string model_name(const Cell& cell) {
  const auto& path = cell.model.path;
  if (cell.model.random) {
    const auto name =
        path.filename() == "config.json" ? path.parent_path().filename() : path.stem();
    return name.string() + " (random weights)";
  }
  return (path.has_filename() ? path : path.parent_path()).filename().string();
}

std::string dataset_name(const Cell& cell) {
  if (cell.dataset.texts.empty()) return cell.dataset.tokens_file.filename().string();
  const auto& path = cell.dataset.texts.front();
  std::string name = (path.has_filename() ? path : path.parent_path()).filename().string();
  if (cell.dataset.texts.size() > 1)
    name += fmt::format(" and {} more", cell.dataset.texts.size() - 1);
  return name;
}

namespace {

/// One row of a table: a cell, and which of its timings.
struct Row {
  const CellResult* result;
  const LatencyResult* latency = nullptr;
};

std::vector<Row> rows_of(const Results& results, Table table) {
  std::vector<Row> rows;
  for (const CellResult& result : results.cells) {
    if (table == Table::perplexity && result.perplexity) rows.push_back({&result});
    if (table == Table::fidelity && (result.divergence || result.collapse || result.evicted_mass)) {
      rows.push_back({&result});
    }
    if (table == Table::memory && result.memory) rows.push_back({&result});
    if (table == Table::latency) {
      for (const LatencyResult& latency : result.latency) rows.push_back({&result, &latency});
    }
  }
  return rows;
}

void add(Columns& columns, const std::vector<Row>& rows, const std::string& name,
         const std::function<std::string(const Row&)>& cell, bool number = true,
         bool foldable = true) {
  Column column{.name = name, .cells = {}, .number = number, .foldable = foldable};
  for (const Row& row : rows) column.cells.push_back(cell(row));
  columns.push_back(std::move(column));
}

/// The cell of the same results that differs in its dtype alone, which is float32; or null.
const CellResult* in_float32(const Results& results, const CellResult& cell) {
  if (cell.cell.dtype == "float32" || !cell.perplexity) return nullptr;
  const auto key = [](const CellResult& r) {
    return std::tuple(r.model_sha256, r.dataset_sha256, to_string(r.cell.dataset.bos),
                      r.cell.policy.name, r.policy_label, positions_label(r.cell.policy),
                      r.perplexity->scored, r.perplexity->stride);
  };
  for (const CellResult& other : results.cells) {
    if (other.cell.dtype == "float32" && other.perplexity && key(other) == key(cell)) return &other;
  }
  return nullptr;
}

/// What the dtype adds to the mean NLL, in nats per token; nothing without the cell in float32.
std::optional<double> nll_over_float32(const Results& results, const CellResult& cell) {
  const CellResult* reference = in_float32(results, cell);
  if (reference == nullptr) return std::nullopt;
  return cell.perplexity->nll_mean - reference->perplexity->nll_mean;
}

/// The reference that a cell was compared with, as the tables name policies.
std::string reference_name(const Results& results, const CellResult& cell) {
  if (!cell.divergence && !cell.collapse) return none;
  const std::string& id = cell.divergence ? cell.divergence->reference : cell.collapse->reference;
  for (const CellResult& other : results.cells) {
    if (other.cell.id != id) continue;
    const std::string& name = other.cell.policy.name;
    return other.policy_label.starts_with(name) ? other.policy_label
                                                : name + " " + other.policy_label;
  }
  return id;
}

std::string percent(double share) {
  return std::isfinite(share) ? fmt::format("{:.2f}%", 100 * share) : none;
}

void add_fidelity_columns(Columns& columns, const std::vector<Row>& rows, const Results& results) {
  const auto any = [&](auto measured) {
    return std::any_of(rows.begin(), rows.end(), [&](const Row& r) { return measured(*r.result); });
  };
  const auto number = [&](const std::string& name, auto measured, auto text) {
    add(
        columns, rows, name,
        [&](const Row& r) { return measured(*r.result) ? text(*r.result) : none; }, true, false);
  };
  const auto divergence = [](const CellResult& r) { return r.divergence.has_value(); };
  const auto collapse = [](const CellResult& r) { return r.collapse.has_value(); };
  const auto evicted = [](const CellResult& r) { return r.evicted_mass.has_value(); };
  if (any(divergence) || any(collapse)) {
    add(
        columns, rows, "reference",
        [&](const Row& r) { return reference_name(results, *r.result); }, false);
  }
  if (any(divergence)) {
    number("KL", divergence,
           [](const CellResult& r) { return fmt::format("{:.4f}", r.divergence->kl_mean); });
    number("±", divergence,
           [](const CellResult& r) { return fmt::format("{:.4f}", r.divergence->kl_stderr); });
    number("largest", divergence,
           [](const CellResult& r) { return fmt::format("{:.2f}", r.divergence->kl_max); });
    number("same top", divergence,
           [](const CellResult& r) { return percent(r.divergence->same_top); });
    number("±", divergence,
           [](const CellResult& r) { return percent(r.divergence->same_top_stderr); });
    number("tokens", divergence,
           [](const CellResult& r) { return std::to_string(r.divergence->tokens); });
  }
  if (any(collapse)) {
    number("collapse", collapse, [](const CellResult& r) {
      return r.collapse->onset ? std::to_string(*r.collapse->onset) : std::string("none");
    });
  }
  if (any(evicted)) {
    number("evicted mass", evicted,
           [](const CellResult& r) { return percent(r.evicted_mass->mean); });
  }
}

void add_setting_columns(Columns& columns, const std::vector<Row>& rows, Table table) {
  add(
      columns, rows, "model", [](const Row& r) { return model_name(r.result->cell); }, false);
  add(
      columns, rows, "dataset", [](const Row& r) { return dataset_name(r.result->cell); }, false);
  add(
      columns, rows, "bos",
      [](const Row& r) {
        const DatasetSpec& dataset = r.result->cell.dataset;
        return to_string(dataset.bos) + (dataset.bos_token.empty() ? "" : " " + dataset.bos_token);
      },
      false);
  const auto spelled = [](const Row& r) { return r.result->cell.dataset.special_tokens; };
  if (std::any_of(rows.begin(), rows.end(),
                  [&](const Row& r) { return spelled(r) != SpecialTokens::parse; })) {
    add(
        columns, rows, "special tokens", [&](const Row& r) { return to_string(spelled(r)); },
        false);
  }
  const auto reset_of = [](const Row& r) {
    const auto& reset = r.result->cell.dataset.reset;
    return reset ? to_string(*reset) : none;
  };
  if (std::any_of(rows.begin(), rows.end(),
                  [&](const Row& r) { return r.result->cell.dataset.reset.has_value(); })) {
    add(columns, rows, "reset", reset_of, false);
  }
  add(
      columns, rows, "dtype", [](const Row& r) { return r.result->cell.dtype; }, false);
  add(
      columns, rows, "device", [](const Row& r) { return r.result->cell.device; }, false);
  add(columns, rows, "threads", [](const Row& r) { return std::to_string(r.result->threads); });
  if (table == Table::perplexity) {
    add(
        columns, rows, "engine", [](const Row& r) { return r.result->cell.engine; }, false);
  }
  add(
      columns, rows, "positions",
      [](const Row& r) { return positions_label(r.result->cell.policy); }, false);
  add(
      columns, rows, "policy", [](const Row& r) { return r.result->cell.policy.name; }, false,
      false);
  add(
      columns, rows, "cache", [](const Row& r) { return r.result->cache_label; }, true, false);
}

Columns columns_of(const Results& results, Table table) {
  const std::vector<Row> rows = rows_of(results, table);
  Columns columns;
  add_setting_columns(columns, rows, table);
  const auto number = [&](const std::string& name,
                          const std::function<std::string(const Row&)>& cell) {
    add(columns, rows, name, cell, true, false);
  };
  switch (table) {
    case Table::fidelity:
      add_fidelity_columns(columns, rows, results);
      break;
    case Table::perplexity:
      number("perplexity", [](const Row& r) { return significant(r.result->perplexity->token); });
      number("±", [](const Row& r) { return significant(r.result->perplexity->token_stderr); });
      number("NLL",
             [](const Row& r) { return fmt::format("{:.4f}", r.result->perplexity->nll_mean); });
      if (std::any_of(rows.begin(), rows.end(),
                      [&](const Row& r) { return nll_over_float32(results, *r.result); })) {
        number("over float32", [&](const Row& r) {
          const auto difference = nll_over_float32(results, *r.result);
          return difference ? fmt::format("{:+.4f}", *difference) : none;
        });
      }
      number("per word", [](const Row& r) { return significant(r.result->perplexity->word); });
      number("bits/byte", [](const Row& r) {
        const auto& bits = r.result->perplexity->bits_per_byte;
        return bits ? fmt::format("{:.3f}", *bits) : none;
      });
      number("scored", [](const Row& r) {
        const PerplexityResult& p = *r.result->perplexity;
        return p.stride == 1 ? std::to_string(p.scored)
                             : fmt::format("{} (1 in {})", p.scored, p.stride);
      });
      number("tokens/s", [](const Row& r) {
        return fmt::format("{:.0f}", static_cast<double>(r.result->perplexity->scored) /
                                         r.result->scoring_seconds);
      });
      break;
    case Table::latency:
      number("cached", [](const Row& r) {
        const auto [most, fewest] = std::pair(r.latency->cache_entries, r.latency->fewest_entries);
        return fewest == most ? std::to_string(most) : fmt::format("{}-{}", fewest, most);
      });
      number("p50 ms", [](const Row& r) { return fmt::format("{:.3f}", r.latency->p50_ms); });
      number("p90 ms", [](const Row& r) { return fmt::format("{:.3f}", r.latency->p90_ms); });
      number("p99 ms", [](const Row& r) { return fmt::format("{:.3f}", r.latency->p99_ms); });
      number("max ms", [](const Row& r) { return fmt::format("{:.3f}", r.latency->max_ms); });
      number("samples", [](const Row& r) { return std::to_string(r.latency->samples); });
      break;
    case Table::memory:
      number("cached",
             [](const Row& r) { return std::to_string(r.result->memory->cache_entries); });
      number("KV by formula",
             [](const Row& r) { return format_bytes(r.result->memory->kv_bytes_formula); });
      number("KV held", [](const Row& r) { return format_bytes(r.result->memory->kv_bytes_held); });
      number("weights", [](const Row& r) { return format_bytes(r.result->memory->weight_bytes); });
      number("peak of process",
             [](const Row& r) { return format_bytes(r.result->memory->peak_rss_bytes); });
      break;
  }
  return columns;
}

bool is_constant(const Column& column) {
  return std::all_of(column.cells.begin(), column.cells.end(),
                     [&](const std::string& cell) { return cell == column.cells.front(); });
}

/// RFC 4180.
std::string quoted(const std::string& text) {
  if (text.find_first_of(",\"\r\n") == std::string::npos) return text;
  std::string result = "\"";
  for (const char c : text) {
    if (c == '"') result += '"';
    result += c;
  }
  return result + "\"";
}

std::string csv(const Results& results, Table table) {
  Columns columns;
  const std::vector<Row> rows = rows_of(results, table);
  const auto text = [&](const std::string& name,
                        const std::function<std::string(const Row&)>& cell) {
    add(columns, rows, name, cell);
  };
  const auto number = [&](const std::string& name,
                          const std::function<std::optional<double>(const Row&)>& cell) {
    add(columns, rows, name, [cell](const Row& r) {
      const std::optional<double> value = cell(r);
      return value && std::isfinite(*value) ? fmt::format("{}", *value) : std::string();
    });
  };
  text("id", [](const Row& r) { return r.result->cell.id; });
  text("model", [](const Row& r) { return r.result->cell.model.path.string(); });
  text("dataset", [](const Row& r) {
    const DatasetSpec& dataset = r.result->cell.dataset;
    std::vector<std::string> paths;
    for (const auto& path : dataset.texts) paths.push_back(path.string());
    return paths.empty() ? dataset.tokens_file.string() : fmt::format("{}", fmt::join(paths, ";"));
  });
  text("bos", [](const Row& r) { return to_string(r.result->cell.dataset.bos); });
  text("bos_token", [](const Row& r) { return r.result->cell.dataset.bos_token; });
  text("special_tokens",
       [](const Row& r) { return to_string(r.result->cell.dataset.special_tokens); });
  text("reset", [](const Row& r) {
    const auto& reset = r.result->cell.dataset.reset;
    return reset ? to_string(*reset) : std::string();
  });
  text("policy", [](const Row& r) { return r.result->cell.policy.name; });
  text("label", [](const Row& r) { return r.result->policy_label; });
  text("positions", [](const Row& r) { return positions_label(r.result->cell.policy); });
  text("engine", [](const Row& r) { return r.result->cell.engine; });
  text("dtype", [](const Row& r) { return r.result->cell.dtype; });
  text("device", [](const Row& r) { return r.result->cell.device; });
  text("threads", [](const Row& r) { return std::to_string(r.result->threads); });
  switch (table) {
    case Table::fidelity: {
      using Value = std::optional<double>;
      const auto divergence = [&](const std::string& name, double DivergenceResult::*field) {
        number(name, [field](const Row& r) {
          return r.result->divergence ? Value((*r.result->divergence).*field) : std::nullopt;
        });
      };
      const auto collapse = [&](const std::string& name,
                                const std::function<std::string(const CollapseResult&)>& cell) {
        text(name, [cell](const Row& r) {
          return r.result->collapse ? cell(*r.result->collapse) : std::string();
        });
      };
      text("divergence_reference", [](const Row& r) {
        return r.result->divergence ? r.result->divergence->reference : std::string();
      });
      divergence("kl_mean", &DivergenceResult::kl_mean);
      divergence("kl_stderr", &DivergenceResult::kl_stderr);
      divergence("kl_max", &DivergenceResult::kl_max);
      divergence("same_top", &DivergenceResult::same_top);
      divergence("same_top_stderr", &DivergenceResult::same_top_stderr);
      number("divergence_tokens", [](const Row& r) {
        return r.result->divergence ? Value(r.result->divergence->tokens) : std::nullopt;
      });
      collapse("collapse_reference", [](const CollapseResult& c) { return c.reference; });
      collapse("collapse_window", [](const CollapseResult& c) { return std::to_string(c.window); });
      collapse("collapse_margin",
               [](const CollapseResult& c) { return fmt::format("{}", c.margin); });
      collapse("collapse_onset", [](const CollapseResult& c) {
        return c.onset ? std::to_string(*c.onset) : std::string("none");
      });
      number("evicted_mass", [](const Row& r) {
        return r.result->evicted_mass ? Value(r.result->evicted_mass->mean) : std::nullopt;
      });
      number("evicted_mass_tokens", [](const Row& r) {
        return r.result->evicted_mass ? Value(r.result->evicted_mass->tokens) : std::nullopt;
      });
      break;
    }
    case Table::perplexity:
      number("perplexity", [](const Row& r) { return r.result->perplexity->token; });
      number("perplexity_stderr", [](const Row& r) { return r.result->perplexity->token_stderr; });
      number("nll_mean", [](const Row& r) { return r.result->perplexity->nll_mean; });
      number("nll_stderr", [](const Row& r) { return r.result->perplexity->nll_stderr; });
      number("nll_over_float32",
             [&](const Row& r) { return nll_over_float32(results, *r.result); });
      number("word_perplexity", [](const Row& r) { return r.result->perplexity->word; });
      number("byte_perplexity", [](const Row& r) { return r.result->perplexity->byte; });
      number("bits_per_byte", [](const Row& r) { return r.result->perplexity->bits_per_byte; });
      number("scored",
             [](const Row& r) { return static_cast<double>(r.result->perplexity->scored); });
      number("stride",
             [](const Row& r) { return static_cast<double>(r.result->perplexity->stride); });
      number("scoring_seconds", [](const Row& r) { return r.result->scoring_seconds; });
      break;
    case Table::latency:
      number("cache_entries",
             [](const Row& r) { return static_cast<double>(r.latency->cache_entries); });
      number("fewest_entries",
             [](const Row& r) { return static_cast<double>(r.latency->fewest_entries); });
      number("p50_ms", [](const Row& r) { return r.latency->p50_ms; });
      number("p90_ms", [](const Row& r) { return r.latency->p90_ms; });
      number("p99_ms", [](const Row& r) { return r.latency->p99_ms; });
      number("max_ms", [](const Row& r) { return r.latency->max_ms; });
      number("samples", [](const Row& r) { return static_cast<double>(r.latency->samples); });
      break;
    case Table::memory:
      text("cache_entries",
           [](const Row& r) { return std::to_string(r.result->memory->cache_entries); });
      text("kv_bytes_formula",
           [](const Row& r) { return std::to_string(r.result->memory->kv_bytes_formula); });
      text("kv_bytes_held",
           [](const Row& r) { return std::to_string(r.result->memory->kv_bytes_held); });
      text("weight_bytes",
           [](const Row& r) { return std::to_string(r.result->memory->weight_bytes); });
      text("peak_rss_bytes",
           [](const Row& r) { return std::to_string(r.result->memory->peak_rss_bytes); });
      break;
  }
  std::string out;
  const auto line = [&](const std::function<const std::string&(const Column&)>& cell) {
    for (size_t c = 0; c < columns.size(); ++c)
      out += (c > 0 ? "," : "") + quoted(cell(columns[c]));
    out += "\n";
  };
  line([](const Column& column) -> const std::string& { return column.name; });
  for (size_t r = 0; r < rows.size(); ++r) {
    line([r](const Column& column) -> const std::string& { return column.cells[r]; });
  }
  return out;
}

}  // namespace

std::string to_string(Table table) {
  switch (table) {
    case Table::perplexity:
      return "perplexity";
    case Table::fidelity:
      return "fidelity";
    case Table::latency:
      return "latency";
    case Table::memory:
      return "memory";
  }
  return "";
}

std::string title(Table table) {
  switch (table) {
    case Table::perplexity:
      return "Perplexity";
    case Table::fidelity:
      return "Fidelity to the reference, and evicted attention";
    case Table::latency:
      return "Latency of one decode step at a full cache (recompute: of one pass)";
    case Table::memory:
      return "Memory";
  }
  return "";
}

std::vector<std::string> common_facts(const Results& results) {
  std::vector<std::string> common;
  for (const Table table : all_tables) {
    for (const Column& column : columns_of(results, table)) {
      if (!column.foldable || column.cells.empty() || !is_constant(column)) continue;
      const std::string fact = fmt::format("{} {}", column.name, column.cells.front());
      if (std::find(common.begin(), common.end(), fact) == common.end()) common.push_back(fact);
    }
  }
  return common;
}

std::string format_table(const Results& results, Table table, ReportFormat format) {
  if (format == ReportFormat::csv) return csv(results, table);
  Columns shown;
  for (Column& column : columns_of(results, table)) {
    const bool folded = column.foldable && !column.cells.empty() && is_constant(column);
    if (!folded) shown.push_back(std::move(column));
  }
  if (format == ReportFormat::html) return render_html(shown);
  return render(shown, format == ReportFormat::markdown);
}

std::string format_report(const Results& results, ReportFormat format) {
  std::string text;
  if (format == ReportFormat::csv) {
    for (const Table table : all_tables) {
      if (rows_of(results, table).empty()) continue;
      text += (text.empty() ? "" : "\n") + csv(results, table);
    }
    return text;
  }
  const bool markdown = format == ReportFormat::markdown;
  // What every row of every table has in common, said once.
  const std::vector<std::string> common = common_facts(results);
  text += fmt::format("{}{}{}{}\n", markdown ? "# " : "", results.info.name,
                      common.empty() ? "" : ": ", fmt::join(common, ", "));
  const auto machine = results.info.machine.find("cpu");
  if (machine != results.info.machine.end()) {
    text +=
        fmt::format("{}{}, {} cores, {}\n", markdown ? "\n" : "", machine->second,
                    results.info.machine.contains("cores") ? results.info.machine.at("cores") : "?",
                    results.info.started);
  }
  for (const Table table : all_tables) {
    const std::string body = format_table(results, table, format);
    if (body.empty()) continue;
    text += fmt::format("\n{}{}\n{}{}", markdown ? "## " : "", title(table), markdown ? "\n" : "",
                        body);
  }
  bool first = true;
  for (const CellResult& cell : results.cells) {
    if (cell.error.empty()) continue;
    if (first) text += fmt::format("\n{}Failed\n{}", markdown ? "## " : "", markdown ? "\n" : "");
    first = false;
    text += fmt::format("{}{}: {}\n", markdown ? "- " : "  ", cell.cell.id, cell.error);
  }
  for (const std::string& warning : results.info.warnings) {
    text += fmt::format("\n{}warning: {}\n", markdown ? "> " : "", warning);
  }
  return text;
}

void write_tables(const Results& results, const std::filesystem::path& folder) {
  for (const Table table : all_tables) {
    write_file_atomically(folder / (to_string(table) + ".csv"),
                          format_table(results, table, ReportFormat::csv));
  }
}

}  // namespace sinkbench
