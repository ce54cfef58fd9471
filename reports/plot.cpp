#include "reports/plot.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <cmath>

#include "reports/gnuplot.h"
#include "reports/picture.h"
#include "reports/text_table.h"

namespace sinkbench {
namespace {

namespace fs = std::filesystem;

std::string data_csv(const Picture& picture) {
  std::string text = "series,x,y,low,high\n";
  for (const Series& series : picture.series) {
    for (const Point& p : series.points) {
      text += fmt::format("{},{},{},{},{}\n", csv_quoted(series.name), p.x, p.y, p.low, p.high);
    }
  }
  return text;
}

/// On two lines where one is wider than the picture.
std::string title_of(const std::string& title) {
  constexpr size_t most = 85;
  const size_t cut = title.size() > most ? title.rfind(", ", most) : title.npos;
  if (cut == title.npos) return gnuplot_quoted(title);
  return gnuplot_quoted(title.substr(0, cut + 1)) + ".\"\\n\"." +
         gnuplot_quoted(title.substr(cut + 2));
}

std::string ticks_of(const Axis& axis) {
  std::vector<std::string> ticks;
  for (const auto& [place, name] : axis.ticks) {
    ticks.push_back(fmt::format("{} {}", gnuplot_quoted(name), place));
  }
  return fmt::format("({})\n", fmt::join(ticks, ", "));
}

std::string script(const Picture& picture) {
  const Layout layout = layout_of(picture);
  size_t longest = picture.ticks.empty() ? 0 : 14;  // the last tick's name needs room too
  for (const Series& series : picture.series) {
    longest = std::max(longest, label_of(series).size());
  }
  const std::string& name = picture.name;
  std::string text = fmt::format(
      "{0}"
      "set title {1}\n"
      "set xlabel {2}\n"
      "set ylabel {3}\n"
      "set key off\n"
      "{5}"
      "set rmargin {4}\n",
      gnuplot_header(name), title_of(picture.title), gnuplot_quoted(picture.x_label),
      gnuplot_quoted(picture.y_label), longest + 3, gnuplot_axes);
  if (layout.x.log) text += "set logscale x\n";
  if (layout.y.log) text += "set logscale y\n";
  text += fmt::format("set xtics {}{}", picture.ticks.empty() ? "" : "rotate by -30 left ",
                      ticks_of(layout.x));
  text += "set ytics " + ticks_of(layout.y);
  text += fmt::format("set xrange [{}:{}]\nset yrange [{}:{}]\n", layout.x.low, layout.x.high,
                      layout.y.low, layout.y.high);
  for (const Mark& mark : layout.marks) {
    text += fmt::format(
        "set arrow from first {0}, graph 0 to first {0}, graph 1 nohead linecolor '#888888' "
        "dashtype 2\n"
        "set label {1} at first {0}, graph 0.98 right rotate by 90 offset character -0.7, 0 "
        "textcolor '#666666' font ',10'\n",
        mark.x, gnuplot_quoted(mark.text));
  }
  std::vector<std::string> bands, lines;
  size_t next = 0;  // row of the data, whose series follow one another
  for (size_t i = 0; i < picture.series.size(); ++i) {
    const Series& series = picture.series[i];
    const Look& look = layout.looks[i];
    const char* colour = look.colour == 0 ? black : line_colours[look.colour - 1];
    text += fmt::format("set label {} at graph 1.015, graph {:.4f} left textcolor '{}'\n",
                        gnuplot_quoted(label_of(series)), look.label,
                        look.colour == 0 ? black : label_colours[look.colour - 1]);
    // By row, since gnuplot ends a quoted name at its first comma.
    const size_t first = next;
    next += series.points.size();
    const std::string file = fmt::format("{} skip 1 every ::{}::{} using ",
                                         gnuplot_quoted(name + ".csv"), first, next - 1);
    const std::string dash = look.off > 0  ? fmt::format(" dashtype ({},{})", look.on, look.off)
                             : look.dotted ? " dashtype 3"
                                           : "";
    if (series.everywhere) {
      lines.push_back(fmt::format("{} with lines linewidth 2 dashtype 4 linecolor '{}'",
                                  series.points.front().y, colour));
      continue;
    }
    if (picture.band) {
      bands.push_back(fmt::format(
          "{}2:4:5 with filledcurves fillcolor '{}' fillstyle transparent solid 0.18 noborder",
          file, colour));
      lines.push_back(
          fmt::format("{}2:3 with lines linewidth 2{} linecolor '{}'", file, dash, colour));
    } else {
      lines.push_back(
          fmt::format("{}2:3:4:5 with yerrorlines linewidth 2{} pointtype {} "
                      "pointsize 0.7 linecolor '{}'",
                      file, dash, std::array{7, 5, 9, 13}[i % 4], colour));
    }
  }
  bands.insert(bands.end(), lines.begin(), lines.end());
  text += gnuplot_on_terminals(name, 760, 440,
                               fmt::format("plot {}\n", fmt::join(bands, ", \\\n     ")));
  return text;
}

void remove_old(const fs::path& plots, std::span<const char* const> kinds,
                const std::vector<std::string>& drawn) {
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
Pictures draw(const std::vector<Picture>& candidates, std::span<const char* const> kinds,
              const fs::path& plots, const std::vector<GnuplotPicture>& maps = {}) {
  const Drawable chosen = drawable(candidates);
  Pictures pictures{.drawn = {}, .left_out = chosen.left_out};
  std::vector<GnuplotPicture> all = maps;
  for (const GnuplotPicture& map : maps) pictures.drawn.push_back(map.name);
  for (const Picture& picture : chosen.pictures) {
    all.push_back({picture.name, script(picture), data_csv(picture)});
    pictures.drawn.push_back(picture.name);
  }
  if (!all.empty()) draw_with_gnuplot(all, plots);
  if (fs::is_directory(plots)) remove_old(plots, kinds, pictures.drawn);
  return pictures;
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
  return draw(result_pictures(results, folder), result_kinds, plots, result_maps(results));
}

Pictures draw_answers(const Results& results, const fs::path& folder, const fs::path& plots) {
  require_gnuplot();
  const char* const kind = "answers";
  return draw(task_pictures(results, folder), std::span(&kind, 1), plots, result_maps(results));
}

Pictures draw_pictures(const std::vector<Picture>& pictures, const char* kind,
                       const fs::path& plots) {
  require_gnuplot();
  return draw(pictures, std::span(&kind, 1), plots);
}

Pictures draw_trends(std::span<const TrendRun> runs, const fs::path& plots) {
  require_gnuplot();
  return draw(trend_pictures(runs), trend_kinds, plots);
}

}  // namespace sinkbench
