#include "eval/cache/layer_views.h"

#include <algorithm>
#include <functional>

namespace sinkbench {
namespace {

constexpr int64_t longest_search = int64_t{1} << 20;  // tokens that a cache may take to fill
constexpr int64_t most_ranges_seen = 50'000'000;      // until a search gives up

struct Walked {
  bool kept_all = true;  ///< nothing was evicted
  int64_t next = 0;      ///< the first query whose view was not looked at
};

/// Calls `visit` with the view of each query from 0 to `fed` until it returns false, or until too
/// many ranges have gone by.
Walked walk(const LayerViews& views, int64_t kind, int64_t fed,
            const std::function<bool(int64_t t, const View& view)>& visit) {
  Walked walked;
  for (int64_t seen = 0; walked.next <= fed && seen < most_ranges_seen;) {
    const int64_t t = walked.next++;
    const View view = views.view(kind, t);
    seen += static_cast<int64_t>(view.size());
    walked.kept_all = walked.kept_all && size(view) == t;
    if (!visit(t, view)) break;
  }
  return walked;
}

}  // namespace

LayerViews::LayerViews(const IndexPolicy& policy, const DecoderConfig& config) : policy_(&policy) {
  const auto& windows = config.local_windows;
  const bool all = config.every_layer_is_local();
  for (int64_t layer = 0; layer < config.layers; ++layer) {
    const int64_t local = windows.empty() ? 0 : windows[layer];
    Kind kind{.layer = policy.differs_by_layer() ? layer : 0,
              .own_positions = true,
              .rotary = config.rotary_index(layer)};
    if (local > 0 && (!all || policy.keeps_all())) {
      kind.window = local - 1;  // the model's counts the query
      kind.own_positions = false;
    }
    const auto same = [&](const Kind& other) {
      return other.layer == kind.layer && other.window == kind.window &&
             other.own_positions == kind.own_positions && other.rotary == kind.rotary;
    };
    const auto it = std::find_if(kinds_.begin(), kinds_.end(), same);
    kind_of_layer_.push_back(it - kinds_.begin());
    if (it == kinds_.end()) kinds_.push_back(kind);
  }
}

int64_t LayerViews::layers(int64_t kind) const {
  return std::count(kind_of_layer_.begin(), kind_of_layer_.end(), kind);
}

int64_t LayerViews::example(int64_t kind) const {
  return std::find(kind_of_layer_.begin(), kind_of_layer_.end(), kind) - kind_of_layer_.begin();
}

View LayerViews::view(int64_t kind, int64_t t) const {
  const Kind& k = kinds_[kind];
  View view = policy_->view(k.layer, t);
  if (view.empty() || view.back().end != t) view.push_back({t, t});
  if (k.own_positions) return view;
  for (Range& range : view) {
    range.end = std::max(range.end, t - k.window);
    range.begin = std::clamp(range.begin, t - k.window, range.end);
  }
  if (view.size() > few_ranges) {
    view.erase(view.begin(), std::find_if(view.begin(), view.end() - 1,
                                          [](const Range& range) { return range.size() > 0; }));
  }
  return view;
}

Positions LayerViews::positions(int64_t kind) const {
  return kinds_[kind].own_positions ? policy_->positions() : Positions::original;
}

std::optional<int64_t> LayerViews::capacity(int64_t kind) const {
  const auto own = policy_->capacity();
  if (kinds_[kind].own_positions) return own;
  return std::min(own.value_or(kinds_[kind].window), kinds_[kind].window);
}

int64_t LayerViews::widest() const {
  int64_t widest = 0;
  for (int64_t kind = 1; kind < kinds(); ++kind) {
    const auto a = capacity(kind), b = capacity(widest);
    if (b && (!a || *a > *b)) widest = kind;
  }
  return widest;
}

int64_t LayerViews::kept(int64_t kind, int64_t fed) const {
  const auto most = capacity(kind);
  if (!most) {  // it grows, but for the end of a prompt
    const int64_t prompt = std::min(fed, std::max<int64_t>(policy_->prompt() - 1, 0));
    return std::max(size(view(kind, fed)), size(view(kind, prompt)));
  }
  int64_t kept = 0;
  const auto look = [&](int64_t, const View& view) {
    kept = std::max(kept, size(view));
    return kept < *most;
  };
  Walked walked = walk(*this, kind, std::min(fed, longest_search), look);
  if (walked.kept_all) return std::min(fed, *most);
  if (kept < *most && fed > longest_search) walked = walk(*this, kind, fed, look);
  // A view gains no more than one token with each query that was not looked at.
  if (kept < *most) kept = std::min(*most, kept + std::max<int64_t>(0, fed + 1 - walked.next));
  return kept;
}

bool LayerViews::scattered(int64_t kind, int64_t fed) const {
  bool moves_on = view(kind, fed).size() <= few_ranges;
  View last;
  if (moves_on) {
    walk(*this, kind, fed, [&](int64_t t, const View& view) {
      moves_on = view.size() <= few_ranges && (t == 0 || view.size() == last.size());
      for (size_t i = 0; moves_on && i < last.size(); ++i) {
        moves_on = view[i].begin >= last[i].begin && view[i].end >= last[i].end;
      }
      last = view;
      return moves_on;
    });
  }
  return !moves_on;
}

int64_t LayerViews::tokens_to_fill(std::optional<int64_t> entries, int64_t fed) const {
  const int64_t kind = widest();
  const auto enough = entries ? entries : capacity(kind);
  if (!enough) return fed;
  if (!entries && policy_->prompt() > 0) {  // full again after the prompt was cut
    return policy_->prompt() + policy_->size().value_or(0);
  }
  int64_t fullest = 0, tokens = 0;
  const Walked walked =
      walk(*this, kind, std::max(fed, longest_search), [&](int64_t t, const View& view) {
        if (size(view) > fullest) {
          fullest = size(view);
          tokens = t;
        }
        return fullest < *enough;
      });
  return walked.kept_all ? *enough : tokens;
}

}  // namespace sinkbench
