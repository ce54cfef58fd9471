#include "reports/decisions.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>

#include "base/error.h"
#include "eval/results/decision_file.h"
#include "policies/registry.h"
#include "reports/gnuplot.h"
#include "reports/text_table.h"

namespace sinkbench {
namespace {

namespace fs = std::filesystem;

constexpr int64_t first_tokens = 4;

/// Where each piece of the stream ends: the last query of those before it.
int64_t piece_end(const CellResult& cell, int64_t tokens, int64_t place) {
  if (!cell.cell.dataset.reset) return tokens - 1;
  // A piece of n tokens feeds all but its last.
  const int64_t piece = cell.cell.dataset.reset->tokens;
  return std::min(tokens - 1, place / piece * piece + piece - 2);
}

/// The tokens that a cell fed, the last of pieces among them, which are only scored.
int64_t tokens_of(const CellResult& cell) {
  const int64_t stride = cell.perplexity->stride;
  return cell.perplexity->scored * stride + (cell.pieces - 1) + (stride > 1 ? stride : 0);
}

/// Of these layers the policy decides nothing.
bool is_local(const CellResult& cell, int64_t layer) {
  return std::ranges::count(cell.local_layers, layer) > 0;
}

HeldCache held_by_index(const CellResult& cell, const IndexPolicy& policy, int64_t layers) {
  HeldCache cache{.cell = &cell, .tokens = tokens_of(cell), .heads = {}};
  const int64_t kinds = policy.differs_by_layer() ? layers : 1;
  for (int64_t layer = 0; layer < kinds; ++layer) {
    if (kinds > 1 && is_local(cell, layer)) {
      cache.heads.emplace_back();
      continue;
    }
    LastSeen last(cache.tokens);
    for (int64_t t = 0; t < cache.tokens; ++t) last[t] = t;
    View before;
    for (int64_t t = 0; t < cache.tokens; ++t) {
      const int64_t piece = cell.cell.dataset.reset ? t / cell.cell.dataset.reset->tokens *
                                                          cell.cell.dataset.reset->tokens
                                                    : 0;
      for (const Range& range : policy.view(layer, t - piece)) {
        std::fill(last.begin() + piece + range.begin, last.begin() + piece + range.end, t);
      }
    }
    for (int64_t p = 0; p < cache.tokens; ++p) {
      if (last[p] < piece_end(cell, cache.tokens, p)) ++cache.evictions;
    }
    cache.heads.push_back({std::move(last)});
  }
  return cache;
}

HeldCache held_by_log(const CellResult& cell, const fs::path& file) {
  const std::vector<EvictionRecord> records = read_decision_file(file);
  HeldCache cache{.cell = &cell, .tokens = tokens_of(cell), .heads = {}};
  int64_t layers = 0, heads = 0;
  for (const EvictionRecord& record : records) {
    layers = std::max(layers, record.layer + 1);
    heads = std::max(heads, record.head + 1);
    const bool inside = record.layer >= 0 && record.head >= 0 && record.layer < 65536 &&
                        record.head < 65536 && record.t >= 0 && record.t < cache.tokens &&
                        std::all_of(record.places.begin(), record.places.end(),
                                    [&](int64_t p) { return p >= 0 && p <= record.t; });
    if (!inside) {
      throw InputError::format("{}: [{}, {}, {}, ...] is no decision of a stream of {} tokens",
                               file.string(), record.t, record.layer, record.head, cache.tokens);
    }
  }
  LastSeen all(cache.tokens);
  for (int64_t p = 0; p < cache.tokens; ++p) all[p] = piece_end(cell, cache.tokens, p);
  cache.heads.assign(layers, std::vector<LastSeen>(heads, all));
  for (int64_t layer = 0; layer < layers; ++layer) {
    if (is_local(cell, layer)) cache.heads[layer].clear();
  }
  for (const EvictionRecord& record : records) {
    if (is_local(cell, record.layer)) {
      throw InputError::format("{}: a decision of layer {}, which has a window of the model's own",
                               file.string(), record.layer);
    }
    for (const int64_t place : record.places) {
      cache.heads[record.layer][record.head][place] = record.t;
    }
    cache.evictions += std::ssize(record.places);
    ++cache.rounds;
  }
  return cache;
}

/// Of a cell, for whoever reads several.
std::string name_of(const CellResult& cell) {
  const std::string name = cell.cell.policy.name;
  const std::string rest = cell.cache_label.empty() ? cell.policy_label : cell.cache_label;
  return rest == "all" ? name : name + " " + rest;
}

const LastSeen& head_of(const HeldCache& cache, int64_t layer, int64_t head) {
  const auto& of_layer = cache.heads[cache.heads.size() == 1 ? 0 : layer];
  return of_layer[of_layer.size() == 1 ? 0 : head];
}

double quantile_of(std::vector<int64_t>& ages, double share) {
  const auto at = ages.begin() + static_cast<int64_t>(share * static_cast<double>(ages.size() - 1));
  std::nth_element(ages.begin(), at, ages.end());
  return static_cast<double>(*at);
}

}  // namespace

std::vector<HeldCache> read_held_caches(const Results& results, const fs::path& folder,
                                        std::vector<std::string>& left_out) {
  std::vector<HeldCache> caches;
  int64_t layers = 1;
  for (const bool logs : {true, false}) {  // these say how many layers there are
    for (const CellResult& cell : results.cells) {
      const bool logged = !cell.decisions_file.empty();
      if (logged != logs) continue;
      const PolicyEntry* entry = policy_named(cell.cell.policy.name);
      const auto leave_out = [&](const std::string& why) {
        left_out.push_back(fmt::format("{}: {}", cell.cell.id, why));
      };
      if (!cell.perplexity) {
        leave_out("it has no perplexity");
      } else if (cell.cell.dataset.is_task()) {
        leave_out("it is a task, whose caches `recall` is about");
      } else if (cell.cell.dataset.reset && cell.cell.dataset.reset->tokens == 0) {
        leave_out("its pieces are documents, whose ends the results don't have");
      } else if (logged) {
        caches.push_back(held_by_log(cell, folder / cell.decisions_file));
        layers = std::max<int64_t>(layers, std::ssize(caches.back().heads));
      } else if (!cell.cell.policy.plugin.file.empty() || entry == nullptr ||
                 entry->is_score_policy()) {
        leave_out("it has no decision log (decisions: true)");
      } else {
        const auto policy = make_policy(cell.cell.policy);
        const auto* index = dynamic_cast<const IndexPolicy*>(policy.get());
        if (index == nullptr || index->keeps_all()) {
          leave_out("its cache evicts nothing");
        } else {
          caches.push_back(held_by_index(cell, *index, layers));
        }
      }
    }
  }
  // In the order of the results.
  std::stable_sort(caches.begin(), caches.end(),
                   [](const HeldCache& a, const HeldCache& b) { return a.cell < b.cell; });
  return caches;
}

std::optional<HeldSummary> summary_of(const HeldCache& cache) {
  const CellResult& cell = *cache.cell;
  if (!cell.cache_size || cache.evictions == 0) return std::nullopt;
  const int64_t size = *cell.cache_size;
  const auto argument = [&](const char* name) {
    const auto it = cell.cell.policy.arguments.find(name);
    const bool there = it != cell.cell.policy.arguments.end() && it->second.is_integer();
    return there ? it->second.integer() : int64_t{0};
  };
  const int64_t guarded = argument("recent"), sinks = argument("sinks");
  HeldSummary summary;
  std::vector<int64_t> ages;
  double seen = 0, heads = 0, held_then = 0, gone = 0;
  for (const auto& layer : cache.heads) {
    for (const LastSeen& last : layer) {
      ++heads;
      for (int64_t p = 0; p < cache.tokens; ++p) {
        const int64_t end = piece_end(cell, cache.tokens, p), queries = last[p] - p + 1;
        if (queries < 1) continue;  // a piece's last token, which is scored alone
        if (last[p] < end) ages.push_back(last[p] - p);
        const double recent = static_cast<double>(std::min(queries, size + 1));  // its own, too
        seen += static_cast<double>(queries);
        if (p < first_tokens) {
          summary.first += static_cast<double>(queries);
        } else {
          summary.recent += recent;
          summary.older += static_cast<double>(queries) - recent;
        }
        if (p < sinks) continue;
        for (int64_t then = (p + guarded + size) / size * size;
             then <= last[p] && then + size <= end; then += size) {
          ++held_then;
          if (last[p] < then + size) ++gone;
        }
      }
    }
  }
  summary.evictions_per_head = static_cast<double>(cache.evictions) / heads;
  if (!ages.empty()) {
    summary.median_age = quantile_of(ages, 0.5);
    summary.p90_age = quantile_of(ages, 0.9);
  }
  for (double* share : {&summary.first, &summary.recent, &summary.older}) *share /= seen;
  summary.replaced = held_then > 0 ? gone / held_then : NAN;
  return summary;
}

std::optional<double> in_common(const HeldCache& a, const HeldCache& b) {
  const CellResult &x = *a.cell, &y = *b.cell;
  if (a.tokens != b.tokens || x.model_sha256 != y.model_sha256 ||
      x.dataset_sha256 != y.dataset_sha256 || x.cell.dataset.reset != y.cell.dataset.reset) {
    return std::nullopt;
  }
  const int64_t layers = std::max(std::ssize(a.heads), std::ssize(b.heads));
  double common = 0, in_a = 0, in_b = 0;
  for (int64_t layer = 0; layer < layers; ++layer) {
    const auto heads_of = [&](const HeldCache& c) {
      return std::ssize(c.heads[c.heads.size() == 1 ? 0 : layer]);
    };
    if (heads_of(a) == 0 || heads_of(b) == 0) continue;  // a window of the model's own
    const int64_t heads = std::max(heads_of(a), heads_of(b));
    if ((std::ssize(a.heads) != layers && a.heads.size() != 1) ||
        (std::ssize(b.heads) != layers && b.heads.size() != 1)) {
      return std::nullopt;
    }
    for (int64_t head = 0; head < heads; ++head) {
      const LastSeen &of_a = head_of(a, layer, head), &of_b = head_of(b, layer, head);
      for (int64_t p = 0; p < a.tokens; ++p) {
        const auto queries = [&](int64_t last) {
          return static_cast<double>(std::max<int64_t>(0, last - p + 1));
        };
        in_a += queries(of_a[p]);
        in_b += queries(of_b[p]);
        common += queries(std::min(of_a[p], of_b[p]));
      }
    }
  }
  return common / std::min(in_a, in_b);
}

std::string format_held(const std::vector<HeldCache>& caches, int width) {
  const auto percent = [](double share) {
    return std::isnan(share) ? none : fmt::format("{:.1f} %", 100 * share);
  };
  std::vector<Column> columns = {{.name = "policy", .number = false, .foldable = false}};
  for (const char* name :
       {"evicted per head", "median age", "p90 age", "first 4", "recent", "older", "replaced"}) {
    columns.push_back({.name = name});
  }
  for (const HeldCache& cache : caches) {
    const std::optional<HeldSummary> s = summary_of(cache);
    const std::vector<std::string> cells =
        s ? std::vector<std::string>{name_of(*cache.cell),
                                     fmt::format("{:.1f}", s->evictions_per_head),
                                     fmt::format("{:.0f}", s->median_age),
                                     fmt::format("{:.0f}", s->p90_age),
                                     percent(s->first),
                                     percent(s->recent),
                                     percent(s->older),
                                     percent(s->replaced)}
          : std::vector<std::string>{
                name_of(*cache.cell), none, none, none, none, none, none, none};
    for (size_t i = 0; i < columns.size(); ++i) columns[i].cells.push_back(cells[i]);
  }
  std::string text = "What caches held\n" + render(columns, /*markdown=*/false, width);
  if (caches.size() < 2) return text;
  std::vector<Column> pairs = {{.name = "policy", .number = false, .foldable = false}};
  for (const HeldCache& cache : caches) pairs.push_back({.name = name_of(*cache.cell)});
  for (const HeldCache& row : caches) {
    pairs[0].cells.push_back(name_of(*row.cell));
    for (size_t i = 0; i < caches.size(); ++i) {
      const std::optional<double> common = in_common(row, caches[i]);
      pairs[i + 1].cells.push_back(common ? percent(*common) : none);
    }
  }
  return text + "\nHeld in common, of the smaller\n" + render(pairs, /*markdown=*/false, width);
}

std::string draw_held(const HeldCache& cache, int64_t layer, int64_t head, int64_t tokens,
                      const fs::path& plots) {
  const int64_t layers = std::ssize(cache.heads);
  int64_t heads = 0;
  for (const auto& of_layer : cache.heads) heads = std::max(heads, std::ssize(of_layer));
  // Of a policy by index, all are alike.
  const bool alike = layers == 1 && heads == 1;
  const bool there = heads > 0 && layer >= 0 && head >= 0 &&
                     (alike || ((layers == 1 || layer < layers) && head < heads));
  if (!there) {
    throw InputError::format(
        "{}: there is no head {} in layer {}; it has {} layers of {} key heads",
        cache.cell->cell.id, head, layer, layers, heads);
  }
  if (is_local(*cache.cell, layer)) {
    throw InputError::format(
        "{}: layer {} holds the model's own window, on which the policy doesn't work; expected "
        "another layer",
        cache.cell->cell.id, layer);
  }
  const LastSeen& last = head_of(cache, layer, head);
  const int64_t shown = std::min(tokens, cache.tokens);
  std::string csv = "place,last_seen\n";
  for (int64_t p = 0; p < shown; ++p)
    csv += fmt::format("{},{}\n", p, std::min(last[p], shown - 1));
  const std::string name = fmt::format("held-{}-l{}-h{}", cache.cell->cell.id, layer, head);
  const std::string commands = fmt::format(
      "set title {}\nset xlabel 'token'\nset ylabel 'place of what is held'\n"
      "set datafile separator ','\nunset key\n{}"
      "plot [0:{}] [0:{}] {} skip 1 using 1:1:($2-$1):(0) with vectors nohead linewidth 0.5 "
      "linecolor '{}'\n",
      gnuplot_quoted(fmt::format("{}: layer {}, key head {}", name_of(*cache.cell), layer, head)),
      gnuplot_axes, shown, shown, gnuplot_quoted(name + ".csv"), line_colours[0]);
  const std::vector<GnuplotPicture> pictures = {
      {.name = name,
       .script = gnuplot_header(name) + gnuplot_on_terminals(name, 620, 560, commands),
       .csv = csv}};
  draw_with_gnuplot(pictures, plots);
  return name;
}

}  // namespace sinkbench
