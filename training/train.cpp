#include "training/train.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <c10/core/GradMode.h>

#include <chrono>
#include <cmath>
#include <cstdlib>
#include <future>
#include <numbers>
#include <sstream>

#include "base/error.h"
#include "base/file.h"
#include "datasets/tokenizer.h"
#include "models/checkpoint.h"
#include "training/checkpoint.h"
#include "training/corpus.h"
#include "training/model.h"
#include "training/ops.h"
#include "training/samples.h"

namespace sinkbench {
namespace {

namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;

/// Linear warm-up, then half a cosine from the peak to the final rate.
double learning_rate(const ScheduleConfig& schedule, int64_t step) {
  if (step < schedule.warmup_steps) {
    return schedule.learning_rate * static_cast<double>(step + 1) /
           static_cast<double>(schedule.warmup_steps);
  }
  const double done =
      static_cast<double>(step - schedule.warmup_steps) /
      static_cast<double>(std::max<int64_t>(1, schedule.steps - schedule.warmup_steps));
  return schedule.final_learning_rate + (schedule.learning_rate - schedule.final_learning_rate) *
                                            (1 + std::cos(std::numbers::pi * done)) / 2;
}

/// The rows of a CSV file that is written whole at each checkpoint. What an earlier process wrote
/// after the checkpoint it left is dropped.
class Log {
 public:
  Log(fs::path file, const std::string& header, int64_t steps_done)
      : file_(std::move(file)), text_(header + "\n") {
    if (steps_done == 0 || !fs::exists(file_)) return;
    std::istringstream lines(read_file(file_));
    std::string line;
    std::getline(lines, line);
    while (std::getline(lines, line) && std::atoll(line.c_str()) <= steps_done)
      text_ += line + "\n";
  }
  /// `row` begins with the number of steps done.
  void add(const std::string& row) { text_ += row + "\n"; }
  void write() const { write_file_atomically(file_, text_); }

 private:
  fs::path file_;
  std::string text_;
};

class Training {
 public:
  Training(const TrainConfig& config, const TrainOptions& options)
      : config_(config),
        options_(options),
        corpus_(
            prepare_corpus(config.corpus, config.tokenizer, options.out / "cache", options.say)),
        bos_(bos()),
        model_(config.model, config.schedule.sample_tokens, config.schedule.bfloat16,
               config.schedule.seed, config.device) {
    check_size(corpus_.train(), "to train on");
    check_size(corpus_.held_out(), "held out");
    if (!config.model.initial.empty()) {
      SafetensorsCheckpoint initial(config.model.initial, at::kFloat, at::kCPU);
      model_.begin_with(initial);
    }
    state_.identity = config.identity(corpus_.key());
    for (const auto& parameter : model_.parameters()) {
      state_.weights.push_back(parameter.value);
      state_.means.push_back(at::zeros_like(parameter.value.detach()));
      state_.squares.push_back(at::zeros_like(parameter.value.detach()));
    }
  }

  TrainResult run() {
    const ScheduleConfig& schedule = config_.schedule;
    const fs::path checkpoint = options_.out / "checkpoint.pt";
    if (fs::exists(checkpoint)) {
      load_state(checkpoint, state_);
      options_.say(fmt::format("going on from {} at step {} of {}", checkpoint.string(),
                               state_.step, schedule.steps));
    }
    Log losses(options_.out / "loss.csv", "step,tokens,loss,gradient_norm,learning_rate",
               state_.step);
    Log validations(options_.out / "validation.csv", validation_header(), state_.step);
    const auto save = [&] {
      losses.write();
      validations.write();
      export_huggingface(model_, config_, corpus_.tokenizer_json(), bos_, options_.out);
      save_state(state_, checkpoint);
    };

    const auto started = Clock::now();
    const int64_t first = state_.step;
    double recent = 0, stepping = 0;
    while (state_.step < schedule.steps) {
      const auto began = Clock::now();
      const double rate = learning_rate(schedule, state_.step);
      const auto [loss, norm] = step(rate);
      stepping += std::chrono::duration<double>(Clock::now() - began).count();
      losses.add(fmt::format("{},{},{:.9g},{:.9g},{:.9g}", state_.step, state_.step * step_tokens(),
                             loss, norm, rate));
      if (!std::isfinite(loss)) {
        throw InputError::format("the loss is {} at step {}: try a lower learning_rate than {}",
                                 loss, state_.step, schedule.learning_rate);
      }
      recent = recent == 0 ? loss : 0.98 * recent + 0.02 * loss;
      const double seconds = std::chrono::duration<double>(Clock::now() - started).count();
      const double per_step = seconds / static_cast<double>(state_.step - first);
      options_.progress(
          fmt::format("step {}/{}  loss {:.4f}  {:.0f} tokens/s  {} left", state_.step,
                      schedule.steps, recent, static_cast<double>(step_tokens()) / per_step,
                      duration(per_step * static_cast<double>(schedule.steps - state_.step))));

      const bool finished = state_.step == schedule.steps;
      const bool stop = !finished && options_.should_stop();
      if (state_.step % config_.validation_steps == 0 || finished) {
        report(validate(), validations);
      }
      if (state_.step % config_.checkpoint_steps == 0 || finished || stop) save();
      if (stop) break;
    }
    const double done = static_cast<double>((state_.step - first) * step_tokens());
    return {state_.step, state_.step == schedule.steps, validate().loss,
            stepping > 0 ? done / stepping : 0};
  }

  RateRange rate_range(double from, double to, int64_t steps) {
    RateRange range;
    std::string csv = "learning_rate,loss,smoothed_loss\n";
    const double factor = std::pow(to / from, 1 / static_cast<double>(steps - 1));
    // Smoothed as Adam smooths its moments: exponentially, without the bias of the start.
    constexpr double kept = 0.9;
    double rate = from, sum = 0, weight = 0, lowest = INFINITY;
    for (int64_t i = 0; i < steps; ++i, rate *= factor) {
      const double loss = step(rate).loss;
      sum = kept * sum + (1 - kept) * loss;
      weight = kept * weight + 1 - kept;
      const double smoothed = sum / weight;
      if (!std::isfinite(loss) || smoothed > 1.5 * lowest) {
        range.diverged = true;
        break;
      }
      range.rates.push_back(rate);
      range.losses.push_back(smoothed);
      csv += fmt::format("{:.9g},{:.9g},{:.9g}\n", rate, loss, smoothed);
      if (smoothed < lowest) {
        lowest = smoothed;
        range.lowest = rate;
      }
      options_.progress(fmt::format("learning rate {:.2e}  loss {:.4f}", rate, smoothed));
      if (options_.should_stop()) break;
    }
    // The slope over a tenth of the rates, lest it be that of one batch's noise.
    const size_t span = std::max<size_t>(1, static_cast<size_t>(steps) / 10);
    double steepest = 0;
    for (size_t i = span; i < range.losses.size(); ++i) {
      const double fall = range.losses[i - span] - range.losses[i];
      if (fall > steepest) {
        steepest = fall;
        range.steepest = std::sqrt(range.rates[i - span] * range.rates[i]);
      }
    }
    write_file_atomically(options_.out / "learning-rate-range.csv", csv);
    return range;
  }

 private:
  struct Step {
    double loss, gradient_norm;
  };

  /// The batch of a step. The one after it is then made while this one is used.
  Batch next_batch(int64_t step) {
    const auto make = [this](int64_t s) {
      return training_batch(corpus_.train(), config_.schedule, bos_, s);
    };
    Batch batch = made_ahead_.valid() ? made_ahead_.get() : make(step);
    made_ahead_ = std::async(std::launch::async, make, step + 1);
    return batch;
  }

  Step step(double rate) {
    const ScheduleConfig& schedule = config_.schedule;
    Batch batch = next_batch(state_.step);
    const at::Tensor loss =
        model_.loss(tensor_of(batch.ids, schedule.batch), tensor_of(batch.targets, schedule.batch));
    loss.backward();

    std::vector<at::Tensor> squares;  // summed on the device: one wait, not one for each tensor
    for (const at::Tensor& weight : state_.weights) {
      squares.push_back(at::dot(weight.grad().view({-1}), weight.grad().view({-1})));
    }
    const double norm = std::sqrt(at::stack(squares).to(at::kDouble).sum().item<double>());
    ++state_.step;
    kernels::AdamW update{};
    update.learning_rate = static_cast<float>(rate);
    update.beta1 = static_cast<float>(schedule.beta1);
    update.beta2 = static_cast<float>(schedule.beta2);
    update.eps = 1e-8f;
    update.bias1 =
        static_cast<float>(1 - std::pow(schedule.beta1, static_cast<double>(state_.step)));
    update.bias2 =
        static_cast<float>(1 - std::pow(schedule.beta2, static_cast<double>(state_.step)));
    update.grad_scale = static_cast<float>(std::min(1.0, schedule.clip_norm / (norm + 1e-6)));
    for (size_t i = 0; i < state_.weights.size(); ++i) {
      at::Tensor& weight = state_.weights[i];
      update.weight_decay = weight.dim() > 1 ? static_cast<float>(schedule.weight_decay) : 0;
      ops::adamw(update, weight.grad(), weight, state_.means[i], state_.squares[i]);
      weight.mutable_grad() = at::Tensor();
    }
    return {loss.item<double>(), norm};
  }

  /// [rows, values / rows] on the training's device; on the CPU it shares the vector's memory.
  at::Tensor tensor_of(std::vector<int64_t>& values, int64_t rows) const {
    return at::from_blob(values.data(), {rows, static_cast<int64_t>(values.size()) / rows},
                         at::kLong)
        .to(config_.device);
  }

  struct Validation {
    double loss;
    at::Tensor attention_to_first;  // [layers, heads], on the first samples
  };

  Validation validate() const {
    const at::NoGradGuard no_gradients;
    const int64_t total = config_.validation_samples;
    Validation result{0, {}};
    for (int64_t first = 0; first < total; first += config_.schedule.batch) {
      const int64_t count = std::min(config_.schedule.batch, total - first);
      Batch batch = validation_batch(corpus_.held_out(), config_.schedule.sample_tokens, bos_,
                                     first, count, total);
      const at::Tensor ids = tensor_of(batch.ids, count);
      result.loss += model_.loss(ids, tensor_of(batch.targets, count)).item<double>() *
                     static_cast<double>(count) / static_cast<double>(total);
      if (first == 0) result.attention_to_first = model_.attention_to_first(ids);
    }
    return result;
  }

  void report(const Validation& validation, Log& log) const {
    std::string row =
        fmt::format("{},{},{:.9g}", state_.step, state_.step * step_tokens(), validation.loss);
    std::string sinks;
    for (const at::Tensor& heads : validation.attention_to_first.unbind()) {
      const double mean = heads.mean().item<double>(), max = heads.max().item<double>();
      row += fmt::format(",{:.6g},{:.6g}", mean, max);
      sinks += fmt::format("  {:.3f}/{:.3f}", mean, max);
    }
    log.add(row);
    options_.say(fmt::format(
        "step {}: held-out loss {:.4f}; attention to the first position by layer, mean/max{}",
        state_.step, validation.loss, sinks));
  }

  int64_t step_tokens() const { return config_.schedule.batch * config_.schedule.sample_tokens; }

  std::string validation_header() const {
    std::string header = "step,tokens,held_out_loss";
    for (int64_t l = 0; l < config_.model.layers; ++l) {
      header += fmt::format(",first_mean_{0},first_max_{0}", l);
    }
    return header;
  }

  void check_size(std::span<const uint16_t> ids, const char* which) const {
    if (static_cast<int64_t>(ids.size()) >= config_.schedule.sample_tokens) return;
    throw InputError::format("{}: expected at least {} tokens {}, found {}",
                             config_.corpus.text.front().string(), config_.schedule.sample_tokens,
                             which, ids.size());
  }

  /// The BOS of the corpus's tokenizer, which must have one and as many tokens as the model.
  int64_t bos() const {
    const Tokenizer tokenizer = Tokenizer::load(corpus_.tokenizer_json());
    if (tokenizer.vocab_size() != config_.model.vocab) {
      throw InputError::format("{}: expected the {} tokens of tokenizer.vocab, found {}",
                               corpus_.tokenizer_json().string(), config_.model.vocab,
                               tokenizer.vocab_size());
    }
    if (tokenizer.prefix().size() != 1) {
      throw InputError::format("{}: expected a tokenizer whose post-processor puts a BOS first",
                               corpus_.tokenizer_json().string());
    }
    return tokenizer.prefix().front();
  }

  static std::string duration(double seconds) {
    const auto whole = static_cast<int64_t>(seconds);
    return fmt::format("{}:{:02}:{:02}", whole / 3600, whole / 60 % 60, whole % 60);
  }

  const TrainConfig& config_;
  const TrainOptions& options_;
  Corpus corpus_;
  int64_t bos_;
  TrainedModel model_;
  TrainingState state_;
  std::future<Batch> made_ahead_;
};

void prepare(const TrainConfig& config, const TrainOptions& options) {
  at::set_num_threads(options.threads);
  // A GPU would sum the embedding's gradient in any order.
  if (config.device.is_cuda()) at::globalContext().setDeterministicAlgorithms(true, true);
  fs::create_directories(options.out);
}

}  // namespace

TrainResult train(const TrainConfig& config, const TrainOptions& options) {
  prepare(config, options);
  return Training(config, options).run();
}

RateRange learning_rate_range(const TrainConfig& config, const TrainOptions& options, double from,
                              double to, int64_t steps) {
  if (!(0 < from && from < to) || !std::isfinite(to) || steps < 10) {
    throw InputError::format(
        "learning-rate range: expected 0 < from < to and 10 steps or more, found from {} to {} in "
        "{}",
        from, to, steps);
  }
  prepare(config, options);
  return Training(config, options).rate_range(from, to, steps);
}

}  // namespace sinkbench
