#include "eval/attention/dense_attention.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <limits>
#include <numeric>
#include <optional>

#include "eval/attention/attention.h"
#include "models/alibi.h"
#include "models/rotary.h"

namespace sinkbench {

void dense_attention(const Decoder& decoder, std::span<const int32_t> ids, int64_t pairs_at_once,
                     const std::function<void(const AttentionRows&)>& rows,
                     const std::function<void(int64_t layer, const at::Tensor& values)>& values) {
  const DecoderConfig& config = decoder.config();
  const at::Device device = decoder.options().device;
  const at::ScalarType dtype = decoder.accumulate_dtype();
  const int64_t T = static_cast<int64_t>(ids.size());
  const int64_t heads = config.heads, kv_heads = config.kv_heads, share = heads / kv_heads;

  std::vector<int64_t> places(T);
  std::iota(places.begin(), places.end(), 0);
  std::vector<RotaryTable> tables;
  for (const RotaryConfig& rotary : config.rotaries) {
    tables.push_back(rotary_table(rotary, places, dtype, device));
  }
  std::optional<AlibiTable> bias;
  if (config.alibi) bias.emplace(*config.alibi, T, dtype, device);
  const auto placed = [&](int64_t layer, const at::Tensor& x) {  // [T, h, d] -> [h, T, d]
    const at::Tensor exact = x.to(dtype);
    const int rotary = config.rotary_index(layer);
    return (rotary < 0 ? exact : rotate(config.rotaries[rotary], exact, tables[rotary]))
        .transpose(0, 1)
        .contiguous();
  };

  const at::Tensor place = at::arange(T, at::TensorOptions().dtype(at::kLong).device(device));
  const std::vector<int64_t> wide(ids.begin(), ids.end());
  at::Tensor x = decoder.embed(at::tensor(wide, at::kLong).to(device), place);
  const int64_t most = std::clamp<int64_t>(pairs_at_once / (heads * T), 1, T);
  for (int64_t layer = 0; layer < config.layers; ++layer) {
    const Projection projection = decoder.project(layer, x);
    const at::Tensor query = placed(layer, projection.query);
    const at::Tensor key = placed(layer, projection.key).transpose(1, 2);
    const at::Tensor value = projection.value.to(dtype).transpose(0, 1).contiguous();
    if (values) values(layer, value);
    std::vector<at::Tensor> finished;
    for (int64_t first = 0; first < T; first += most) {
      const int64_t n = std::min(most, T - first), keys = first + n;
      const at::Tensor distance = place.narrow(0, first, n).unsqueeze(1) - place.narrow(0, 0, keys);
      // The queries of the heads that share a key head are one matrix.
      at::Tensor scores = at::bmm(query.narrow(1, first, n).reshape({kv_heads, share * n, -1}),
                                  key.narrow(2, 0, keys))
                              .mul_(config.attention_scale)
                              .view({heads, n, keys});
      cap_scores(scores, config.score_cap);
      if (bias) {
        const at::Tensor column = (T - 1 - distance).clamp(0, T - 1);
        scores += bias->values().index_select(1, column.flatten()).view_as(scores);
      }
      at::Tensor unseen = distance < 0;
      if (!config.local_windows.empty() && config.local_windows[layer] > 0) {
        unseen = unseen.logical_or(distance >= config.local_windows[layer]);
      }
      scores.masked_fill_(unseen, -std::numeric_limits<double>::infinity());
      AttentionRows found{
          .layer = layer, .first = first, .weights = {}, .scores = scores, .to_sink = {}};
      if (const at::Tensor& sink = decoder.sink_logit(layer); sink.defined()) {
        const at::Tensor column = sink.to(dtype).view({heads, 1, 1}).expand({heads, n, 1});
        const at::Tensor all = at::softmax(at::cat({scores, column}, -1), -1);
        found.weights = all.narrow(2, 0, keys);
        found.to_sink = all.select(2, keys);
      } else {
        found.weights = at::softmax(scores, -1);
      }
      rows(found);
      if (layer + 1 == config.layers) continue;  // nobody asks for what comes out of it
      const at::Tensor attended =
          at::bmm(found.weights.reshape({kv_heads, share * n, keys}), value.narrow(1, 0, keys))
              .view({heads, n, config.head_dim})
              .transpose(0, 1)
              .reshape({n, heads * config.head_dim});
      finished.push_back(
          decoder.finish(layer, x.narrow(0, first, n), attended.to(decoder.options().dtype)));
    }
    if (!finished.empty()) x = at::cat(finished);
  }
}

}  // namespace sinkbench
