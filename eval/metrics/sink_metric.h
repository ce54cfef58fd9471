// Attention sinks as an instrument: where a model's attention goes under dense attention.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <vector>

#include "base/progress.h"
#include "eval/experiment/sink_options.h"
#include "eval/results/sink_results.h"
#include "models/decoder.h"

namespace sinkbench {

/// InputError naming the option that is out of its range, or a T that the model doesn't take.
void check_sink_options(const SinkOptions& options, int64_t tokens, const DecoderConfig& config);

/// `samples`: one or more, of ids below the vocabulary's size, all of the same length T >= 2, each
/// run by itself from position 0. InputError as check_sink_options has it. `after` is told how many
/// samples are done.
SinkStatistics measure_sinks(
    const Decoder& decoder, std::span<const std::vector<int32_t>> samples,
    const SinkOptions& options, const std::function<void(int64_t)>& after = [](int64_t) {});

/// Disjoint pieces of a stream that has no BOS, in order, each with `prefix` in front (a BOS, most
/// often, or nothing): `count` samples of `tokens` ids. InputError where the stream is too short.
std::vector<std::vector<int32_t>> sink_samples(std::span<const int32_t> ids,
                                               std::span<const int32_t> prefix, int64_t tokens,
                                               int64_t count);

/// Samples that are not natural: ids below `vocabulary` by the seed, the same on every machine.
std::vector<std::vector<int32_t>> drawn_samples(const SinkSampling& sampling, int64_t vocabulary,
                                                std::span<const int32_t> prefix);

/// Loads a cell's model and text and measures. Of the dataset, `bos` and `tokens` are chosen here;
/// drawn samples need one for their BOS alone. InputError for all that is wrong with the input,
/// before the model's tensors are read. Where `earlier` was measured alike, it is what comes back,
/// and its maps and logits are empty.
SinkResults run_sinks(Cell cell, const SinkSampling& sampling, const SinkOptions& options,
                      Progress::Style progress, const SinkResults* earlier);

}  // namespace sinkbench
