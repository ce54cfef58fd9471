#include "eval/metrics/sink_metric.h"

#include <ATen/ATen.h>
#include <c10/core/InferenceMode.h>

#include <algorithm>
#include <cmath>
#include <random>

#include "base/error.h"
#include "eval/attention/dense_attention.h"
#include "eval/engines/engine.h"
#include "eval/run/machine.h"
#include "eval/run/run.h"

namespace sinkbench {
namespace {

constexpr int64_t most_logit_tokens = 256;  // of a map that someone looks at

std::vector<double> numbers_of(const at::Tensor& tensor) {
  const at::Tensor flat = tensor.to(at::kCPU, at::kDouble).contiguous();
  const double* data = flat.data_ptr<double>();
  return {data, data + flat.numel()};
}

}  // namespace

void check_sink_options(const SinkOptions& options, int64_t tokens, const DecoderConfig& config) {
  if (!(options.epsilon >= 0 && options.epsilon < 1)) {
    throw InputError::format("epsilon is {}; expected a number from 0 to below 1", options.epsilon);
  }
  constexpr int64_t most_tokens = int64_t{1} << 24;
  if (tokens < 2 || tokens > most_tokens) {
    throw InputError::format("tokens is {}; expected 2 to {}, a BOS included", tokens, most_tokens);
  }
  if (options.positions < 1 || options.positions > tokens) {
    throw InputError::format("positions is {}; expected 1 to the {} tokens of a sample",
                             options.positions, tokens);
  }
  const auto check_all = [](const std::vector<int64_t>& list, const char* name, int64_t count) {
    for (const int64_t i : list) {
      if (i >= 0 && i < count) continue;
      throw InputError::format("logits of {} {}; expected one of 0 to {}", name, i, count - 1);
    }
  };
  check_all(options.logit_layers, "layer", config.layers);
  check_all(options.logit_heads, "head", config.heads);
  if (options.logit_layers.empty() != options.logit_heads.empty()) {
    throw InputError("logits need both layers and heads; one of the two is missing");
  }
  if (!options.logit_layers.empty() && tokens > most_logit_tokens) {
    throw InputError::format("logits of samples of {} tokens; expected no more than {}", tokens,
                             most_logit_tokens);
  }
  const int64_t limit = longest_sequence(config);
  if (limit > 0 && tokens > limit) {
    throw InputError::format(
        "tokens is {}; expected no more than the {} that this model takes at once", tokens, limit);
  }
}

SinkStatistics measure_sinks(const Decoder& decoder, std::span<const std::vector<int32_t>> samples,
                             const SinkOptions& options,
                             const std::function<void(int64_t)>& after) {
  const c10::InferenceMode inference;
  const DecoderConfig& config = decoder.config();
  const int64_t count = static_cast<int64_t>(samples.size());
  if (samples.empty()) throw InputError("samples is 0; expected 1 or more");
  const int64_t T = static_cast<int64_t>(samples.front().size()), K = options.positions;
  check_sink_options(options, T, config);
  for (const auto& sample : samples) check_ids(sample, config);
  const int64_t mapped = std::min(T, options.mapped);

  const int64_t share = config.heads / config.kv_heads;
  const auto exact = at::TensorOptions().dtype(at::kDouble);
  at::Tensor alpha = at::zeros({config.layers, config.heads, K}, exact);
  at::Tensor above = at::zeros_like(alpha), map = at::zeros({config.layers, mapped, mapped}, exact);
  at::Tensor logit = at::zeros({config.layers, config.heads}, exact);
  at::Tensor map_logit = at::zeros({config.layers, mapped}, exact);
  at::Tensor first = at::zeros_like(logit), others = at::zeros_like(logit);
  at::Tensor last = at::zeros_like(logit);
  const auto chosen_layers = static_cast<int64_t>(options.logit_layers.size());
  const auto chosen_heads = static_cast<int64_t>(options.logit_heads.size());
  const at::Tensor chosen = at::tensor(options.logit_heads, at::kLong);
  at::Tensor scores = at::zeros(
      {chosen_layers, chosen_heads, chosen_heads > 0 ? T : 0, chosen_heads > 0 ? T : 0}, exact);
  const at::Tensor queries = T - at::arange(K, exact);  // that position k has
  bool trained_sink = false;
  int64_t done = 0;
  for (const auto& sample : samples) {
    // Queries before position k give it nothing: the sum over all is that from k on.
    at::Tensor given = at::zeros_like(alpha);
    const auto add_rows = [&](const AttentionRows& rows) {
      const int64_t keys = rows.weights.size(2);
      const auto first_keys = [&](int64_t count) {
        return rows.weights.narrow(2, 0, count).to(at::kCPU, at::kDouble);
      };
      given[rows.layer].narrow(1, 0, std::min(K, keys)) += first_keys(std::min(K, keys)).sum(1);
      if (rows.to_sink.defined()) {
        trained_sink = true;
        logit[rows.layer] += rows.to_sink.to(at::kCPU, at::kDouble).sum(1) / T;
      }
      const int64_t rows_here = rows.weights.size(1);
      if (rows.first + rows_here == T) {
        last[rows.layer] +=
            rows.weights.select(1, rows_here - 1).select(1, 0).to(at::kCPU, at::kDouble);
      }
      for (int64_t i = 0; i < chosen_layers; ++i) {
        if (options.logit_layers[i] != rows.layer) continue;
        scores[i].narrow(1, rows.first, rows_here).narrow(2, 0, keys) +=
            rows.scores.to(at::kCPU, at::kDouble).index_select(0, chosen);
      }
      const int64_t shown = std::min(mapped - rows.first, rows_here);
      if (shown > 0) {
        const int64_t columns = std::min(mapped, keys);
        map[rows.layer].narrow(0, rows.first, shown).narrow(1, 0, columns) +=
            first_keys(columns).narrow(1, 0, shown).mean(0);
        if (rows.to_sink.defined()) {
          map_logit[rows.layer].narrow(0, rows.first, shown) +=
              rows.to_sink.narrow(1, 0, shown).to(at::kCPU, at::kDouble).mean(0);
        }
      }
    };
    const auto add_norms = [&](int64_t layer, const at::Tensor& values) {
      const at::Tensor norms =  // [heads, T]
          values.norm(2, -1).to(at::kCPU, at::kDouble).repeat_interleave(share, 0);
      first[layer] += norms.select(1, 0);
      others[layer] += norms.narrow(1, 1, T - 1).mean(1);
    };
    dense_attention(decoder, sample, options.pairs_at_once, add_rows, add_norms);
    const at::Tensor mean = given / queries;
    alpha += mean;
    above += (mean > options.epsilon).to(at::kDouble);
    after(++done);
  }
  const double n = static_cast<double>(count);
  std::vector<SinkStatistics::LogitMap> logits;
  for (int64_t i = 0; i < chosen_layers; ++i) {
    for (int64_t j = 0; j < chosen_heads; ++j) {
      const at::Tensor mean = scores[i][j] / n;
      // Keys that come later, and those beyond a layer's window.
      const at::Tensor seen = at::isfinite(mean).logical_and(at::ones_like(mean).tril() > 0);
      logits.push_back({.layer = options.logit_layers[i],
                        .head = options.logit_heads[j],
                        .mean = numbers_of(mean.masked_fill(seen.logical_not(), std::nan("")))});
    }
  }
  return {.layers = config.layers,
          .heads = config.heads,
          .positions = K,
          .samples = count,
          .tokens = T,
          .epsilon = options.epsilon,
          .sink_rate = numbers_of(100 / n * above.flatten(0, 1).mean(0)),
          .alpha = numbers_of(alpha / n),
          .above = numbers_of(100 / n * above),
          .trained_sink = trained_sink,
          .logit_mass = numbers_of(logit / n),
          .value_norm_first = numbers_of(first / n),
          .value_norm_others = numbers_of(others / n),
          .mapped = mapped,
          .map = numbers_of(map / n),
          .map_logit = numbers_of(map_logit / n),
          .last_to_first = numbers_of(last / n),
          .logits = std::move(logits)};
}

std::vector<std::vector<int32_t>> sink_samples(std::span<const int32_t> ids,
                                               std::span<const int32_t> prefix, int64_t tokens,
                                               int64_t count) {
  const int64_t piece = tokens - static_cast<int64_t>(prefix.size());
  if (piece < 1) {
    throw InputError::format(
        "tokens is {}; expected more than the {} that the tokenizer puts first", tokens,
        prefix.size());
  }
  const int64_t there = static_cast<int64_t>(ids.size());
  if (count > there / piece) {
    throw InputError::format(
        "the text has {} tokens, too few for {} samples of {}{}; expected {} samples at the most",
        there, count, tokens, prefix.empty() ? "" : " (the BOS is one of them)", there / piece);
  }
  std::vector<std::vector<int32_t>> samples;
  for (int64_t i = 0; i < count; ++i) {
    std::vector<int32_t>& sample = samples.emplace_back(prefix.begin(), prefix.end());
    sample.insert(sample.end(), ids.begin() + i * piece, ids.begin() + (i + 1) * piece);
  }
  return samples;
}

std::vector<std::vector<int32_t>> drawn_samples(const SinkSampling& sampling, int64_t vocabulary,
                                                std::span<const int32_t> prefix) {
  if (sampling.tokens <= std::ssize(prefix)) {
    throw InputError::format(
        "tokens is {}; expected more than the {} that the tokenizer puts first", sampling.tokens,
        prefix.size());
  }
  std::mt19937_64 bits(sampling.seed);  // its numbers are laid down by the standard
  const auto draw = [&] {
    return static_cast<int32_t>(bits() % static_cast<uint64_t>(vocabulary));
  };
  std::vector<std::vector<int32_t>> samples;
  for (int64_t i = 0; i < sampling.samples; ++i) {
    std::vector<int32_t>& sample = samples.emplace_back(prefix.begin(), prefix.end());
    const int32_t repeated = draw();
    while (std::ssize(sample) < sampling.tokens) {
      sample.push_back(sampling.input == SinkInput::random ? draw() : repeated);
    }
  }
  return samples;
}

SinkResults run_sinks(Cell cell, const SinkSampling& sampling, const SinkOptions& options,
                      Progress::Style style, const SinkResults* earlier) {
  if (sampling.samples < 1) {
    throw InputError::format("samples is {}; expected 1 or more", sampling.samples);
  }
  SinkResults results;
  results.info = describe_run("sinks", "", cell.device == "cpu");
  cell.dataset.bos = sampling.bos ? BosPlacement::stream : BosPlacement::none;
  Runner runner(style);
  check_sink_options(options, sampling.tokens, runner.config(cell));
  const bool natural = sampling.input == SinkInput::natural;
  cell.dataset.tokens = sampling.tokens * (natural ? sampling.samples : 1);
  std::vector<std::vector<int32_t>> samples;
  if (natural || sampling.bos) {
    const Runner::Text text = runner.text(cell);
    results.tokenizer_sha256 = text.tokenizer_sha256;
    results.text = text.stream.facts;
    results.prefix = text.prefix;
    // A stream with a BOS has it in front of the first piece already.
    const auto ids = std::span(text.stream.ids).subspan(text.prefix.size());
    if (natural) samples = sink_samples(ids, text.prefix, sampling.tokens, sampling.samples);
  }
  if (!natural) samples = drawn_samples(sampling, runner.config(cell).vocab_size, results.prefix);
  std::vector<int32_t> fed;
  for (const auto& sample : samples) fed.insert(fed.end(), sample.begin(), sample.end());
  results.dataset_sha256 = ids_sha256(fed);
  results.context = runner.config(cell).context;
  results.sampling = sampling;
  results.options = options;
  const Runner::Model model = runner.load(cell);
  results.model_sha256 = model.decoder.sha256();
  results.parameters = model.decoder.parameters();
  results.threads = model.threads;
  results.cell = std::move(cell);
  results.statistics.positions = options.positions;
  results.statistics.samples = sampling.samples;
  results.statistics.tokens = sampling.tokens;
  results.statistics.epsilon = options.epsilon;
  if (earlier != nullptr && sink_differences(*earlier, results).empty()) return *earlier;
  Progress progress(style, "sinks", sampling.samples, "samples");
  results.statistics =
      measure_sinks(model.decoder, samples, options, [&](int64_t done) { progress.update(done); });
  return results;
}

}  // namespace sinkbench
