// sinkbench report: the tables of a results folder again.
#include "reports/tables.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "cli/commands.h"

namespace sinkbench {

void add_report(CLI::App& app) {
  struct Options {
    std::string folder;
    std::string format = "table";
  };
  auto options = std::make_shared<Options>();
  CLI::App* command = app.add_subcommand("report", "Print the tables of a results folder");
  command->add_option("folder", options->folder, "The folder that `run` wrote")->required();
  command->add_option("--format", options->format, "table, markdown, csv or json")
      ->check(CLI::IsMember({"table", "markdown", "csv", "json"}))
      ->capture_default_str();
  command->footer("Example: sinkbench report results/quickstart --format markdown");
  command->callback([options] {
    const Results results = read_results(options->folder);
    if (options->format == "json") {
      fmt::print("{}\n",
                 to_json(results).dump(2, ' ', false, nlohmann::json::error_handler_t::replace));
    } else {
      fmt::print("{}",
                 format_report(results, options->format == "csv"        ? ReportFormat::csv
                                        : options->format == "markdown" ? ReportFormat::markdown
                                                                        : ReportFormat::table));
    }
  });
}

}  // namespace sinkbench
