#include "eval/sink_metric.h"

#include <ATen/ATen.h>
#include <c10/core/InferenceMode.h>

#include <algorithm>
#include <limits>
#include <numeric>

#include "base/error.h"
#include "eval/engine.h"
#include "eval/machine.h"
#include "eval/run.h"
#include "models/alibi.h"
#include "models/rotary.h"

namespace sinkbench {
namespace {

std::vector<double> numbers(const at::Tensor& tensor) {
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
  const at::Device device = decoder.options().device;
  const int64_t count = static_cast<int64_t>(samples.size());
  if (samples.empty()) throw InputError("samples is 0; expected 1 or more");
  const int64_t T = static_cast<int64_t>(samples.front().size()), K = options.positions;
  check_sink_options(options, T, config);
  for (const auto& sample : samples) check_ids(sample, config);
  const int64_t mapped = std::min(T, options.mapped);

  std::vector<int64_t> places(T);
  std::iota(places.begin(), places.end(), 0);
  RotaryTable table;
  if (config.rotary)
    table = rotary_table(*config.rotary, places, decoder.accumulate_dtype(), device);
  std::optional<AlibiTable> bias;
  if (config.alibi) bias.emplace(*config.alibi, T, decoder.accumulate_dtype(), device);
  const at::Tensor place = at::arange(T, at::TensorOptions().dtype(at::kLong).device(device));

  const int64_t share = config.heads / config.kv_heads;
  const auto exact = at::TensorOptions().dtype(at::kDouble);
  at::Tensor alpha = at::zeros({config.layers, config.heads, K}, exact);
  at::Tensor above = at::zeros_like(alpha), map = at::zeros({config.layers, mapped, mapped}, exact);
  at::Tensor logit = at::zeros({config.layers, config.heads}, exact);
  at::Tensor first = at::zeros_like(logit), others = at::zeros_like(logit);
  const at::Tensor queries = T - place.narrow(0, 0, K).to(at::kCPU, at::kDouble);
  bool trained_sink = false;
  int64_t done = 0;
  for (const auto& sample : samples) {
    const std::vector<int64_t> ids(sample.begin(), sample.end());
    at::Tensor x = decoder.embed(at::tensor(ids, at::kLong).to(device), place);
    for (int64_t layer = 0; layer < config.layers; ++layer) {
      const Projection p = decoder.project(layer, x);
      const auto placed = [&](const at::Tensor& heads) {  // [T, h, d] -> [h, T, d]
        const at::Tensor h = heads.to(decoder.accumulate_dtype());
        return (config.rotary ? rotate(*config.rotary, h, table) : h).transpose(0, 1);
      };
      const auto repeated = [&](const at::Tensor& heads) {  // a key head for each query head
        return heads.repeat_interleave(share, 0);
      };
      const at::Tensor query = placed(p.query);
      const at::Tensor key = repeated(placed(p.key)).transpose(1, 2);
      const at::Tensor value =
          repeated(p.value.to(decoder.accumulate_dtype()).transpose(0, 1)).contiguous();
      const at::Tensor norms = value.norm(2, -1).to(at::kCPU, at::kDouble);  // [heads, T]
      first[layer] += norms.select(1, 0);
      others[layer] += norms.narrow(1, 1, T - 1).mean(1);

      std::vector<at::Tensor> attended;
      at::Tensor given = at::zeros({config.heads, K}, exact);
      const int64_t rows = std::clamp<int64_t>(options.pairs_at_once / (config.heads * T), 1, T);
      for (int64_t row = 0; row < T; row += rows) {
        const int64_t n = std::min(rows, T - row);
        const at::Tensor distance = place.narrow(0, row, n).unsqueeze(1) - place;  // query - key
        at::Tensor scores = at::bmm(query.narrow(1, row, n), key).mul_(config.attention_scale);
        if (bias) {
          const at::Tensor column = (T - 1 - distance).clamp(0, T - 1);
          scores += bias->values().index_select(1, column.flatten()).view_as(scores);
        }
        // T is within the model's local window, where it has one.
        scores.masked_fill_(distance < 0, -std::numeric_limits<double>::infinity());
        if (const at::Tensor& sink = decoder.sink_logit(layer); sink.defined()) {
          scores = at::cat({scores, sink.view({-1, 1, 1}).expand({-1, n, 1})}, -1);
        }
        at::Tensor weights = at::softmax(scores, -1);
        if (weights.size(2) > T) {
          trained_sink = true;
          logit[layer] += weights.select(2, T).to(at::kCPU, at::kDouble).sum(1) / T;
          weights = weights.narrow(2, 0, T);
        }
        attended.push_back(at::bmm(weights, value).transpose(0, 1).flatten(1));
        // Queries before position k give it nothing: the sum over all is that from k on.
        given += weights.narrow(2, 0, K).to(at::kCPU, at::kDouble).sum(1);
        if (const int64_t shown = std::min(mapped - row, n); shown > 0) {
          map[layer].narrow(0, row, shown) +=
              weights.narrow(1, 0, shown).narrow(2, 0, mapped).to(at::kCPU, at::kDouble).mean(0);
        }
      }
      const at::Tensor mean = given / queries;
      alpha[layer] += mean;
      above[layer] += (mean > options.epsilon).to(at::kDouble);
      x = decoder.finish(layer, x, at::cat(attended).to(decoder.options().dtype));
    }
    after(++done);
  }
  const double n = static_cast<double>(count);
  return {.layers = config.layers,
          .heads = config.heads,
          .positions = K,
          .samples = count,
          .tokens = T,
          .epsilon = options.epsilon,
          .sink_rate = numbers(100 / n * above.flatten(0, 1).mean(0)),
          .alpha = numbers(alpha / n),
          .above = numbers(100 / n * above),
          .trained_sink = trained_sink,
          .logit_mass = numbers(logit / n),
          .value_norm_first = numbers(first / n),
          .value_norm_others = numbers(others / n),
          .mapped = mapped,
          .map = numbers(map / n)};
}

std::vector<std::vector<int32_t>> sink_samples(std::span<const int32_t> ids,
                                               std::optional<int32_t> bos, int64_t tokens,
                                               int64_t count) {
  const int64_t piece = tokens - (bos ? 1 : 0);
  const int64_t there = static_cast<int64_t>(ids.size());
  if (count > there / piece) {
    throw InputError::format(
        "the text has {} tokens, too few for {} samples of {}{}; expected {} samples at the most",
        there, count, tokens, bos ? " (the BOS is one of them)" : "", there / piece);
  }
  std::vector<std::vector<int32_t>> samples;
  for (int64_t i = 0; i < count; ++i) {
    std::vector<int32_t>& sample = samples.emplace_back();
    if (bos) sample.push_back(*bos);
    sample.insert(sample.end(), ids.begin() + i * piece, ids.begin() + (i + 1) * piece);
  }
  return samples;
}

SinkResults run_sinks(Cell cell, const SinkSampling& sampling, const SinkOptions& options,
                      Progress::Style style) {
  if (sampling.samples < 1) {
    throw InputError::format("samples is {}; expected 1 or more", sampling.samples);
  }
  SinkResults results;
  results.info = describe_run("sinks", "");
  cell.dataset.bos = sampling.bos ? BosPlacement::stream : BosPlacement::none;
  Runner runner(style);
  check_sink_options(options, sampling.tokens, runner.config(cell));
  cell.dataset.tokens = sampling.samples * sampling.tokens;
  const Runner::Text text = runner.text(cell);
  // A stream with a BOS has it in front of the first piece already.
  std::span<const int32_t> ids = text.stream.ids;
  if (text.bos) ids = ids.subspan(1);
  const auto samples = sink_samples(ids, text.bos, sampling.tokens, sampling.samples);
  const Runner::Model model = runner.load(cell);
  {
    Progress progress(style, "sinks", sampling.samples, "samples");
    results.statistics = measure_sinks(model.decoder, samples, options,
                                       [&](int64_t done) { progress.update(done); });
  }
  std::vector<int32_t> fed;
  for (const auto& sample : samples) fed.insert(fed.end(), sample.begin(), sample.end());
  results.model_sha256 = model.decoder.sha256();
  results.tokenizer_sha256 = text.tokenizer_sha256;
  results.dataset_sha256 = ids_sha256(fed);
  results.bos = text.bos;
  results.context = model.decoder.config().context;
  results.parameters = model.decoder.parameters();
  results.threads = model.threads;
  results.cell = std::move(cell);
  return results;
}

}  // namespace sinkbench
