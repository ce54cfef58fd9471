#include "eval/metrics/evicted_mass.h"

#include <ATen/ATen.h>
#include <c10/core/InferenceMode.h>

#include <algorithm>

#include "eval/attention/dense_attention.h"
#include "eval/engines/method.h"
#include "policies/registry.h"

namespace sinkbench {
namespace {

/// Which of the keys 0..end-1 the queries begin..end-1 no longer have: bool [end - begin, end].
at::Tensor evicted_keys(const Method& method, int64_t layer, int64_t begin, int64_t end,
                        at::Device device) {
  const at::Tensor key = at::arange(end, at::TensorOptions().dtype(at::kLong).device(device));
  const auto column = [&](const std::vector<int64_t>& values) {
    return at::tensor(values, at::kLong).to(device).unsqueeze(1);
  };
  const at::Tensor seen = at::zeros({end - begin, end}, at::kBool);
  std::vector<int64_t> queries;
  for (int64_t t = begin; t < end; ++t) {
    queries.push_back(t);
    bool* row = seen.data_ptr<bool>() + (t - begin) * end;
    for (const Range& range : method.view(layer, t)) {
      std::fill(row + range.begin, row + range.end, true);
    }
  }
  return (key < column(queries)).logical_and(seen.to(device).logical_not());
}

}  // namespace

std::vector<std::vector<double>> evicted_mass(const Decoder& decoder, const Policy& policy,
                                              std::span<const int32_t> ids,
                                              const std::function<void()>& between,
                                              int64_t pairs_at_once) {
  const c10::InferenceMode inference;
  const DecoderConfig& config = decoder.config();
  const int64_t T = static_cast<int64_t>(ids.size());
  check_policy(*make_policy("dense", {}), config, T);
  const auto method = make_method(policy, config);
  at::Tensor mass = at::zeros({config.layers, config.heads}, at::kDouble);
  dense_attention(decoder, ids, pairs_at_once, [&](const AttentionRows& rows) {
    if (between) between();
    const int64_t end = rows.first + rows.weights.size(1);
    const at::Tensor evicted =
        evicted_keys(*method, rows.layer, rows.first, end, decoder.options().device);
    mass[rows.layer] += (rows.weights * evicted).sum({1, 2}, false, at::kDouble).to(at::kCPU);
  });
  const double* sums = mass.data_ptr<double>();
  std::vector<std::vector<double>> result(config.layers);
  for (std::vector<double>& by_head : result) {
    for (int64_t h = 0; h < config.heads; ++h) {
      by_head.push_back(*sums++ / static_cast<double>(T));
    }
  }
  return result;
}

}  // namespace sinkbench
