#include "eval/evicted_mass.h"

#include <ATen/ATen.h>
#include <c10/core/InferenceMode.h>

#include <algorithm>
#include <limits>
#include <numeric>
#include <optional>

#include "eval/engine.h"
#include "models/alibi.h"
#include "models/rotary.h"
#include "policies/registry.h"

namespace sinkbench {
namespace {

/// Which of the keys 0..m-1 the queries begin..end-1 no longer have: bool [n, m].
at::Tensor evicted_keys(const Policy& policy, int64_t begin, int64_t end, int64_t m,
                        at::Device device) {
  const at::Tensor key = at::arange(m, at::TensorOptions().dtype(at::kLong).device(device));
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
  const at::Device device = decoder.options().device;
  const at::ScalarType dtype = decoder.accumulate_dtype();
  const int64_t T = static_cast<int64_t>(ids.size());
  const int64_t heads = config.heads, kv_heads = config.kv_heads, share = heads / kv_heads;
  check_policy(*make_policy("dense", {}), config, T);

  std::vector<int64_t> places(T);
  std::iota(places.begin(), places.end(), 0);
  RotaryTable table;
  if (config.rotary) table = rotary_table(*config.rotary, places, dtype, device);
  std::optional<AlibiTable> bias;
  if (config.alibi) bias.emplace(*config.alibi, T, dtype, device);
  const auto placed = [&](const at::Tensor& x) {  // [T, h, d] -> [h, T, d]
    const at::Tensor exact = x.to(dtype);
    return (config.rotary ? rotate(*config.rotary, exact, table) : exact)
        .transpose(0, 1)
        .contiguous();
  };

  const at::Tensor place = at::arange(T, at::TensorOptions().dtype(at::kLong).device(device));
  const std::vector<int64_t> wide(ids.begin(), ids.end());
  at::Tensor x = decoder.embed(at::tensor(wide, at::kLong).to(device), place);
  const int64_t rows = std::clamp<int64_t>(pairs_at_once / (heads * T), 1, T);
  std::vector<std::vector<double>> result;
  for (int64_t layer = 0; layer < config.layers; ++layer) {
    const Projection projection = decoder.project(layer, x);
    const at::Tensor query = placed(projection.query), key = placed(projection.key);
    const at::Tensor value = projection.value.to(dtype).transpose(0, 1).contiguous();
    at::Tensor mass = at::zeros({heads}, at::kDouble);
    std::vector<at::Tensor> finished;
    for (int64_t begin = 0; begin < T; begin += rows) {
      if (between) between();
      const int64_t end = std::min(begin + rows, T), n = end - begin;  // the keys are 0..end-1
      const at::Tensor distance = place.narrow(0, begin, n).unsqueeze(1) - place.narrow(0, 0, end);
      at::Tensor scores = at::bmm(query.narrow(1, begin, n).reshape({kv_heads, share * n, -1}),
                                  key.narrow(1, 0, end).transpose(1, 2))
                              .mul_(config.attention_scale)
                              .view({heads, n, end});
      if (bias) {
        const at::Tensor column = (T - 1 - distance).clamp_max(T - 1);
        scores += bias->values().index_select(1, column.flatten()).view({heads, n, end});
      }
      scores.masked_fill_(distance < 0, -std::numeric_limits<double>::infinity());
      if (const at::Tensor& sink = decoder.sink_logit(layer); sink.defined()) {
        scores = at::cat({scores, sink.to(dtype).view({heads, 1, 1}).expand({heads, n, 1})}, -1);
      }
      const at::Tensor weights = at::softmax(scores, -1).narrow(2, 0, end);
      mass += (weights * evicted_keys(policy, begin, end, end, device))
                  .sum({1, 2}, false, at::kDouble)
                  .to(at::kCPU);
      if (layer + 1 == config.layers) continue;
      const at::Tensor attended =
          at::bmm(weights.reshape({kv_heads, share * n, end}), value.narrow(1, 0, end))
              .view({heads, n, config.head_dim})
              .transpose(0, 1)
              .reshape({n, heads * config.head_dim});
      finished.push_back(
          decoder.finish(layer, x.narrow(0, begin, n), attended.to(decoder.options().dtype)));
    }
    if (!finished.empty()) x = at::cat(finished);
    const double* sums = mass.data_ptr<double>();
    std::vector<double>& by_head = result.emplace_back();
    for (int64_t h = 0; h < heads; ++h) by_head.push_back(sums[h] / static_cast<double>(T));
  }
  return result;
}

}  // namespace sinkbench
