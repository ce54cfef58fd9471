#include "reports/tables.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <tuple>

#include "base/file.h"
#include "reports/collapse.h"
#include "reports/spread.h"
#include "reports/statistics.h"
#include "reports/text_table.h"

namespace sinkbench {

namespace {

/// One row of a table: a cell, and which of its timings or of a task's parts.
struct Row {
  const CellResult* result;
  const LatencyResult* latency = nullptr;
  const AnswerBin* answers = nullptr;
};

/// `parts`: also those of a task's questions.
std::vector<Row> rows_of(const Results& results, Table table, bool parts = false) {
  std::vector<Row> rows;
  for (const CellResult& result : results.cells) {
    // That of a task is mostly of what is drawn at random.
    if (table == Table::perplexity && result.perplexity && !result.cell.dataset.is_task()) {
      rows.push_back({&result});
    }
    if (table == Table::recall) {
      for (const AnswerBin& bin : result.answers) {
        if (bin.of.empty() || parts) rows.push_back({&result, nullptr, &bin});
      }
    }
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

/// Over layers and heads.
double to_sink_logit(const EvictedMassResult& mass) {
  std::vector<double> layers;
  for (const std::vector<double>& heads : mass.to_sink_logit) layers.push_back(mean(heads));
  return mean(layers);
}

/// "512", or where heads differ "830, mean 510.5".
std::string cached(const MemoryResult& memory) {
  const std::string most = std::to_string(memory.cache_entries);
  if (memory.mean_entries == static_cast<double>(memory.cache_entries)) return most;
  return fmt::format("{}, mean {}", most, significant(memory.mean_entries));
}

using CellText = std::function<std::string(const CellResult&)>;

constexpr const char* bound_mark = "†";
/// The column of perplexities that may be held against each other where strides differ.
constexpr const char* same_tokens = "same tokens";

/// What a row is of: left out of the table where all rows of all tables have the same.
void add_key(Columns& columns, const std::vector<Row>& rows, const std::string& name,
             const CellText& text, bool number = false, bool foldable = true) {
  add(
      columns, rows, name, [&](const Row& r) { return text(*r.result); }, number, foldable);
  columns.back().key = true;
}

/// The cell of the same results that differs in its dtype alone, which is float32; or null.
const CellResult* in_float32(const Results& results, const CellResult& cell) {
  if (cell.cell.dtype == "float32" || !cell.perplexity) return nullptr;
  const auto key = [](const CellResult& r) {
    return std::tuple(r.model_sha256, r.dataset_sha256, to_string(r.cell.dataset.bos),
                      r.cell.policy.name, r.policy_label, positions_label(r.cell.policy),
                      r.perplexity->scored, r.perplexity->stride, storage_label(r.cell.kv));
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
    return named_label(other.cell.policy.name, other.policy_label);
  }
  return id;
}

/// Where the cell's NLL leaves the reference's: a place, "none", or "" where nothing is known as
/// the stream is too short.
std::string onset_text(const Results& results, const CellResult& cell) {
  if (cell.collapse->onset) return std::to_string(*cell.collapse->onset);
  return can_collapse(results, cell) ? "none" : "";
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
    number("KL", divergence, [](const CellResult& r) { return fixed(r.divergence->kl_mean, 4); });
    number("±", divergence, [](const CellResult& r) { return fixed(r.divergence->kl_stderr, 4); });
    number("largest", divergence,
           [](const CellResult& r) { return fixed(r.divergence->kl_max, 2); });
    number("same top", divergence,
           [](const CellResult& r) { return percent(r.divergence->same_top); });
    number("±", divergence,
           [](const CellResult& r) { return percent(r.divergence->same_top_stderr); });
    number("tokens", divergence,
           [](const CellResult& r) { return std::to_string(r.divergence->tokens); });
  }
  if (any(collapse)) {
    number("collapse", collapse, [&](const CellResult& r) -> std::string {
      const std::string text = onset_text(results, r);
      return text.empty() ? none : text;
    });
  }
  if (any(evicted)) {
    number("evicted mass", evicted,
           [](const CellResult& r) { return percent(r.evicted_mass->mean); });
    const auto error = [](const CellResult& r) {
      return r.evicted_mass && !r.evicted_mass->output_error.empty();
    };
    if (any(error)) {
      number("output error", error,
             [](const CellResult& r) { return percent(mean(r.evicted_mass->output_error)); });
    }
    const auto logit = [](const CellResult& r) {
      return r.evicted_mass && !r.evicted_mass->to_sink_logit.empty();
    };
    if (any(logit)) {
      number("to sink logit", logit,
             [](const CellResult& r) { return percent(to_sink_logit(*r.evicted_mass)); });
    }
  }
}

/// Parameters of policies that a cache's label doesn't tell and that differ between cells.
std::set<std::string> untold_parameters(const CellList& cells) {
  std::map<std::pair<std::string, std::string>, const PolicyArguments*> first;
  std::set<std::string> names;
  for (const CellResult* cell : cells) {
    const PolicySpec& policy = cell->cell.policy;
    const PolicyArguments& other =
        *first.try_emplace({policy.name, cell->cache_label}, &policy.arguments).first->second;
    for (const auto& [name, value] : policy.arguments) {
      const auto it = other.find(name);
      if (it == other.end() || it->second != value) names.insert(name);
    }
    for (const auto& [name, value] : other) {
      if (!policy.arguments.contains(name)) names.insert(name);
    }
  }
  return names;
}

/// A column for what still tells rows apart, where there are such that nothing else does.
void add_untold(Columns& columns, const std::vector<Row>& rows) {
  const auto settings = [&](size_t r) {
    std::vector<std::string> texts;
    for (const Column& column : columns) texts.push_back(column.cells[r]);
    return texts;
  };
  const std::pair<const char*, CellText> more[] = {
      {"token ids", [](const CellResult& r) { return r.dataset_sha256.substr(0, 7); }},
      {"cell", [](const CellResult& r) { return r.cell.id; }}};
  for (const auto& [name, text] : more) {
    std::map<std::vector<std::string>, const CellResult*> seen;
    bool tells = false;
    for (size_t r = 0; r < rows.size(); ++r) {
      const CellResult* other = seen.try_emplace(settings(r), rows[r].result).first->second;
      tells |= other != rows[r].result && text(*other) != text(*rows[r].result);
    }
    if (tells) add_key(columns, rows, name, text, false, false);
  }
}

void add_setting_columns(Columns& columns, const std::vector<Row>& rows, const CellList& cells,
                         Table table) {
  const Names names(cells);
  const auto key = [&](const std::string& name, const CellText& text, bool number = false,
                       bool foldable = true) {
    add_key(columns, rows, name, text, number, foldable);
  };
  const auto any = [&](auto is) {
    return std::any_of(cells.begin(), cells.end(), [&](const CellResult* r) { return is(*r); });
  };
  const auto where_it_differs = [&](const std::string& name, const CellText& text, bool number) {
    if (any([&](const CellResult& r) { return text(r) != text(*cells.front()); }))
      key(name, text, number);
  };
  key("model", [&](const CellResult& r) { return names.model(r); });
  key("dataset", [&](const CellResult& r) { return names.dataset(r); });
  where_it_differs("stream", stream_length, true);
  key("bos", [](const CellResult& r) {
    const DatasetSpec& dataset = r.cell.dataset;
    return to_string(dataset.bos) + (dataset.bos_token.empty() ? "" : " " + dataset.bos_token);
  });
  if (any([](const CellResult& r) {
        return r.cell.dataset.special_tokens != SpecialTokens::parse;
      })) {
    key("special tokens",
        [](const CellResult& r) { return to_string(r.cell.dataset.special_tokens); });
  }
  if (any([](const CellResult& r) { return r.cell.dataset.reset.has_value(); })) {
    key("reset", [](const CellResult& r) {
      return r.cell.dataset.reset ? to_string(*r.cell.dataset.reset) : none;
    });
  }
  key("dtype", [](const CellResult& r) { return r.cell.dtype; });
  if (any([](const CellResult& r) { return !r.cell.kv.is_native(); })) {
    key("kv", [](const CellResult& r) { return storage_label(r.cell.kv); });
  }
  key("device", [](const CellResult& r) { return r.cell.device; });
  key(
      "threads", [](const CellResult& r) { return std::to_string(r.threads); }, true);
  const CellText engine = [](const CellResult& r) { return r.cell.engine; };
  if (table == Table::perplexity)
    key("engine", engine);
  else
    where_it_differs("engine", engine, false);
  key("positions", [](const CellResult& r) { return positions_label(r.cell.policy); });
  key(
      "policy",
      [](const CellResult& r) {
        return r.cell.policy.name + (bound_of(r.cell.policy).empty() ? "" : bound_mark);
      },
      false, false);
  key(
      "cache", [](const CellResult& r) { return r.cache_label; }, true, false);
  for (const std::string& name : untold_parameters(cells)) {
    key(
        name,
        [&](const CellResult& r) {
          const auto it = r.cell.policy.arguments.find(name);
          return it != r.cell.policy.arguments.end() ? to_string(it->second) : none;
        },
        true, false);
  }
  add_untold(columns, rows);
}

Columns columns_of(const Results& results, Table table) {
  const std::vector<Row> rows = rows_of(results, table);
  Columns columns;
  add_setting_columns(columns, rows, measured_cells(results), table);
  const auto number = [&](const std::string& name,
                          const std::function<std::string(const Row&)>& cell) {
    add(columns, rows, name, cell, true, false);
  };
  switch (table) {
    case Table::recall: {
      number("answers", [](const Row& r) { return std::to_string(r.answers->answers); });
      number("right", [](const Row& r) { return percent(r.answers->accuracy); });
      number("95 %", [](const Row& r) {
        return fmt::format("{:.0f}-{:.0f} %", 100 * r.answers->low, 100 * r.answers->high);
      });
      number("log-probability", [](const Row& r) { return fixed(r.answers->log_probability, 3); });
      number("±", [](const Row& r) { return fixed(r.answers->error, 3); });
      const bool choices = std::any_of(rows.begin(), rows.end(),
                                       [](const Row& r) { return r.answers->chosen.has_value(); });
      if (choices) {
        number("best choice",
               [](const Row& r) { return r.answers->chosen ? percent(*r.answers->chosen) : none; });
      }
      number("fact held", [](const Row& r) {
        return r.answers->held_all ? percent(*r.answers->held_all) : none;
      });
      break;
    }
    case Table::fidelity:
      add_fidelity_columns(columns, rows, results);
      break;
    case Table::perplexity:
      number("perplexity", [](const Row& r) { return significant(r.result->perplexity->token); });
      number("±", [](const Row& r) { return significant(r.result->perplexity->token_stderr); });
      number("NLL", [](const Row& r) { return fixed(r.result->perplexity->nll_mean, 4); });
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
        return bits ? fixed(*bits, 3) : none;
      });
      number("scored", [](const Row& r) {
        const PerplexityResult& p = *r.result->perplexity;
        return p.stride == 1 ? std::to_string(p.scored)
                             : fmt::format("{} (1 in {})", p.scored, p.stride);
      });
      if (std::any_of(rows.begin(), rows.end(), [](const Row& r) { return r.result->common; })) {
        number(same_tokens, [](const Row& r) {
          return r.result->common ? significant(std::exp(r.result->common->nll_mean)) : none;
        });
      }
      number("tokens/s", [](const Row& r) {
        return fixed(static_cast<double>(r.result->perplexity->scored) / r.result->scoring_seconds,
                     0);
      });
      break;
    case Table::latency:
      number("cached", [](const Row& r) {
        const auto [most, fewest] = std::pair(r.latency->cache_entries, r.latency->fewest_entries);
        return fewest == most ? std::to_string(most) : fmt::format("{}-{}", fewest, most);
      });
      columns.back().key = true;
      number("p50 ms", [](const Row& r) { return fixed(r.latency->p50_ms, 3); });
      number("p90 ms", [](const Row& r) { return fixed(r.latency->p90_ms, 3); });
      number("p99 ms", [](const Row& r) { return fixed(r.latency->p99_ms, 3); });
      number("max ms", [](const Row& r) { return fixed(r.latency->max_ms, 3); });
      number("samples", [](const Row& r) { return std::to_string(r.latency->samples); });
      if (std::any_of(rows.begin(), rows.end(),
                      [](const Row& r) { return r.latency->by_events; })) {
        add(
            columns, rows, "steps timed by",
            [](const Row& r) { return r.latency->by_events ? "the device's events" : "the clock"; },
            /*number=*/false);
        columns.back().key = true;
      }
      break;
    case Table::memory:
      number("cached", [](const Row& r) { return cached(*r.result->memory); });
      number("KV by formula",
             [](const Row& r) { return format_bytes(r.result->memory->kv_bytes_formula); });
      number("KV held", [](const Row& r) { return format_bytes(r.result->memory->kv_bytes_held); });
      number("weights", [](const Row& r) { return format_bytes(r.result->memory->weight_bytes); });
      number("peak of process",
             [](const Row& r) { return format_bytes(r.result->memory->peak_rss_bytes); });
      if (std::any_of(rows.begin(), rows.end(),
                      [](const Row& r) { return r.result->memory->device_peak_bytes > 0; })) {
        const auto of_device = [&](const std::string& name, int64_t MemoryResult::*field) {
          number(name, [field](const Row& r) {
            const int64_t bytes = (*r.result->memory).*field;
            return bytes > 0 ? format_bytes(bytes) : std::string(none);
          });
        };
        of_device("held on device", &MemoryResult::device_held_bytes);
        of_device("peak on device", &MemoryResult::device_peak_bytes);
      }
      break;
  }
  return columns;
}

/// All tables' columns: those that have the same in every row of every table are left out, and said
/// in `facts`.
struct Tables {
  std::map<Table, Columns> columns;
  std::vector<std::string> facts;
};

Tables tables_of(const Results& results) {
  Tables tables;
  std::map<std::string, std::set<std::string>> values;
  for (const Table table : all_tables) {
    for (const Column& column : tables.columns[table] = columns_of(results, table)) {
      values[column.name].insert(column.cells.begin(), column.cells.end());
    }
  }
  const auto folded = [&](const Column& column) {
    return column.foldable && values[column.name].size() == 1;
  };
  for (const Table table : all_tables) {
    Columns& columns = tables.columns[table];
    for (const Column& column : columns) {
      if (!folded(column) || column.cells.empty()) continue;
      const std::string fact = fmt::format("{} {}", column.name, column.cells.front());
      if (std::find(tables.facts.begin(), tables.facts.end(), fact) == tables.facts.end())
        tables.facts.push_back(fact);
    }
    std::erase_if(columns, folded);
  }
  return tables;
}

std::string format_columns(const Columns& columns, Table table, ReportFormat format, size_t width) {
  if (format == ReportFormat::html) return render_html(columns, html_escaped(title(table)));
  return render(columns, format == ReportFormat::markdown, width);
}

std::string csv(const Results& results, Table table) {
  using Value = std::optional<double>;
  Columns columns;
  const std::vector<Row> rows = rows_of(results, table, /*parts=*/true);
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
    if (dataset.is_task()) paths.insert(paths.begin(), task_label(dataset.task));
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
  text("kv", [](const Row& r) { return storage_label(r.result->cell.kv); });
  text("device", [](const Row& r) { return r.result->cell.device; });
  text("threads", [](const Row& r) { return std::to_string(r.result->threads); });
  switch (table) {
    case Table::recall: {
      text("part", [](const Row& r) {
        std::vector<std::string> part;
        for (const auto& [name, value] : r.answers->of) {
          part.push_back(fmt::format("{}={}", name, value));
        }
        return fmt::format("{}", fmt::join(part, " "));
      });
      number("least_distance", [](const Row& r) { return static_cast<double>(r.answers->least); });
      number("most_distance", [](const Row& r) { return static_cast<double>(r.answers->most); });
      number("answers", [](const Row& r) { return static_cast<double>(r.answers->answers); });
      number("groups", [](const Row& r) { return static_cast<double>(r.answers->groups); });
      number("accuracy", [](const Row& r) { return r.answers->accuracy; });
      number("accuracy_low", [](const Row& r) { return r.answers->low; });
      number("accuracy_high", [](const Row& r) { return r.answers->high; });
      number("log_probability", [](const Row& r) { return r.answers->log_probability; });
      number("log_probability_stderr", [](const Row& r) { return r.answers->error; });
      number("chosen", [](const Row& r) { return r.answers->chosen; });
      number("held_some", [](const Row& r) { return r.answers->held_some; });
      number("held_all", [](const Row& r) { return r.answers->held_all; });
      break;
    }
    case Table::fidelity: {
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
      text("collapse_onset", [&](const Row& r) {
        return r.result->collapse ? onset_text(results, *r.result) : std::string();
      });
      number("evicted_mass", [](const Row& r) {
        return r.result->evicted_mass ? Value(r.result->evicted_mass->mean) : std::nullopt;
      });
      number("evicted_mass_tokens", [](const Row& r) {
        return r.result->evicted_mass ? Value(r.result->evicted_mass->tokens) : std::nullopt;
      });
      number("output_error", [](const Row& r) {
        const bool there = r.result->evicted_mass && !r.result->evicted_mass->output_error.empty();
        return there ? Value(mean(r.result->evicted_mass->output_error)) : std::nullopt;
      });
      number("to_sink_logit", [](const Row& r) {
        const bool there = r.result->evicted_mass && !r.result->evicted_mass->to_sink_logit.empty();
        return there ? Value(to_sink_logit(*r.result->evicted_mass)) : std::nullopt;
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
      number("common_perplexity", [](const Row& r) {
        return r.result->common ? Value(std::exp(r.result->common->nll_mean)) : std::nullopt;
      });
      number("common_scored", [](const Row& r) {
        return r.result->common ? Value(r.result->common->scored) : std::nullopt;
      });
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
      text("timed_by",
           [](const Row& r) { return std::string(r.latency->by_events ? "events" : "clock"); });
      break;
    case Table::memory:
      text("cache_entries",
           [](const Row& r) { return std::to_string(r.result->memory->cache_entries); });
      number("mean_entries", [](const Row& r) { return r.result->memory->mean_entries; });
      text("kv_bytes_formula",
           [](const Row& r) { return std::to_string(r.result->memory->kv_bytes_formula); });
      text("kv_bytes_held",
           [](const Row& r) { return std::to_string(r.result->memory->kv_bytes_held); });
      text("weight_bytes",
           [](const Row& r) { return std::to_string(r.result->memory->weight_bytes); });
      text("peak_rss_bytes",
           [](const Row& r) { return std::to_string(r.result->memory->peak_rss_bytes); });
      text("device_held_bytes",
           [](const Row& r) { return std::to_string(r.result->memory->device_held_bytes); });
      text("device_peak_bytes",
           [](const Row& r) { return std::to_string(r.result->memory->device_peak_bytes); });
      break;
  }
  std::string out;
  const auto line = [&](const std::function<const std::string&(const Column&)>& cell) {
    for (size_t c = 0; c < columns.size(); ++c)
      out += (c > 0 ? "," : "") + csv_quoted(cell(columns[c]));
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
    case Table::recall:
      return "recall";
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
    case Table::recall:
      return "Recall (of all questions; `sinkbench recall` has them by distance)";
    case Table::fidelity:
      return "Fidelity to the reference, and evicted attention";
    case Table::latency:
      return "Latency of one decode step at a full cache (recompute: of one pass)";
    case Table::memory:
      return "Memory";
  }
  return "";
}

std::string stream_length(const CellResult& cell) {
  if (cell.cell.dataset.is_task()) return none;
  const auto& tokens = cell.cell.dataset.tokens;
  return tokens ? fmt::format("{} tokens", *tokens) : "whole text";
}

std::vector<std::string> common_facts(const Results& results) {
  return tables_of(results).facts;
}

std::string format_table(const Results& results, Table table, ReportFormat format, size_t width) {
  if (format == ReportFormat::csv) return csv(results, table);
  return format_columns(tables_of(results).columns[table], table, format, width);
}

std::string html_table(const Results& results, Table table, const std::string& caption_html) {
  return render_html(tables_of(results).columns[table], caption_html);
}

std::string format_report(const Results& results, ReportFormat format, size_t width) {
  std::string text;
  if (format == ReportFormat::csv) {
    for (const Table table : all_tables) {
      if (rows_of(results, table).empty()) continue;
      text += (text.empty() ? "" : "\n") + csv(results, table);
    }
    return text;
  }
  const bool markdown = format == ReportFormat::markdown;
  const RunInfo& info = results.info;
  const Tables tables = tables_of(results);
  // What every row of every table has in common, said once.
  const std::string common = printable(fmt::format("{}", fmt::join(tables.facts, ", ")));
  text += markdown ? fmt::format("# {}\n", printable(info.name))
                   : printable(info.name) + (common.empty() ? "" : ": ");
  text +=
      (markdown && !common.empty() ? "\n" : "") + common + (markdown && common.empty() ? "" : "\n");
  const auto machine = info.machine.find("cpu");
  if (machine != info.machine.end()) {
    const auto cores = info.machine.find("cores"), card = info.machine.find("gpu");
    const std::string gpu = card != info.machine.end() ? printable(card->second) + ", " : "";
    text +=
        fmt::format("{}{}, {}, {}\n", markdown ? "\n" : "", printable(machine->second),
                    counted(cores != info.machine.end() ? printable(cores->second) : "?", "core"),
                    gpu + printable(info.started));
  }
  bool errors = false, same = false;
  const auto has = [](const Columns& columns, const char* name) {
    return std::any_of(columns.begin(), columns.end(),
                       [&](const Column& column) { return column.name == name; });
  };
  for (const Table table : all_tables) {
    const Columns& columns = tables.columns.at(table);
    const std::string body = format_columns(columns, table, format, width);
    if (body.empty()) continue;
    text += fmt::format("\n{}{}\n{}{}", markdown ? "## " : "", title(table), markdown ? "\n" : "",
                        body);
    errors |= has(columns, "±");
    same |= has(columns, same_tokens);
  }
  if (const std::string body = render(spread_table(results), markdown, width); !body.empty()) {
    text += fmt::format("\n{}{}\n{}{}", markdown ? "## " : "", spread_title, markdown ? "\n" : "",
                        body);
  }
  if (errors) text += "\n±: one standard error of the mean, neighbouring tokens being correlated\n";
  if (same) {
    text += fmt::format("\n{}: perplexity over the tokens that all policies scored\n", same_tokens);
  }
  std::map<std::string, std::string> bounds;
  for (const CellResult& cell : results.cells) {
    const std::string bound = bound_of(cell.cell.policy);
    if (cell.error.empty() && !bound.empty()) bounds[cell.cell.policy.name] = bound;
  }
  for (const auto& [name, bound] : bounds) {
    text += fmt::format("\n{}: an upper bound and no policy to be ranked: {} {}\n", bound_mark,
                        name, bound);
  }
  bool first = true;
  for (const CellResult& cell : results.cells) {
    if (cell.error.empty()) continue;
    if (first) text += fmt::format("\n{}Failed\n{}", markdown ? "## " : "", markdown ? "\n" : "");
    first = false;
    text += fmt::format("{}{}: {}\n", markdown ? "- " : "  ", printable(cell.cell.id),
                        printable(cell.error));
  }
  for (const std::string& warning : info.warnings) {
    text += fmt::format("\n{}warning: {}\n", markdown ? "> " : "", printable(warning));
  }
  return text;
}

void write_tables(const Results& results, const std::filesystem::path& folder) {
  if (!spreads(results).empty()) write_file_atomically(folder / "spread.csv", spread_csv(results));
  for (const Table table : all_tables) {
    write_file_atomically(folder / (to_string(table) + ".csv"),
                          format_table(results, table, ReportFormat::csv));
  }
}

}  // namespace sinkbench
