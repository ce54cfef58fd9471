#include "reports/training_pictures.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <array>
#include <charconv>
#include <sstream>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/file.h"
#include "reports/gnuplot.h"

namespace sinkbench {
namespace {

namespace fs = std::filesystem;

struct Log {
  std::vector<std::string> columns;
  std::vector<std::vector<double>> rows;
};

std::vector<std::string> split(const std::string& line) {
  std::vector<std::string> fields;
  std::istringstream stream(line);
  for (std::string field; std::getline(stream, field, ',');) fields.push_back(field);
  return fields;
}

/// A CSV file of numbers under a header that begins with `columns`.
Log read_log(const fs::path& file, const std::vector<std::string>& columns) {
  std::istringstream lines(read_file(file));
  std::string line;
  std::getline(lines, line);
  Log log{.columns = split(line), .rows = {}};
  if (log.columns.size() < columns.size() ||
      !std::equal(columns.begin(), columns.end(), log.columns.begin())) {
    throw InputError::format("{}: line 1: expected the columns {}, found '{}'", file.string(),
                             fmt::join(columns, ","), line);
  }
  for (int64_t number = 2; std::getline(lines, line); ++number) {
    std::vector<double> row;
    for (const std::string& field : split(line)) {
      double value = 0;
      const char* end = field.data() + field.size();
      if (std::from_chars(field.data(), end, value).ptr != end || field.empty()) {
        throw InputError::format("{}: line {}: expected a number, found '{}'", file.string(),
                                 number, field);
      }
      row.push_back(value);
    }
    if (row.size() != log.columns.size()) {
      throw InputError::format("{}: line {}: expected {} numbers, found {}", file.string(), number,
                               log.columns.size(), row.size());
    }
    log.rows.push_back(std::move(row));
  }
  return log;
}

constexpr int64_t width = 760, height = 440;

GnuplotPicture loss_picture(const Log& losses, const Log& validations) {
  GnuplotPicture picture{.name = "loss", .script = {}, .csv = "series,million_tokens,value\n"};
  const size_t block = std::max<size_t>(1, losses.rows.size() / 100);
  for (size_t begin = 0; begin + block <= losses.rows.size(); begin += block) {
    double loss = 0, tokens = 0;
    for (size_t i = begin; i < begin + block; ++i) {
      tokens += losses.rows[i][1] / static_cast<double>(block);
      loss += losses.rows[i][2] / static_cast<double>(block);
    }
    picture.csv += fmt::format("training,{:.6g},{:.6g}\n", tokens / 1e6, loss);
  }
  for (const auto& row : validations.rows) {
    picture.csv += fmt::format("held out,{:.6g},{:.6g}\n", row[1] / 1e6, row[2]);
  }
  const auto rows = [](const char* series) {
    return fmt::format("'loss.csv' skip 1 using (strcol(1) eq '{}' ? $2 : NaN):3", series);
  };
  picture.script =
      gnuplot_header(picture.name) + gnuplot_axes +
      "set key top right\n"
      "set title 'Training loss'\n"
      "set xlabel 'Tokens (millions)'\n"
      "set ylabel 'Loss (nats per token)'\n" +
      gnuplot_on_terminals(
          picture.name, width, height,
          fmt::format(
              "plot {} with lines linewidth 2 linecolor '{}' title 'training samples', \\\n"
              "     {} with linespoints linewidth 2 pointtype 7 pointsize 0.5 linecolor '{}' "
              "title 'held-out samples'\n",
              rows("training"), line_colours[0], rows("held out"), line_colours[1]));
  return picture;
}

GnuplotPicture sinks_picture(const Log& validations) {
  GnuplotPicture picture{.name = "sinks", .script = {}, .csv = "million_tokens"};
  for (size_t i = 3; i < validations.columns.size(); ++i) {
    picture.csv += "," + validations.columns[i];
  }
  picture.csv += "\n";
  for (const auto& row : validations.rows) {
    picture.csv += fmt::format("{}", row[1] / 1e6);
    for (size_t i = 3; i < row.size(); ++i) picture.csv += fmt::format(",{}", row[i]);
    picture.csv += "\n";
  }
  std::vector<std::string> lines;
  const size_t layers = (validations.columns.size() - 3) / 2;
  for (size_t l = 0; l < layers; ++l) {
    const char* colour = l % 7 < line_colours.size() ? line_colours[l % 7] : black;
    lines.push_back(fmt::format(
        "'sinks.csv' skip 1 using 1:{} with lines linewidth 2.5 linecolor '{}' title 'layer {}'",
        2 + 2 * l, colour, l));
    lines.push_back(fmt::format(
        "'sinks.csv' skip 1 using 1:{} with lines linewidth 1 dashtype 2 linecolor '{}' notitle",
        3 + 2 * l, colour));
  }
  picture.script =
      gnuplot_header(picture.name) + gnuplot_axes +
      "set key outside right\n"
      "set title 'Attention to the first position: mean over heads, dashed the strongest head'\n"
      "set xlabel 'Tokens (millions)'\n"
      "set ylabel 'Share of a query''s attention'\n"
      "set yrange [0:1]\n" +
      gnuplot_on_terminals(picture.name, width, height,
                           fmt::format("plot {}\n", fmt::join(lines, ", \\\n     ")));
  return picture;
}

}  // namespace

void draw_training(const fs::path& folder) {
  const Log losses =
      read_log(folder / "loss.csv", {"step", "tokens", "loss", "gradient_norm", "learning_rate"});
  const Log validations = read_log(folder / "validation.csv", {"step", "tokens", "held_out_loss"});
  std::vector<GnuplotPicture> pictures;
  if (!losses.rows.empty()) pictures.push_back(loss_picture(losses, validations));
  if (!validations.rows.empty() && validations.columns.size() > 4) {
    pictures.push_back(sinks_picture(validations));
  }
  draw_with_gnuplot(pictures, folder / "plots");
}

void draw_learning_rate_range(const fs::path& folder) {
  const Log log =
      read_log(folder / "learning-rate-range.csv", {"learning_rate", "loss", "smoothed_loss"});
  GnuplotPicture picture{
      .name = "learning-rate-range", .script = {}, .csv = "learning_rate,loss,smoothed_loss\n"};
  for (const auto& row : log.rows) picture.csv += fmt::format("{}\n", fmt::join(row, ","));
  picture.script =
      gnuplot_header(picture.name) + gnuplot_axes +
      "set key top right\n"
      "set title 'Learning-rate range'\n"
      "set xlabel 'Learning rate'\n"
      "set ylabel 'Loss (nats per token)'\n"
      "set logscale x\nset format x '10^{%T}'\n" +
      gnuplot_on_terminals(
          picture.name, width, height,
          fmt::format("plot 'learning-rate-range.csv' skip 1 using 1:2 with points pointtype 7 "
                      "pointsize 0.3 linecolor '#999999' title 'of each step', \\\n"
                      "     '' skip 1 using 1:3 with lines linewidth 2 linecolor '{}' title "
                      "'smoothed'\n",
                      line_colours[0]));
  draw_with_gnuplot({&picture, 1}, folder / "plots");
}

}  // namespace sinkbench
