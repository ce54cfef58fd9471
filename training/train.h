// Training from a configuration to a Hugging Face folder.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "training/config.h"

namespace sinkbench {

struct TrainOptions {
  std::filesystem::path out;
  int threads = 1;
  /// Asked after every step; true ends the training at a checkpoint.
  std::function<bool()> should_stop = [] { return false; };
  /// Gets what is worth a line in a log.
  std::function<void(const std::string&)> say = [](const std::string&) {};
  /// Gets the state of the step after every step, for a progress line.
  std::function<void(const std::string&)> progress = [](const std::string&) {};
};

struct TrainResult {
  int64_t steps = 0;         // done, those of earlier times included
  bool finished = false;     // false where should_stop ended it
  double held_out_loss = 0;  // nats per token, at the last validation
  /// Of the steps of this call, validations and checkpoints left out; 0 where there were none.
  double tokens_per_second = 0;
};

/// Trains, or goes on from the checkpoint in `options.out`. The folder then holds
///   config.json, model.safetensors, tokenizer.json   the model as of the last checkpoint
///   checkpoint.pt     weights, moments and step: the training goes on from here exactly
///   loss.csv          step, tokens, loss, gradient norm and learning rate of every step
///   validation.csv    held-out loss; for each layer the mean and the maximum over heads of the
///                     attention that queries give to the first position
///   cache/            the tokenizer and the token ids of the corpus
/// On one machine with the same number of threads a training that was interrupted, even by SIGKILL,
/// ends with the same weights and the same losses, to the last bit, as one that wasn't.
TrainResult train(const TrainConfig& config, const TrainOptions& options);

/// A learning-rate range test (Smith 2017, arXiv 1506.01186).
struct RateRange {
  std::vector<double> rates;   ///< as far as it came
  std::vector<double> losses;  ///< at those rates, smoothed, nats per token
  double steepest = 0;         ///< the rate at which the loss falls fastest, per factor of the rate
  double lowest = 0;           ///< the rate at which it is lowest
  bool diverged = false;       ///< whether it ended because the loss left all bounds
};

/// Trains for `steps` steps while the rate grows from `from` to `to` by the same factor each step;
/// ends early where the loss is 1.5 times the lowest so far, or not finite. Weights are thrown
/// away: what stays in `options.out` is learning-rate-range.csv and the cache. InputError unless 0
/// < from < to and steps >= 10.
RateRange learning_rate_range(const TrainConfig& config, const TrainOptions& options, double from,
                              double to, int64_t steps);

}  // namespace sinkbench
