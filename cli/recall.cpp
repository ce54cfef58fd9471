// sinkbench recall: how well caches predict what stood before, by how far back, from a run's NLLs.
#include "reports/recall.h"

#include <algorithm>
#include <map>
#include <tuple>

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
  std::map<std::tuple<std::string, std::string, std::string, std::string>,
           std::vector<const CellResult*>>
      groups;
  std::vector<std::string> left_out;
  for (const CellResult& cell : results.cells) {
    if (!is_chosen(cell.cell.id, options.only) || !cell.error.empty() || cell.nll_file.empty())
      continue;
    if (cell.perplexity && cell.perplexity->stride != 1) {
      left_out.push_back(
          fmt::format("{}: one token in {} was scored", cell.cell.id, cell.perplexity->stride));
      continue;
    }
    groups[{cell.model_sha256, cell.dataset_sha256, cell.cell.dtype, cell.cell.engine}].push_back(
        &cell);
  }
  if (groups.empty()) {
    throw InputError::format(
        "{}: no cell has NLLs; expected a results folder of `run` with the metric perplexity",
        options.folder);
  }
  std::string csv;
  int64_t number = 0;
  for (const auto& [key, cells] : groups) {
    const CellResult& first = *cells.front();
    const FedStream stream = tensor_commands(false).fed_stream(first.cell);
    if (ids_sha256(stream.ids) != first.dataset_sha256) {
      throw InputError::format(
          "{}: its text or tokenizer is no longer what was fed (SHA-256 of the ids); run it again",
          first.cell.id);
    }
    std::vector<RecallSplit> splits;
    for (const CellResult* cell : cells) {
      const std::vector<double> nll = read_nll_file(fs::path(options.folder) / cell->nll_file);
      splits.push_back(split_recall(*cell, stream, nll, options.rare));
    }
    if (options.format == "csv") {
      const std::string rows = recall_csv(splits);
      csv += csv.empty() ? rows : rows.substr(rows.find('\n') + 1);
      continue;
    }
    const bool markdown = options.format == "markdown";
    print_out("{}{}, {}, {}\n\n{}\n", markdown ? "## " : "", printable(model_name(first.cell)),
              printable(dataset_name(first.cell)), first.cell.dtype,
              format_recall(splits, markdown, terminal_width()));
    ++number;
    if (options.no_plots || markdown) continue;
    const fs::path plots = fs::path(options.folder) / "plots";
    const std::string name = groups.size() == 1 ? "recall" : fmt::format("recall-{}", number);
    try {
      for (const std::string& drawn : draw_recall(splits, name, plots).drawn) {
        print_out("picture: {}  (and .png, .gp, .csv)\n\n", (plots / (drawn + ".svg")).string());
      }
    } catch (const InputError& error) {
      print_out("pictures: none; {}\n\n", error.what());
    }
  }
  if (options.format == "csv") {
    write_output(csv);
    return;
  }
  print_out(
      "NLL in nats, ± one standard error, of tokens that followed the token before them once "
      "already, so "
      "many tokens ago; pairs that stand in the text more than {} times are among the others\n",
      options.rare);
  for (const std::string& line : left_out) print_out("left out: {}\n", line);
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
