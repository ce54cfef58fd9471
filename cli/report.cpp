// sinkbench report: the tables of a results folder again, or of several as one.
#include "base/console.h"
#include "reports/tables.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/file.h"
#include "cli/commands.h"
#include "eval/results/common_tokens.h"
#include "reports/html.h"
#include "reports/merge.h"
#include "reports/text_table.h"

namespace sinkbench {
namespace {

/// Several folders as one have their NLL files in several places: without pictures of these.
std::string page(const std::vector<std::string>& folders, const std::vector<Results>& runs,
                 const Results& results) {
  HtmlSection section{.title = results.info.name, .results = results, .folder = folders.front()};
  if (runs.size() > 1) {
    section.folder.clear();
    section.provenance = format_provenance(folders, runs);
  }
  return html_page(results.info.name, {&section, 1});
}

/// Of all folders together, with what their NLL files say of several cells.
Results as_one(const std::vector<std::string>& folders, std::vector<Results> runs) {
  if (runs.size() == 1) {
    find_common_tokens(runs.front(), folders.front());
    return std::move(runs.front());
  }
  for (size_t i = 0; i < runs.size(); ++i) {
    for (CellResult& cell : runs[i].cells) {
      if (!cell.nll_file.empty()) {
        cell.nll_file = std::filesystem::absolute(folders[i]) / cell.nll_file;
      }
    }
  }
  Results results = merge(runs);
  find_common_tokens(results, "");
  return results;
}

}  // namespace

void add_report(CommandLine app) {
  struct Options {
    std::vector<std::string> folders;
    std::string format = "table";
    std::string out;
  };
  auto options = std::make_shared<Options>();
  CommandLine command = app.add_subcommand("report", "Print the tables of results folders");
  command
      .add_option("folders", options->folders,
                  "The folder that `run` wrote; several become one, the newest of each measurement")
      .required();
  command.add_option("--format", options->format, "table, markdown, csv, json or html")
      .one_of({"table", "markdown", "csv", "json", "html"})
      .capture_default_str();
  command.add_option("--out", options->out, "Write to this file instead of standard output");
  command.footer("Example: sinkbench report results/quickstart --format markdown");
  command.callback([options] {
    std::vector<Results> runs;
    for (const std::string& folder : options->folders) runs.push_back(read_results(folder));
    const bool several = runs.size() > 1;
    std::string text;
    if (options->format == "json") {
      if (several) {
        throw InputError::format(
            "--format json: expected one folder, found {}: a results file tells of one machine and "
            "one program",
            runs.size());
      }
      text = to_json(as_one(options->folders, runs))
                 .dump(2, ' ', false, nlohmann::json::error_handler_t::replace) +
             "\n";
    } else if (options->format == "html") {
      text = page(options->folders, runs, as_one(options->folders, runs));
    } else {
      const Results results = as_one(options->folders, runs);
      const bool csv = options->format == "csv";
      text = format_report(results,
                           csv                             ? ReportFormat::csv
                           : options->format == "markdown" ? ReportFormat::markdown
                                                           : ReportFormat::table,
                           options->out.empty() ? terminal_width() : 0);
      const std::string provenance =
          several ? format_provenance(options->folders, runs) : std::string();
      if (csv) {  // tables for other programs have no place for what else there is to say
        write_remark(provenance);
        for (const CellResult& cell : results.cells) {
          if (cell.error.empty()) continue;
          write_remark(
              fmt::format("failed: {}: {}\n", printable(cell.cell.id), printable(cell.error)));
        }
      } else if (several) {
        text += "\n" + provenance;
      }
    }
    if (options->out.empty()) {
      print_out("{}", text);
    } else {
      write_file_atomically(options->out, text);
    }
  });
}

}  // namespace sinkbench
