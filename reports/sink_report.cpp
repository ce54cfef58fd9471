#include "reports/sink_report.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <numeric>
#include <set>

#include "reports/gnuplot.h"
#include "reports/published.h"
#include "reports/tables.h"
#include "reports/text_table.h"

namespace sinkbench {
namespace {

constexpr int64_t most_heads_side_by_side = 12;
constexpr int64_t most_strong_heads = 5;

/// The text, or what was drawn.
std::string fed(const SinkResults& results) {
  switch (results.sampling.input) {
    case SinkInput::natural:
      return dataset_name(results.cell);
    case SinkInput::random:
      return "random tokens";
    case SinkInput::repeated:
      return "one token repeated";
  }
  return "";
}

std::string measured_on(const SinkResults& results) {
  const SinkStatistics& s = results.statistics;
  const std::string bos = results.prefix.empty() ? "no BOS"
                                                 : fmt::format("token {} before each",
                                                               fmt::join(results.prefix, " and "));
  return fmt::format("{}, {}, {} samples of {} tokens, {}, {}", model_name(results.cell),
                     fed(results), s.samples, s.tokens, bos, results.cell.dtype);
}

/// What a line among others is of.
std::string line_name(const SinkResults& results, std::span<const SinkResults> among) {
  std::string name = fmt::format("{}, {}{}", model_name(results.cell), fed(results),
                                 results.prefix.empty() ? "" : ", BOS");
  const auto differ = [&](const auto& value) {
    return std::any_of(among.begin(), among.end(),
                       [&](const SinkResults& r) { return value(r) != value(results); });
  };
  if (differ([](const SinkResults& r) { return r.statistics.tokens; })) {
    name += fmt::format(", T {}", results.statistics.tokens);
  }
  if (differ([](const SinkResults& r) { return r.cell.dtype; })) name += ", " + results.cell.dtype;
  if (results.sampling.seed != 0) name += fmt::format(", seed {}", results.sampling.seed);
  return name;
}

std::string rate(double percent) {
  return fmt::format("{:.1f} %", percent);
}

/// "3: 0.912, 7: 0.604", the strongest first.
std::string strongest_heads(const SinkStatistics& s, int64_t layer) {
  std::vector<int64_t> heads(s.heads);
  std::iota(heads.begin(), heads.end(), 0);
  std::stable_sort(heads.begin(), heads.end(), [&](int64_t a, int64_t b) {
    return s.alpha_first(layer, a) > s.alpha_first(layer, b);
  });
  heads.resize(std::min(s.heads, most_strong_heads));
  std::vector<std::string> parts;
  for (const int64_t head : heads) {
    parts.push_back(fmt::format("{}: {:.3f}", head, s.alpha_first(layer, head)));
  }
  return fmt::format("{}", fmt::join(parts, ", "));
}

/// A row for each layer.
template <typename Cell>
Column column(const SinkStatistics& s, const std::string& name, const Cell& cell,
              bool number = true) {
  Column result{.name = name, .cells = {}, .number = number};
  for (int64_t layer = 0; layer < s.layers; ++layer) result.cells.push_back(cell(layer));
  return result;
}

double mean_over_heads(const SinkStatistics& s, const std::vector<double>& values, int64_t layer) {
  const auto begin = values.begin() + layer * s.heads;
  return std::accumulate(begin, begin + s.heads, 0.0) / static_cast<double>(s.heads);
}

Columns alpha_table(const SinkStatistics& s) {
  const auto number = [](double value) { return fmt::format("{:.3f}", value); };
  Columns columns = {
      column(s, "layer", [](int64_t layer) { return std::to_string(layer); }),
      column(s, "mean", [&](int64_t layer) { return number(s.mean_alpha_first(layer)); }),
      column(s, "max", [&](int64_t layer) { return number(s.max_alpha_first(layer)); }),
      column(s, "above epsilon", [&](int64_t layer) {
        double sum = 0;
        for (int64_t head = 0; head < s.heads; ++head) {
          sum += s.above[(layer * s.heads + head) * s.positions];
        }
        return fmt::format("{:.1f} %", sum / static_cast<double>(s.heads));
      })};
  if (s.heads > most_heads_side_by_side) {
    columns.push_back(column(
        s, "strongest heads", [&](int64_t layer) { return strongest_heads(s, layer); }, false));
    return columns;
  }
  for (int64_t head = 0; head < s.heads; ++head) {
    columns.push_back(column(s, fmt::format("head {}", head),
                             [&](int64_t layer) { return number(s.alpha_first(layer, head)); }));
  }
  return columns;
}

Columns last_table(const SinkStatistics& s) {
  const auto number = [](double value) { return fmt::format("{:.3f}", value); };
  return {column(s, "layer", [](int64_t layer) { return std::to_string(layer); }),
          column(s, "mean", [&](int64_t layer) { return number(s.last_to_first_of(layer).first); }),
          column(s, "deviation",
                 [&](int64_t layer) { return number(s.last_to_first_of(layer).second); })};
}

Columns value_table(const SinkStatistics& s) {
  const auto mean = [&](const std::vector<double>& values) {
    return [&](int64_t layer) { return significant(mean_over_heads(s, values, layer)); };
  };
  return {column(s, "layer", [](int64_t layer) { return std::to_string(layer); }),
          column(s, "position 0", mean(s.value_norm_first)),
          column(s, "others", mean(s.value_norm_others)), column(s, "ratio", [&](int64_t layer) {
            return significant(mean_over_heads(s, s.value_norm_first, layer) /
                               mean_over_heads(s, s.value_norm_others, layer));
          })};
}

Columns logit_table(const SinkStatistics& s) {
  const auto number = [](double value) { return fmt::format("{:.3f}", value); };
  return {column(s, "layer", [](int64_t layer) { return std::to_string(layer); }),
          column(s, "mean",
                 [&](int64_t layer) { return number(mean_over_heads(s, s.logit_mass, layer)); }),
          column(s, "max", [&](int64_t layer) {
            const auto begin = s.logit_mass.begin() + layer * s.heads;
            return number(*std::max_element(begin, begin + s.heads));
          })};
}

/// Matplotlib's viridis, which colour-blind readers and grey prints keep in order.
constexpr const char* palette =
    "set palette defined (0 '#440154', 1 '#472d7b', 2 '#3b528b', 3 '#2c728e', 4 '#21918c', "
    "5 '#28ae80', 6 '#5ec962', 7 '#addc30', 8 '#fde725')\n";

constexpr const char* frame =
    "set key off\n"
    "set border 15 linecolor '#444444'\n"
    "set tics nomirror out scale 0.5\n"
    "set format x '%g'\n"
    "set format y '%g'\n";

/// A distance between ticks that leaves no more than `most` of them.
int64_t tick_step(int64_t count, int64_t most) {
  for (int64_t decade = 1;; decade *= 10) {
    for (const int64_t step : {decade, 2 * decade, 5 * decade}) {
      if (count <= most * step) return step;
    }
  }
}

/// Places on a picture, from pixels counted from its left and its top.
struct Canvas {
  int64_t width, height;
  double x(int64_t pixels) const {
    return static_cast<double>(pixels) / static_cast<double>(width);
  }
  double y(int64_t pixels) const {
    return 1 - static_cast<double>(pixels) / static_cast<double>(height);
  }
  std::string plot_area(int64_t left, int64_t top, int64_t area_width, int64_t area_height) const {
    return fmt::format(
        "set lmargin at screen {:.4f}\nset rmargin at screen {:.4f}\n"
        "set tmargin at screen {:.4f}\nset bmargin at screen {:.4f}\n",
        x(left), x(left + area_width), y(top), y(top + area_height));
  }
  std::string colour_bar(int64_t left, int64_t top, int64_t bar_height) const {
    return fmt::format(
        "set colorbox user origin screen {:.4f}, screen {:.4f} size screen {:.4f}, screen {:.4f}\n",
        x(left), y(top + bar_height), x(15), y(top) - y(top + bar_height));
  }
};

GnuplotPicture heat_map(const SinkResults& results) {
  const SinkStatistics& s = results.statistics;
  GnuplotPicture picture{.name = "sinks", .script = {}, .csv = "layer,head,alpha_0\n"};
  for (int64_t layer = 0; layer < s.layers; ++layer) {
    for (int64_t head = 0; head < s.heads; ++head) {
      picture.csv += fmt::format("{},{},{:.6g}\n", layer, head, s.alpha_first(layer, head));
    }
  }
  constexpr int64_t left = 70, right = 105, top = 62, bottom = 60;
  const int64_t cell_width = std::clamp<int64_t>(960 / s.heads, 14, 100);
  const int64_t cell_height = std::clamp<int64_t>(640 / s.layers, 10, s.layers < 3 ? 120 : 48);
  const int64_t area_width = std::max<int64_t>(545, s.heads * cell_width);  // the title's, too
  const int64_t area_height = s.layers * cell_height;
  const Canvas canvas{left + area_width + right, top + area_height + bottom};
  picture.script = gnuplot_header(picture.name) + frame + palette;
  picture.script += fmt::format(
      "set title 'Mean attention to position 0 (alpha_0)' offset 0,0.6\n"
      "set label {} at graph 0.5, graph 1 center offset 0,0.6 font ',10' textcolor '#666666'\n"
      "set xlabel 'Head'\n"
      "set ylabel 'Layer'\n"
      "set cblabel 'alpha_0'\n"
      "set cbtics 0.2\n"
      "set cbrange [0:1]\n"
      "set xrange [-0.5:{}.5]\n"
      "set yrange [{}.5:-0.5]\n"
      "set xtics 0,{}\n"
      "set ytics 0,{}\n",
      gnuplot_quoted(measured_on(results)), s.heads - 1, s.layers - 1, tick_step(s.heads, 32),
      tick_step(s.layers, 24));
  picture.script += canvas.plot_area(left, top, area_width, area_height) +
                    canvas.colour_bar(left + area_width + 15, top, area_height);
  const std::string file = gnuplot_quoted(picture.name + ".csv") + " skip 1 using 2:1:";
  std::string plot = fmt::format(
      "plot {}($2-0.5):($2+0.5):($1-0.5):($1+0.5):3 with boxxyerror "
      "fillstyle solid noborder fillcolor palette",
      file);
  if (cell_width >= 34 && cell_height >= 16) {
    for (const auto& [condition, colour] : {std::pair{"<", "#ffffff"}, {">=", "#000000"}}) {
      plot += fmt::format(
          ", \\\n     {}($3 {} 0.6 ? sprintf('%.2f', $3) : '') with labels font ',10' "
          "textcolor rgb '{}'",
          file, condition, colour);
    }
  }
  picture.script += gnuplot_on_terminals(picture.name, canvas.width, canvas.height, plot + "\n");
  return picture;
}

/// A panel for each layer and head, each with colours of its own as in the paper: what differs is
/// where, not how much.
GnuplotPicture logit_maps(const SinkResults& results) {
  constexpr size_t most_panels = 32, most_columns = 4;
  const SinkStatistics& s = results.statistics;
  const size_t count = std::min(s.logits.size(), most_panels);
  GnuplotPicture picture{.name = "logits", .script = {}, .csv = "layer,head,query,key,logit\n"};
  for (size_t i = 0; i < count; ++i) {
    size_t place = 0;
    for (int64_t query = 0; query < s.tokens; ++query) {
      for (int64_t key = 0; key < s.tokens; ++key) {
        picture.csv += fmt::format("{},{},{},{},{:.6g}\n", s.logits[i].layer, s.logits[i].head,
                                   query, key, s.logits[i].mean[place++]);
      }
    }
  }
  const int64_t pairs = s.tokens * s.tokens;
  constexpr int64_t most_pixels = 48;  // of a side, each a rectangle of the SVG; else one image
  constexpr int64_t panel = 180, gap = 115, row_gap = 64;
  constexpr int64_t left = 75, right = 85, top = 80, bottom = 60;
  const size_t columns = std::min(count, most_columns);
  const size_t rows = (count + columns - 1) / columns;
  const int64_t area_width = static_cast<int64_t>(columns) * (panel + gap) - gap;
  const int64_t area_height = static_cast<int64_t>(rows) * (panel + row_gap) - row_gap;
  const Canvas canvas{std::max<int64_t>(720, left + area_width + right),
                      top + area_height + bottom};
  picture.script = gnuplot_header(picture.name) + frame + palette;
  picture.script += fmt::format(
      "set xrange [-0.5:{0}.5]\n"
      "set yrange [{0}.5:-0.5]\n"
      "set xtics 0,{1}\n"
      "set ytics 0,{1}\n"
      "set cbtics autofreq font ',9'\n",
      s.tokens - 1, tick_step(s.tokens, 5));
  std::string plot = fmt::format(
      "set multiplot\n"
      "set label 1 'Mean attention logits before the softmax' at screen 0.5, screen {:.4f} center "
      "font ',14'\n"
      "set label 2 {} at screen 0.5, screen {:.4f} center font ',10' textcolor '#666666'\n",
      canvas.y(20), gnuplot_quoted(measured_on(results)), canvas.y(42));
  for (size_t i = 0; i < count; ++i) {
    const SinkStatistics::LogitMap& map = s.logits[i];
    const int64_t x = left + static_cast<int64_t>(i % columns) * (panel + gap);
    const int64_t y = top + static_cast<int64_t>(i / columns) * (panel + row_gap);
    plot += canvas.plot_area(x, y, panel, panel) + canvas.colour_bar(x + panel + 6, y, panel);
    plot += fmt::format(
        "set title 'Layer {0}, head {1}' offset 0,-0.7\n"
        "set xlabel '{2}'\n"
        "set ylabel '{3}'\n"
        "plot {4} skip 1 every ::{5}::{6} using 4:3:5 with image{7}\n",
        map.layer, map.head, i + columns >= count ? "Key position" : "",
        i % columns == 0 ? "Query position" : "", gnuplot_quoted(picture.name + ".csv"),
        static_cast<int64_t>(i) * pairs, static_cast<int64_t>(i + 1) * pairs - 1,
        s.tokens <= most_pixels ? " pixels" : "");
    if (i == 0) plot += "unset label\n";
  }
  plot += "unset multiplot\n";
  picture.script += gnuplot_on_terminals(picture.name, canvas.width, canvas.height, plot);
  return picture;
}

GnuplotPicture attention_maps(const SinkResults& results) {
  constexpr int64_t most_panels = 8, most_columns = 4;
  const SinkStatistics& s = results.statistics;
  const std::vector<int64_t> layers = drawn_layers(s.layers, most_panels);
  GnuplotPicture picture{
      .name = "attention-maps", .script = {}, .csv = "layer,query,key,attention\n"};
  // The sink logit stands before the first key, with an empty column between.
  constexpr int64_t logit = -2;
  const int64_t first = s.trained_sink ? logit : 0;
  for (const int64_t layer : layers) {
    const double* map = s.map.data() + layer * s.mapped * s.mapped;
    for (int64_t query = 0; query < s.mapped; ++query) {
      for (int64_t key = first; key < s.mapped; ++key) {
        const double weight = key == logit ? s.map_logit[layer * s.mapped + query]
                              : key < 0    ? 0
                                           : *map++;
        picture.csv += fmt::format("{},{},{},{:.6g}\n", layer, query, key, weight);
      }
    }
  }
  const int64_t pairs = s.mapped * (s.mapped - first);
  constexpr int64_t panel = 200, gap = 40, row_gap = 64;
  constexpr int64_t left = 75, right = 110, top = 80, bottom = 60;
  const int64_t count = static_cast<int64_t>(layers.size());
  const int64_t columns = std::min(count, most_columns), rows = (count + columns - 1) / columns;
  const int64_t area_width = columns * (panel + gap) - gap;
  const int64_t area_height = rows * (panel + row_gap) - row_gap;
  const Canvas canvas{std::max<int64_t>(720, left + area_width + right),  // the title's, too
                      top + area_height + bottom};
  std::string title = "Attention by layer, mean over heads and samples";
  if (s.mapped < s.tokens) title += fmt::format(", first {} positions", s.mapped);
  picture.script = gnuplot_header(picture.name) + frame + palette;
  picture.script += fmt::format(
      "# Weights below 0.001 have the colour of 0.001.\n"
      "set logscale cb\n"
      "set cbrange [0.001:1]\n"
      "set format cb '%g'\n"
      "set cblabel 'Attention weight'\n"
      "set xrange [{2}:{0}.5]\n"
      "set yrange [{0}.5:-0.5]\n"
      "set xtics 0,{1}\n"
      "set ytics 0,{1}\n"
      "{3}",
      s.mapped - 1, tick_step(s.mapped, 5), s.trained_sink ? "-2.5" : "-0.5",
      s.trained_sink ? fmt::format("set xtics add ('logit' {})\n", logit) : "");
  // What stands once is drawn with the first panel.
  std::string plot =
      "set multiplot\n" + canvas.colour_bar(left + area_width + 15, top, area_height);
  plot += fmt::format(
      "set label 1 {} at screen 0.5, screen {:.4f} center font ',14'\n"
      "set label 2 {} at screen 0.5, screen {:.4f} center font ',10' textcolor '#666666'\n",
      gnuplot_quoted(title), canvas.y(20), gnuplot_quoted(measured_on(results)), canvas.y(42));
  for (int64_t i = 0; i < count; ++i) {
    plot += canvas.plot_area(left + i % columns * (panel + gap),
                             top + i / columns * (panel + row_gap), panel, panel);
    plot += fmt::format(
        "set title 'Layer {}' offset 0,-0.7\n"
        "set xlabel '{}'\n"
        "set ylabel '{}'\n"
        "plot {} skip 1 every ::{}::{} using 3:2:($3 > $2 || $3 == -1 ? NaN : $4 > 0.001 ? $4 : "
        "0.001) "
        "with image pixels\n",
        layers[i], i + columns >= count ? "Key position" : "",
        i % columns == 0 ? "Query position" : "", gnuplot_quoted(picture.name + ".csv"), i * pairs,
        (i + 1) * pairs - 1);
    if (i == 0) plot += "unset label\nunset colorbox\n";
  }
  plot += "unset multiplot\n";
  picture.script += gnuplot_on_terminals(picture.name, canvas.width, canvas.height, plot);
  return picture;
}

}  // namespace

std::string format_sinks(const SinkResults& results) {
  const SinkStatistics& s = results.statistics;
  std::vector<std::string> rates;
  for (int64_t k = 0; k < s.positions; ++k) {
    rates.push_back(fmt::format("Sink_{} {:.1f} %", k, s.sink_rate[k]));
  }
  std::string text = fmt::format(
      "{}: {}\n"
      "Sink metric at epsilon {:g}, T {}: {}\n"
      "\nalpha_0, the mean attention to position 0\n{}"
      "\nNorm of value vectors, mean over heads\n{}"
      "\nAttention of the last query to position 0, over heads\n{}",
      "sinks", measured_on(results), s.epsilon, s.tokens, fmt::join(rates, ", "),
      render(alpha_table(s), false), render(value_table(s), false), render(last_table(s), false));
  if (s.trained_sink) {
    text += fmt::format("\nAttention to the trained sink logits, over heads\n{}",
                        render(logit_table(s), false));
  }
  if (results.context > 0 && s.tokens > results.context) {
    text += fmt::format("\nnote: samples of {} tokens are longer than the {} trained on\n",
                        s.tokens, results.context);
  }
  return text;
}

std::vector<int64_t> drawn_layers(int64_t layers, int64_t most) {
  std::vector<int64_t> result;
  if (layers <= most) {
    result.resize(layers);
    std::iota(result.begin(), result.end(), 0);
    return result;
  }
  result = {0, 1, 2};
  const int64_t more = most - 3, span = layers - 1 - 2;
  for (int64_t i = 1; i <= more; ++i) result.push_back(2 + (span * i + more / 2) / more);
  return result;
}

Columns sink_summary(std::span<const SinkResults> measurements) {
  Columns columns = {{.name = "model", .number = false, .key = true},
                     {.name = "fed", .number = false, .key = true},
                     {.name = "BOS", .number = false},
                     {.name = "T"},
                     {.name = "samples"},
                     {.name = "epsilon"},
                     {.name = "Sink_0"},
                     {.name = "strongest layer", .number = false},
                     {.name = "last to first", .number = false},
                     {.name = "published"},
                     {.name = "seed"}};
  bool any_published = false, any_seed = false;
  for (const SinkResults& results : measurements) {
    any_seed |= results.sampling.seed != 0;
    const SinkStatistics& s = results.statistics;
    int64_t strongest = 0, closest = 0;
    for (int64_t layer = 0; layer < s.layers; ++layer) {
      if (s.mean_alpha_first(layer) > s.mean_alpha_first(strongest)) strongest = layer;
      if (s.last_to_first_of(layer).first > s.last_to_first_of(closest).first) closest = layer;
    }
    const std::optional<double> published = published_sink_rate(results);
    any_published |= published.has_value();
    const auto in_layer = [](int64_t layer, double mean) {
      return fmt::format("{}: {:.3f}", layer, mean);
    };
    const std::vector<std::string> row = {
        model_name(results.cell),
        fed(results),
        results.prefix.empty() ? "none" : fmt::format("{}", fmt::join(results.prefix, " ")),
        std::to_string(s.tokens),
        std::to_string(s.samples),
        fmt::format("{:g}", s.epsilon),
        rate(s.sink_rate.front()),
        in_layer(strongest, s.mean_alpha_first(strongest)),
        in_layer(closest, s.last_to_first_of(closest).first),
        published ? rate(*published) : none,
        std::to_string(results.sampling.seed)};
    for (size_t i = 0; i < row.size(); ++i) columns[i].cells.push_back(row[i]);
  }
  std::erase_if(columns, [&](const Column& column) {
    return (column.name == "published" && !any_published) || (column.name == "seed" && !any_seed);
  });
  return columns;
}

std::string sink_summary_csv(std::span<const SinkResults> measurements) {
  std::string text =
      "model,input,text,bos,tokens,samples,seed,dtype,epsilon,sink_percent_0,published\n";
  for (const SinkResults& results : measurements) {
    const SinkStatistics& s = results.statistics;
    const std::optional<double> published = published_sink_rate(results);
    const bool natural = results.sampling.input == SinkInput::natural;
    text += fmt::format("{},{},{},{},{},{},{},{},{},{},{}\n", csv_quoted(model_name(results.cell)),
                        to_string(results.sampling.input),
                        natural ? csv_quoted(dataset_name(results.cell)) : "",
                        fmt::join(results.prefix, " "), s.tokens, s.samples, results.sampling.seed,
                        results.cell.dtype, s.epsilon, s.sink_rate.front(),
                        published ? fmt::format("{}", *published) : "");
  }
  return text;
}

std::vector<Picture> sink_pictures(std::span<const SinkResults> measurements) {
  Picture alpha{.name = "alpha-by-layer",
                .title = "Mean attention to position 0, by layer",
                .x_label = "Layer",
                .y_label = "alpha_0, mean over heads",
                .y_from_zero = true};
  Picture last{.name = "last-to-first",
               .title = "Attention of the last query to position 0, by layer",
               .x_label = "Layer",
               .y_label = "Attention weight, mean and deviation over heads",
               .band = true,
               .y_from_zero = true};
  for (const SinkResults& results : measurements) {
    const SinkStatistics& s = results.statistics;
    Series of_alpha{.name = line_name(results, measurements), .policy = {}}, of_last = of_alpha;
    for (int64_t layer = 0; layer < s.layers; ++layer) {
      const double x = static_cast<double>(layer), mean = s.mean_alpha_first(layer);
      of_alpha.points.push_back({.x = x, .y = mean, .low = mean, .high = mean});
      const auto [y, deviation] = s.last_to_first_of(layer);
      of_last.points.push_back({.x = x,
                                .y = y,
                                .low = std::max(0.0, y - deviation),
                                .high = std::min(1.0, y + deviation)});
    }
    alpha.series.push_back(std::move(of_alpha));
    last.series.push_back(std::move(of_last));
  }
  return {alpha, last};
}

Columns sinks_beside_costs(std::span<const SinkResults> measurements,
                           std::span<const Results> results) {
  Columns columns = {{.name = "model", .number = false, .key = true},
                     {.name = "parameters"},
                     {.name = "T"},
                     {.name = "Sink_0"},
                     {.name = "text", .number = false},
                     {.name = "bos", .number = false},
                     {.name = "tokens"},
                     {.name = "cache"},
                     {.name = "dense"},
                     {.name = "window"},
                     {.name = "sinks"},
                     {.name = "window / sinks"}};
  const auto alike = [](const CellResult& a, const CellResult& b) {
    return a.model_sha256 == b.model_sha256 && a.dataset_sha256 == b.dataset_sha256 &&
           a.cell.dataset.reset == b.cell.dataset.reset && a.cell.dtype == b.cell.dtype &&
           a.cell.kv == b.cell.kv && a.cell.policy.positions == b.cell.policy.positions &&
           a.perplexity && b.perplexity;
  };
  std::set<std::string> told;
  for (const SinkResults& measurement : measurements) {
    if (measurement.sampling.input != SinkInput::natural || !measurement.sampling.bos) continue;
    for (const Results& set : results) {
      for (const CellResult& sinks : set.cells) {
        // As the model is; what an intervention or another storage does is in its own table.
        if (sinks.model_sha256 != measurement.model_sha256 || sinks.cell.policy.name != "sinks" ||
            !sinks.cell.kv.is_native()) {
          continue;
        }
        const CellResult *window = nullptr, *dense = nullptr;
        for (const CellResult& other : set.cells) {
          if (!alike(sinks, other)) continue;
          if (other.cell.policy.name == "window" && other.cache_size == sinks.cache_size) {
            window = &other;
          }
          if (is_plain_dense(other.cell.policy)) dense = &other;
        }
        if (window == nullptr) continue;
        const double with = sinks.perplexity->token, without = window->perplexity->token;
        const std::vector<std::string> row = {
            model_name(measurement.cell),
            fmt::format("{:.0f} M", static_cast<double>(measurement.parameters) / 1e6),
            std::to_string(measurement.statistics.tokens),
            rate(measurement.statistics.sink_rate.front()),
            dataset_name(sinks.cell),
            to_string(sinks.cell.dataset.bos),
            std::to_string(sinks.perplexity->scored),
            sinks.cache_label,
            dense == nullptr ? none : significant(dense->perplexity->token),
            significant(without),
            significant(with),
            significant(without / with)};
        std::string key =
            measurement.dataset_sha256 + std::to_string(measurement.statistics.epsilon);
        for (const std::string& cell : row) key += "\n" + cell;
        if (!told.insert(key).second) continue;
        for (size_t i = 0; i < row.size(); ++i) columns[i].cells.push_back(row[i]);
      }
    }
  }
  return columns;
}

void draw_sinks(const SinkResults& results, const std::filesystem::path& folder) {
  std::vector<GnuplotPicture> pictures = {heat_map(results), attention_maps(results)};
  if (!results.statistics.logits.empty()) pictures.push_back(logit_maps(results));
  draw_with_gnuplot(pictures, folder);
}

}  // namespace sinkbench
