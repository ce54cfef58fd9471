// sinkbench recall: how well caches predict what stood before, by how far back, from a run's NLLs.
#include "reports/recall.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <set>
#include <vector>

#include "base/console.h"
#include "base/error.h"
#include "cli/commands.h"
#include "cli/run_experiment.h"
#include "cli/tensors.h"
#include "eval/results/nll_file.h"
#include "reports/answers.h"
#include "reports/names.h"
#include "reports/text_table.h"

namespace sinkbench {
namespace {

namespace fs = std::filesystem;

struct RecallOptions {
  std::string folder, format = "table";
  std::vector<std::string> only;
  int64_t rare = 4;
  bool no_plots = false;
};

struct Chosen {
  std::vector<TaskGroup> tasks;
  std::vector<std::vector<const CellResult*>> texts;  // cells of one model, text and precision
  std::vector<std::string> left_out;
};

Chosen choose(const Results& results, const RecallOptions& options) {
  Chosen chosen;
  const auto alike = [](const CellResult& a, const CellResult& b) {
    return a.model_sha256 == b.model_sha256 && a.dataset_sha256 == b.dataset_sha256 &&
           a.cell.dtype == b.cell.dtype && a.cell.kv == b.cell.kv && a.cell.engine == b.cell.engine;
  };
  std::vector<const CellResult*> tasks;
  for (const CellResult& cell : results.cells) {
    if (!is_chosen(cell.cell.id, options.only) || !cell.error.empty() || cell.nll_file.empty())
      continue;
    if (cell.cell.dataset.is_task()) {
      tasks.push_back(&cell);
      continue;
    }
    if (cell.perplexity && cell.perplexity->stride != 1) {
      chosen.left_out.push_back(
          fmt::format("{}: one token in {} was scored", cell.cell.id, cell.perplexity->stride));
      continue;
    }
    const auto group = std::find_if(chosen.texts.begin(), chosen.texts.end(),
                                    [&](const auto& cells) { return alike(*cells.front(), cell); });
    if (group == chosen.texts.end()) {
      chosen.texts.push_back({&cell});
    } else {
      group->push_back(&cell);
    }
  }
  chosen.tasks = task_groups(tasks);
  if (chosen.texts.empty() && chosen.tasks.empty()) {
    throw InputError::format(
        "{}: no cell{} has NLLs of all its tokens; expected a results folder of `run` with the "
        "metric perplexity",
        options.folder,
        options.only.empty() ? ""
                             : fmt::format(" that '{}' names", fmt::join(options.only, "', '")));
  }
  return chosen;
}

std::vector<RecallSplit> split(const std::vector<const CellResult*>& cells,
                               const RecallOptions& options) {
  const CellResult& first = *cells.front();
  const FedStream stream = tensor_commands(false).fed_stream(first.cell);
  if (ids_sha256(stream.ids) != first.dataset_sha256) {
    throw InputError::format(
        "{}: its text or tokenizer is no longer what was fed (SHA-256 of the ids); run it again",
        first.cell.id);
  }
  std::vector<RecallSplit> splits;
  for (const CellResult* cell : cells) {
    const std::vector<double> nll =
        read_nll_file(fs::path(options.folder) / cell->nll_file, *cell->perplexity);
    splits.push_back(split_recall(*cell, stream, nll, options.rare));
  }
  return splits;
}

void print_task(const TaskGroup& group, const RecallOptions& options) {
  const bool markdown = options.format == "markdown";
  const Cell& first = group.front()->cell;
  print_out("{}{}: {}, {}\n\n{}\n", markdown ? "## " : "", printable(model_name(first)),
            printable(dataset_name(first)), first.dtype,
            format_answers(group, markdown, terminal_width()));
  if (const std::string held = format_held(group, markdown, terminal_width()); !held.empty()) {
    print_out(
        "Layers and heads that still had some of what was asked for / all of it, when the question "
        "came\n\n{}\n",
        held);
  }
  const std::vector<std::string> lines = paired_lines(group, options.folder);
  for (const std::string& line : lines) print_out("{}{}\n", markdown ? "- " : "", line);
  if (!lines.empty()) print_out("\n");
}

void print_recall(const RecallOptions& options) {
  const Results results = read_results(options.folder);
  const Chosen chosen = choose(results, options);
  std::vector<std::vector<RecallSplit>> splits;
  for (const auto& cells : chosen.texts) splits.push_back(split(cells, options));
  if (options.format == "csv") {
    if (!chosen.tasks.empty()) write_output(answers_csv(chosen.tasks));
    for (size_t i = 0; i < splits.size(); ++i) {
      const std::string rows = recall_csv(splits[i]);
      if (i == 0 && !chosen.tasks.empty()) write_output("\n");
      write_output(i == 0 ? rows : rows.substr(rows.find('\n') + 1));
    }
    for (const std::string& line : chosen.left_out) remark("left out: {}\n", line);
    return;
  }
  const bool markdown = options.format == "markdown";
  for (const TaskGroup& group : chosen.tasks) print_task(group, options);
  if (!chosen.tasks.empty()) {
    print_out(
        "Right answers (95 % interval) and the mean log-probability of an answer, in nats{}; p by "
        "McNemar's test, of samples with several answers by the sign test\n",
        std::any_of(chosen.tasks.begin(), chosen.tasks.end(),
                    [](const TaskGroup& group) {
                      return group.front()->answers.front().chosen.has_value();
                    })
            ? ", then where the right choice was the likeliest of them"
            : "");
  }
  std::set<std::string> bounds;
  const auto note_bound = [&](const CellResult& cell) {
    const std::string bound = bound_of(cell.cell.policy);
    if (!bound.empty()) bounds.insert(cell.cell.policy.name + " " + bound);
  };
  for (const TaskGroup& group : chosen.tasks) {
    for (const CellResult* cell : group) note_bound(*cell);
  }
  for (size_t i = 0; i < splits.size(); ++i) {
    const Cell& first = chosen.texts[i].front()->cell;
    for (const CellResult* cell : chosen.texts[i]) note_bound(*cell);
    if (i == 0 && !chosen.tasks.empty()) print_out("\n");
    print_out("{}{}, {}, {}\n\n{}\n", markdown ? "## " : "", printable(model_name(first)),
              printable(dataset_name(first)), first.dtype,
              format_recall(splits[i], markdown, terminal_width()));
  }
  if (!splits.empty()) {
    print_out(
        "NLL in nats, ± one standard error, of tokens that followed the token before them once "
        "already, so many tokens ago; pairs that stand in the text more than {} times are among "
        "the others\n",
        options.rare);
  }
  for (const std::string& bound : bounds) {
    print_out("†: an upper bound and no policy to be ranked: {}\n", bound);
  }
  for (const std::string& line : chosen.left_out) print_out("left out: {}\n", line);
  if (options.no_plots || markdown) return;
  const fs::path plots = fs::path(options.folder) / "plots";
  try {
    std::vector<std::string> drawn;
    if (!chosen.tasks.empty()) drawn = draw_answers(results, options.folder, plots).drawn;
    if (!splits.empty()) {
      const Pictures split = draw_pictures(recall_pictures(splits), "recall", plots);
      drawn.insert(drawn.end(), split.drawn.begin(), split.drawn.end());
    }
    for (const std::string& name : drawn) {
      print_out("picture: {}  (and .png, .gp, .csv)\n", (plots / (name + ".svg")).string());
    }
  } catch (const InputError& error) {
    print_out("pictures: none; {}\n", error.what());
  }
}

}  // namespace

void add_recall(CommandLine app) {
  auto options = std::make_shared<RecallOptions>();
  CommandLine command = app.add_subcommand(
      "recall",
      "What caches recalled: tasks by distance, and a run's NLLs by how far back a token stood");
  command.add_option("folder", options->folder, "The folder that `run` wrote").required();
  command
      .add_option("--only", options->only,
                  "Cells whose id matches, such as '*-sinks-*' (repeatable)")
      .repeatable();
  command
      .add_option("--rare", options->rare,
                  "Pairs of tokens that stand in the text no more than so many times")
      .check(integer(2, int64_t{1} << 32))
      .capture_default_str();
  command.add_option("--format", options->format, "table, markdown or csv")
      .one_of({"table", "markdown", "csv"})
      .capture_default_str();
  command.add_flag("--no-plots", options->no_plots, "Draw no picture");
  command.footer("Example: sinkbench recall results/quickstart");
  command.callback([options] { print_recall(*options); });
}

}  // namespace sinkbench
