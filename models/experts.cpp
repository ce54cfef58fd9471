#include "models/experts.h"

#include <ATen/ATen.h>

#include <vector>

#include "models/fused.h"
#include "models/linear.h"

namespace sinkbench {
namespace {

/// Gate and up, rows [n, 2 * size], to the input of the map after them.
at::Tensor activated(const ExpertsConfig& config, Activation activation, const at::Tensor& inner) {
  if (config.limit == 0.0) return fused::gate(inner, activation);
  // gpt-oss: x sigmoid(1.702 x) of a gate that is clamped above, times one more than a clamped up.
  constexpr double slope = 1.702;
  const int64_t size = inner.size(1) / 2;
  const at::Tensor gate = inner.narrow(1, 0, size).clamp_max(config.limit);
  const at::Tensor up = inner.narrow(1, size, size).clamp(-config.limit, config.limit);
  return (up + 1).mul_(gate * at::sigmoid(gate * slope));
}

/// A router by sigmoids computes in `exact`, as in transformers' Glm4MoeTopkRouter; the others in
/// the model's precision.
at::Tensor router_logits(const ExpertsConfig& config, const Linear& router, const at::Tensor& x,
                         at::ScalarType exact) {
  if (!config.sigmoid || !router.weight.defined()) return apply(router, x).to(exact);
  return apply({.weight = router.weight.to(exact),
                .bias = router.bias.defined() ? router.bias.to(exact) : at::Tensor()},
               x.to(exact));
}

}  // namespace

Routes route(const ExpertsConfig& config, const at::Tensor& logits, const at::Tensor& correction) {
  if (config.sigmoid) {
    const at::Tensor scores = at::sigmoid(logits);
    const at::Tensor choice = correction.defined() ? scores + correction : scores;
    const at::Tensor experts = std::get<1>(at::topk(choice, config.chosen, -1));
    at::Tensor weights = scores.gather(1, experts);
    if (config.normalised) weights = weights / weights.sum(1, true);
    return {experts, weights * config.scale};
  }
  const auto [top, experts] = at::topk(logits, config.chosen, -1);
  // Shares of all experts' softmax, normalised among the chosen, are the softmax of these alone.
  const at::Tensor weights =
      config.normalised ? at::softmax(top, -1) : at::softmax(logits, -1).gather(1, experts);
  return {experts, config.scale == 1.0 ? weights : weights * config.scale};
}

at::Tensor mix_experts(const ExpertsConfig& config, Activation activation,
                       const ExpertsWeights& weights, const at::Tensor& x, at::ScalarType exact) {
  const Routes routes =
      route(config, router_logits(config, weights.router, x, exact), weights.correction);
  const at::Tensor chosen = routes.experts.cpu().contiguous();
  const int64_t* const expert_of = chosen.data_ptr<int64_t>();
  std::vector<std::vector<int64_t>> rows(config.experts), places(config.experts);
  for (int64_t i = 0; i < chosen.numel(); ++i) {
    rows[expert_of[i]].push_back(i / config.chosen);
    places[expert_of[i]].push_back(i);
  }
  const auto there = [&](const std::vector<int64_t>& numbers) {
    return at::tensor(numbers, at::kLong).to(x.device());
  };
  const at::Tensor shares = routes.weights.reshape({-1, 1});
  at::Tensor sum = at::zeros(x.sizes(), x.options().dtype(exact));
  for (int64_t e = 0; e < config.experts; ++e) {
    if (rows[e].empty()) continue;
    const bool all = static_cast<int64_t>(rows[e].size()) == x.size(0);
    const at::Tensor row = there(rows[e]);
    const ExpertWeights& expert = weights.experts[e];
    const at::Tensor inner = apply(expert.gate_up, all ? x : x.index_select(0, row));
    const at::Tensor given = apply(expert.down, activated(config, activation, inner)).to(exact);
    sum.index_add_(0, row, given * shares.index_select(0, there(places[e])));
  }
  if (!weights.shared_gate_up.defined()) return sum;
  const at::Tensor inner = fused::gate(apply(weights.shared_gate_up, x), activation);
  const at::Tensor given = apply(weights.shared_down, inner).to(exact);
  if (!weights.shared_gate.defined()) return sum.add_(given);
  return sum.add_(given * at::sigmoid(apply(weights.shared_gate, x).to(exact)));
}

}  // namespace sinkbench
