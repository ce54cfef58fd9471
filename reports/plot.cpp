#include "reports/plot.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <functional>
#include <map>
#include <set>

#include "eval/results/nll_file.h"
#include "policies/registry.h"
#include "reports/compare.h"
#include "reports/gnuplot.h"
#include "reports/tables.h"

namespace sinkbench {
namespace {

namespace fs = std::filesystem;

struct Point {
  double x = 0, y = 0, low = 0, high = 0;
};

struct Series {
  std::string name;
  std::string policy;  ///< by which it gets its colour
  std::vector<Point> points = {};
  bool everywhere = false;  ///< one value that has no x: a line across the picture
};

struct Mark {
  double x;
  std::string text;
};

struct Picture {
  std::string name;  ///< of its files
  std::string title;
  std::string x_label = {}, y_label;
  std::vector<Series> series = {};
  std::vector<Mark> marks = {};
  bool band = false;         ///< low to high as an area, else as bars
  bool log_y_spans = false;  ///< a logarithmic y axis where the values span a decade
  bool y_from_zero = false;
  bool x_base_2 = false;
  std::vector<std::string> ticks = {};  ///< names of the places 1, 2, ... on the x axis
};

std::vector<std::string> colours_of(const std::vector<Series>& series) {
  static const std::map<std::string, std::string> usual = {{"dense", black},
                                                           {"sinks", line_colours[0]},
                                                           {"window", line_colours[1]},
                                                           {"recompute", line_colours[2]}};
  std::set<std::string> used;
  std::vector<std::string> colours(series.size());
  for (size_t i = 0; i < series.size(); ++i) {
    const auto it = usual.find(series[i].policy);
    if (it != usual.end() && used.insert(it->second).second) colours[i] = it->second;
  }
  size_t next = 0;
  for (std::string& colour : colours) {
    if (!colour.empty()) continue;
    while (used.size() < line_colours.size() &&
           used.contains(line_colours[next % line_colours.size()]))
      ++next;
    colour = line_colours[next++ % line_colours.size()];
    used.insert(colour);
  }
  return colours;
}

struct Range {
  double low = INFINITY, high = -INFINITY;
  void add(double value) {
    if (!std::isfinite(value)) return;
    low = std::min(low, value);
    high = std::max(high, value);
  }
  bool spans_a_decade() const { return low > 0 && high >= 10 * low; }
};

/// The places of labels that want to stand at `wanted`, in shares of the axis, `gap` apart.
std::vector<double> spread(const std::vector<double>& wanted, double gap) {
  std::vector<size_t> order(wanted.size());
  for (size_t i = 0; i < order.size(); ++i) order[i] = i;
  std::stable_sort(order.begin(), order.end(),
                   [&](size_t a, size_t b) { return wanted[a] < wanted[b]; });
  std::vector<double> places = wanted;
  for (size_t k = 1; k < order.size(); ++k) {
    places[order[k]] = std::max(places[order[k]], places[order[k - 1]] + gap);
  }
  double most = 1;
  for (size_t k = order.size(); k-- > 0; most -= gap) {
    places[order[k]] = std::min(places[order[k]], most);
    most = places[order[k]];
  }
  return places;
}

/// Whether two lines run into each other: their heights, in shares of the axis, hardly differ.
bool coincide(const Series& a, const Series& b, const std::function<double(double)>& share) {
  if (a.everywhere || b.everywhere || a.points.size() != b.points.size()) return false;
  double apart = 0;
  for (size_t i = 0; i < a.points.size(); ++i) {
    if (std::abs(a.points[i].x - b.points[i].x) > 0.05 * std::abs(a.points[i].x)) return false;
    apart += std::abs(share(a.points[i].y) - share(b.points[i].y));
  }
  return apart < 0.01 * static_cast<double>(a.points.size());
}

/// A line that is drawn over others has gaps in which they are seen; one that has the colour of an
/// earlier line is dotted.
std::string dash_of(const std::vector<Series>& series, const std::vector<std::string>& colours,
                    size_t index, const std::function<double(double)>& share) {
  size_t below = 0;
  for (size_t i = 0; i < index; ++i) below += coincide(series[i], series[index], share);
  if (below == 0) {
    const auto end = colours.begin() + static_cast<std::ptrdiff_t>(index);
    return std::find(colours.begin(), end, colours[index]) == end ? "" : " dashtype 3";
  }
  return fmt::format(" dashtype ({},{})", 18 / (below + 1), 18 - 18 / (below + 1));
}

std::string data_csv(const Picture& picture) {
  std::string text = "series,x,y,low,high\n";
  for (const Series& series : picture.series) {
    for (const Point& p : series.points) {
      text += fmt::format("{},{},{},{},{}\n", series.name, p.x, p.y, p.low, p.high);
    }
  }
  return text;
}

std::string script(const Picture& picture) {
  Range x, y;
  for (const Series& series : picture.series) {
    for (const Point& p : series.points) {
      if (!series.everywhere) x.add(p.x);
      y.add(p.y);
      if (!picture.band || p.y < 30) {
        y.add(p.low);
        y.add(p.high);
      }
    }
  }
  for (const Mark& mark : picture.marks) x.add(mark.x);
  const bool log_x =
      (x.spans_a_decade() && picture.ticks.empty()) || (picture.x_base_2 && x.high >= 4 * x.low);
  const bool log_y = picture.log_y_spans && y.spans_a_decade();
  if (log_y) {
    y = {y.low / 1.3, y.high * 1.3};
  } else {
    const double margin = y.high > y.low ? 0.06 * (y.high - y.low) : 0.06 * std::abs(y.high) + 1e-9;
    y = {picture.y_from_zero ? 0 : y.low - margin, y.high + margin};
  }
  if (log_x) {
    const double margin = picture.band ? 1 : 1.1;
    x = {x.low / margin, x.high * margin};
  } else {
    const double margin = picture.band ? 0 : 0.04 * (x.high - x.low);
    x = {x.low - margin, x.high + margin};
  }
  const auto share = [&](double value) {
    return log_y ? std::log(value / y.low) / std::log(y.high / y.low)
                 : (value - y.low) / (y.high - y.low);
  };

  size_t longest = picture.ticks.empty() ? 0 : 14;  // the last tick's name needs room too
  std::vector<double> ends;
  for (const Series& series : picture.series) {
    longest = std::max(longest, series.name.size());
    ends.push_back(share(series.points.back().y));
  }
  const std::vector<double> places = spread(ends, 0.055);
  const std::vector<std::string> colours = colours_of(picture.series);

  const std::string& name = picture.name;
  std::string text = fmt::format(
      "{0}"
      "set title {1}\n"
      "set xlabel {2}\n"
      "set ylabel {3}\n"
      "set key off\n"
      "{5}"
      "set format x '%.10g'\n"
      "set rmargin {4}\n",
      gnuplot_header(name), gnuplot_quoted(picture.title), gnuplot_quoted(picture.x_label),
      gnuplot_quoted(picture.y_label), longest + 3, gnuplot_axes);
  if (log_x) text += "set logscale x\n";
  if (log_y) text += "set logscale y\n";
  if (picture.x_base_2) {
    std::set<double> ticks;
    for (const Series& series : picture.series) {
      if (series.everywhere) continue;
      for (const Point& p : series.points) {
        // Sizes that nearly coincide, such as 127 and 128, have one tick.
        const auto near = std::find_if(ticks.begin(), ticks.end(), [&](double tick) {
          return std::abs(std::log(tick / p.x)) < 0.2;
        });
        if (near == ticks.end()) ticks.insert(p.x);
      }
    }
    text += fmt::format("set xtics ({})\n", fmt::join(ticks, ", "));
    text += "unset mxtics\n";
  }
  if (!picture.ticks.empty()) {
    // Of many, so many that they can be read.
    const size_t step = (picture.ticks.size() + 11) / 12;
    std::vector<std::string> ticks;
    for (size_t i = 0; i < picture.ticks.size(); i += step) {
      ticks.push_back(fmt::format("{} {}", gnuplot_quoted(picture.ticks[i]), i + 1));
    }
    text += fmt::format("set xtics rotate by -30 left ({})\n", fmt::join(ticks, ", "));
  }
  text += fmt::format("set xrange [{}:{}]\nset yrange [{}:{}]\n", x.low, x.high, y.low, y.high);
  for (const Mark& mark : picture.marks) {
    text += fmt::format(
        "set arrow from first {0}, graph 0 to first {0}, graph 1 nohead linecolor '#888888' "
        "dashtype 2\n"
        "set label {1} at first {0}, graph 0.98 right rotate by 90 offset character -0.7, 0 "
        "textcolor '#666666' font ',10'\n",
        mark.x, gnuplot_quoted(mark.text));
  }
  std::vector<std::string> bands, lines;
  for (size_t i = 0; i < picture.series.size(); ++i) {
    const Series& series = picture.series[i];
    text += fmt::format("set label {} at graph 1.015, graph {:.4f} left textcolor '{}'\n",
                        gnuplot_quoted(series.name), places[i], colours[i]);
    const std::string rows =
        fmt::format("(strcol(1) eq {} ? $2 : NaN)", gnuplot_quoted(series.name));
    const std::string file = gnuplot_quoted(name + ".csv") + " skip 1 using ";
    const std::string dash = dash_of(picture.series, colours, i, share);
    if (series.everywhere) {
      lines.push_back(fmt::format("{} with lines linewidth 2 dashtype 4 linecolor '{}'",
                                  series.points.front().y, colours[i]));
      continue;
    }
    if (picture.band) {
      bands.push_back(fmt::format(
          "{}{}:4:5 with filledcurves fillcolor '{}' fillstyle transparent solid 0.18 noborder",
          file, rows, colours[i]));
      lines.push_back(fmt::format("{}{}:3 with lines linewidth 2{} linecolor '{}'", file, rows,
                                  dash, colours[i]));
    } else {
      lines.push_back(
          fmt::format("{}{}:3:4:5 with yerrorlines linewidth 2{} pointtype {} "
                      "pointsize 0.7 linecolor '{}'",
                      file, rows, dash, std::array{7, 5, 9, 13}[i % 4], colours[i]));
    }
  }
  bands.insert(bands.end(), lines.begin(), lines.end());
  text += gnuplot_on_terminals(name, 760, 440,
                               fmt::format("plot {}\n", fmt::join(bands, ", \\\n     ")));
  return text;
}

/// What is drawn into one panel.
struct Group {
  std::string title;
  std::string suffix;  ///< of the files' names
  std::vector<const CellResult*> cells = {};
};

std::string file_part(const std::string& text) {
  std::string result;
  for (const char c : text) {
    const bool plain = std::isalnum(static_cast<unsigned char>(c)) || c == '.' || c == '_';
    if (plain)
      result += c;
    else if (!result.empty() && result.back() != '-')
      result += '-';
  }
  return result.substr(0, 100);
}

std::vector<Group> groups_of(const Results& results) {
  using Key = std::tuple<ModelSpec, std::string, DatasetSpec, std::string, std::string, std::string,
                         std::string, int64_t>;
  std::vector<Key> keys;
  std::vector<Group> groups;
  for (const CellResult& result : results.cells) {
    if (!result.error.empty()) continue;
    const Cell& cell = result.cell;
    const Key key = {cell.model, result.model_sha256, cell.dataset, result.dataset_sha256,
                     cell.dtype, cell.device,         cell.engine,  cell.chunk};
    const auto it = std::find(keys.begin(), keys.end(), key);
    const size_t index = static_cast<size_t>(it - keys.begin());
    if (it == keys.end()) {
      keys.push_back(key);
      std::string title = model_name(cell) + ", " + dataset_name(cell);
      if (cell.dataset.tokens) title += fmt::format(", {} tokens", *cell.dataset.tokens);
      if (cell.dataset.reset) title += ", reset " + to_string(*cell.dataset.reset);
      title += ", " + cell.dtype;
      if (cell.device != Cell().device) title += ", " + cell.device;
      groups.push_back({.title = title, .suffix = "-" + file_part(title)});
    }
    groups[index].cells.push_back(&result);
  }
  if (groups.size() == 1) groups[0].suffix.clear();
  std::map<std::string, int> seen;
  for (Group& group : groups) {
    if (const int n = ++seen[group.suffix]; n > 1) group.suffix += fmt::format("-{}", n);
  }
  return groups;
}

std::string positions_suffix(const CellResult& result) {
  return result.cell.policy.positions == Positions::cache
             ? ""
             : " " + positions_label(result.cell.policy);
}

/// "sinks 4+124", "window 128", "dense"
std::string series_name(const CellResult& result) {
  const PolicySpec& policy = result.cell.policy;
  const std::string& label = result.policy_label;
  return (label.starts_with(policy.name) ? label : policy.name + " " + label) +
         positions_suffix(result);
}

/// What stays the same along a line over cache sizes: "sinks 4+", "strided 4+ kept=16"; all
/// parameters but the size that depart from their defaults.
std::string family_name(const CellResult& result) {
  const PolicySpec& policy = result.cell.policy;
  std::string name = policy.name, rest;
  if (const PolicyEntry* entry = policy_named(policy.name)) {
    for (const PolicyParameter& parameter : entry->parameters) {
      const auto it = policy.arguments.find(parameter.name);
      if (parameter.size || it == policy.arguments.end()) continue;
      if (parameter.name == "sinks") {
        // As people write them: before the size.
        if (it->second != PolicyValue(0) || parameter.fallback != 0) {
          name += fmt::format(" {}+", to_string(it->second));
        }
      } else if (it->second != parameter.fallback) {
        rest += fmt::format(" {}={}", parameter.name, to_string(it->second));
      }
    }
  }
  return name + rest + positions_suffix(result);
}

/// NLLs by their position, where a stream is cut into pieces of so many tokens: the mean over
/// pieces.
std::vector<double> over_pieces(std::vector<double> nll, const CellResult& cell) {
  const auto& reset = cell.cell.dataset.reset;
  if (!reset || reset->tokens == 0 || cell.pieces == 1) return nll;
  const auto scored = static_cast<size_t>(reset->tokens - 1);  // of a piece
  std::vector<double> sums(std::min(scored, nll.size())), counts(sums.size());
  for (size_t i = 0; i < nll.size(); ++i) {
    sums[i % scored] += nll[i];
    ++counts[i % scored];
  }
  for (size_t i = 0; i < sums.size(); ++i) sums[i] /= counts[i];
  return sums;
}

Picture nll_picture(const Group& group, const fs::path& folder) {
  Picture picture{.name = "nll-over-position" + group.suffix,
                  .title = "NLL over position: " + group.title,
                  .x_label = "Position in the stream (tokens)",
                  .y_label = "Mean NLL = log perplexity (nats per token)",
                  .band = true};
  std::map<double, std::string> marks;
  for (const CellResult* cell : group.cells) {
    if (!cell->perplexity || cell->nll_file.empty()) continue;
    const std::vector<double> nll = over_pieces(read_nll_file(folder / cell->nll_file), *cell);
    if (cell->cell.dataset.reset) {
      picture.x_label = cell->cell.dataset.reset->tokens > 0 ? "Position in a piece (tokens)"
                                                             : "Scored tokens, piece after piece";
    }
    Series series{.name = series_name(*cell), .policy = cell->cell.policy.name};
    for (const NllBlock& block : nll_blocks(nll, cell->perplexity->stride)) {
      series.points.push_back(
          {block.position, block.mean, block.mean - block.error, block.mean + block.error});
    }
    if (series.points.size() < 2) continue;
    if (const auto capacity = cell->cache_size) {
      marks.emplace(static_cast<double>(*capacity), fmt::format("cache {}", *capacity));
    }
    if (cell->context > 0) {
      const auto context = static_cast<double>(cell->context);
      const std::string text = fmt::format("trained on {}", cell->context);
      const auto it = marks.find(context);
      if (it == marks.end())
        marks.emplace(context, text);
      else if (it->second.find(text) == std::string::npos)
        it->second += ", " + text;
    }
    picture.series.push_back(std::move(series));
  }
  double longest = 0;
  for (const Series& series : picture.series) {
    longest = std::max(longest, series.points.back().x);
  }
  for (const auto& [x, text] : marks) {
    if (x < longest) picture.marks.push_back({x, text});
  }
  return picture;
}

/// Lines over the cache's size, one for each policy and number of sinks.
template <typename AddPoints>
Picture by_cache(Picture picture, const Group& group, AddPoints add_points) {
  picture.title += ": " + group.title;
  picture.name += group.suffix;
  picture.x_label = "Cache size (tokens)";
  picture.x_base_2 = true;
  for (const CellResult* cell : group.cells) {
    const std::string name = family_name(*cell);
    auto it = std::find_if(picture.series.begin(), picture.series.end(),
                           [&](const Series& series) { return series.name == name; });
    if (it == picture.series.end()) {
      it = picture.series.insert(it, {.name = name, .policy = cell->cell.policy.name});
    }
    add_points(*cell, *it);
  }
  std::erase_if(picture.series, [](const Series& series) { return series.points.empty(); });
  for (Series& series : picture.series) {
    std::sort(series.points.begin(), series.points.end(),
              [](const Point& a, const Point& b) { return a.x < b.x; });
  }
  return picture;
}

Picture perplexity_picture(const Group& group) {
  return by_cache({.name = "perplexity-by-cache",
                   .title = "Perplexity by cache size",
                   .y_label = "Perplexity (per token), ± 1 standard error",
                   .log_y_spans = true},
                  group, [](const CellResult& cell, Series& series) {
                    if (!cell.perplexity || !std::isfinite(cell.perplexity->token)) return;
                    const double y = cell.perplexity->token;
                    const double error = std::isfinite(cell.perplexity->token_stderr)
                                             ? cell.perplexity->token_stderr
                                             : 0;
                    const auto capacity = cell.cache_size;
                    series.everywhere = !capacity;
                    series.points.push_back({static_cast<double>(capacity.value_or(0)), y,
                                             std::max(y - error, y / 10), y + error});
                  });
}

Picture latency_picture(const Group& group) {
  return by_cache(
      {.name = "latency-by-cache",
       .title = "Latency of a decode step",
       .y_label = "Median (ms), bar to the 90th percentile",
       .log_y_spans = true,
       .y_from_zero = true},
      group, [](const CellResult& cell, Series& series) {
        const auto capacity = cell.cache_size;
        for (const LatencyResult& latency : cell.latency) {
          series.points.push_back({static_cast<double>(capacity.value_or(latency.cache_entries)),
                                   latency.p50_ms, latency.p50_ms, latency.p90_ms});
        }
      });
}

Picture memory_picture(const Group& group) {
  return by_cache(
      {.name = "memory-by-cache",
       .title = "Keys and values held",
       .y_label = "Memory of the cache (MiB)",
       .log_y_spans = true,
       .y_from_zero = true},
      group, [](const CellResult& cell, Series& series) {
        if (!cell.memory) return;
        const double y = static_cast<double>(cell.memory->kv_bytes_held) / (1 << 20);
        const auto capacity = cell.cache_size;
        series.points.push_back(
            {static_cast<double>(capacity.value_or(cell.memory->cache_entries)), y, y, y});
      });
}

/// Why the picture would show nothing, or "".
std::string emptiness(const Picture& picture) {
  if (picture.series.empty()) return "nothing was measured for it";
  if (picture.band) return "";
  const bool any = std::any_of(picture.series.begin(), picture.series.end(), [](const Series& s) {
    return !s.everywhere && s.points.size() > 1 && s.points.front().x < s.points.back().x;
  });
  return any ? "" : "no policy was measured at two cache sizes";
}

using Kinds = std::vector<std::string>;  // how the pictures' names begin
const Kinds result_kinds = {"nll-over-position", "perplexity-by-cache", "latency-by-cache",
                            "memory-by-cache"};
const Kinds trend_kinds = {"perplexity-trend", "latency-trend", "memory-trend"};

void remove_old(const fs::path& plots, const Kinds& kinds, const std::vector<std::string>& drawn) {
  for (const auto& entry : fs::directory_iterator(plots)) {
    const std::string stem = entry.path().stem().string();
    const bool ours = std::any_of(kinds.begin(), kinds.end(),
                                  [&](const auto& kind) { return stem.starts_with(kind); }) &&
                      std::find(picture_extensions.begin(), picture_extensions.end(),
                                entry.path().extension().string()) != picture_extensions.end();
    if (ours && std::find(drawn.begin(), drawn.end(), stem) == drawn.end()) {
      fs::remove(entry.path());
    }
  }
}

/// Those that aren't empty, as files.
Pictures draw(const std::vector<Picture>& candidates, const Kinds& kinds, const fs::path& plots,
              const std::function<std::string(const Picture&)>& why_empty) {
  require_gnuplot();
  Pictures pictures;
  std::vector<GnuplotPicture> all;
  for (const Picture& picture : candidates) {
    if (const std::string why = why_empty(picture); !why.empty()) {
      pictures.left_out.push_back(picture.name + ": " + why);
    } else {
      all.push_back({picture.name, script(picture), data_csv(picture)});
      pictures.drawn.push_back(picture.name);
    }
  }
  if (all.empty()) return pictures;
  draw_with_gnuplot(all, plots);
  remove_old(plots, kinds, pictures.drawn);
  return pictures;
}

/// One line of a trend's picture for each cell of the runs.
struct TrendPanel {
  std::string suffix;
  std::array<Picture, 3> pictures;                    // in the order of trend_kinds
  std::array<std::vector<std::string>, 3> keys = {};  // of their series: what the cells are
};

void add_point(Picture& picture, std::vector<std::string>& keys, const std::string& key,
               const CellResult& cell, const std::string& name, const Point& point) {
  const auto it = std::find(keys.begin(), keys.end(), key);
  const size_t index = static_cast<size_t>(it - keys.begin());
  if (it == keys.end()) {
    // Two cells may be called the same, after the model has changed, say.
    std::string unique = name;
    for (int n = 2; std::any_of(picture.series.begin(), picture.series.end(),
                                [&](const Series& s) { return s.name == unique; });
         ++n) {
      unique = fmt::format("{} ({})", name, n);
    }
    keys.push_back(key);
    picture.series.push_back({.name = unique, .policy = cell.cell.policy.name});
  }
  picture.series[index].points.push_back(point);
}

void add_cell(TrendPanel& panel, const CellResult& cell, double x) {
  const std::string key = identity_text(cell), name = series_name(cell);
  if (cell.perplexity && std::isfinite(cell.perplexity->token)) {
    const double y = cell.perplexity->token;
    const double error =
        std::isfinite(cell.perplexity->token_stderr) ? cell.perplexity->token_stderr : 0;
    add_point(panel.pictures[0], panel.keys[0], key, cell, name,
              {x, y, std::max(y - error, y / 10), y + error});
  }
  for (const LatencyResult& latency : cell.latency) {
    const std::string at =
        cell.latency.size() > 1 ? fmt::format(" @ {}", latency.cache_entries) : "";
    add_point(panel.pictures[1], panel.keys[1], key + at, cell, name + at,
              {x, latency.p50_ms, latency.p50_ms, latency.p90_ms});
  }
  if (cell.memory) {
    const double y = static_cast<double>(cell.memory->kv_bytes_held) / (1 << 20);
    add_point(panel.pictures[2], panel.keys[2], key, cell, name, {x, y, y, y});
  }
}

}  // namespace

std::vector<NllBlock> nll_blocks(std::span<const double> nll, int64_t stride) {
  constexpr size_t smallest = 32, parts = 8;
  std::vector<NllBlock> blocks;
  for (size_t begin = 0;;) {
    const size_t part = std::max(smallest, begin / 20) / parts;
    const size_t end = begin + part * parts;
    if (end > nll.size()) return blocks;
    double total = 0, squares = 0;
    for (size_t p = 0; p < parts; ++p) {
      double sum = 0;
      for (size_t i = 0; i < part; ++i) sum += nll[begin + p * part + i];
      const double mean = sum / static_cast<double>(part);
      total += mean;
      squares += mean * mean;
    }
    const double mean = total / parts;
    const double variance = std::max(0.0, squares / parts - mean * mean) * parts / (parts - 1);
    // Value i is of token i * stride + 1, the stream's first one being number 0.
    const double middle =
        static_cast<double>(begin + end - 1) / 2 * static_cast<double>(stride) + 1;
    blocks.push_back({.position = middle, .mean = mean, .error = std::sqrt(variance / parts)});
    begin = end;
  }
}

Pictures draw_pictures(const Results& results, const fs::path& folder, const fs::path& plots) {
  require_gnuplot();  // before NLL files are read
  std::vector<Picture> pictures;
  for (const Group& group : groups_of(results)) {
    for (Picture& picture : std::vector{nll_picture(group, folder), perplexity_picture(group),
                                        latency_picture(group), memory_picture(group)}) {
      pictures.push_back(std::move(picture));
    }
  }
  return draw(pictures, result_kinds, plots, emptiness);
}

Pictures draw_trends(std::span<const TrendRun> runs, const fs::path& plots) {
  std::vector<std::string> labels;
  for (const TrendRun& run : runs) labels.push_back(run.label);
  std::vector<std::string> titles;
  std::vector<TrendPanel> panels;
  for (size_t i = 0; i < runs.size(); ++i) {
    for (const Group& group : groups_of(*runs[i].results)) {
      const auto it = std::find(titles.begin(), titles.end(), group.title);
      const size_t index = static_cast<size_t>(it - titles.begin());
      if (it == titles.end()) {
        titles.push_back(group.title);
        TrendPanel panel{.suffix = "-" + file_part(group.title), .pictures = {}};
        const std::array y_labels = {"Perplexity (per token), ± 1 standard error",
                                     "Median (ms), bar to the 90th percentile",
                                     "Memory of the cache (MiB)"};
        const std::array names = {"Perplexity", "Latency of a decode step", "Keys and values held"};
        for (size_t k = 0; k < panel.pictures.size(); ++k) {
          panel.pictures[k] = {.name = trend_kinds[k] + panel.suffix,
                               .title = fmt::format("{} by run: {}", names[k], group.title),
                               .y_label = y_labels[k],
                               .log_y_spans = true,
                               .ticks = labels};
        }
        panels.push_back(std::move(panel));
      }
      for (const CellResult* cell : group.cells) {
        add_cell(panels[index], *cell, static_cast<double>(i + 1));
      }
    }
  }
  std::vector<Picture> pictures;
  for (TrendPanel& panel : panels) {
    for (Picture& picture : panel.pictures) {
      std::erase_if(picture.series, [](const Series& s) { return s.points.size() < 2; });
      if (panels.size() == 1) picture.name.resize(picture.name.size() - panel.suffix.size());
      pictures.push_back(std::move(picture));
    }
  }
  return draw(pictures, trend_kinds, plots, [](const Picture& picture) -> std::string {
    return picture.series.empty() ? "no cell was measured in two runs" : "";
  });
}

}  // namespace sinkbench
