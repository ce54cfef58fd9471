// sinkbench sinks: where a model's attention goes.
#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <nlohmann/json.hpp>

#include "base/console.h"
#include "base/error.h"
#include "base/file.h"
#include "cli/commands.h"
#include "cli/notes.h"
#include "cli/sink_runs.h"
#include "cli/tensors.h"
#include "eval/experiment/engine_names.h"
#include "reports/sink_report.h"

namespace sinkbench {
namespace {

namespace fs = std::filesystem;

struct SinksOptions {
  std::string model;
  std::vector<std::string> datasets;
  DocumentOptions documents;
  SinkSampling sampling;
  SinkOptions sinks;
  std::string input = "natural", bos;
  std::vector<std::string> set;  ///< of an experiment
  std::string dtype = "float32", device = "cpu", weights;
  int64_t threads = 0;
  std::string format = "table";
  std::string out;
  bool no_plots = false, quiet = false;
};

DatasetSpec dataset(const SinksOptions& options) {
  DatasetSpec result;
  result.documents = options.documents;
  for (const std::string& path : options.datasets) {
    if (!holds_token_ids(path)) {
      result.texts.emplace_back(path);
    } else if (options.datasets.size() == 1) {
      result.tokens_file = path;
    } else {
      throw InputError::format(
          "--dataset {}: a file of token ids stands by itself, not beside "
          "others",
          path);
    }
  }
  return result;
}

/// The last part of a path, "tiny" of "models/tiny/" and of ".".
std::string name_of(const fs::path& path) {
  const fs::path clean = without_dots(fs::absolute(path));
  return (clean.has_filename() ? clean : clean.parent_path()).filename().string();
}

/// A file with `sinks` in it: its measurements, one after the other.
void sink_experiment(const SinksOptions& options, CommandLine command) {
  // What an experiment says itself is not said twice.
  for (const std::string& name : command.given()) {
    if (name == "model" || name == "--set" || name == "--out" || name == "--threads" ||
        name == "--device" || name == "--quiet") {
      continue;
    }
    throw InputError::format(
        "{} has no meaning beside an experiment, which says it itself; expected it in {}, or "
        "--set KEY=VALUE",
        name, options.model);
  }
  const SinkExperiment experiment = load_sink_experiment(
      options.model,
      {.set = options.set,
       .threads = options.threads > 0 ? std::optional(options.threads) : std::nullopt,
       .device = command.is_given("--device") ? std::optional(options.device) : std::nullopt});
  const fs::path folder =
      options.out.empty() ? fs::path("results") / experiment.name : fs::path(options.out);
  const auto measured = run_sink_experiment(experiment, folder, options.quiet);
  print_out("{}\nresults: {}\n", format_sink_experiment(measured, terminal_width()),
            folder.string());
}

void sinks(SinksOptions options, CommandLine command) {
  const std::string extension = fs::path(options.model).extension().string();
  if (extension == ".yaml" || extension == ".yml") return sink_experiment(options, command);
  if (!options.set.empty()) {
    throw InputError("--set changes an experiment; expected a .yaml in the model's place");
  }
  const auto& inputs = sink_input_names();
  options.sampling.input = static_cast<SinkInput>(
      std::find(inputs.begin(), inputs.end(), options.input) - inputs.begin());
  const bool natural = options.sampling.input == SinkInput::natural;
  options.sampling.bos = options.bos.empty() ? natural : options.bos == "sample";
  if (!options.sinks.logit_layers.empty() && options.sinks.logit_heads.empty()) {
    options.sinks.logit_heads = {0};
  }
  if (options.datasets.empty() && (natural || options.sampling.bos)) {
    throw InputError(
        natural ? "--dataset is missing; expected a text, whose pieces are the samples"
                : "--dataset is missing; expected a text, which `--bos sample` needs, too");
  }
  const fs::path folder = options.out.empty()
                              ? fs::path("results") / ("sinks-" + name_of(options.model) +
                                                       (natural ? "" : "-" + options.input))
                              : fs::path(options.out);
  Cell cell;
  cell.model.path = options.model;
  cell.model.as_stored = options.weights == "as-stored";
  cell.dataset = dataset(options);
  cell.dtype = options.dtype;
  cell.device = options.device;
  cell.threads = options.threads;
  const SinkResults results =
      tensor_commands(is_cuda(options.device))
          .run_sinks(cell, options.sampling, options.sinks,
                     options.quiet ? Progress::Style::silent : Progress::detect(), nullptr);
  Notes().say(results.text.notes);
  write_sinks(results, folder);
  if (options.format == "json") {
    print_out("{}\n", to_json(results).dump(2, ' ', false,
                                            nlohmann::ordered_json::error_handler_t::replace));
  } else if (options.format == "csv") {
    print_out("{}", sinks_csv(results.statistics));
  } else {
    print_out("{}\nresults: {}\n", format_sinks(results), folder.string());
  }
  if (options.no_plots) return;
  // What keeps pictures from being drawn is a line.
  std::string line = "pictures: " + (folder / "plots").string();
  try {
    draw_sinks(results, folder / "plots");
  } catch (const InputError& error) {
    line = fmt::format("pictures: none; {}", error.what());
  }
  if (options.format == "table") print_out("{}\n", line);
}

}  // namespace

void add_sinks(CommandLine app) {
  auto options = std::make_shared<SinksOptions>();
  CommandLine command = app.add_subcommand(
      "sinks", "Measure a model's attention sinks: the sink metric, by layer and head");
  command
      .add_option("model", options->model,
                  "A checkpoint's folder or a .gguf; or an experiment, a .yaml with `sinks`")
      .required();
  command.add_option(
      "--dataset", options->datasets,
      "A text, a folder of texts or JSON lines, several as one stream; or a .json array "
      "of token ids. Drawn samples need none");
  add_document_options(command, options->documents);
  command.add_option("--samples", options->sampling.samples, "Disjoint samples of the text")
      .capture_default_str()
      .check(integer(1, int64_t{1} << 32));
  command
      .add_option("--tokens", options->sampling.tokens, "Tokens of a sample, its BOS included (T)")
      .capture_default_str();
  command.add_option("--epsilon", options->sinks.epsilon, "An alpha above it counts as a sink")
      .capture_default_str();
  command.add_option("--positions", options->sinks.positions, "Positions k = 0, 1, ... looked at")
      .capture_default_str();
  command
      .add_option("--input", options->input,
                  "natural: pieces of the text; random: tokens drawn evenly; repeated: one such "
                  "token over and over")
      .one_of(sink_input_names())
      .capture_default_str();
  command.add_option("--seed", options->sampling.seed, "Of what is drawn")
      .check(integer(0, std::numeric_limits<int64_t>::max()))
      .capture_default_str();
  command
      .add_option("--bos", options->bos,
                  "sample (default of natural samples): the tokenizer's BOS, if it has one, before "
                  "each sample; none (of drawn ones)")
      .one_of({"sample", "none"});
  command
      .add_option("--logit-layers", options->sinks.logit_layers,
                  "Mean attention logits of these layers, 0,2,10, as CSV and picture")
      .delimiter(',')
      .check(integer(0, 1 << 20));
  command.add_option("--logit-heads", options->sinks.logit_heads, "Of these heads (default: 0)")
      .delimiter(',')
      .check(integer(0, 1 << 20));
  command.add_option("--set", options->set, "Of an experiment: replace a value, as with run")
      .repeatable();
  command.add_option("--dtype", options->dtype, "float32, bfloat16, float16 (CUDA) or float64")
      .one_of(dtype_names())
      .capture_default_str();
  add_weights(command, options->weights);
  command.add_option("--device", options->device, device_names)
      .check(device_name())
      .capture_default_str();
  command.add_option("--threads", options->threads, "Threads (default: all cores)")
      .check(integer(1, 4096));
  command.add_option("--format", options->format, "table, json or csv")
      .one_of({"table", "json", "csv"})
      .capture_default_str();
  command.add_option("--out", options->out, "Folder for the results (default: results/sinks-NAME)");
  command.add_flag("--no-plots", options->no_plots, "Draw no pictures");
  command.add_flag("--quiet", options->quiet, "No progress");
  command.footer(
      "Examples: sinkbench sinks models/tiny --dataset .cache/king-james.txt\n"
      "          sinkbench sinks models/tiny --input repeated\n"
      "          sinkbench sinks configs/sinks/table1.yaml");
  command.callback([options, command] { sinks(*options, command); });
}

}  // namespace sinkbench
