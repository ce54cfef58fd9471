#include "reports/answers.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <set>

#include "base/error.h"
#include "reports/names.h"
#include "reports/text_table.h"

namespace sinkbench {
namespace {

namespace fs = std::filesystem;

/// "56 %", "0.4 %"
std::string share(double value) {
  const double percent = 100 * value;
  return fmt::format("{:.{}f} %", percent, percent > 0 && percent < 1 ? 1 : 0);
}

std::string accuracy_of(const AnswerBin& bin) {
  return fmt::format("{} ({:.0f}-{:.0f})", share(bin.accuracy), 100 * bin.low, 100 * bin.high);
}

/// The parts, and then all.
std::vector<AnswerBin> rows_of(const CellResult& cell) {
  std::vector<AnswerBin> rows = cell.answers;
  std::rotate(rows.begin(), rows.begin() + 1, rows.end());
  return rows;
}

/// What the rows of a group's tables have in common: the parts' names and distances.
Columns part_columns(const TaskGroup& group) {
  const std::vector<AnswerBin> bins = rows_of(*group.front());
  Columns columns;
  for (const auto& [name, value] : bins.front().of) {
    const bool varied = std::any_of(
        bins.begin(), bins.end(),
        [&, &n = name, &v = value](auto& bin) { return !bin.of.empty() && bin.of.at(n) != v; });
    if (!varied) continue;
    columns.push_back({.name = name, .foldable = false, .key = true});
    for (const AnswerBin& bin : bins) {
      columns.back().cells.push_back(bin.of.empty() ? "all" : std::to_string(bin.of.at(name)));
    }
  }
  Column distance{.name = "tokens ago", .foldable = false, .key = true};
  Column answers{.name = "answers", .foldable = false, .key = true};
  for (const AnswerBin& bin : bins) {
    distance.cells.push_back(bin.least == bin.most ? std::to_string(bin.least)
                                                   : fmt::format("{}-{}", bin.least, bin.most));
    answers.cells.push_back(std::to_string(bin.answers));
  }
  columns.push_back(std::move(distance));
  columns.push_back(std::move(answers));
  return columns;
}

/// A point of each part, by distance.
std::vector<Point> points_of(const CellResult& cell, auto value) {
  std::vector<Point> points;
  for (const AnswerBin& bin : cell.answers) {
    if (bin.of.empty() && cell.answers.size() > 1) continue;  // all of them
    Point point = value(bin);
    point.x = std::round(static_cast<double>(bin.least + bin.most) / 2);
    points.push_back(point);
  }
  std::stable_sort(points.begin(), points.end(),
                   [](const Point& a, const Point& b) { return a.x < b.x; });
  return points;
}

Series series_of(const CellResult& cell, std::vector<Point> points) {
  return {.name = line_label(cell), .policy = cell.cell.policy.name, .points = std::move(points)};
}

/// Accuracy and log-probability along a sample, in ten parts of it, where a sample has enough
/// questions for that.
struct Along {
  std::vector<Point> accuracy, likely;
};

Along along_the_stream(const std::vector<Answer>& answers) {
  constexpr int64_t parts = 10, fewest = 8;  // answers of a part
  std::map<int64_t, int64_t> begins;         // of samples
  int64_t longest = 0;
  for (const Answer& answer : answers) begins.try_emplace(answer.sample, answer.question.asked);
  const auto place = [&](const Answer& answer) {
    return answer.question.asked - begins.at(answer.sample);
  };
  for (const Answer& answer : answers) longest = std::max(longest, place(answer) + 1);
  Along along;
  for (int64_t part = 0; part < parts; ++part) {
    std::vector<double> right, likely;
    std::vector<int64_t> groups;
    double places = 0;
    for (const Answer& answer : answers) {
      if (place(answer) * parts / longest != part) continue;
      right.push_back(answer.correct() ? 1 : 0);
      likely.push_back(answer.log_probability());
      groups.push_back(answer.question.group);
      places += static_cast<double>(place(answer));
    }
    if (std::ssize(right) < fewest) return {};
    const double x = std::round(places / static_cast<double>(right.size()));
    const GroupedMean accuracy = grouped_mean(right, groups), mean = grouped_mean(likely, groups);
    const std::set<int64_t> apart(groups.begin(), groups.end());
    const auto [low, high] = wilson_interval(accuracy, std::ssize(right), std::ssize(apart));
    along.accuracy.push_back({x, 100 * accuracy.mean, 100 * low, 100 * high});
    along.likely.push_back({x, mean.mean, mean.mean - mean.error, mean.mean + mean.error});
  }
  return along;
}

/// How likely `n` fair coins are to fall at least as unevenly as `few` to the rest.
double sign_test(int64_t few, int64_t n) {
  double p = 0;
  for (int64_t k = 0; k <= few; ++k) {
    p += std::exp(std::lgamma(n + 1.0) - std::lgamma(k + 1.0) -
                  std::lgamma(static_cast<double>(n - k) + 1) -
                  static_cast<double>(n) * std::log(2.0));
  }
  return std::min(1.0, 2 * p);
}

}  // namespace

std::vector<TaskGroup> task_groups(std::span<const CellResult* const> cells) {
  std::vector<TaskGroup> groups;
  for (const CellResult* cell : cells) {
    if (!cell->error.empty() || cell->answers.empty()) continue;
    const auto alike = [&](const TaskGroup& group) {
      const CellResult& other = *group.front();
      return other.model_sha256 == cell->model_sha256 &&
             other.dataset_sha256 == cell->dataset_sha256 &&
             other.cell.dataset.task == cell->cell.dataset.task &&
             other.cell.dtype == cell->cell.dtype && other.cell.kv == cell->cell.kv &&
             other.cell.engine == cell->cell.engine && other.cell.device == cell->cell.device &&
             other.cell.chunk == cell->cell.chunk;
    };
    const auto group = std::find_if(groups.begin(), groups.end(), alike);
    if (group == groups.end()) {
      groups.push_back({cell});
    } else {
      group->push_back(cell);
    }
  }
  return groups;
}

std::string format_answers(const TaskGroup& group, bool markdown, size_t width) {
  Columns columns = part_columns(group);
  const bool choices = group.front()->answers.front().chosen.has_value();
  for (const CellResult* cell : group) {
    Column column{.name = column_label(*cell), .cells = {}, .number = true, .foldable = false};
    for (const AnswerBin& bin : rows_of(*cell)) {
      column.cells.push_back(fmt::format("{}  {:.2f}", accuracy_of(bin), bin.log_probability));
      if (choices && bin.chosen) column.cells.back() += fmt::format("  {}", share(*bin.chosen));
    }
    columns.push_back(std::move(column));
  }
  return render(columns, markdown, width);
}

std::string format_held(const TaskGroup& group, bool markdown, size_t width) {
  Columns columns = part_columns(group);
  bool any = false;
  for (const CellResult* cell : group) {
    Column column{.name = column_label(*cell), .cells = {}, .number = true, .foldable = false};
    for (const AnswerBin& bin : rows_of(*cell)) {
      if (!bin.held_some || !bin.held_all) {
        column.cells.push_back(none);
        continue;
      }
      any |= *bin.held_all < 1;
      column.cells.push_back(fmt::format("{} / {}", share(*bin.held_some), share(*bin.held_all)));
    }
    columns.push_back(std::move(column));
  }
  return any ? render(columns, markdown, width) : "";
}

PairedAnswers paired_answers(std::span<const Answer> a, std::span<const Answer> b) {
  const auto same = [](const Answer& x, const Answer& y) {
    return x.question.begin == y.question.begin && x.question.end == y.question.end &&
           x.question.group == y.question.group && x.ids == y.ids;
  };
  if (a.size() != b.size() || !std::equal(a.begin(), a.end(), b.begin(), same)) {
    throw InputError("they were not asked the same questions");
  }
  PairedAnswers result;
  std::vector<double> accuracy, log_probability;
  std::vector<int64_t> groups;
  std::map<int64_t, int64_t> gained;
  result.equal = true;
  for (size_t i = 0; i < a.size(); ++i) {
    const int64_t gain = (b[i].correct() ? 1 : 0) - (a[i].correct() ? 1 : 0);
    accuracy.push_back(static_cast<double>(gain));
    log_probability.push_back(b[i].log_probability() - a[i].log_probability());
    groups.push_back(a[i].question.group);
    gained[groups.back()] += gain;
    result.equal &= a[i].nll == b[i].nll && a[i].top == b[i].top;
  }
  result.groups = std::ssize(gained);
  for (const auto& [group, gain] : gained) {
    result.lost += gain < 0;
    result.won += gain > 0;
  }
  result.p = sign_test(std::min(result.lost, result.won), result.lost + result.won);
  result.accuracy = grouped_mean(accuracy, groups);
  result.log_probability = grouped_mean(log_probability, groups);
  return result;
}

std::vector<std::string> paired_lines(const TaskGroup& group, const fs::path& folder) {
  std::vector<std::string> lines;
  const CellResult& first = *group.front();
  const std::vector<Answer> before = read_answers(folder / first.answers_file, first.answers);
  for (const CellResult* cell : group) {
    if (cell == &first) continue;
    const PairedAnswers paired =
        paired_answers(before, read_answers(folder / cell->answers_file, cell->answers));
    const bool several = paired.groups < std::ssize(before);
    lines.push_back(fmt::format(
        "{} against {}: {} {} worse, {} better of {}, p {}; log-probability {:+.3f} ±{:.3f}",
        printable(label_of(*cell)), printable(label_of(first)), paired.lost,
        several ? "samples" : "answers", paired.won, paired.groups,
        paired.p < 0.0001 ? "below 0.0001" : fmt::format("{:.2g}", paired.p),
        paired.log_probability.mean, paired.log_probability.error));
  }
  return lines;
}

std::string answers_csv(std::span<const TaskGroup> groups) {
  std::string text =
      "cell,task,policy,label,cache_size,part,least,most,answers,groups,accuracy,low,high,"
      "log_probability,error,chosen,held_some,held_all\n";
  const auto optional = [](const std::optional<double>& value) {
    return value ? fmt::format("{}", *value) : "";
  };
  for (const TaskGroup& group : groups) {
    for (const CellResult* cell : group) {
      for (const AnswerBin& bin : cell->answers) {
        std::vector<std::string> part;
        for (const auto& [name, value] : bin.of) part.push_back(fmt::format("{} {}", name, value));
        text += fmt::format("{},{},{},{},{},{},{},{},{},{},{},{},{},{},{},{},{},{}\n",
                            csv_quoted(cell->cell.id), csv_quoted(cell->cell.dataset.task.name),
                            csv_quoted(cell->cell.policy.name), csv_quoted(cell->policy_label),
                            cell->cache_size ? std::to_string(*cell->cache_size) : "",
                            part.empty() ? "all" : fmt::format("{}", fmt::join(part, " ")),
                            bin.least, bin.most, bin.answers, bin.groups, bin.accuracy, bin.low,
                            bin.high, bin.log_probability, bin.error, optional(bin.chosen),
                            optional(bin.held_some), optional(bin.held_all));
      }
    }
  }
  return text;
}

std::vector<Picture> answer_pictures(const TaskGroup& group, const std::string& title,
                                     const std::string& suffix, const fs::path& folder) {
  Picture accuracy{.name = "answers-by-distance" + suffix,
                   .title = "Answers recalled: " + title,
                   .x_label = "Tokens ago",
                   .y_label = "Right answers (%), 95 % interval",
                   .unit = " %",
                   .y_from_zero = true,
                   .x_base_2 = true};
  Picture likely{.name = "answers-log-probability" + suffix,
                 .title = "Log-probability of the right answer: " + title,
                 .x_label = "Tokens ago",
                 .y_label = "Log-probability (nats), ± 1 standard error",
                 .unit = " nats",
                 .x_base_2 = true};
  Picture along{.name = "answers-over-stream" + suffix,
                .title = "Answers recalled along the stream: " + title,
                .x_label = "Position in a sample (tokens)",
                .y_label = "Right answers (%), 95 % interval",
                .unit = " %",
                .y_from_zero = true};
  Picture likely_along{.name = "answers-over-stream-log-probability" + suffix,
                       .title = "Log-probability of the right answer along the stream: " + title,
                       .x_label = "Position in a sample (tokens)",
                       .y_label = "Log-probability (nats), ± 1 standard error",
                       .unit = " nats"};
  for (const CellResult* cell : group) {
    accuracy.series.push_back(series_of(*cell, points_of(*cell, [](const AnswerBin& bin) {
      return Point{0, 100 * bin.accuracy, 100 * bin.low, 100 * bin.high};
    })));
    likely.series.push_back(series_of(*cell, points_of(*cell, [](const AnswerBin& bin) {
      return Point{0, bin.log_probability, bin.log_probability - bin.error,
                   bin.log_probability + bin.error};
    })));
    if (folder.empty() || cell->answers_file.empty()) continue;
    Along points = along_the_stream(read_answers(folder / cell->answers_file, cell->answers));
    if (points.accuracy.empty()) continue;
    along.series.push_back(series_of(*cell, std::move(points.accuracy)));
    likely_along.series.push_back(series_of(*cell, std::move(points.likely)));
  }
  std::vector<Picture> pictures;
  if (group.front()->answers.size() > 1) {
    pictures.push_back(std::move(accuracy));
    pictures.push_back(std::move(likely));
  }
  if (!along.series.empty()) {
    pictures.push_back(std::move(along));
    pictures.push_back(std::move(likely_along));
  }
  return pictures;
}

std::optional<GnuplotPicture> answer_map(const TaskGroup& group, const std::string& title,
                                         const std::string& suffix) {
  std::set<int64_t> lengths, depths;
  for (const AnswerBin& bin : group.front()->answers) {
    if (!bin.of.contains("length") || !bin.of.contains("depth")) continue;
    lengths.insert(bin.of.at("length"));
    depths.insert(bin.of.at("depth"));
  }
  if (lengths.size() * depths.size() < 2) return std::nullopt;
  const auto place = [](const std::set<int64_t>& values, int64_t value) {
    return std::distance(values.begin(), values.find(value));
  };
  const auto ticks = [&](const std::set<int64_t>& values) {
    std::vector<std::string> names;
    for (const int64_t value : values) {
      names.push_back(fmt::format("'{}' {}", value, place(values, value)));
    }
    return fmt::format("({})", fmt::join(names, ", "));
  };
  GnuplotPicture picture{
      .name = "answers-map" + suffix, .script = {}, .csv = "policy,length,depth,x,y,right\n"};
  std::string plot = fmt::format("set multiplot layout 1,{} title {} font ',10'\n", group.size(),
                                 gnuplot_quoted("Right answers (%): " + title));
  int64_t row = 0;
  for (const CellResult* cell : group) {
    const int64_t first = row;
    for (const AnswerBin& bin : cell->answers) {
      if (bin.of.empty()) continue;
      const int64_t length = bin.of.at("length"), depth = bin.of.at("depth");
      picture.csv +=
          fmt::format("{},{},{},{},{},{:.4g}\n", csv_quoted(label_of(*cell)), length, depth,
                      place(lengths, length), place(depths, depth), 100 * bin.accuracy);
      ++row;
    }
    const std::string data = fmt::format("{} skip 1 every ::{}::{} using",
                                         gnuplot_quoted(picture.name + ".csv"), first, row - 1);
    plot += fmt::format(
        "set title {}\nplot {} 4:5:6 with image, {} 4:5:(sprintf('%.0f', $6)):($6 > 60 ? 0 : "
        "0xFFFFFF) with labels font ',9' textcolor rgbcolor variable\n",
        gnuplot_quoted(label_of(*cell)), data, data);
  }
  plot += "unset multiplot\n";
  picture.script = gnuplot_header(picture.name) +
                   fmt::format(
                       "set key off\n"
                       "set border 15 linecolor '#444444'\n"
                       "set tics nomirror out scale 0.5\n"
                       "set palette defined (0 '#440154', 1 '#3b528b', 2 '#21918c', 3 '#5ec962', 4 "
                       "'#fde725')\n"
                       "set cbrange [0:100]\n"
                       "unset colorbox\n"
                       "set xlabel 'Length (tokens)'\n"
                       "set ylabel 'Depth (%)'\n"
                       "set xrange [-0.5:{}.5]\n"
                       "set yrange [{}.5:-0.5]\n"
                       "set xtics {}\n"
                       "set ytics {}\n",
                       lengths.size() - 1, depths.size() - 1, ticks(lengths), ticks(depths));
  const auto panels = static_cast<int64_t>(group.size());
  picture.script += gnuplot_on_terminals(
      picture.name, std::max<int64_t>(640, 60 + panels * (110 + 45 * std::ssize(lengths))),
      110 + 40 * std::ssize(depths), plot);
  return picture;
}

}  // namespace sinkbench
