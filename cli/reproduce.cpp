// sinkbench reproduce: every experiment of a folder, one after the other, and a report of all.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <map>
#include <regex>
#include <set>
#include <sstream>

#include "base/console.h"
#include "base/error.h"
#include "base/file.h"
#include "cli/commands.h"
#include "cli/configs_folder.h"
#include "cli/run_experiment.h"
#include "cli/sink_runs.h"
#include "cli/tensors.h"
#include "eval/results/common_tokens.h"
#include "reports/html.h"
#include "reports/plot.h"
#include "reports/tables.h"
#include "reports/text_table.h"

namespace sinkbench {
namespace {

namespace fs = std::filesystem;

struct ReproduceOptions {
  std::string set;
  std::vector<std::string> only;
  std::string out;
  Overrides overrides;
  bool quiet = false;
};

/// The experiments in a folder, by name: figure3 before figure10.
std::vector<fs::path> experiments_in(const fs::path& folder) {
  std::vector<fs::path> files;
  for (const auto& entry : fs::directory_iterator(folder)) {
    const fs::path& file = entry.path();
    if (file.extension() == ".yaml" && (is_experiment(file) || is_sink_experiment(file))) {
      files.push_back(file);
    }
  }
  std::sort(files.begin(), files.end(), [](const fs::path& a, const fs::path& b) {
    return ::strverscmp(a.c_str(), b.c_str()) < 0;
  });
  return files;
}

/// The folder that a set's name, or a path, means.
fs::path find_set(const std::string& set) {
  const fs::path configs = configs_folder();
  if (!configs.empty() && set.find('/') == set.npos && fs::is_directory(configs / set)) {
    if (!experiments_in(configs / set).empty()) return configs / set;
  }
  if (fs::is_directory(set)) {
    if (!experiments_in(set).empty()) return set;
    throw InputError::format("{}: no experiments (.yaml) in this folder", set);
  }
  std::set<std::string> names;
  if (!configs.empty()) {
    for (const auto& entry : fs::directory_iterator(configs)) {
      if (entry.is_directory() && !experiments_in(entry.path()).empty()) {
        names.insert(entry.path().filename().string());
      }
    }
  }
  throw InputError::format("no set '{}'; there are: {}; or give a folder with experiments", set,
                           fmt::join(names, ", "));
}

/// Those with the names that were asked for, or all.
std::vector<fs::path> choose(const std::vector<fs::path>& files,
                             const std::vector<std::string>& only) {
  std::vector<std::string> names;
  for (const fs::path& file : files) names.push_back(file.stem().string());
  std::vector<fs::path> chosen;
  for (size_t i = 0; i < files.size(); ++i) {
    if (only.empty() || std::find(only.begin(), only.end(), names[i]) != only.end()) {
      chosen.push_back(files[i]);
    }
  }
  for (const std::string& name : only) {
    if (std::find(names.begin(), names.end(), name) == names.end()) {
      throw InputError::format("no experiment '{}' in this set{}", name, suggestion(name, names));
    }
  }
  return chosen;
}

void refuse_all(const std::vector<std::string>& lines) {
  if (lines.empty()) return;
  for (const std::string& line : lines) remark("sinkbench: {}\n", line);
  throw Exit{exit_bad_input};
}

/// Every environment variable that the experiments name and that isn't set, in one go.
void check_variables(const std::vector<fs::path>& files) {
  static const std::regex variable("\\$\\{([A-Za-z0-9_]+)\\}");
  std::map<std::string, std::string> unset;  // and who needs it first
  for (const fs::path& file : files) {
    std::istringstream lines(read_file(file));
    for (std::string line; std::getline(lines, line);) {
      if (line.starts_with('#')) continue;
      for (std::sregex_iterator it(line.begin(), line.end(), variable), end; it != end; ++it) {
        const char* value = std::getenv((*it)[1].str().c_str());
        if (value == nullptr || *value == '\0') unset.emplace((*it)[1], file.filename());
      }
    }
  }
  std::vector<std::string> lines;
  for (const auto& [name, file] : unset) {
    lines.push_back(
        fmt::format("{}: needs the environment variable {}, which is not set; expected a folder: "
                    "export {}=FOLDER (docs/reproduce.md says what belongs there)",
                    file, name, name));
  }
  refuse_all(lines);
}

/// The comment that an experiment's file begins with.
std::string description(const fs::path& file) {
  std::istringstream lines(read_file(file));
  std::string text;
  for (std::string line; std::getline(lines, line) && line.starts_with("# ");) {
    text += (text.empty() ? "" : " ") + line.substr(2);
  }
  return text;
}

void draw(const Results& results, const fs::path& folder) {
  try {
    draw_pictures(results, folder, folder / "plots");
  } catch (const InputError& error) {
    remark("no pictures: {}\n", error.what());
  }
}

/// Of every experiment of the set that has results, run now or before.
void write_report(const std::string& name, const std::vector<fs::path>& files, const fs::path& out,
                  const Overrides& overrides) {
  std::vector<HtmlSection> sections;
  for (const fs::path& file : files) {
    const fs::path folder = out / file.stem();
    if (is_sink_experiment(file)) {
      HtmlSection section{
          .title = file.stem().string(), .folder = folder, .description = description(file)};
      for (MeasuredSinks& measured :
           read_sink_experiment(load_sink_experiment(file, overrides), folder)) {
        section.sink_folders.push_back(std::move(measured.id));
        section.sinks.push_back(std::move(measured.results));
      }
      if (!section.sinks.empty()) sections.push_back(std::move(section));
      continue;
    }
    if (!fs::exists(folder / "results.json")) continue;
    try {
      Results results = read_results(folder);
      find_common_tokens(results, folder);
      sections.push_back({.title = file.stem().string(),
                          .results = std::move(results),
                          .folder = folder,
                          .description = description(file)});
    } catch (const InputError& error) {
      remark("not in the report: {}\n", error.what());
    }
  }
  write_file_atomically(out / "report.html", html_page(name, sections));
}

void reproduce(const ReproduceOptions& options) {
  const fs::path set = without_dots(fs::absolute(find_set(options.set)));
  const std::string name = (set.has_filename() ? set : set.parent_path()).filename().string();
  const fs::path out = options.out.empty() ? fs::path("results") / name : fs::path(options.out);
  const std::vector<fs::path> all = experiments_in(set), files = choose(all, options.only);
  check_variables(files);
  std::vector<Experiment> experiments;  // of one that measures sinks its inputs
  for (const fs::path& file : files) {
    experiments.push_back(is_sink_experiment(file)
                              ? inputs_of(load_sink_experiment(file, options.overrides))
                              : load_experiment(file, options.overrides));
  }
  const TensorCommands& tensors =
      tensor_commands(std::any_of(experiments.begin(), experiments.end(),
                                  [](const Experiment& e) { return uses_cuda(e.cells); }));
  refuse_all(tensors.missing(experiments));  // before anything is run

  bool failed = false;
  for (size_t i = 0; i < files.size(); ++i) {
    if (!options.quiet) {
      remark("{} ({} of {})\n", files[i].stem().string(), i + 1, files.size());
    }
    if (is_sink_experiment(files[i])) {
      const auto measured = run_sink_experiment(load_sink_experiment(files[i], options.overrides),
                                                out / files[i].stem(), options.quiet);
      print_out("{}\n", format_sink_experiment(measured, terminal_width()));
      finish_output();
      continue;
    }
    const RunOutcome outcome = tensors.run_experiment(
        experiments[i], {.out = out / files[i].stem(), .quiet = options.quiet});
    if (!outcome.results.cells.empty()) {
      print_out("{}\n", format_report(outcome.results, ReportFormat::table, terminal_width()));
      finish_output();
    }
    if (outcome.interrupted) throw Exit{exit_interrupted};
    draw(outcome.results, outcome.folder);
    failed |= outcome.failed;
  }
  write_report(name, all, out, options.overrides);
  print_out("report: {}\n", (out / "report.html").string());
  if (failed) throw Exit{exit_incomplete};
}

}  // namespace

void add_reproduce(CommandLine app) {
  auto options = std::make_shared<ReproduceOptions>();
  CommandLine command =
      app.add_subcommand("reproduce",
                         "Run every experiment of a set (tiny, small, sinks, policies, "
                         "streamingllm, or a folder of your own) into one report");
  command
      .add_option("folder", options->set,
                  "The set: a folder below configs/ by its name, or any folder")
      .required();
  command.add_option("experiments", options->only,
                     "Those of its experiments to run (default: all)");
  command
      .add_option("--set", options->overrides.set,
                  "Replace a value in each experiment, as with run (repeatable)")
      .repeatable();
  command.add_option("--out", options->out, "Folder for the results (default: results/SET)");
  add_overrides(command, options->overrides, "Threads (default: all cores)");
  command.add_flag("--quiet", options->quiet, "No progress");
  command.footer(
      "Goes on where an earlier call has ended. Writes OUT/report.html.\n"
      "Example: sinkbench reproduce tiny");
  command.callback([options] {
    options->overrides.load_plugins = true;
    reproduce(*options);
  });
}

}  // namespace sinkbench
