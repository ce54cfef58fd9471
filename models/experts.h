// A mixture of experts in place of a layer's MLP (Shazeer et al. 2017, arXiv 1701.06538; Mixtral,
// arXiv 2401.04088; Qwen's shared expert, arXiv 2407.10671; gpt-oss, arXiv 2508.10925).
#pragma once

#include <ATen/core/Tensor.h>

#include "models/config.h"
#include "models/weights.h"

namespace sinkbench {

/// What the experts give for normed rows x [n, hidden], and the shared one where there is one: [n,
/// hidden] in `exact`, the precision of sums. Rows are grouped by expert: one product for each
/// expert that any row has chosen, in the order of experts.
at::Tensor mix_experts(const ExpertsConfig& config, Activation activation,
                       const ExpertsWeights& weights, const at::Tensor& x, at::ScalarType exact);

/// The experts that each row has chosen, int64 [n, chosen] by falling scores, and their weights
/// [n, chosen] in the logits' precision: logits [n, experts],
/// correction [experts] or undefined.
struct Routes {
  at::Tensor experts, weights;
};
Routes route(const ExpertsConfig& config, const at::Tensor& logits, const at::Tensor& correction);

}  // namespace sinkbench
