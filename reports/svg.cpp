#include "reports/svg.h"

#include <fmt/format.h>

#include <algorithm>

#include "reports/text_table.h"

namespace sinkbench {
namespace {

constexpr double svg_width = 760, letter = 7.6;  // a letter's width, roughly
constexpr size_t most_hints = 64;            // points of a line that say their values

/// Places of a picture's values in the SVG.
class PlotCanvas {
 public:
  PlotCanvas(const Picture& picture, const Layout& layout) : layout_(layout) {
    size_t longest = 0;
    for (const Series& series : picture.series) {
      longest = std::max(longest, label_of(series).size());
    }
    size_t ticks = 0;
    for (const auto& [place, name] : layout.y.ticks) ticks = std::max(ticks, name.size());
    left = 34 + letter * static_cast<double>(ticks);
    right = svg_width - 36 - letter * static_cast<double>(longest);
  }
  double x(double value) const { return left + within(layout_.x, value) * (right - left); }
  double y(double value) const { return at_share(within(layout_.y, value)); }
  double at_share(double share) const { return bottom - share * (bottom - top); }

  double left, right;
  static constexpr double top = 12, bottom = 372, height = 420;

 private:
  static double within(const Axis& axis, double value) {
    return std::clamp(axis.share(value), 0.0, 1.0);
  }
  const Layout& layout_;
};

std::string line(double x1, double y1, double x2, double y2, const char* kind) {
  return fmt::format(
      "<line class=\"{}\" x1=\"{:.1f}\" y1=\"{:.1f}\" x2=\"{:.1f}\" y2=\"{:.1f}\"/>\n", kind, x1,
      y1, x2, y2);
}

std::string words_at(double x, double y, const char* anchor, const std::string& text,
                     const std::string& more = "") {
  return fmt::format("<text x=\"{:.1f}\" y=\"{:.1f}\" text-anchor=\"{}\"{}>{}</text>\n", x, y,
                     anchor, more, html_escaped(text));
}

std::string axes(const Picture& picture, const Layout& layout, const PlotCanvas& at) {
  std::string svg;
  for (const auto& [value, name] : layout.y.ticks) {
    svg += line(at.left, at.y(value), at.right, at.y(value), "grid");
    svg += words_at(at.left - 6, at.y(value) + 4, "end", name);
  }
  for (const auto& [value, name] : layout.x.ticks) {
    svg += line(at.x(value), at.top, at.x(value), at.bottom, "grid");
    svg += words_at(at.x(value), at.bottom + 17, "middle", name);
  }
  svg += line(at.left, at.bottom, at.right, at.bottom, "axis");
  svg += line(at.left, at.top, at.left, at.bottom, "axis");
  svg += words_at((at.left + at.right) / 2, PlotCanvas::height - 10, "middle", picture.x_label);
  svg += words_at(
      0, 0, "middle", picture.y_label,
      fmt::format(" transform=\"translate(14 {:.1f}) rotate(-90)\"", (at.top + at.bottom) / 2));
  for (const Mark& mark : layout.marks) {
    svg += line(at.x(mark.x), at.top, at.x(mark.x), at.bottom, "mark");
    svg +=
        words_at(0, 0, "end", mark.text,
                 fmt::format(" class=\"faint\" transform=\"translate({:.1f} {:.1f}) rotate(-90)\"",
                             at.x(mark.x) - 5, at.top + 2));
  }
  return svg;
}

std::string hint(const Picture& picture, const Series& series, const Point& p) {
  std::string text = series.name;
  if (!series.everywhere) text += fmt::format(" at {:.10g}", p.x);
  text += fmt::format(": {}{}", significant(p.y), picture.unit);
  if (p.low < p.high) text += fmt::format(" ({} to {})", significant(p.low), significant(p.high));
  return "<title>" + html_escaped(text) + "</title>";
}

std::string lines_of(const Picture& picture, const Series& series, const Look& look,
                     const PlotCanvas& at) {
  const std::string dash = look.off > 0
                               ? fmt::format(" stroke-dasharray=\"{} {}\"", look.on, look.off)
                           : look.dotted       ? " stroke-dasharray=\"2 4\""
                           : series.everywhere ? " stroke-dasharray=\"8 4 2 4\""
                                               : "";
  std::string svg = fmt::format("<g class=\"line{}\">\n", look.colour);
  const auto path = [&](const std::string& points) {
    return fmt::format("<polyline{} points=\"{}\"/>\n", dash, points);
  };
  if (series.everywhere) {
    const Point& p = series.points.front();
    svg += fmt::format("<polyline{0} points=\"{1:.1f},{3:.1f} {2:.1f},{3:.1f}\">{4}</polyline>\n",
                       dash, at.left, at.right, at.y(p.y), hint(picture, series, p));
  } else {
    std::string middle, upper, lower, bars, hints;
    const size_t step = (series.points.size() + most_hints - 1) / most_hints;
    for (size_t i = 0; i < series.points.size(); ++i) {
      const Point& p = series.points[i];
      const double x = at.x(p.x);
      middle += fmt::format("{:.1f},{:.1f} ", x, at.y(p.y));
      upper += fmt::format("{:.1f},{:.1f} ", x, at.y(p.high));
      lower = fmt::format("{:.1f},{:.1f} ", x, at.y(p.low)) + lower;
      if (!picture.band && p.low < p.high) bars += line(x, at.y(p.low), x, at.y(p.high), "bar");
      if (i % step == 0 || i + 1 == series.points.size()) {
        hints += fmt::format("<circle cx=\"{:.1f}\" cy=\"{:.1f}\" r=\"{}\"{}>{}</circle>\n", x,
                             at.y(p.y), picture.band ? 6 : 3.5,
                             picture.band ? " class=\"unseen\"" : "", hint(picture, series, p));
      }
    }
    if (picture.band) svg += fmt::format("<polygon points=\"{}{}\"/>\n", upper, lower);
    svg += path(middle) + bars + hints;
  }
  // Its name, beside where it ends.
  const double y = at.at_share(look.label);
  svg += path(fmt::format("{0:.1f},{2:.1f} {1:.1f},{2:.1f}", at.right + 6, at.right + 24, y));
  return svg + words_at(at.right + 29, y + 4, "start", label_of(series)) + "</g>\n";
}

}  // namespace

const char* const svg_style = R"(
svg { display: block; width: 100%; min-width: 36rem; height: auto; font-size: 13px; fill: var(--ink); }
svg .grid { stroke: var(--grid); } svg .axis { stroke: var(--ink); }
svg .mark { stroke: var(--faint); stroke-dasharray: 4 3; } svg .faint { fill: var(--faint); font-size: 11px; }
svg polyline { fill: none; stroke: var(--line); stroke-width: 2.2; } svg .bar { stroke: var(--line); }
svg polygon { fill: var(--line); fill-opacity: 0.16; } svg circle { fill: var(--line); }
svg circle.unseen { fill-opacity: 0; } svg circle.unseen:hover { fill-opacity: 0.8; }
.line0 { --line: var(--line0); } .line1 { --line: var(--line1); } .line2 { --line: var(--line2); }
.line3 { --line: var(--line3); } .line4 { --line: var(--line4); } .line5 { --line: var(--line5); }
.line6 { --line: var(--line6); }
)";

std::string svg_picture(const Picture& picture, const std::string& words) {
  const Layout layout = layout_of(picture);
  const PlotCanvas at(picture, layout);
  std::string svg = fmt::format(
      "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {} {}\" role=\"img\" "
      "aria-label=\"{}\">\n",
      svg_width, PlotCanvas::height, html_escaped(words));
  svg += axes(picture, layout, at);
  for (size_t i = 0; i < picture.series.size(); ++i) {
    svg += lines_of(picture, picture.series[i], layout.looks[i], at);
  }
  return svg + "</svg>\n";
}

}  // namespace sinkbench
