// sinkbench train: a model from a corpus of texts, as a Hugging Face folder.
#include "cli/commands.h"
#include "cli/tensors.h"

namespace sinkbench {

void add_train(CommandLine app) {
  const auto options = std::make_shared<TrainingOptions>();
  CommandLine command = app.add_subcommand(
      "train", "Train a small Llama-style model; an interrupted training goes on where it was");
  command.add_option("config", options->config, "The training, a YAML file").required();
  command
      .add_option("--set", options->overrides,
                  "Replace a value: key=value, such as training.steps=500 (repeatable)")
      .repeatable();
  command.add_option("--out", options->out,
                     "Folder for model, checkpoint and logs (default: results/train/NAME)");
  command.add_option("--threads", options->threads, "Threads (default: all cores)")
      .check(integer(1, 4096));
  command
      .add_option("--learning-rate-range", options->range_steps,
                  "No training, but so many steps at growing learning rates, to find a good one")
      .check(integer(10, 1'000'000));
  command.footer(
      "Example: sinkbench train configs/train/tiny.yaml --set data.text=books.jsonl.zst");
  command.callback([options] {
    if (!tensor_commands(/*cuda=*/true).train(*options)) throw Exit{exit_interrupted};
  });
}

}  // namespace sinkbench
