// sinkbench train: a model from a corpus of texts, as a Hugging Face folder.
#include "training/train.h"

#include <fmt/format.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <atomic>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "cli/commands.h"

namespace sinkbench {
namespace {

namespace fs = std::filesystem;

struct Options {
  std::string config;
  std::vector<std::string> overrides;
  std::string out;
  int threads = 0;
};

std::atomic<bool> interrupted = false;

/// Lines on standard error: on a terminal the last one is written over, in a log one comes every
/// half minute.
class ProgressLine {
 public:
  void say(const std::string& text) {
    clear();
    fmt::print(stderr, "{}\n", text);
  }

  void progress(const std::string& text) {
    const auto now = Clock::now();
    if (now < next_) return;
    next_ = now + (terminal_ ? std::chrono::milliseconds(200) : std::chrono::seconds(30));
    clear();
    fmt::print(stderr, "{}{}", text, terminal_ ? "" : "\n");
    std::fflush(stderr);
  }

  void clear() const {
    if (terminal_) fmt::print(stderr, "\r\033[K");
  }

 private:
  using Clock = std::chrono::steady_clock;
  bool terminal_ = ::isatty(STDERR_FILENO) != 0;
  Clock::time_point next_;
};

void run(const Options& options) {
  const TrainConfig config = load_train_config(options.config, options.overrides);
  ProgressLine line;
  TrainOptions training;
  training.out =
      options.out.empty() ? fs::path("results") / "train" / config.name : fs::path(options.out);
  training.threads = options.threads > 0
                         ? options.threads
                         : static_cast<int>(std::max(1u, std::thread::hardware_concurrency()));
  training.say = [&](const std::string& text) { line.say(text); };
  training.progress = [&](const std::string& text) { line.progress(text); };
  training.should_stop = [handles = false]() mutable {
    // Only once there are steps: before, nothing is lost when SIGINT ends the program at once, as a
    // second SIGINT does.
    if (!std::exchange(handles, true)) {
      std::signal(SIGINT, [](int) {
        interrupted = true;
        std::signal(SIGINT, SIG_DFL);
      });
    }
    return interrupted.load();
  };

  const TrainResult result = train(config, training);
  line.clear();
  if (!result.finished) {
    fmt::print(stderr,
               "sinkbench: interrupted after {} of {} steps; the same command goes on from {}\n",
               result.steps, config.schedule.steps, (training.out / "checkpoint.pt").string());
    throw Exit{exit_interrupted};
  }
  fmt::print("{}: {} steps, {} tokens, held-out loss {:.4f} nats per token\n",
             training.out.string(), result.steps,
             result.steps * config.schedule.batch * config.schedule.sample_tokens,
             result.held_out_loss);
}

}  // namespace

void add_train(CLI::App& app) {
  const auto options = std::make_shared<Options>();
  CLI::App* command = app.add_subcommand(
      "train", "Train a small Llama-style model; an interrupted training goes on where it was");
  command->add_option("config", options->config, "The training, a YAML file")->required();
  command
      ->add_option("--set", options->overrides,
                   "Replace a value: key=value, such as training.steps=500 (repeatable)")
      ->allow_extra_args(false);
  command->add_option("--out", options->out,
                      "Folder for model, checkpoint and logs (default: results/train/NAME)");
  command->add_option("--threads", options->threads, "Threads (default: all cores)")
      ->check(CLI::Range(1, 4096));
  command->footer(
      "Example: sinkbench train configs/train/tiny.yaml --set data.text=books.jsonl.zst");
  command->callback([options] { run(*options); });
}

}  // namespace sinkbench
