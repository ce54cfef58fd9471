// sinkbench bench: this machine's ceilings, and the engines' share of them on a model's shape.
#include "cli/commands.h"
#include "cli/tensors.h"
#include "eval/experiment/engine_names.h"

namespace sinkbench {

void add_bench(CommandLine app) {
  auto options = std::make_shared<BenchOptions>();
  CommandLine command =
      app.add_subcommand("bench", "Measure this machine's ceilings and the engines' share of them");
  command
      .add_option(
          "model", options->model,
          "A checkpoint's folder or .gguf, or a config.json (its shape, with random weights)")
      .required();
  command.add_option("--cache", options->caches, "Caches to measure, sinks+window: 4+508,4+1020")
      .delimiter(',')
      .capture_default_str();
  command.add_option("--tokens", options->tokens, "Tokens to score")
      .capture_default_str()
      .check(integer(1, int64_t{1} << 32));
  command
      .add_option("--recomputed", options->recomputed,
                  "Windows of sinks + window tokens to recompute; 0: none")
      .capture_default_str();
  command.add_option("--chunk", options->chunk, "Queries per block (default: the engine's)");
  command.add_option("--samples", options->samples, "Decode steps to time, in each repetition")
      .capture_default_str()
      .check(integer(1, 1000000));
  command.add_option("--repeats", options->repeats, "Repetitions: their median, and their spread")
      .capture_default_str()
      .check(integer(1, 1000));
  command
      .add_option("--policy-tokens", options->policy_tokens,
                  "Tokens to score, in float32, with policies that evict by content; 0: none")
      .capture_default_str()
      .check(integer(0, int64_t{1} << 32));
  command
      .add_option("--dense", options->dense, "Tokens to score with dense attention, too; 0: none")
      .capture_default_str();
  command
      .add_option("--passes", options->passes,
                  "Passes over sinks + window tokens to time, one token's recomputation; 0: none")
      .capture_default_str();
  command.add_option("--ceilings", options->ceilings, "Seconds to measure ceilings for")
      .capture_default_str()
      .check(integer(0, 3600));
  command.add_option("--device", options->device, device_names)
      .check(device_name())
      .capture_default_str();
  command.add_option("--dtype", options->dtypes, "float32, bfloat16, float16 (CUDA)")
      .one_of({"float32", "bfloat16", "float16"})
      .delimiter(',');
  add_weights(command, options->weights);
  command.add_option("--threads", options->threads, "Threads (default: all cores)")
      .check(integer(1, 4096));
  add_plugins(command, options->plugins);
  command.add_option("--format", options->format, "table, csv or json")
      .one_of({"table", "csv", "json"})
      .capture_default_str();
  command.add_option("--llama-bench", options->llama_bench,
                     "llama.cpp's llama-bench: its rates of the same .gguf at the same depth, too");
  command.footer("Example: sinkbench bench configs/shapes/llama-10m.json");
  command.callback([options] { tensor_commands(is_cuda(options->device)).bench(*options); });
}

}  // namespace sinkbench
