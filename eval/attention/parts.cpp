#include "eval/attention/parts.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cstdlib>
#include <limits>
#include <string>

#ifdef SINKBENCH_CUDA
#include <ATen/cuda/CUDAContext.h>
#endif

namespace sinkbench {
namespace {

/// All of it by plain operators, scores and all.
fused::Part attend_band_plainly(const at::Tensor& query, const at::Tensor& keys,
                                const at::Tensor& values, int64_t left, double scale) {
  const int64_t n = query.size(1), heads = query.size(2), m = keys.size(1);
  const auto wide = query.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
  const auto by_head = [&](const at::Tensor& x) {  // [batch, n, h, d] -> [batch, heads, n, d]
    return x.to(wide).transpose(1, 2).repeat_interleave(heads / x.size(2), 1);
  };
  at::Tensor score = at::matmul(by_head(query), by_head(keys).transpose(2, 3)).mul_(scale);
  const auto integers = at::TensorOptions().dtype(at::kLong).device(query.device());
  const at::Tensor key = at::arange(m, integers);
  const at::Tensor own = at::arange(m - n, m, integers).unsqueeze(1);
  at::Tensor unseen = key > own;
  if (left >= 0) unseen = unseen.logical_or(key < own - left);
  score.masked_fill_(unseen, -std::numeric_limits<double>::infinity());
  const at::Tensor output = at::matmul(at::softmax(score, -1), by_head(values)).transpose(1, 2);
  return {output.to(query.scalar_type()).contiguous(), at::logsumexp(score, {-1})};
}

}  // namespace

bool attends_in_parts(const DecoderConfig& config, const DecoderOptions& options) {
  if (!fused::takes(options.device, options.dtype) || options.dtype == at::kFloat) return false;
  if (config.alibi || config.score_cap != 0.0) return false;
  return fused::takes_heads(config);
}

std::optional<Band> as_band(const std::vector<int64_t>& first, const std::vector<int64_t>& last,
                            int64_t m) {
  const int64_t n = static_cast<int64_t>(first.size());
  Band band{.begin = first.front()};
  int64_t left = 0;
  for (int64_t i = 0; i < n; ++i) {
    if (last[i] != m - n + i + 1) return std::nullopt;
    left = std::max(left, last[i] - 1 - first[i]);
  }
  for (int64_t i = 0; i < n; ++i) {
    if (first[i] != std::max(band.begin, last[i] - 1 - left)) return std::nullopt;
  }
  if (first.back() != band.begin) band.left = left;
  return band;
}

#ifdef SINKBENCH_CUDA
namespace {

/// By cuDNN's kernel, which knows no window but is nearly twice as fast as LibTorch's own flash
/// kernel on a Hopper card: all keys, or those to each query's own, of as many.
fused::Part attend_by_cudnn(const at::Tensor& query, const at::Tensor& keys,
                            const at::Tensor& values, bool causal, double scale) {
  const auto by_head = [](const at::Tensor& x) { return x.transpose(1, 2); };
  const auto result = at::_scaled_dot_product_cudnn_attention(
      by_head(query), by_head(keys), by_head(values), std::nullopt, /*compute_log_sumexp=*/true,
      /*dropout_p=*/0.0, causal, /*return_debug_mask=*/false, scale);
  return {by_head(std::get<0>(result)).contiguous(),
          std::get<1>(result).view({query.size(0), query.size(2), query.size(1)}).contiguous()};
}

bool takes_cudnn(const at::Tensor& query) {
  static const bool there = [] {
    const char* text = std::getenv("SINKBENCH_CUDA_CUDNN");
    return at::globalContext().hasCuDNN() && (text == nullptr || std::string(text) != "0");
  }();
  static const int major = at::cuda::getCurrentDeviceProperties()->major;
  return there && major >= 9 && query.size(3) <= 128;
}

/// So many multiplications are worth cuDNN's plans, of which it makes one for each shape, and its
/// first one, which takes a second.
constexpr int64_t much_work = int64_t{1} << 32;

/// Every key up to the query's own: those before the block in runs of powers of two, so that
/// few shapes come up in a long stream.
fused::Part attend_all(const at::Tensor& query, const at::Tensor& keys, const at::Tensor& values,
                       double scale) {
  const int64_t n = query.size(1), before = keys.size(1) - n;
  fused::Part all = attend_by_cudnn(query, keys.narrow(1, before, n), values.narrow(1, before, n),
                                    /*causal=*/true, scale);
  if (before == 0) return all;
  all = {all.output.squeeze(0), all.log_sum.squeeze(0)};
  for (int64_t begin = 0; begin < before;) {
    int64_t run = 1;
    while (2 * run <= before - begin) run *= 2;
    if (4 * run < n) run = before - begin;
    const fused::Part part = attend_by_cudnn(query, keys.narrow(1, begin, run),
                                             values.narrow(1, begin, run), false, scale);
    all = fused::join(all, {part.output.squeeze(0), part.log_sum.squeeze(0)});
    begin += run;
  }
  return {all.output.unsqueeze(0), all.log_sum.unsqueeze(0)};
}

}  // namespace

fused::Part attend_band(const at::Tensor& query, const at::Tensor& keys, const at::Tensor& values,
                        int64_t left, double scale) {
  if (!fused::takes(query) || query.scalar_type() == at::kFloat) {
    return attend_band_plainly(query, keys, values, left, scale);
  }
  const int64_t n = query.size(1), m = keys.size(1);
  const bool is_whole = n == m || query.size(0) == 1, is_large = query.numel() * m >= much_work;
  if (left < 0 && is_whole && is_large && takes_cudnn(query)) {
    return attend_all(query, keys, values, scale);
  }
  const auto result = at::_flash_attention_forward(
      query, keys, values, std::nullopt, std::nullopt, query.size(1), keys.size(1),
      /*dropout_p=*/0.0, /*is_causal=*/true, /*return_debug_mask=*/false, scale, left,
      /*window_size_right=*/0);
  return {std::get<0>(result).contiguous(), std::get<1>(result).contiguous()};
}
#else
fused::Part attend_band(const at::Tensor& query, const at::Tensor& keys, const at::Tensor& values,
                        int64_t left, double scale) {
  return attend_band_plainly(query, keys, values, left, scale);
}
#endif

at::Tensor attend_in_parts(const PartsInput& input) {
  const int64_t n = input.query.size(0), m = input.keys.size(1) - input.band.begin;
  const auto seen = [&](const at::Tensor& buffer) {
    return buffer.narrow(1, input.band.begin, m).transpose(0, 1).unsqueeze(0);
  };
  const fused::Part band = attend_band(input.query.unsqueeze(0), seen(input.keys),
                                       seen(input.values), input.band.left, input.scale);
  fused::Part part = {band.output.select(0, 0), band.log_sum.select(0, 0)};
  for (const fused::Few& range : input.ranges) part = fused::join_few(part, range);
  if (input.sink_logit.defined()) {
    part = fused::join_few(part, {.query = {},
                                  .table = {},
                                  .keys = input.keys,
                                  .values = input.values,
                                  .first = {},
                                  .last = {},
                                  .sink_logit = input.sink_logit});
  }
  return part.output.reshape({n, -1});
}

at::Tensor attend_windows(const Decoder& decoder, int64_t layer, const Projection& projection,
                          const std::vector<RotaryTable>& tables, int64_t size, int64_t rows) {
  const DecoderConfig& config = decoder.config();
  const int rotary = config.rotary_index(layer);
  const RotaryTable table = rotary < 0 ? RotaryTable{} : tables[rotary];
  const fused::Heads heads = {projection.query, projection.key, projection.value,
                              rotary < 0 ? 0 : config.rotaries[rotary].dims};
  const int64_t window = config.local_windows.empty() ? 0 : config.local_windows[layer];
  const int64_t left = window > 0 ? window - 1 : -1;
  const double scale = config.attention_scale;
  const at::Tensor& sink_logit = decoder.sink_logit(layer);
  const int64_t n = heads.key.size(0), windows = n / size;
  const int64_t kv_heads = heads.key.size(1), head_dim = heads.key.size(2);
  const at::Tensor keys = at::empty({kv_heads, n, head_dim}, heads.key.options());
  const at::Tensor values = at::empty({kv_heads, n, head_dim}, heads.key.options());
  const at::Tensor query = fused::place_block(heads, table, table, keys, values)
                               .view({windows, size, -1, head_dim})
                               .narrow(1, size - rows, rows);
  const auto by_window = [&](const at::Tensor& x) {
    return x.view({kv_heads, windows, size, head_dim}).permute({1, 2, 0, 3});
  };
  const fused::Part band = attend_band(query, by_window(keys), by_window(values), left, scale);
  const at::Tensor output = band.output.reshape({windows * rows, -1, head_dim});
  if (!sink_logit.defined()) return output.reshape({windows * rows, -1});
  const at::Tensor log_sum =
      band.log_sum.transpose(0, 1).reshape({-1, windows * rows}).contiguous();
  return fused::join_few({output, log_sum}, {.query = {},
                                             .table = {},
                                             .keys = keys,
                                             .values = values,
                                             .first = {},
                                             .last = {},
                                             .sink_logit = sink_logit})
      .output.reshape({windows * rows, -1});
}

}  // namespace sinkbench
