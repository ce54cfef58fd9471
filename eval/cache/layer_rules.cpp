#include "eval/cache/layer_rules.h"

#include <algorithm>

namespace sinkbench {

LayerRules::LayerRules(const Policy& policy, const DecoderConfig& config)
    : policy_(&policy),
      score_(dynamic_cast<const ScorePolicy*>(&policy)),
      local_(config.layers, 0),
      layers_(config.layers) {
  if (score_ == nullptr) {
    views_.emplace(dynamic_cast<const IndexPolicy&>(policy), config);
    return;
  }
  if (config.local_windows.empty() || config.every_layer_is_local()) return;
  for (int64_t layer = 0; layer < config.layers; ++layer) {
    const int64_t window = config.local_windows[layer];  // it counts the query
    const int64_t capacity = score_->retention().capacity_of(layer);
    if (window > 0) local_[layer] = std::max<int64_t>(1, std::min(window - 1, capacity));
  }
}

const ScorePolicy* LayerRules::score(int64_t layer) const {
  return local_[layer] > 0 ? nullptr : score_;
}

View LayerRules::view(int64_t layer, int64_t t) const {
  if (views_) return views_->view(views_->kind(layer), t);
  return {{std::max<int64_t>(0, t - local_[layer]), t}};
}

Positions LayerRules::positions(int64_t layer) const {
  if (views_) return views_->positions(views_->kind(layer));
  return local_[layer] > 0 ? Positions::original : policy_->positions();
}

int64_t LayerRules::kept(int64_t layer, int64_t t) const {
  const ScorePolicy* score = this->score(layer);
  if (score == nullptr) return size(view(layer, t));
  const Retention& retention = score->retention();
  const int64_t round = t / retention.every * retention.every;  // tokens fed at the last round
  return std::min(round, retention.capacity_of(layer)) + t - round;
}

int64_t LayerRules::most(int64_t layer, int64_t fed) const {
  if (views_) return views_->kept(views_->kind(layer), fed);
  if (local_[layer] > 0) return std::min(fed, local_[layer]);
  const int64_t every = score_->retention().every;
  const int64_t before_round = (fed + 1) / every * every - 1;  // the last such query
  return std::max(kept(layer, fed), before_round > 0 ? kept(layer, before_round) : 0);
}

int64_t LayerRules::slots(int64_t layer, int64_t fed) const {
  return std::min(most(layer, fed) + 1, fed);
}

int64_t LayerRules::widest(int64_t fed) const {
  int64_t widest = 0;
  for (int64_t layer = 1; layer < layers_; ++layer) {
    if (most(layer, fed) > most(widest, fed)) widest = layer;
  }
  return widest;
}

}  // namespace sinkbench
