// sinkbench plot: the pictures of a results folder.
#include "reports/plot.h"
#include "base/console.h"

#include <fmt/format.h>

#include "cli/commands.h"
#include "eval/results/common_tokens.h"

namespace sinkbench {

void add_plot(CommandLine app) {
  auto folder = std::make_shared<std::string>();
  CommandLine command =
      app.add_subcommand("plot", "Draw the pictures of a results folder into DIR/plots (gnuplot)");
  command.add_option("folder", *folder, "The folder that `run` wrote").required();
  command.footer("Example: sinkbench plot results/quickstart");
  command.callback([folder] {
    const std::filesystem::path plots = std::filesystem::path(*folder) / "plots";
    Results results = read_results(*folder);
    find_common_tokens(results, *folder);
    const Pictures pictures = draw_pictures(results, *folder, plots);
    for (const std::string& name : pictures.drawn) {
      print_out("{}  (and .png, .gp, .csv)\n", (plots / (name + ".svg")).string());
    }
    for (const std::string& line : pictures.left_out) print_out("left out: {}\n", line);
  });
}

}  // namespace sinkbench
