#include "eval/cache/kv_cache.h"

#include <ATen/ATen.h>

#include <algorithm>

#include "base/simd.h"
#include "models/stored_numbers.h"

namespace sinkbench {
namespace {

constexpr int64_t no_token = -1;

/// The range that a token is in, or the number of ranges where none holds it.
size_t range_of(const View& view, int64_t token) {
  const auto it = std::partition_point(view.begin(), view.end(),
                                       [&](const Range& range) { return range.end <= token; });
  if (it == view.end() || it->begin > token) return view.size();
  return it - view.begin();
}

/// Whether anything of `view` is not in `next`.
bool loses_any(const View& view, const View& next) {
  size_t i = 0;
  for (const Range& range : view) {
    for (int64_t begin = range.begin; begin < range.end;) {
      while (i < next.size() && next[i].end <= begin) ++i;
      if (i == next.size() || next[i].begin > begin) return true;
      begin = next[i].end;
    }
  }
  return false;
}

std::vector<Segment> joined(std::span<const int64_t> tokens, auto range_of_token) {
  std::vector<Segment> result;
  for (size_t slot = 0; slot < tokens.size(); ++slot) {
    if (tokens[slot] == no_token) continue;
    const size_t range = range_of_token(tokens[slot]);
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

/// row [1, heads, size] to a slot of held [heads, slots, size].
void put_row(const at::Tensor& held, int64_t slot, const at::Tensor& row) {
  if (!has_stored_numbers(held) || !has_stored_numbers(row)) {
    held.narrow(1, slot, 1).copy_(row.transpose(0, 1));
    return;
  }
  // A step puts two rows in each layer: LibTorch takes microseconds for one.
  const int64_t heads = held.size(0), slots = held.size(1), size = held.size(2);
  with_stored_numbers(row, [&](const auto* from) {
    with_stored_numbers(held, [&](auto* to) {
      for (int64_t head = 0; head < heads; ++head) {
        for (int64_t i = 0; i < size; ++i) {
          simd::store_one(to + (head * slots + slot) * size + i,
                          simd::as_float(from[head * size + i]));
        }
      }
    });
  });
}

}  // namespace

int64_t SlotMap::advance(int64_t t, View next) {
  if (loses_any(view_, next)) {
    for (size_t slot = 0; slot < tokens_.size(); ++slot) {
      if (tokens_[slot] == no_token || range_of(next, tokens_[slot]) < next.size()) continue;
      tokens_[slot] = no_token;
      free_.push_back(static_cast<int64_t>(slot));
    }
  }
  view_ = std::move(next);
  if (range_of(view_, t) == view_.size()) return no_token;
  if (free_.empty()) {
    tokens_.push_back(t);
    return static_cast<int64_t>(tokens_.size()) - 1;
  }
  const int64_t slot = free_.back();
  free_.pop_back();
  tokens_[slot] = t;
  return slot;
}

std::vector<int64_t> SlotMap::ranked() const {
  std::vector<int64_t> slots;
  for (size_t slot = 0; slot < tokens_.size(); ++slot) {
    if (tokens_[slot] != no_token) slots.push_back(static_cast<int64_t>(slot));
  }
  std::sort(slots.begin(), slots.end(),
            [&](int64_t a, int64_t b) { return tokens_[a] < tokens_[b]; });
  return slots;
}

std::vector<Segment> SlotMap::segments() const {
  return joined(tokens_, [&](int64_t token) { return range_of(view_, token); });
}

std::vector<Segment> SlotMap::runs() const {
  return joined(tokens_, [](int64_t) { return size_t{0}; });
}

int64_t SlotMap::entries() const {
  return static_cast<int64_t>(tokens_.size()) - static_cast<int64_t>(free_.size());
}

KvCache::KvCache(const DecoderConfig& config, const std::vector<int64_t>& slots,
                 const DecoderOptions& options, const KvStorage& storage) {
  const auto rows = [&](const Codec* codec, int64_t layer) {
    const auto of = at::TensorOptions().device(options.device);
    return codec == nullptr ? at::empty({config.kv_heads, slots[layer], config.head_dim},
                                        of.dtype(options.dtype))
                            : at::empty({config.kv_heads, slots[layer], codec->row_bytes()},
                                        of.dtype(at::kByte));
  };
  for (int64_t layer = 0; layer < config.layers; ++layer) {
    keys_.push_back(rows(storage.keys(), layer));
    values_.push_back(rows(storage.values(), layer));
  }
}

int64_t KvCache::bytes() const {
  int64_t total = 0;
  for (const auto& tensors : {keys_, values_}) {
    for (const at::Tensor& tensor : tensors) total += static_cast<int64_t>(tensor.nbytes());
  }
  return total;
}

void KvCache::put(int64_t layer, int64_t slot, const at::Tensor& key, const at::Tensor& value) {
  put_row(keys_[layer], slot, key);
  put_row(values_[layer], slot, value);
}

}  // namespace sinkbench
