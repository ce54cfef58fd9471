#include "policies/budget.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <tuple>

namespace sinkbench {
namespace {

/// Halves to the even number, as the published code's torch.round.
int64_t rounded(double value) {
  return static_cast<int64_t>(std::nearbyint(value));
}

}  // namespace

int64_t Budget::of(int64_t layer, int64_t head, Heads model, int64_t guarded) const {
  switch (kind) {
    case Kind::by_layer:
      return each[layer];
    case Kind::by_head:
      return each[layer * model.heads + head];
    case Kind::pyramid: {
      if (model.layers < 2) return capacity;
      const int64_t base = capacity - guarded;
      const int64_t low = base / beta, high = 2 * base - low;
      return high - layer * ((high - low) / (model.layers - 1)) + guarded;
    }
    default:
      return capacity;
  }
}

int64_t Budget::most_of(int64_t layer, int64_t head, Heads model, int64_t guarded) const {
  if (!adaptive()) return of(layer, head, model, guarded);
  const int64_t base = capacity - guarded;
  const double own = std::floor(static_cast<double>(base) * floor);
  return rounded(static_cast<double>(model.heads * base) * (1 - floor) + own) + guarded;
}

int64_t Budget::least() const {
  return each.empty() ? capacity : *std::min_element(each.begin(), each.end());
}

int64_t Budget::most() const {
  return each.empty() ? capacity : *std::max_element(each.begin(), each.end());
}

std::string Budget::mismatch(Heads model) const {
  const auto numbers = static_cast<int64_t>(each.size());
  if (kind == Kind::by_layer && numbers != model.layers) {
    return fmt::format("budget.by_layer has {} capacities, and the model {} layers", numbers,
                       model.layers);
  }
  if (kind == Kind::by_head && numbers != model.layers * model.heads) {
    return fmt::format("budget.by_head has {} capacities, and the model {} layers of {} key heads",
                       numbers, model.layers, model.heads);
  }
  return "";
}

std::vector<int64_t> share_out(const Budget& budget, int64_t guarded,
                               std::span<const std::span<const double>> scores,
                               std::span<const std::span<const int64_t>> places) {
  const auto heads = static_cast<int64_t>(scores.size());
  const int64_t base = budget.capacity - guarded;
  std::vector<std::tuple<float, int64_t, int64_t>> all;  // score, place, head
  for (int64_t h = 0; h < heads; ++h) {
    for (size_t i = 0; i < scores[h].size(); ++i) {
      all.emplace_back(static_cast<float>(scores[h][i]), places[h][i], h);
    }
  }
  const int64_t chosen = std::min<int64_t>(heads * base, std::ssize(all));
  std::nth_element(all.begin(), all.end() - chosen, all.end());
  std::vector<int64_t> count(heads, 0);
  for (auto it = all.end() - chosen; it != all.end(); ++it) ++count[std::get<2>(*it)];
  const double own = std::floor(static_cast<double>(base) * budget.floor);
  for (int64_t& c : count) {
    c = rounded(static_cast<double>(c) * (1 - budget.floor) + own) + guarded;
  }
  return count;
}

}  // namespace sinkbench
