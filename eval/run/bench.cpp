#include "eval/run/bench.h"

#include <ATen/ATen.h>
#include <c10/core/InferenceMode.h>

#include <algorithm>
#include <chrono>
#include <functional>

#include "eval/cache/layer_views.h"
#include "models/cuda/graph.h"
#include "models/product.h"
#include "models/row_product.h"
#include "models/widened_product.h"

namespace sinkbench {
double Ceiling::measure(double seconds) const {
  using Clock = std::chrono::steady_clock;
  const auto elapsed = [](Clock::time_point since) {
    return std::chrono::duration<double>(Clock::now() - since).count();
  };
  // The best: what the machine can do, not what it happened to.
  double best = INFINITY;
  const auto begin = Clock::now();
  do {
    for (const std::function<void()>& work : work_) {
      const auto start = Clock::now();
      work();
      best = std::min(best, elapsed(start));
    }
  } while (elapsed(begin) < seconds);
  return units_ / best;
}

Ceiling product_ceiling(at::ScalarType dtype, at::Device device) {
  const int64_t n = device.is_cpu() ? 2048 : 8192;
  // On a GPU launches return at once: many products, then one wait.
  const int64_t products = device.is_cpu() ? 1 : 8;
  const auto options = at::TensorOptions().device(device);
  const at::Tensor a = at::randn({n, n}, options).to(dtype),
                   b = at::randn({n, n}, options).to(dtype);
  if (widens(a)) return product_ceiling(at::kFloat, device);  // as the engines do
  const double side = static_cast<double>(n);
  const auto made = [=](auto make) {
    return [=] {
      at::Tensor result;
      for (int64_t i = 0; i < products; ++i) result = make(a, b);
      synchronize(device);
    };
  };
  // As the engines make them and, where that isn't the same, as LibTorch does.
  std::vector<std::function<void()>> ways = {
      made([](const at::Tensor& x, const at::Tensor& weight) { return product(x, weight, {}); })};
  if (uses_onednn()) {
    ways.emplace_back(
        made([](const at::Tensor& x, const at::Tensor& weight) { return at::linear(x, weight); }));
  }
  return {static_cast<double>(products) * 2.0 * side * side * side, std::move(ways)};
}

Ceiling read_ceiling(int64_t bytes, at::Device device) {
  // As a matrix: a product with a vector reads it as a decode step does, and is as fast as a sum or
  // faster where it stays in a cache.
  constexpr int64_t in = 4096;
  const int64_t out = std::max<int64_t>(1, bytes / (in * 4));
  const auto options = at::TensorOptions().dtype(at::kFloat).device(device);
  const c10::InferenceMode inference;
  const at::Tensor matrix = at::ones({out, in}, options), x = at::ones({1, in}, options);
  std::vector<std::function<void()>> ways = {[=] {
    const c10::InferenceMode inference;
    matrix.sum();
    synchronize(device);
  }};
  if (takes_row_product(x, matrix)) {
    ways.emplace_back([=] {
      const c10::InferenceMode inference;
      row_product(x, matrix, {});
    });
  }
  return {static_cast<double>(matrix.nbytes()), std::move(ways)};
}

double flops_per_token(const DecoderConfig& config, double keys) {
  const double hidden = static_cast<double>(config.hidden_size);
  const double query = static_cast<double>(config.heads * config.head_dim);
  const double key = static_cast<double>(config.kv_heads * config.head_dim);
  const double mlp = static_cast<double>(config.mlp_size);
  const double layer = hidden * (query + 2 * key) + query * hidden +
                       (config.gated_mlp ? 3 : 2) * hidden * mlp + 2 * query * keys;
  return 2.0 * (static_cast<double>(config.layers) * layer +
                hidden * static_cast<double>(config.vocab_size));
}

double scoring_flops(const DecoderConfig& config, const IndexPolicy& policy, int64_t tokens) {
  const LayerViews views(policy, config);
  double total = 0;
  for (int64_t t = 0; t < tokens; ++t) {
    double keys = 0;  // the mean of the layers
    for (int64_t kind = 0; kind < views.kinds(); ++kind) {
      keys += static_cast<double>(views.layers(kind) * (size(views.view(kind, t)) + 1));
    }
    total += flops_per_token(config, keys / static_cast<double>(config.layers));
  }
  return total;
}

double scoring_flops(const DecoderConfig& config, const RecomputePolicy& policy, int64_t tokens) {
  double total = 0;
  const double hidden = static_cast<double>(config.hidden_size);
  const double query = static_cast<double>(config.heads * config.head_dim);
  const double key = static_cast<double>(config.kv_heads * config.head_dim);
  const double rest = query * hidden + (config.gated_mlp ? 3 : 2) * hidden * config.mlp_size;
  const double first_projection = hidden * (query + 2 * key);  // of a token, once for all windows
  const double head = hidden * static_cast<double>(config.vocab_size);
  const double layers = static_cast<double>(config.layers);
  int64_t projected = 0;
  for (int64_t t = 0; t < tokens; t += policy.stride()) {
    const View view = policy.view(t);
    const double n = static_cast<double>(size(view) + 1);
    projected += t + 1 - std::max(projected, view.back().begin);
    if (size(view) == t) {
      // Prefixes of one pass: a new row in every layer.
      total += 2.0 * (layers * (rest + 2 * query * n) + (layers - 1) * first_projection + head);
      continue;
    }
    const double causal = n * (n + 1) / 2;                          // query-key pairs of a window
    total += 2.0 * ((layers - 1) * (n * rest + 2 * query * causal)  // all rows ...
                    + (rest + 2 * query * n)                        // ... but in the last layer
                    + std::max(0.0, layers - 2) * n * first_projection  // projections between
                    + (layers > 1 ? hidden * query + 2 * n * hidden * key : 0)  // and in the last
                    + head);
  }
  return total + 2.0 * static_cast<double>(projected) * first_projection;
}

double decode_bytes(const Decoder& decoder, int64_t cache_entries) {
  const DecoderConfig& config = decoder.config();
  const int64_t element = static_cast<int64_t>(at::elementSize(decoder.options().dtype));
  return static_cast<double>(decoder.step_bytes() +
                             cache_entries * config.kv_bytes_per_token(element));
}

}  // namespace sinkbench
