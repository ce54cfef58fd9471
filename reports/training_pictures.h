// What a training has logged, as pictures.
#pragma once

#include <cstdint>
#include <filesystem>

namespace sinkbench {

/// In `folder`/plots as SVG and PNG, with what gnuplot draws them from:
///   loss    the loss of training samples (a mean over some hundredth of the steps) and of held-out
///           ones, in nats per token, over millions of tokens
///   sinks   the attention that queries give to the first position on held-out samples, for each
///           layer the mean over heads and the strongest head
/// from the loss.csv and validation.csv of `sinkbench train`. A picture without a row is left out.
/// InputError where gnuplot or a log is missing, or a log isn't one.
void draw_training(const std::filesystem::path& folder);

/// learning-rate-range in `folder`/plots: the loss over the learning rate, from
/// learning-rate-range.csv.
void draw_learning_rate_range(const std::filesystem::path& folder);

}  // namespace sinkbench
