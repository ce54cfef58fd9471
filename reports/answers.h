// What caches recalled in tasks: tables, pictures, and one policy against another.
#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include "eval/results/results.h"
#include "eval/tasks/answers.h"
#include "reports/gnuplot.h"
#include "reports/picture.h"

namespace sinkbench {

/// Cells that differ in their policy alone, with a task.
using TaskGroup = std::vector<const CellResult*>;

/// The task cells of a list that were measured, those of one model, task, precision and engine
/// together, in their order.
std::vector<TaskGroup> task_groups(std::span<const CellResult* const> cells);

/// A row for each part of the questions and one for all; for each policy the share that was right
/// with its interval, and the mean log-probability of an answer. Text for `width` columns (0: any),
/// or Markdown.
std::string format_answers(const TaskGroup& group, bool markdown, size_t width);
/// Of a task whose facts can be evicted: how much of them the caches still had. "" where all had
/// all.
std::string format_held(const TaskGroup& group, bool markdown, size_t width);

/// Two cells' answers to the same questions, `b` against `a`.
struct PairedAnswers {
  int64_t groups = 0;
  /// Groups of which b has fewer right than a, and more.
  int64_t lost = 0, won = 0;
  /// McNemar's exact test (1947): how likely a split of these as uneven as this one is by chance.
  /// Of groups with several answers the sign test on the counts of right ones, which is the same.
  double p = 1;
  GroupedMean accuracy, log_probability;  ///< differences, b less a
  bool equal = false;                     ///< to the last bit
};
/// InputError where the questions aren't the same.
PairedAnswers paired_answers(std::span<const Answer> a, std::span<const Answer> b);

/// Each cell of a group against its first one, a line each. Answers are read from `folder`.
std::vector<std::string> paired_lines(const TaskGroup& group, const std::filesystem::path& folder);

/// A row for each cell and part of its questions.
std::string answers_csv(std::span<const TaskGroup> groups);

/// Accuracy and log-probability over distance, with intervals; of samples with many questions both
/// along the stream, where `folder` has the answers. `suffix` ends their names, `title` their
/// titles.
std::vector<Picture> answer_pictures(const TaskGroup& group, const std::string& title,
                                     const std::string& suffix,
                                     const std::filesystem::path& folder);

/// Of a task by length and depth: a map for each cell, the share of right answers as colour and in
/// numbers. Nothing of other tasks.
std::optional<GnuplotPicture> answer_map(const TaskGroup& group, const std::string& title,
                                         const std::string& suffix);

}  // namespace sinkbench
