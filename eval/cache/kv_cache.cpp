#include "eval/cache/kv_cache.h"

#include <ATen/ATen.h>

#include <algorithm>

namespace sinkbench {
namespace {

constexpr int64_t no_token = -1;

/// Index of the range that holds the token, or the number of ranges where none does.
size_t range_of(const View& view, int64_t token) {
  size_t i = 0;
  while (i < view.size() && !(view[i].begin <= token && token < view[i].end)) ++i;
  return i;
}

}  // namespace

int64_t SlotMap::advance(int64_t t) {
  const View next = policy_->view(t + 1);
  // Only what leaves a range can be evicted; usually one token, so ask about those alone.
  bool evicts = false;
  for (size_t i = 0; i < view_.size(); ++i) {
    for (int64_t j = view_[i].begin; j < std::min(view_[i].end, next[i].begin); ++j) {
      evicts = evicts || range_of(next, j) == next.size();
    }
  }
  view_ = next;
  if (evicts) {
    for (size_t slot = 0; slot < tokens_.size(); ++slot) {
      if (tokens_[slot] == no_token || range_of(next, tokens_[slot]) < next.size()) continue;
      tokens_[slot] = no_token;
      free_.push_back(static_cast<int64_t>(slot));
    }
  }
  if (range_of(next, t) == next.size()) return no_token;
  if (free_.empty()) {
    tokens_.push_back(t);
    return static_cast<int64_t>(tokens_.size()) - 1;
  }
  const int64_t slot = free_.back();
  free_.pop_back();
  tokens_[slot] = t;
  return slot;
}

std::vector<Segment> SlotMap::segments() const {
  std::vector<Segment> result;
  for (size_t slot = 0; slot < tokens_.size(); ++slot) {
    if (tokens_[slot] == no_token) continue;
    const size_t range = range_of(view_, tokens_[slot]);
    const bool extends = !result.empty() && result.back().range == range &&
                         result.back().slot + result.back().size == static_cast<int64_t>(slot);
    if (extends) {
      ++result.back().size;
    } else {
      result.push_back({static_cast<int64_t>(slot), 1, range});
    }
  }
  return result;
}

int64_t SlotMap::entries() const {
  return static_cast<int64_t>(tokens_.size()) - static_cast<int64_t>(free_.size());
}

KvCache::KvCache(const DecoderConfig& config, int64_t slots, const DecoderOptions& options) {
  const auto tensor_options = at::TensorOptions().dtype(options.dtype).device(options.device);
  for (int64_t layer = 0; layer < config.layers; ++layer) {
    keys_.push_back(at::empty({config.kv_heads, slots, config.head_dim}, tensor_options));
    values_.push_back(at::empty({config.kv_heads, slots, config.head_dim}, tensor_options));
  }
}

int64_t KvCache::bytes() const {
  int64_t total = 0;
  for (const auto& tensors : {keys_, values_}) {
    for (const at::Tensor& tensor : tensors) total += static_cast<int64_t>(tensor.nbytes());
  }
  return total;
}

}  // namespace sinkbench
