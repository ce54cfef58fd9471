// sinkbench report: the tables of a results folder again, or of several as one.
#include "reports/tables.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "cli/commands.h"
#include "reports/merge.h"

namespace sinkbench {

void add_report(CLI::App& app) {
  struct Options {
    std::vector<std::string> folders;
    std::string format = "table";
  };
  auto options = std::make_shared<Options>();
  CLI::App* command = app.add_subcommand("report", "Print the tables of results folders");
  command
      ->add_option("folders", options->folders,
                   "The folder that `run` wrote; several become one, the newest of each cell")
      ->required();
  command->add_option("--format", options->format, "table, markdown, csv or json")
      ->check(CLI::IsMember({"table", "markdown", "csv", "json"}))
      ->capture_default_str();
  command->footer("Example: sinkbench report results/quickstart --format markdown");
  command->callback([options] {
    std::vector<Results> runs;
    for (const std::string& folder : options->folders) runs.push_back(read_results(folder));
    const bool several = runs.size() > 1;
    const Results results = several ? merge(runs) : runs.front();
    if (options->format == "json") {
      if (several) {
        throw InputError::format(
            "--format json: expected one folder, found {}: a results file tells of one machine and "
            "one program",
            runs.size());
      }
      fmt::print("{}\n",
                 to_json(results).dump(2, ' ', false, nlohmann::json::error_handler_t::replace));
    } else {
      fmt::print("{}",
                 format_report(results, options->format == "csv"        ? ReportFormat::csv
                                        : options->format == "markdown" ? ReportFormat::markdown
                                                                        : ReportFormat::table));
      if (several && options->format != "csv") {
        fmt::print("\n{}", format_provenance(options->folders, runs));
      }
    }
  });
}

}  // namespace sinkbench
