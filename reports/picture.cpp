#include "reports/picture.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <functional>
#include <set>
#include <tuple>

#include "eval/results/nll_file.h"
#include "policies/registry.h"
#include "reports/answers.h"
#include "reports/compare.h"
#include "reports/gnuplot.h"
#include "reports/names.h"
#include "reports/tables.h"
#include "reports/text_table.h"

namespace sinkbench {
namespace {

namespace fs = std::filesystem;

constexpr size_t most_lines = 12;  // two looks of each colour, which can be told apart
constexpr size_t most_parts = 8;   // of a picture with more
constexpr size_t most_marked = 3;  // cache sizes

std::vector<size_t> colours_of(const std::vector<Series>& series) {
  static const std::map<std::string, size_t> usual = {
      {"dense", 0}, {"sinks", 1}, {"window", 2}, {"recompute", 3}};
  std::set<size_t> used;
  std::vector<std::optional<size_t>> colours(series.size());
  for (size_t i = 0; i < series.size(); ++i) {
    const auto it = usual.find(series[i].policy);
    if (it != usual.end() && used.insert(it->second).second) colours[i] = it->second;
  }
  std::vector<size_t> result;
  size_t next = 0;
  const auto upcoming = [&] { return 1 + next % line_colours.size(); };
  used.erase(0);
  for (const auto& colour : colours) {
    while (!colour && used.size() < line_colours.size() && used.contains(upcoming())) ++next;
    result.push_back(colour ? *colour : upcoming());
    next += !colour;
    used.insert(result.back());
  }
  return result;
}

struct Extent {
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
Look look_of(const std::vector<Series>& series, const std::vector<size_t>& colours, size_t index,
             const std::function<double(double)>& share) {
  Look look{.colour = colours[index]};
  int64_t below = 0;
  for (size_t i = 0; i < index; ++i) below += coincide(series[i], series[index], share);
  if (below > 0) {
    look.on = 18 / (below + 1);
    look.off = 18 - look.on;
  } else {
    const auto end = colours.begin() + static_cast<std::ptrdiff_t>(index);
    look.dotted = std::find(colours.begin(), end, colours[index]) != end;
  }
  return look;
}

std::vector<std::pair<double, std::string>> with_names(const std::set<double>& values) {
  std::vector<std::pair<double, std::string>> ticks;
  for (const double value : values) {
    ticks.emplace_back(value, fmt::format("{:.10g}", value + 0.0));  // -0 is 0
  }
  return ticks;
}

/// Round numbers within the axis: about six, or on a logarithmic one the powers of ten, and what
/// lies between where these are few.
std::set<double> round_numbers(const Axis& axis) {
  std::set<double> values;
  if (axis.log) {
    const double decades = std::log10(axis.high / axis.low);
    const std::vector<double> steps = decades < 3 ? std::vector{1.0, 2.0, 5.0} : std::vector{1.0};
    for (double power = std::floor(std::log10(axis.low)); power <= std::log10(axis.high);
         power += std::ceil(decades / 10)) {
      for (const double step : steps) {
        const double value = step * std::pow(10, power);
        if (value >= axis.low && value <= axis.high) values.insert(value);
      }
    }
    return values;
  }
  const double rough = (axis.high - axis.low) / 6,
               power = std::pow(10, std::floor(std::log10(rough)));
  double step = 10 * power;
  for (const double factor : {5, 2, 1}) {
    if (factor * power >= rough) step = factor * power;
  }
  for (double i = std::ceil(axis.low / step); i * step <= axis.high; ++i) values.insert(i * step);
  return values;
}

/// The sizes that were measured; those that nearly coincide, such as 127 and 128, have one tick.
std::set<double> measured_sizes(const Picture& picture) {
  std::set<double> ticks;
  for (const Series& series : picture.series) {
    if (series.everywhere) continue;
    for (const Point& p : series.points) {
      const auto near = std::find_if(ticks.begin(), ticks.end(), [&](double tick) {
        return std::abs(std::log(tick / p.x)) < 0.2;
      });
      if (near == ticks.end()) ticks.insert(p.x);
    }
  }
  return ticks;
}

std::vector<Mark> marks_of(const Picture& picture) {
  std::map<double, std::string> marks;
  double longest = 0;
  for (const Series& series : picture.series) {
    if (series.cache)
      marks[static_cast<double>(*series.cache)] = fmt::format("cache {}", *series.cache);
    if (!series.points.empty()) longest = std::max(longest, series.points.back().x);
  }
  if (marks.size() > most_marked) marks.clear();
  if (picture.context > 0) {
    std::string& text = marks[static_cast<double>(picture.context)];
    text += fmt::format("{}trained on {}", text.empty() ? "" : ", ", picture.context);
  }
  std::vector<Mark> within;
  for (const auto& [x, text] : marks) {
    if (x < longest) within.push_back({x, text});
  }
  return within;
}

using Group = std::pair<std::string, CellList>;  // its title and its cells

/// The cells of one model, text and way to compute are drawn into one panel. Its title says as much
/// as tells it from the others.
class Panels {
 public:
  /// Of `contents` that have changed in their place are other panels.
  Panels(const CellList& cells, bool contents) : contents_(contents), names_(cells, contents) {
    using Text = std::string (*)(const Cell&);
    const std::pair<const char*, Text> settings[] = {
        {"bos ",
         [](const Cell& c) { return to_string(c.dataset.bos) + " " + c.dataset.bos_token; }},
        {"special tokens ", [](const Cell& c) { return to_string(c.dataset.special_tokens); }},
        {"", [](const Cell& c) { return c.engine; }},
        {"chunk ", [](const Cell& c) { return std::to_string(c.chunk); }},
        {"kv ", [](const Cell& c) { return storage_label(c.kv); }}};
    std::map<std::string, int> titles;
    for (const CellResult* result : cells) {
      const Cell& cell = result->cell;
      const auto [it, added] = titles_.emplace(key(*result), "");
      if (!added) continue;
      std::string title = names_.model(*result) + ", " + names_.dataset(*result);
      if (cell.dataset.tokens) title += ", " + stream_length(*result);
      if (cell.dataset.reset) title += ", reset " + to_string(*cell.dataset.reset);
      title += ", " + cell.dtype;
      if (cell.device != Cell().device) title += ", " + cell.device;
      for (const auto& setting : settings) {
        const std::string& name = setting.first;
        const auto& text = setting.second;
        if (std::any_of(cells.begin(), cells.end(),
                        [&](const CellResult* other) { return text(other->cell) != text(cell); })) {
          title += fmt::format(", {}{}", name, text(cell));
        }
      }
      if (const int n = ++titles[title]; n > 1) title += fmt::format(" ({})", n);
      it->second = title;
    }
  }

  std::vector<Group> groups(const CellList& cells) const {
    std::vector<Group> groups;
    for (const CellResult* cell : cells) {
      const std::string& title = titles_.at(key(*cell));
      auto it = std::find_if(groups.begin(), groups.end(),
                             [&](const Group& group) { return group.first == title; });
      if (it == groups.end()) it = groups.insert(it, {title, {}});
      it->second.push_back(cell);
    }
    return groups;
  }

 private:
  using Key = std::tuple<ModelSpec, std::string, DatasetSpec, std::string, std::string, std::string,
                         std::string, int64_t, StorageSpec>;
  Key key(const CellResult& result) const {
    const Cell& cell = result.cell;
    return {cell.model,   contents_ ? result.model_sha256 : "",
            cell.dataset, contents_ ? result.dataset_sha256 : "",
            cell.dtype,   cell.device,
            cell.engine,  cell.chunk,
            cell.kv};
  }
  bool contents_;
  Names names_;
  std::map<Key, std::string> titles_;
};

std::string file_part(const std::string& text) {
  std::string result;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (std::isalnum(byte) || c == '.' || c == '_' || byte >= 0x80)
      result += c;
    else if (!result.empty() && result.back() != '-')
      result += '-';
  }
  size_t end = std::min<size_t>(result.size(), 100);
  while (end < result.size() && (static_cast<unsigned char>(result[end]) & 0xC0) == 0x80) --end;
  return result.substr(0, end);
}

/// What tells the panels' files apart: nothing where there is one.
std::vector<std::string> suffixes(const std::vector<std::string>& titles) {
  std::vector<std::string> result;
  std::map<std::string, int> seen;
  for (const std::string& title : titles) {
    std::string suffix = titles.size() > 1 ? "-" + file_part(title) : "";
    if (const int n = ++seen[suffix]; n > 1) suffix += fmt::format("-{}", n);
    result.push_back(suffix);
  }
  return result;
}

std::string positions_suffix(const CellResult& result) {
  return result.cell.policy.positions == Positions::cache
             ? ""
             : " " + positions_label(result.cell.policy);
}

std::string bound_suffix(const CellResult& result) {
  return bound_of(result.cell.policy).empty() ? "" : " (bound)";
}

/// "sinks 4+124", "window 128", "dense"
std::string series_name(const CellResult& result) {
  return named_label(result.cell.policy.name, result.policy_label) + positions_suffix(result) +
         bound_suffix(result);
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
  return name + rest + positions_suffix(result) + bound_suffix(result);
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

/// `name`, or with a number where another line has it.
std::string unique_name(const std::vector<Series>& series, const std::string& name) {
  std::string unique = name;
  for (int n = 2;
       std::any_of(series.begin(), series.end(), [&](const Series& s) { return s.name == unique; });
       ++n) {
    unique = fmt::format("{} ({})", name, n);
  }
  return unique;
}

Picture nll_picture(const Group& group, const std::string& suffix, const fs::path& folder) {
  Picture picture{.name = result_kinds[0] + suffix,
                  .title = "NLL over position: " + group.first,
                  .x_label = "Position in the stream (tokens)",
                  .y_label = "Mean NLL = log perplexity (nats per token)",
                  .unit = " nats",
                  .band = true};
  for (const CellResult* cell : group.second) {
    if (!cell->perplexity || cell->nll_file.empty()) continue;
    const std::vector<double> nll =
        over_pieces(read_nll_file(folder / cell->nll_file, *cell->perplexity), *cell);
    if (cell->cell.dataset.reset) {
      picture.x_label = cell->cell.dataset.reset->tokens > 0 ? "Position in a piece (tokens)"
                                                             : "Scored tokens, piece after piece";
    }
    Series series{.name = unique_name(picture.series, series_name(*cell)),
                  .policy = cell->cell.policy.name,
                  .cache = cell->cache_size,
                  .perplexity = cell->perplexity->token};
    for (const NllBlock& block : nll_blocks(nll, cell->perplexity->stride)) {
      series.points.push_back(
          {block.position, block.mean, block.mean - block.error, block.mean + block.error});
    }
    const auto finite = [](const Point& p) { return std::isfinite(p.low + p.high); };
    if (series.points.size() < 2) {
      picture.left_out["fewer than 64 scored tokens"].push_back(series.name);
    } else if (!std::all_of(series.points.begin(), series.points.end(), finite)) {
      picture.left_out["the NLL isn't finite"].push_back(series.name);
    } else {
      picture.context = std::max(picture.context, cell->context);
      picture.series.push_back(std::move(series));
    }
  }
  return picture;
}

/// Lines over the cache's size, one for each policy and number of sinks.
template <typename AddPoints>
Picture by_cache(Picture picture, const Group& group, const std::string& suffix,
                 AddPoints add_points) {
  picture.title += ": " + group.first;
  picture.name += suffix;
  picture.x_label = "Cache size (tokens)";
  picture.x_base_2 = true;
  for (const CellResult* cell : group.second) {
    const std::string name = family_name(*cell);
    auto it = std::find_if(picture.series.begin(), picture.series.end(),
                           [&](const Series& series) { return series.name == name; });
    if (it == picture.series.end()) {
      it = picture.series.insert(it, {.name = name, .policy = cell->cell.policy.name});
    }
    if (const std::string why = add_points(*cell, *it); !why.empty()) {
      picture.left_out[why].push_back(series_name(*cell));
    }
  }
  std::erase_if(picture.series, [](const Series& series) { return series.points.empty(); });
  for (Series& series : picture.series) {
    std::sort(series.points.begin(), series.points.end(),
              [](const Point& a, const Point& b) { return a.x < b.x; });
  }
  return picture;
}

Picture perplexity_picture(const Group& group, const std::string& suffix) {
  // Where strides differ, of the tokens that all scored.
  const bool common =
      std::all_of(group.second.begin(), group.second.end(),
                  [](const CellResult* cell) { return !cell->perplexity || cell->common; });
  return by_cache(
      {.name = result_kinds[1],
       .title = "Perplexity by cache size",
       .y_label = fmt::format("Perplexity (per token{}), ± 1 standard error",
                              common ? ", of those that all scored" : ""),
       .log_y_spans = true},
      group, suffix, [&](const CellResult& cell, Series& series) -> std::string {
        if (!cell.perplexity) return "";
        const double y = common ? std::exp(cell.common->nll_mean) : cell.perplexity->token;
        if (!std::isfinite(y)) return "the perplexity overflows";
        const double exact = common ? y * cell.common->nll_stderr : cell.perplexity->token_stderr;
        const double error = std::isfinite(exact) ? exact : 0;
        const auto capacity = cell.cache_size;
        series.everywhere = !capacity;
        series.points.push_back(
            {static_cast<double>(capacity.value_or(0)), y, std::max(y - error, y / 10), y + error});
        return "";
      });
}

Picture latency_picture(const Group& group, const std::string& suffix) {
  return by_cache(
      {.name = result_kinds[2],
       .title = "Latency of a decode step",
       .y_label = "Median (ms), bar to the 90th percentile",
       .unit = " ms",
       .log_y_spans = true,
       .y_from_zero = true},
      group, suffix, [](const CellResult& cell, Series& series) -> std::string {
        const auto capacity = cell.cache_size;
        for (const LatencyResult& latency : cell.latency) {
          series.points.push_back({static_cast<double>(capacity.value_or(latency.cache_entries)),
                                   latency.p50_ms, latency.p50_ms, latency.p90_ms});
        }
        return "";
      });
}

Picture memory_picture(const Group& group, const std::string& suffix) {
  return by_cache(
      {.name = result_kinds[3],
       .title = "Keys and values held",
       .y_label = "Memory of the cache (MiB)",
       .unit = " MiB",
       .log_y_spans = true,
       .y_from_zero = true},
      group, suffix, [](const CellResult& cell, Series& series) -> std::string {
        if (!cell.memory) return "";
        const double y = static_cast<double>(cell.memory->kv_bytes_held) / (1 << 20);
        const auto capacity = cell.cache_size;
        series.points.push_back(
            {static_cast<double>(capacity.value_or(cell.memory->cache_entries)), y, y, y});
        return "";
      });
}

/// Why the picture would show nothing, or "".
std::string emptiness(const Picture& picture) {
  if (picture.series.empty()) return not_measured;
  if (picture.band || !picture.ticks.empty()) return "";
  const bool any = std::any_of(picture.series.begin(), picture.series.end(), [](const Series& s) {
    return !s.everywhere && s.points.size() > 1 && s.points.front().x < s.points.back().x;
  });
  return any ? "" : "no policy was measured at two cache sizes";
}

/// The picture, or where it has too many lines several, with as many lines each.
std::vector<Picture> parts_of(Picture picture) {
  if (picture.series.size() <= most_lines) return {std::move(picture)};
  std::vector<Series> shared, rest;
  for (Series& series : picture.series) {
    (series.policy == "dense" ? shared : rest).push_back(std::move(series));
  }
  if (shared.size() > 2) {
    rest.insert(rest.begin(), shared.begin(), shared.end());
    shared.clear();
  }
  const size_t room = most_lines - shared.size();
  for (size_t i = room * most_parts; i < rest.size(); ++i) {
    picture.left_out["too many lines"].push_back(rest[i].name);
  }
  rest.resize(std::min(rest.size(), room * most_parts));
  const size_t count = (rest.size() + room - 1) / room;
  std::vector<Picture> parts;
  for (size_t k = 0; k < count; ++k) {
    Picture part = picture;
    part.series = shared;
    const auto at = [&](size_t i) {
      return rest.begin() + static_cast<std::ptrdiff_t>(i * rest.size() / count);
    };
    part.series.insert(part.series.end(), at(k), at(k + 1));
    if (count > 1) part.title += fmt::format(" ({} of {})", k + 1, count);
    if (k > 0) {
      part.name += fmt::format("-part-{}", k + 1);
      part.left_out.clear();
    }
    parts.push_back(std::move(part));
  }
  return parts;
}

/// One line of a trend's picture for each cell of the runs.
struct TrendPanel {
  std::array<Picture, 3> pictures;                    // in the order of trend_kinds
  std::array<std::vector<std::string>, 3> keys = {};  // of their series: what the cells are
};

void add_point(Picture& picture, std::vector<std::string>& keys, const std::string& key,
               const CellResult& cell, const std::string& name, const Point& point) {
  const auto it = std::find(keys.begin(), keys.end(), key);
  const size_t index = static_cast<size_t>(it - keys.begin());
  if (it == keys.end()) {
    // Two cells may be called the same, after the model has changed, say.
    keys.push_back(key);
    picture.series.push_back(
        {.name = unique_name(picture.series, name), .policy = cell.cell.policy.name});
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

/// Cells of one picture each, and what ends the names of their files.
std::pair<std::vector<Group>, std::vector<std::string>> groups_of(const Results& results) {
  const CellList cells = measured_cells(results);
  std::vector<Group> groups = Panels(cells, true).groups(cells);
  std::vector<std::string> titles;
  for (const Group& group : groups) titles.push_back(group.first);
  return {std::move(groups), suffixes(titles)};
}

bool is_task(const Group& group) {
  return group.second.front()->cell.dataset.is_task();
}

void add_answers(std::vector<Picture>& pictures, const Group& group, const std::string& suffix,
                 const fs::path& folder) {
  for (const TaskGroup& task : task_groups(group.second)) {
    std::vector<Picture> of_task = answer_pictures(task, group.first, suffix, folder);
    std::move(of_task.begin(), of_task.end(), std::back_inserter(pictures));
  }
}

}  // namespace

std::vector<Picture> result_pictures(const Results& results, const fs::path& folder) {
  const auto [groups, endings] = groups_of(results);
  std::vector<Picture> pictures;
  for (size_t i = 0; i < groups.size(); ++i) {
    if (is_task(groups[i])) {
      add_answers(pictures, groups[i], endings[i], folder);
      continue;
    }
    if (!folder.empty()) pictures.push_back(nll_picture(groups[i], endings[i], folder));
    pictures.push_back(perplexity_picture(groups[i], endings[i]));
    pictures.push_back(latency_picture(groups[i], endings[i]));
    pictures.push_back(memory_picture(groups[i], endings[i]));
  }
  return pictures;
}

std::vector<Picture> task_pictures(const Results& results, const fs::path& folder) {
  const auto [groups, endings] = groups_of(results);
  std::vector<Picture> pictures;
  for (size_t i = 0; i < groups.size(); ++i) {
    if (is_task(groups[i])) add_answers(pictures, groups[i], endings[i], folder);
  }
  return pictures;
}

std::vector<GnuplotPicture> result_maps(const Results& results) {
  const auto [groups, endings] = groups_of(results);
  std::vector<GnuplotPicture> maps;
  for (size_t i = 0; i < groups.size(); ++i) {
    for (const TaskGroup& task : task_groups(groups[i].second)) {
      if (auto map = answer_map(task, groups[i].first, endings[i])) maps.push_back(*map);
    }
  }
  return maps;
}

std::vector<Picture> trend_pictures(std::span<const TrendRun> runs) {
  std::vector<std::string> labels, titles;
  CellList all;
  for (const TrendRun& run : runs) {
    labels.push_back(run.label);
    const CellList cells = measured_cells(*run.results);
    all.insert(all.end(), cells.begin(), cells.end());
  }
  const Panels named(all, false);
  const std::vector<Group> groups = named.groups(all);
  for (const Group& group : groups) titles.push_back(group.first);
  const std::vector<std::string> endings = suffixes(titles);
  const std::array y_labels = {"Perplexity (per token), ± 1 standard error",
                               "Median (ms), bar to the 90th percentile",
                               "Memory of the cache (MiB)"};
  const std::array names = {"Perplexity", "Latency of a decode step", "Keys and values held"};
  const std::array units = {"", " ms", " MiB"};
  std::vector<TrendPanel> panels(titles.size());
  for (size_t p = 0; p < panels.size(); ++p) {
    for (size_t k = 0; k < names.size(); ++k) {
      panels[p].pictures[k] = {.name = trend_kinds[k] + endings[p],
                               .title = fmt::format("{} by run: {}", names[k], titles[p]),
                               .y_label = y_labels[k],
                               .unit = units[k],
                               .log_y_spans = true,
                               .ticks = labels};
    }
  }
  for (size_t i = 0; i < runs.size(); ++i) {
    for (const Group& group : named.groups(measured_cells(*runs[i].results))) {
      const auto panel = std::find(titles.begin(), titles.end(), group.first) - titles.begin();
      for (const CellResult* cell : group.second) {
        add_cell(panels[static_cast<size_t>(panel)], *cell, static_cast<double>(i + 1));
      }
    }
  }
  std::vector<Picture> pictures;
  for (TrendPanel& panel : panels) {
    for (Picture& picture : panel.pictures) {
      const bool any = !picture.series.empty();
      std::erase_if(picture.series, [](const Series& s) { return s.points.size() < 2; });
      if (any && picture.series.empty()) picture.left_out["no cell was measured in two runs"];
      pictures.push_back(std::move(picture));
    }
  }
  return pictures;
}

Drawable drawable(const std::vector<Picture>& candidates) {
  Drawable result;
  for (const Picture& candidate : candidates) {
    const std::string why = emptiness(candidate);
    std::vector<Picture> parts = why.empty() ? parts_of(candidate) : std::vector{candidate};
    const Picture& first = parts.front();
    for (const auto& [reason, names] : first.left_out) {
      result.left_out.push_back(
          names.empty() ? fmt::format("{}: {}", first.name, reason)
                        : fmt::format("{}: {}: {}", first.name, reason, fmt::join(names, ", ")));
    }
    if (why.empty()) {
      std::move(parts.begin(), parts.end(), std::back_inserter(result.pictures));
    } else if (!candidate.series.empty() || candidate.left_out.empty()) {
      result.left_out.push_back(candidate.name + ": " + why);
    }
  }
  return result;
}

std::string finding(const Picture& picture) {
  constexpr size_t most = most_lines;
  std::vector<std::string> parts;
  const auto at = [&](const Point& p) {
    return fmt::format("{}{} at {:.10g}", significant(p.y), picture.unit, p.x);
  };
  for (const Series& s : picture.series) {
    if (parts.size() == most) {
      parts.push_back(fmt::format("and {} more", picture.series.size() - most));
      break;
    }
    if (s.perplexity) {
      parts.push_back(fmt::format("{} perplexity {}", s.name, significant(*s.perplexity)));
    } else if (s.everywhere) {
      parts.push_back(fmt::format("{} {}{}", s.name, significant(s.points[0].y), picture.unit));
    } else {
      parts.push_back(s.name + " " + at(s.points.front()));
      if (s.points.size() > 1) parts.back() += " to " + at(s.points.back());
    }
  }
  return fmt::format("{}", fmt::join(parts, "; "));
}

double Axis::share(double value) const {
  return log ? std::log(value / low) / std::log(high / low) : (value - low) / (high - low);
}

Layout layout_of(const Picture& picture) {
  Layout layout;
  layout.marks = marks_of(picture);
  Extent x, y;
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
  for (const Mark& mark : layout.marks) x.add(mark.x);
  layout.x.log =
      (x.spans_a_decade() && picture.ticks.empty()) || (picture.x_base_2 && x.high >= 4 * x.low);
  layout.y.log = picture.log_y_spans && y.spans_a_decade();
  if (layout.y.log) {
    layout.y.low = y.low / 1.3;
    layout.y.high = y.high * 1.3;
  } else {
    const double margin = y.high > y.low ? 0.06 * (y.high - y.low) : 0.06 * std::abs(y.high) + 1e-9;
    layout.y.low = picture.y_from_zero ? 0 : y.low - margin;
    layout.y.high = y.high + margin;
  }
  if (layout.x.log) {
    const double margin = picture.band ? 1 : 1.1;
    layout.x.low = x.low / margin;
    layout.x.high = x.high * margin;
  } else {
    const double margin = picture.band ? 0 : 0.04 * (x.high - x.low);
    layout.x.low = x.low - margin;
    layout.x.high = x.high + margin;
  }
  layout.y.ticks = with_names(round_numbers(layout.y));
  if (!picture.ticks.empty()) {
    // Of many, so many that they can be read.
    for (size_t i = 0; i < picture.ticks.size(); i += (picture.ticks.size() + 11) / 12) {
      layout.x.ticks.emplace_back(i + 1, picture.ticks[i]);
    }
  } else {
    layout.x.ticks =
        with_names(picture.x_base_2 ? measured_sizes(picture) : round_numbers(layout.x));
  }
  const auto share = [&](double value) { return layout.y.share(value); };
  std::vector<double> ends;
  for (const Series& series : picture.series) {
    ends.push_back(std::clamp(share(series.points.back().y), 0.0, 1.0));
  }
  const std::vector<double> places = spread(ends, 0.055);
  const std::vector<size_t> colours = colours_of(picture.series);
  for (size_t i = 0; i < picture.series.size(); ++i) {
    layout.looks.push_back(look_of(picture.series, colours, i, share));
    layout.looks.back().label = places[i];
  }
  return layout;
}

std::string label_of(const Series& series) {
  constexpr size_t most = 40;
  std::vector<std::string> letters;
  for (const char c : printable(series.name)) {
    if ((static_cast<unsigned char>(c) & 0xC0) != 0x80) letters.emplace_back();
    letters.back() += c;
  }
  if (letters.size() <= most) return series.name;
  // The end tells names apart more often than the middle.
  letters.erase(letters.begin() + most / 2, letters.end() - (most / 2 - 1));
  letters.insert(letters.begin() + most / 2, "…");
  return fmt::format("{}", fmt::join(letters, ""));
}

}  // namespace sinkbench
