#include "eval/metrics/evicted_mass.h"

#include <ATen/ATen.h>
#include <c10/core/InferenceMode.h>

#include "eval/attention/dense_attention.h"
#include "eval/engines/engine.h"
#include "policies/registry.h"

namespace sinkbench {
namespace {

/// Which of the keys 0..end-1 the queries begin..end-1 no longer have: bool [end - begin, end].
at::Tensor evicted_keys(const Policy& policy, int64_t begin, int64_t end, at::Device device) {
  const at::Tensor key = at::arange(end, at::TensorOptions().dtype(at::kLong).device(device));
  const auto column = [&](const std::vector<int64_t>& values) {
    return at::tensor(values, at::kLong).to(device).unsqueeze(1);
  };
  std::vector<int64_t> queries;
  std::vector<std::vector<int64_t>> first, last;  // of each range of the views
  for (int64_t t = begin; t < end; ++t) {
    queries.push_back(t);
    const View view = policy.view(t);
    first.resize(view.size());
    last.resize(view.size());
    for (size_t r = 0; r < view.size(); ++r) {
      first[r].push_back(view[r].begin);
      last[r].push_back(view[r].end);
    }
  }
  at::Tensor evicted = key < column(queries);
  for (size_t r = 0; r < first.size(); ++r) {
    evicted.logical_and_((key < column(first[r])).logical_or(key >= column(last[r])));
  }
  return evicted;
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
  at::Tensor mass = at::zeros({config.layers, config.heads}, at::kDouble);
  dense_attention(decoder, ids, pairs_at_once, [&](const AttentionRows& rows) {
    if (between) between();
    const int64_t end = rows.first + rows.weights.size(1);
    const at::Tensor evicted = evicted_keys(policy, rows.first, end, decoder.options().device);
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
