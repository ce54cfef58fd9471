#include "eval/engines/chunked.h"

#include <ATen/ATen.h>
#include <c10/core/InferenceMode.h>

#include <algorithm>
#include <numeric>

#include "eval/attention/attention.h"
#include "models/rotary.h"

namespace sinkbench {
namespace {

/// Queries per block. The more, the less every product and every carried key costs a token; the
/// activations of a layer bound them: the widest come to so many elements at the most.
int64_t choose_chunk(const DecoderConfig& config) {
  constexpr int64_t fewest = 128;
  constexpr int64_t most = 2048;
  constexpr int64_t activations_at_once = int64_t{1} << 22;
  const int64_t width = std::max(config.mlp_size * (config.gated_mlp ? 2 : 1),
                                 (config.heads + 2 * config.kv_heads) * config.head_dim);
  return std::clamp(activations_at_once / width, fewest, most);
}

}  // namespace

/// What all layers of a block share.
struct ChunkedEngine::Block {
  int64_t begin = 0;    // place in the stream of the first query
  int64_t size = 0;     // queries
  View cached;          // what the first query's view holds, in the buffer before the block's own
  int64_t carried = 0;  // keys in `cached`
  RotaryTable key_table;
  std::vector<RangeView> ranges;  // all but the queries; the last range holds the query itself
  std::vector<RotaryTable> query_tables;  // for each range
  std::vector<bool> as_last;  // seen from the same places as the last range, so rotated once

  /// Index in the buffer of the token at a place in the stream, or of the next one that is there.
  int64_t index_of(int64_t place) const {
    if (place >= begin) return carried + place - begin;
    int64_t before = 0;
    for (const Range& range : cached) {
      if (place < range.end) return before + std::max<int64_t>(place - range.begin, 0);
      before += range.size();
    }
    return before;
  }
};

ChunkedEngine::ChunkedEngine(const Decoder& decoder, const Policy& policy, int64_t chunk)
    : Engine(decoder, policy), chunk_(chunk > 0 ? chunk : choose_chunk(decoder.config())) {}

void ChunkedEngine::prepare() {
  const c10::InferenceMode inference;
  const DecoderConfig& config = decoder_.config();
  block_ = std::min(chunk_, fed());
  // Dense keeps everything: the last block's keys land where its own room is.
  const int64_t room = std::min(kept_entries(policy_, fed()) + block_, fed() + block_);
  const auto options =
      at::TensorOptions().dtype(decoder_.accumulate_dtype()).device(decoder_.options().device);
  keys_.clear();
  values_.clear();
  for (int64_t layer = 0; layer < config.layers; ++layer) {
    keys_.push_back(at::zeros({config.kv_heads, room, config.head_dim}, options));
    values_.push_back(at::zeros({config.kv_heads, room, config.head_dim}, options));
  }
  if (config.alibi) {
    bias_.emplace(*config.alibi, bias_places(policy_, fed()), decoder_.accumulate_dtype(),
                  decoder_.options().device);
  }
}

void ChunkedEngine::advance_rows(const RowSink& sink) {
  const c10::InferenceMode inference;
  const int64_t begin = next_;
  const int64_t end = std::min(begin + block_, fed());
  const at::Tensor x = run_block(begin, end);
  next_ = end;
  sink({.x = x, .first = begin});
}

std::vector<at::Tensor> ChunkedEngine::state() const {
  const int64_t carried = sinkbench::size(policy_.view(next_));
  std::vector<at::Tensor> result;
  for (const auto* buffers : {&keys_, &values_}) {
    for (const at::Tensor& buffer : *buffers) result.push_back(buffer.narrow(1, 0, carried));
  }
  return result;
}

at::Tensor ChunkedEngine::run_block(int64_t begin, int64_t end) {
  const DecoderConfig& config = decoder_.config();
  const at::Device device = decoder_.options().device;
  Block block;
  block.begin = begin;
  block.size = end - begin;
  block.cached = policy_.view(begin);
  block.carried = sinkbench::size(block.cached);
  const size_t ranges = block.cached.size();
  std::vector<std::vector<int64_t>> places(ranges);  // of the query for each range
  block.ranges.resize(ranges);
  for (int64_t t = begin; t < end; ++t) {
    const View view = policy_.view(t);
    const std::vector<int64_t> positions = query_positions(view, t, policy_.positions());
    for (size_t r = 0; r < ranges; ++r) {
      RangeView& range = block.ranges[r];
      places[r].push_back(positions[r]);
      range.first.push_back(block.index_of(view[r].begin));
      range.last.push_back(block.index_of(view[r].end) + (r + 1 == ranges ? 1 : 0));
      if (bias_) {
        range.column.push_back(bias_->column(view[r].begin, positions[r]) - range.first.back());
      }
    }
  }
  if (config.rotary) {
    std::vector<int64_t> stream(block.size);
    std::iota(stream.begin(), stream.end(), begin);
    const auto table = [&](const std::vector<int64_t>& positions) {
      return rotary_table(*config.rotary, positions, decoder_.accumulate_dtype(), device);
    };
    block.key_table = table(stream);
    for (size_t r = 0; r < ranges; ++r) {
      block.as_last.push_back(places[r] == places.back());
      block.query_tables.push_back(block.as_last[r] ? RotaryTable{} : table(places[r]));
    }
    block.query_tables.back() = table(places.back());
  }

  const std::vector<int64_t> wide(ids_.begin() + begin, ids_.begin() + end);
  const at::Tensor ids = at::tensor(wide, at::kLong).to(device);
  at::Tensor x = decoder_.embed(ids, at::arange(begin, end, ids.options()));
  for (int64_t layer = 0; layer < config.layers; ++layer) {
    const Projection projection = decoder_.project(layer, x);
    x = decoder_.finish(layer, x, attend(block, layer, projection));
  }
  carry(block, end);
  return x;
}

at::Tensor ChunkedEngine::attend(const Block& block, int64_t layer, const Projection& projection) {
  const DecoderConfig& config = decoder_.config();
  const at::ScalarType dtype = decoder_.accumulate_dtype();
  const auto placed = [&](const at::Tensor& heads, const RotaryTable& table) {
    const at::Tensor exact = heads.to(dtype);
    return config.rotary ? rotate(*config.rotary, exact, table) : exact;
  };
  keys_[layer]
      .narrow(1, block.carried, block.size)
      .copy_(placed(projection.key, block.key_table).transpose(0, 1));
  values_[layer].narrow(1, block.carried, block.size).copy_(projection.value.transpose(0, 1));
  const int64_t keys = block.carried + block.size;

  AttentionInput input = {.ranges = block.ranges,
                          .keys = keys_[layer].narrow(1, 0, keys),
                          .values = values_[layer].narrow(1, 0, keys),
                          .bias = bias_ ? &*bias_ : nullptr,
                          .sink_logit = decoder_.sink_logit(layer),
                          .scale = config.attention_scale};
  const auto query = [&](size_t r) {
    return placed(projection.query, config.rotary ? block.query_tables[r] : RotaryTable{})
        .transpose(0, 1)
        .contiguous();
  };
  input.ranges.back().query = query(block.ranges.size() - 1);
  for (size_t r = 0; r + 1 < block.ranges.size(); ++r) {
    const bool same = !config.rotary || block.as_last[r];
    input.ranges[r].query = same ? input.ranges.back().query : query(r);
  }
  return sinkbench::attend(input).to(decoder_.options().dtype);
}

void ChunkedEngine::carry(const Block& block, int64_t next) {
  int64_t target = 0;
  for (const Range& range : policy_.view(next)) {
    const int64_t source = block.index_of(range.begin);
    if (range.size() > 0 && source != target) {
      for (const auto& buffers : {keys_, values_}) {
        for (const at::Tensor& buffer : buffers) {  // the two places may overlap: through a copy
          buffer.narrow(1, target, range.size())
              .copy_(buffer.narrow(1, source, range.size()).clone());
        }
      }
    }
    target += range.size();
  }
}

}  // namespace sinkbench
