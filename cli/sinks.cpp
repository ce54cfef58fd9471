// sinkbench sinks: where a model's attention goes.
#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "base/console.h"
#include "base/error.h"
#include "cli/commands.h"
#include "cli/notes.h"
#include "cli/tensors.h"
#include "eval/experiment/engine_names.h"
#include "reports/sink_report.h"

namespace sinkbench {
namespace {

namespace fs = std::filesystem;

struct Options {
  std::string model;
  std::vector<std::string> datasets;
  DocumentOptions documents;
  SinkSampling sampling;
  SinkOptions sinks;
  std::string bos = "sample";
  std::string dtype = "float32", device = "cpu", weights;
  int64_t threads = 0;
  std::string format = "table";
  std::string out;
  bool no_plots = false, quiet = false;
};

DatasetSpec dataset(const Options& options) {
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
  const fs::path clean = fs::absolute(path).lexically_normal();
  return (clean.has_filename() ? clean : clean.parent_path()).filename().string();
}

void sinks(Options options) {
  options.sampling.bos = options.bos == "sample";
  const fs::path folder = options.out.empty()
                              ? fs::path("results") / ("sinks-" + name_of(options.model))
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
                     options.quiet ? Progress::Style::silent : Progress::detect());
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

void add_sinks(CLI::App& app) {
  auto options = std::make_shared<Options>();
  CLI::App* command = app.add_subcommand(
      "sinks", "Measure a model's attention sinks: the sink metric, by layer and head");
  command->add_option("model", options->model, "A checkpoint's folder or a .gguf")->required();
  command
      ->add_option(
          "--dataset", options->datasets,
          "A text, a folder of texts or JSON lines, several as one stream; or a .json array "
          "of token ids")
      ->required();
  add_document_options(*command, options->documents);
  command->add_option("--samples", options->sampling.samples, "Disjoint samples of the text")
      ->capture_default_str()
      ->transform(integer(1, int64_t{1} << 32));
  command
      ->add_option("--tokens", options->sampling.tokens, "Tokens of a sample, its BOS included (T)")
      ->capture_default_str();
  command->add_option("--epsilon", options->sinks.epsilon, "An alpha above it counts as a sink")
      ->capture_default_str();
  command->add_option("--positions", options->sinks.positions, "Positions k = 0, 1, ... looked at")
      ->capture_default_str();
  command
      ->add_option("--bos", options->bos,
                   "sample: the tokenizer's BOS, if it has one, before each sample; none")
      ->check(CLI::IsMember({"sample", "none"}))
      ->capture_default_str();
  command->add_option("--dtype", options->dtype, "float32, bfloat16, float16 (CUDA) or float64")
      ->check(CLI::IsMember(dtype_names()))
      ->capture_default_str();
  add_weights(*command, options->weights);
  command->add_option("--device", options->device, device_names)
      ->check(device_name())
      ->capture_default_str();
  command->add_option("--threads", options->threads, "Threads (default: all cores)")
      ->transform(integer(1, 4096));
  command->add_option("--format", options->format, "table, json or csv")
      ->check(CLI::IsMember({"table", "json", "csv"}))
      ->capture_default_str();
  command->add_option("--out", options->out,
                      "Folder for the results (default: results/sinks-NAME)");
  command->add_flag("--no-plots", options->no_plots, "Draw no pictures");
  command->add_flag("--quiet", options->quiet, "No progress");
  command->footer("Example: sinkbench sinks models/tiny --dataset .cache/king-james.txt");
  command->callback([options] { sinks(*options); });
}

}  // namespace sinkbench
