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
#include "reports/names.h"
#include "reports/text_table.h"

namespace sinkbench {
namespace {

namespace fs = std::filesystem;

struct Options {
  std::string folder, format = "table";
  std::vector<std::string> only;
  int64_t rare = 4;
  bool no_plots = false;
};

void print_recall(const Options& options) {
  const Results results = read_results(options.folder);
  // Cells of one model, text and precision stand beside each other.
  std::vector<std::vector<const CellResult*>> groups;
  std::vector<std::string> left_out;
  const auto alike = [](const CellResult& a, const CellResult& b) {
    return a.model_sha256 == b.model_sha256 && a.dataset_sha256 == b.dataset_sha256 &&
           a.cell.dtype == b.cell.dtype && a.cell.engine == b.cell.engine;
  };
  for (const CellResult& cell : results.cells) {
    if (!is_chosen(cell.cell.id, options.only) || !cell.error.empty() || cell.nll_file.empty())
      continue;
    if (cell.perplexity && cell.perplexity->stride != 1) {
      left_out.push_back(
          fmt::format("{}: one token in {} was scored", cell.cell.id, cell.perplexity->stride));
      continue;
    }
    const auto group = std::find_if(groups.begin(), groups.end(),
                                    [&](const auto& cells) { return alike(*cells.front(), cell); });
    if (group == groups.end()) {
      groups.push_back({&cell});
    } else {
      group->push_back(&cell);
    }
  }
  if (groups.empty()) {
    throw InputError::format(
        "{}: no cell{} has NLLs of all its tokens; expected a results folder of `run` with the "
        "metric "
        "perplexity",
        options.folder,
        options.only.empty() ? ""
                             : fmt::format(" that '{}' names", fmt::join(options.only, "', '")));
  }
  const bool csv = options.format == "csv", markdown = options.format == "markdown";
  std::vector<std::vector<RecallSplit>> split;
  std::set<std::string> bounds;
  for (const auto& cells : groups) {
    const CellResult& first = *cells.front();
    const FedStream stream = tensor_commands(false).fed_stream(first.cell);
    if (ids_sha256(stream.ids) != first.dataset_sha256) {
      throw InputError::format(
          "{}: its text or tokenizer is no longer what was fed (SHA-256 of the ids); run it again",
          first.cell.id);
    }
    split.emplace_back();
    for (const CellResult* cell : cells) {
      const std::vector<double> nll = read_nll_file(fs::path(options.folder) / cell->nll_file);
      split.back().push_back(split_recall(*cell, stream, nll, options.rare));
      const std::string bound = bound_of(cell->cell.policy);
      if (!bound.empty()) bounds.insert(cell->cell.policy.name + " " + bound);
    }
    if (!csv) {
      print_out("{}{}, {}, {}\n\n{}\n", markdown ? "## " : "", printable(model_name(first.cell)),
                printable(dataset_name(first.cell)), first.cell.dtype,
                format_recall(split.back(), markdown, terminal_width()));
    }
  }
  if (csv) {
    for (size_t i = 0; i < split.size(); ++i) {
      const std::string rows = recall_csv(split[i]);
      write_output(i == 0 ? rows : rows.substr(rows.find('\n') + 1));
    }
    for (const std::string& line : left_out) remark("left out: {}\n", line);
    return;
  }
  print_out(
      "NLL in nats, ± one standard error, of tokens that followed the token before them once "
      "already, so "
      "many tokens ago; pairs that stand in the text more than {} times are among the others\n",
      options.rare);
  for (const std::string& bound : bounds) {
    print_out("†: an upper bound and no policy to be ranked: {}\n", bound);
  }
  for (const std::string& line : left_out) print_out("left out: {}\n", line);
  if (options.no_plots || markdown) return;
  const fs::path plots = fs::path(options.folder) / "plots";
  try {
    for (const std::string& name : draw_recall(split, plots).drawn) {
      print_out("picture: {}  (and .png, .gp, .csv)\n", (plots / (name + ".svg")).string());
    }
  } catch (const InputError& error) {
    print_out("pictures: none; {}\n", error.what());
  }
}

}  // namespace

void add_recall(CLI::App& app) {
  auto options = std::make_shared<Options>();
  CLI::App* command = app.add_subcommand(
      "recall", "Split a run's NLLs by how far back a token stood in the same company");
  command->add_option("folder", options->folder, "The folder that `run` wrote")->required();
  command
      ->add_option("--only", options->only,
                   "Cells whose id matches, such as '*-sinks-*' (repeatable)")
      ->allow_extra_args(false);
  command
      ->add_option("--rare", options->rare,
                   "Pairs of tokens that stand in the text no more than so many times")
      ->transform(integer(2, int64_t{1} << 32))
      ->capture_default_str();
  command->add_option("--format", options->format, "table, markdown or csv")
      ->check(CLI::IsMember({"table", "markdown", "csv"}))
      ->capture_default_str();
  command->add_flag("--no-plots", options->no_plots, "Draw no picture");
  command->footer("Example: sinkbench recall results/quickstart");
  command->callback([options] { print_recall(*options); });
}

}  // namespace sinkbench
