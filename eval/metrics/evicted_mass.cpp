#include "eval/metrics/evicted_mass.h"

#include <ATen/ATen.h>
#include <c10/core/InferenceMode.h>

#include <algorithm>
#include <limits>

#include "eval/attention/dense_attention.h"
#include "eval/engines/method.h"
#include "policies/registry.h"

namespace sinkbench {
namespace {

/// Which of the keys 0..end-1 the queries begin..end-1 no longer have, of each head: bool [heads or
/// 1, end - begin, end]. `last_seen`: of each key head, or of all, the last query that sees a key.
at::Tensor evicted_keys(const std::vector<std::vector<int64_t>>& last_seen, int64_t heads,
                        int64_t begin, int64_t end, at::Device device) {
  const auto places = at::TensorOptions().dtype(at::kLong).device(device);
  const at::Tensor query = at::arange(begin, end, places).view({1, -1, 1});
  std::vector<at::Tensor> last;
  for (const std::vector<int64_t>& head : last_seen) {
    last.push_back(at::tensor(at::IntArrayRef(head).slice(0, end), places));
  }
  at::Tensor evicted = query > at::stack(last).unsqueeze(1);
  if (evicted.size(0) > 1) {
    evicted = evicted.repeat_interleave(heads / evicted.size(0), 0);
  }
  return evicted;
}

}  // namespace

EvictedMass evicted_mass(const Decoder& decoder, const Policy& policy, std::span<const int32_t> ids,
                         const std::function<void()>& between, int64_t pairs_at_once,
                         const StorageSpec& storage) {
  const c10::InferenceMode inference;
  const DecoderConfig& config = decoder.config();
  const int64_t T = static_cast<int64_t>(ids.size()), share = config.heads / config.kv_heads;
  check_policy(*make_policy("dense", {}), config, T);
  const auto last_seen = make_method(policy, config, storage)->last_seen(decoder, ids);
  at::Tensor mass = at::zeros({config.layers, config.heads}, at::kDouble);
  at::Tensor to_sink = at::zeros_like(mass);
  bool trained_sink = false;
  at::Tensor error = at::zeros({config.layers}, at::kDouble);
  // Where the others' weights are below the smallest number, their output counts as none.
  const double smallest = decoder.accumulate_dtype() == at::kDouble
                              ? std::numeric_limits<double>::min()
                              : std::numeric_limits<float>::min();
  at::Tensor values;  // of the layer: [kv_heads, T, head_dim]
  const auto look = [&](const AttentionRows& rows) {
    if (between) between();
    const int64_t n = rows.weights.size(1), end = rows.first + n;
    const at::Tensor evicted = evicted_keys(last_seen[rows.layer], config.heads, rows.first, end,
                                            decoder.options().device);
    const at::Tensor kept = rows.weights.masked_fill(evicted, 0);
    const at::Tensor gone = rows.weights - kept;
    mass[rows.layer] += gone.sum({1, 2}, false, at::kDouble).to(at::kCPU);
    if (rows.to_sink.defined()) {
      trained_sink = true;
      to_sink[rows.layer] += rows.to_sink.sum(1, false, at::kDouble).to(at::kCPU);
    }
    // The queries of the heads that share a key head are one matrix.
    const auto mixed = [&](const at::Tensor& weights) {
      return at::bmm(weights.reshape({config.kv_heads, share * n, end}), values.narrow(1, 0, end))
          .view({config.heads, n, config.head_dim});
    };
    // What the others have is added up, not taken from 1: they may have next to nothing.
    const auto total = [&](const at::Tensor& weights) {
      const at::Tensor sum = weights.sum(2, true);
      return rows.to_sink.defined() ? sum + rows.to_sink.unsqueeze(2) : sum;
    };
    const at::Tensor output = mixed(rows.weights);
    const at::Tensor left = (total(kept) / total(rows.weights)).clamp_min(smallest);
    const at::Tensor difference = mixed(kept) / left - output;
    const auto length = [](const at::Tensor& x) {
      return x.to(at::kDouble).square().sum(at::IntArrayRef{0, 2}).sqrt();
    };
    error[rows.layer] += (length(difference) / length(output)).sum().to(at::kCPU);
  };
  dense_attention(decoder, ids, pairs_at_once, look,
                  [&](int64_t, const at::Tensor& of_layer) { values = of_layer; });
  EvictedMass result;
  const auto means = [&](const at::Tensor& sums) {
    std::vector<std::vector<double>> by_head;
    const double* sum = sums.data_ptr<double>();
    for (int64_t layer = 0; layer < config.layers; ++layer, sum += config.heads) {
      std::vector<double>& heads = by_head.emplace_back(sum, sum + config.heads);
      for (double& head : heads) head /= static_cast<double>(T);
    }
    return by_head;
  };
  result.by_head = means(mass);
  if (trained_sink) result.to_sink_logit = means(to_sink);
  for (int64_t layer = 0; layer < config.layers; ++layer) {
    result.output_error.push_back(error[layer].item<double>() / static_cast<double>(T));
  }
  return result;
}

}  // namespace sinkbench
