// Shared by the engines' tests.
#pragma once

#include <algorithm>
#include <cmath>
#include <random>
#include <string>
#include <vector>

#include "eval/cache/layer_views.h"
#include "eval/engines/method.h"

namespace sinkbench::test {

inline std::vector<double> score(const std::string& engine, const Decoder& decoder,
                                 const Policy& policy, const std::vector<int32_t>& ids,
                                 const EngineOptions& options = {}) {
  std::vector<double> result;
  make_engine(engine, decoder, policy, options)->score(ids, [&](std::span<const double> nll) {
    result.insert(result.end(), nll.begin(), nll.end());
  });
  return result;
}

/// What query t sees in a layer, under a policy by index.
inline View view_of(const Policy& policy, const DecoderConfig& config, int64_t layer, int64_t t) {
  if (const auto* passes = dynamic_cast<const RecomputePolicy*>(&policy)) return passes->view(t);
  const LayerViews views(dynamic_cast<const IndexPolicy&>(policy), config);
  return views.view(views.kind(layer), t);
}

template <typename A, typename B>
double largest_difference(const std::vector<A>& a, const std::vector<B>& b) {
  if (a.size() != b.size()) return INFINITY;
  double largest = 0.0;
  for (size_t i = 0; i < a.size(); ++i) {
    const double difference = std::abs(static_cast<double>(a[i]) - static_cast<double>(b[i]));
    if (!(difference <= largest)) largest = difference;  // a NaN counts as a difference
  }
  return largest;
}

inline std::vector<int32_t> random_ids(size_t count, int64_t vocab_size, unsigned seed) {
  std::mt19937 random(seed);
  std::vector<int32_t> ids(count);
  for (int32_t& id : ids) id = static_cast<int32_t>(random() % vocab_size);
  return ids;
}

}  // namespace sinkbench::test
