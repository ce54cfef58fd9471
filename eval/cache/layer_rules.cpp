#include "eval/cache/layer_rules.h"

#include <algorithm>
#include <utility>

namespace sinkbench {

LayerRules::LayerRules(const Policy& policy, const DecoderConfig& config)
    : policy_(&policy),
      score_(dynamic_cast<const ScorePolicy*>(&policy)),
      read_(dynamic_cast<const ReadPolicy*>(&policy)),
      local_(config.layers, 0),
      window_(config.layers, 0),
      layers_(config.layers),
      heads_(std::max<int64_t>(1, config.kv_heads)),
      capacity_(layers_ * heads_),
      bound_(layers_ * heads_) {
  if (score_ == nullptr) {
    views_.emplace(dynamic_cast<const IndexPolicy&>(policy), config);
    return;
  }
  const Retention& retention = score_->retention();
  const Heads model = {.layers = layers_, .heads = heads_};
  if (retention.budget.mismatch(model).empty()) {  // else check_rules says so
    for (int64_t i = 0; i < layers_ * heads_; ++i) {
      const int64_t layer = i / heads_, head = i % heads_, guarded = retention.guarded();
      capacity_[i] = retention.budget.of(layer, head, model, guarded);
      bound_[i] = retention.budget.most_of(layer, head, model, guarded);
    }
  }
  if (config.local_windows.empty() || config.every_layer_is_local()) return;
  for (int64_t layer = 0; layer < config.layers; ++layer) {
    const int64_t window = config.local_windows[layer];  // it counts the query
    const int64_t capacity =
        *std::max_element(&capacity_[layer * heads_], &capacity_[layer * heads_] + heads_);
    if (window == 0) continue;
    window_[layer] = std::max<int64_t>(1, window - 1);
    local_[layer] = std::min(window_[layer], std::max<int64_t>(1, capacity));
  }
}

const ScorePolicy* LayerRules::score(int64_t layer) const {
  return local_[layer] > 0 ? nullptr : score_;
}

View LayerRules::view(int64_t layer, int64_t t) const {
  if (views_) return views_->view(views_->kind(layer), t);
  const int64_t kept = t < score_->retention().prompt ? window_[layer] : local_[layer];
  return {{std::max<int64_t>(0, t - kept), t}};
}

std::optional<ReadPolicy::Reading> LayerRules::reading(int64_t layer) const {
  // What lies in a layer's own window is all read: it is part of the model.
  if (read_ == nullptr || views_->capacity(views_->kind(layer))) return std::nullopt;
  return read_->reading(layer);
}

Positions LayerRules::positions(int64_t layer) const {
  if (read_ != nullptr) return Positions::original;  // nothing leaves: the same, and keys stay
  if (views_) return views_->positions(views_->kind(layer));
  return local_[layer] > 0 ? Positions::original : policy_->positions();
}

bool LayerRules::adaptive(int64_t layer) const {
  return score(layer) != nullptr && score_->retention().budget.adaptive();
}

int64_t LayerRules::kept(int64_t layer, int64_t head, int64_t t) const {
  const ScorePolicy* score = this->score(layer);
  if (score == nullptr) return size(view(layer, t));
  const int64_t round = score->retention().last_round(t);
  return std::min(round, capacity(layer, head)) + t - round;
}

int64_t LayerRules::most(int64_t layer, int64_t head, int64_t fed, bool bound) const {
  if (views_) return views_->kept(views_->kind(layer), fed);
  const auto [every, prompt] = std::pair(score_->retention().every, score_->retention().prompt);
  if (local_[layer] > 0) {
    return std::min(fed, prompt > 0 ? std::max(local_[layer], std::min(window_[layer], prompt))
                                    : local_[layer]);
  }
  const int64_t of_prompt = std::min(fed, std::max<int64_t>(prompt - 1, 0));
  if (bound && adaptive(layer)) {
    return std::max(of_prompt, std::min(fed, bound_[layer * heads_ + head] + every - 1));
  }
  const int64_t before_round = (fed + 1) / every * every - 1;  // the last such query
  return std::max(
      {of_prompt, kept(layer, head, fed), before_round > 0 ? kept(layer, head, before_round) : 0});
}

int64_t LayerRules::most(int64_t layer, int64_t fed) const {
  int64_t most = 0;
  for (int64_t head = 0; head < (views_ ? 1 : heads_); ++head) {
    most = std::max(most, this->most(layer, head, fed, /*bound=*/true));
  }
  return most;
}

double LayerRules::mean(int64_t fed) const {
  const int64_t heads = views_ ? 1 : heads_;  // all are alike
  double sum = 0;
  for (int64_t layer = 0; layer < layers_; ++layer) {
    for (int64_t head = 0; head < heads; ++head) {
      sum += static_cast<double>(most(layer, head, fed));
    }
  }
  return sum / static_cast<double>(layers_ * heads);
}

int64_t LayerRules::slots(int64_t layer, int64_t head, int64_t fed) const {
  return std::min(most(layer, head, fed) + 1, fed);
}

int64_t LayerRules::full(std::optional<int64_t> entries, int64_t fed) const {
  const int64_t prompt = score_ != nullptr ? score_->retention().prompt : 0;
  if (score_ != nullptr && score_->retention().every > fed) return std::max(prompt + 1, fed);
  return std::max(prompt + 1, policy_->capacity().value_or(entries.value_or(fed)));
}

int64_t LayerRules::widest(int64_t fed) const {
  int64_t widest = 0;
  for (int64_t layer = 1; layer < layers_; ++layer) {
    if (most(layer, fed) > most(widest, fed)) widest = layer;
  }
  return widest;
}

}  // namespace sinkbench
