// Results as pictures, before anything draws them: lines and what stands around them.
#pragma once

#include <array>
#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "eval/results/results.h"
#include "reports/gnuplot.h"
#include "reports/plot.h"

namespace sinkbench {

/// How the pictures' names begin.
inline constexpr std::array result_kinds = {
    "nll-over-position",   "perplexity-by-cache",     "latency-by-cache",    "memory-by-cache",
    "answers-by-distance", "answers-log-probability", "answers-over-stream", "answers-map"};
inline constexpr std::array trend_kinds = {"perplexity-trend", "latency-trend", "memory-trend"};

struct Point {
  double x = 0, y = 0, low = 0, high = 0;
};

struct Series {
  std::string name;
  std::string policy;  ///< by which it gets its colour
  std::vector<Point> points = {};
  bool everywhere = false;                ///< one value that has no x: a line across the picture
  std::optional<int64_t> cache = {};      ///< a place to mark
  std::optional<double> perplexity = {};  ///< that the whole line stands for
};

struct Picture {
  std::string name;  ///< of its files
  std::string title;
  std::string x_label = {}, y_label;
  std::string unit = {};  ///< of y, after a number
  std::vector<Series> series = {};
  int64_t context = 0;       ///< positions that the model was trained on, to be marked; 0: none
  bool band = false;         ///< low to high as an area, else as bars
  bool log_y_spans = false;  ///< a logarithmic y axis where the values span a decade
  bool y_from_zero = false;
  bool x_base_2 = false;
  std::vector<std::string> ticks = {};  ///< names of the places 1, 2, ... on the x axis
  /// What could not be drawn, by the reason.
  std::map<std::string, std::vector<std::string>> left_out = {};
};

/// For each model and dataset: NLL over position; perplexity, decode latency and memory by cache
/// size; of a task what was recalled, by distance and along the stream. Files are read relative to
/// `folder`; without one there is no NLL over position.
std::vector<Picture> result_pictures(const Results& results, const std::filesystem::path& folder);
/// Those of its tasks alone, under the same names.
std::vector<Picture> task_pictures(const Results& results, const std::filesystem::path& folder);
/// The maps of its tasks.
std::vector<GnuplotPicture> result_maps(const Results& results);
/// For each model and dataset: the same three over the runs.
std::vector<Picture> trend_pictures(std::span<const TrendRun> runs);

/// Those that show something. One of more lines than can be told apart becomes several, with the
/// lines that have no cache size in each; what is in none of them is named in `left_out`, a line
/// for each reason.
struct Drawable {
  std::vector<Picture> pictures;
  std::vector<std::string> left_out;
};
inline constexpr const char* not_measured = "nothing was measured for it";  ///< one of the reasons
Drawable drawable(const std::vector<Picture>& candidates);

/// "dense 24.30; window 0+ 62.10 at 64 to 30.20 at 256": the picture in words.
std::string finding(const Picture& picture);

struct Axis {
  double low = 0, high = 1;
  bool log = false;
  std::vector<std::pair<double, std::string>> ticks = {};
  double share(double value) const;  ///< of the axis: 0 to 1
};

/// How a line looks.
struct Look {
  size_t colour = 0;        ///< 0 black, then those of line_colours
  bool dotted = false;      ///< an earlier line has its colour
  int64_t on = 0, off = 0;  ///< gaps in which the lines below it are seen; off 0: none
  double label = 0;         ///< height of its name, a share of the axis
};

struct Mark {
  double x = 0;
  std::string text;
};

struct Layout {
  Axis x, y;
  std::vector<Look> looks;  ///< of the series
  std::vector<Mark> marks;
};
Layout layout_of(const Picture& picture);

/// A series' name as it stands in the picture, not too long for that.
std::string label_of(const Series& series);

}  // namespace sinkbench
