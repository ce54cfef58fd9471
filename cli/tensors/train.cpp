#include "training/train.h"

#include <fmt/format.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/console.h"
#include "base/error.h"
#include "base/machine_limits.h"
#include "cli/interruption.h"
#include "cli/tensors/commands.h"
#include "eval/run/bench.h"
#include "reports/training_pictures.h"

namespace sinkbench {
namespace {

namespace fs = std::filesystem;

/// Lines on standard error: on a terminal the last one is written over, in a log one comes every
/// half minute.
class ProgressLine {
 public:
  void say(const std::string& text) {
    clear();
    remark("{}\n", text);
  }

  void progress(const std::string& text) {
    const auto now = Clock::now();
    if (now < next_) return;
    next_ = now + (terminal_ ? std::chrono::milliseconds(200) : std::chrono::seconds(30));
    clear();
    remark("{}{}", text, terminal_ ? "" : "\n");
  }

  void clear() const {
    if (terminal_) remark("\r\033[K");
  }

 private:
  using Clock = std::chrono::steady_clock;
  bool terminal_ = ::isatty(STDERR_FILENO) != 0;
  Clock::time_point next_;
};

/// How much of the machine the training uses: "7531 tokens/s, 201 GFLOP/s, 40 % of what this
/// device's bfloat16 product reaches". A training step is counted as three forward passes.
std::string speed(const TrainConfig& config, const TrainResult& result) {
  DecoderConfig shape;
  shape.layers = config.model.layers;
  shape.hidden_size = config.model.hidden;
  shape.heads = shape.kv_heads = config.model.heads;
  shape.head_dim = config.model.hidden / config.model.heads;
  shape.mlp_size = config.model.mlp;
  shape.gated_mlp = true;
  shape.vocab_size = config.model.vocab;
  const double keys = (static_cast<double>(config.schedule.sample_tokens) + 1) / 2;
  const double flops = 3 * flops_per_token(shape, keys) * result.tokens_per_second;
  const bool bfloat16 = config.schedule.bfloat16;
  const double ceiling =
      product_ceiling(bfloat16 ? at::kBFloat16 : at::kFloat, config.device).measure(1);
  return fmt::format("{:.0f} tokens/s, {:.0f} GFLOP/s, {:.0f} % of this device's {} product",
                     result.tokens_per_second, flops / 1e9, 100 * flops / ceiling,
                     bfloat16 ? "bfloat16" : "float32");
}

/// Pictures are a convenience: what is missing for them is said and fails nothing.
template <typename Draw>
void draw(Draw draw, const fs::path& folder) {
  try {
    draw(folder);
  } catch (const InputError& error) {
    remark("no pictures: {}\n", error.what());
  }
}

void find_learning_rate(const TrainConfig& config, const TrainOptions& training, int64_t steps,
                        const ProgressLine& line) {
  const RateRange range = learning_rate_range(config, training, 1e-5, 1, steps);
  line.clear();
  draw(draw_learning_rate_range, training.out);
  print_out("{}: {} steps, learning rates from {:.2g} to {:.2g}\n",
            (training.out / "learning-rate-range.csv").string(), range.rates.size(),
            range.rates.front(), range.rates.back());
  print_out(
      "the loss falls fastest at {:.2g}, is lowest at {:.2g}{}\n", range.steepest, range.lowest,
      range.diverged ? fmt::format(", and leaves all bounds past {:.2g}", range.rates.back()) : "");
}

}  // namespace

bool run_training(const TrainingOptions& options) {
  const TrainConfig config = load_train_config(options.config, options.overrides);
  ProgressLine line;
  TrainOptions training;
  training.out =
      options.out.empty() ? fs::path("results") / "train" / config.name : fs::path(options.out);
  training.threads =
      options.threads > 0 ? options.threads : static_cast<int>(available_cores().count);
  training.say = [&](const std::string& text) { line.say(text); };
  training.progress = [&](const std::string& text) { line.progress(text); };
  std::optional<Interruption> interruption;
  training.should_stop = [&] {
    // Only once there are steps: before, nothing is lost when SIGINT ends the program at once.
    if (!interruption) interruption.emplace();
    return Interruption::asked().load();
  };

  if (options.range_steps > 0) {
    find_learning_rate(config, training, options.range_steps, line);
    return true;
  }
  const TrainResult result = train(config, training);
  line.clear();
  draw(draw_training, training.out);
  if (result.tokens_per_second > 0) remark("{}\n", speed(config, result));
  if (!result.finished) {
    remark("sinkbench: interrupted after {} of {} steps; the same command goes on from {}\n",
           result.steps, config.schedule.steps, (training.out / "checkpoint.pt").string());
    return false;
  }
  print_out("{}: {} steps, {} tokens, held-out loss {:.4f} nats per token\n", training.out.string(),
            result.steps, result.steps * config.schedule.batch * config.schedule.sample_tokens,
            result.held_out_loss);
  return true;
}

}  // namespace sinkbench
