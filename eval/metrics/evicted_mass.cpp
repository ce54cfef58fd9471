#include "eval/metrics/evicted_mass.h"

#include <ATen/ATen.h>
#include <c10/core/InferenceMode.h>

#include <algorithm>

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

std::vector<std::vector<double>> evicted_mass(const Decoder& decoder, const Policy& policy,
                                              std::span<const int32_t> ids,
                                              const std::function<void()>& between,
                                              int64_t pairs_at_once) {
  const c10::InferenceMode inference;
  const DecoderConfig& config = decoder.config();
  const int64_t T = static_cast<int64_t>(ids.size());
  check_policy(*make_policy("dense", {}), config, T);
  const auto last_seen = make_method(policy, config)->last_seen(decoder, ids);
  at::Tensor mass = at::zeros({config.layers, config.heads}, at::kDouble);
  dense_attention(decoder, ids, pairs_at_once, [&](const AttentionRows& rows) {
    if (between) between();
    const int64_t end = rows.first + rows.weights.size(1);
    const at::Tensor evicted = evicted_keys(last_seen[rows.layer], config.heads, rows.first, end,
                                            decoder.options().device);
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
