// sinkbench generate: what a model writes under each policy.
#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>
#include <nlohmann/json.hpp>

#include "base/console.h"
#include "base/error.h"
#include "base/file.h"
#include "base/utf8.h"
#include "cli/commands.h"
#include "cli/run_experiment.h"
#include "cli/tensors.h"
#include "eval/experiment/engine_names.h"
#include "reports/generation.h"
#include "reports/text_table.h"

namespace sinkbench {
namespace {

namespace fs = std::filesystem;

struct GenerateOptions {
  QuickExperiment what;
  Overrides overrides;
  std::string prompt;
  GenerationOptions generation;
  std::vector<std::string> out;
  bool quiet = false;
};

/// What a suffix of --out asks for.
std::string page(const Generation& generation, const fs::path& file) {
  const std::string suffix = file.extension().string();
  if (suffix == ".md") return generation_markdown(generation);
  if (suffix == ".html") return generation_html(generation);
  return generation_json(generation)
             .dump(2, ' ', false, nlohmann::ordered_json::error_handler_t::replace) +
         "\n";
}

/// Text as it is written, without what a terminal obeys.
void show(std::string_view text) {
  for (size_t from = 0; from <= text.size();) {
    const size_t newline = std::min(text.find('\n', from), text.size());
    if (from > 0) write_output("\n");
    write_output(printable(text.substr(from, newline - from)));
    from = newline + 1;
  }
  std::fflush(stdout);
}

void run(GenerateOptions& options) {
  for (const std::string& file : options.out) {
    const std::string suffix = fs::path(file).extension().string();
    if (suffix != ".md" && suffix != ".html" && suffix != ".json") {
      throw InputError::format("--out {}: it ends in '{}'; expected .md, .html or .json", file,
                               suffix);
    }
  }
  for (const std::string& file : options.out) {
    const fs::path folder = fs::absolute(file).parent_path();
    if (!fs::is_directory(folder) || fs::is_directory(file)) {
      throw InputError::format(
          "--out {}: {}", file,
          fs::is_directory(file) ? "it is a folder; expected a file" : "there is no such folder");
    }
  }
  std::error_code no_file;  // a text is no path, and may be too long for one
  const bool is_read = fs::is_regular_file(options.prompt, no_file);
  if (is_read) options.prompt = read_file(options.prompt);
  if (valid_utf8_prefix(options.prompt) != options.prompt.size()) {
    throw InputError("--prompt: it is no valid UTF-8; expected a text");
  }
  // A word with a dot or a slash inside is more likely a mistaken path than a text to go on from.
  const std::string& prompt = options.prompt;
  const size_t inside = prompt.find_first_of("./");
  if (!is_read && inside != prompt.npos && inside + 1 < prompt.size() &&
      prompt.find_first_of(" \n\t") == prompt.npos) {
    remark("note: there is no file '{}', so the prompt is these characters\n", printable(prompt));
  }
  if (options.what.policies.empty()) options.what.policies = {"dense"};
  for (size_t i = 0; i < options.what.policies.size(); ++i) {
    for (size_t j = 0; j < i; ++j) {
      if (options.what.policies[i] != options.what.policies[j]) continue;
      throw InputError::format("--policy {}: it is given twice", options.what.policies[i]);
    }
  }
  options.overrides.load_plugins = true;
  options.what.text = "prompt";
  options.what.tokens = std::max<int64_t>(2, options.generation.tokens);  // of a text
  const std::vector<Cell> cells = quick_experiment(options.what, options.overrides).cells;
  std::string writing;
  const Generation result =
      tensor_commands(uses_cuda(cells))
          .run_generation(cells, options.prompt, options.generation,
                          [&](const std::string& label, std::string_view text) {
                            if (options.quiet) return;
                            if (text.empty()) {
                              print_out("{}== {} ==\n", writing.empty() ? "" : "\n\n",
                                        printable(label));
                              writing = label;
                            }
                            show(text);
                          });
  if (!options.quiet) print_out("\n\n");
  print_out("{}", format_generation(result, terminal_width()));
  for (const std::string& note : result.notes) remark("note: {}\n", printable(note));
  for (const std::string& file : options.out) {
    write_file_atomically(file, page(result, file));
    print_out("written: {}\n", file);
  }
}

}  // namespace

void add_generate(CommandLine app) {
  auto options = std::make_shared<GenerateOptions>();
  Sampling& sampling = options->generation.sampling;
  CommandLine command =
      app.add_subcommand("generate", "Let a model write under several policies, side by side");
  command.add_option("model", options->what.model, "A checkpoint's folder or a .gguf").required();
  command.add_option("--prompt", options->prompt, "What to go on from: a text, or a file with one")
      .required();
  command
      .add_option("--policy", options->what.policies,
                  "NAME or NAME:KEY=VALUE,..., such as sinks:sinks=4,window=252 (repeatable; "
                  "default: dense; `list policies` has them; not the oracle)")
      .repeatable();
  command.add_option("--tokens", options->generation.tokens, "Write so many tokens")
      .check(integer(1, int64_t{1} << 32))
      .capture_default_str();
  command
      .add_option("--temperature", sampling.temperature,
                  "By which logits are divided before one is drawn; 0: the most likely one")
      .check(real(0, 100))
      .capture_default_str();
  command
      .add_option("--top-p", sampling.top_p,
                  "Draw among the most likely tokens that have so much of the probability")
      .check(real(0, 1))
      .capture_default_str();
  command.add_option("--seed", sampling.seed, "Of what is drawn")
      .check(integer(0, int64_t{1} << 53))
      .capture_default_str();
  command
      .add_option("--stop", options->generation.stop,
                  "A token that ends a text, such as '<|endoftext|>', or its id (repeatable)")
      .repeatable();
  command.add_option("--dtype", options->what.dtype, "float32, bfloat16, float16 or float64");
  add_weights(command, options->what.weights);
  command.add_option("--kv", options->what.kv,
                     "How caches are stored: q8_0, '{keys: q8_0, values: q4_0}', ...");
  command
      .add_option("--out", options->out,
                  "A page beside: FILE.html, FILE.md or FILE.json (repeatable)")
      .repeatable();
  command.add_option("--threads", options->overrides.threads, "Threads (default: all cores)")
      .check(integer(1, 4096));
  command.add_option("--device", options->overrides.device, device_names).check(device_name());
  add_plugins(command, options->overrides.plugins);
  command.add_flag("--quiet", options->quiet, "Don't show texts as they are written");
  command.footer(
      "Example: sinkbench generate models/tiny --prompt 'In the beginning' --policy "
      "window:window=60 "
      "--policy sinks:sinks=4,window=56 --tokens 300");
  command.callback([options] { run(*options); });
}

}  // namespace sinkbench
