#include "eval/engines/chunked.h"

#include <ATen/ATen.h>
#include <c10/core/InferenceMode.h>

#include <algorithm>
#include <numeric>
#include <stdexcept>

#include "eval/attention/attention.h"
#include "eval/attention/parts.h"
#include "eval/engines/limits.h"
#include "models/rotary.h"

namespace sinkbench {
namespace {

/// Queries per block. The more, the less every product and every carried key costs a token; the
/// activations of a layer bound them: the widest come to so many elements at the most.
int64_t choose_chunk(const DecoderConfig& config, at::Device device) {
  constexpr int64_t fewest = 128;
  const int64_t most = device.is_cuda() ? 4096 : 2048;
  const int64_t activations_at_once = int64_t{1} << (device.is_cuda() ? 27 : 22);
  const int64_t width = std::max(config.mlp_size * (config.gated_mlp ? 2 : 1),
                                 (config.heads + 2 * config.kv_heads) * config.head_dim);
  return std::clamp(activations_at_once / width, fewest, most);
}

/// Where nothing has been evicted between the last range of a view and the one before it, a key may
/// as well be of the one as of the other: the last one reaches back as far as it does in any query,
/// so that it is a band from the first query on. places: of the queries for each range.
void widen_band(std::vector<RangeView>& ranges, const std::vector<std::vector<int64_t>>& places) {
  RangeView& band = ranges.back();
  RangeView& before = ranges[ranges.size() - 2];
  const std::vector<int64_t>& own = places.back();
  const std::vector<int64_t>& other = places[places.size() - 2];
  int64_t left = 0;
  for (size_t i = 0; i < own.size(); ++i) {
    left = std::max(left, band.last[i] - 1 - band.first[i]);
  }
  for (size_t i = 0; i < own.size(); ++i) {
    const int64_t first = std::max(before.first[i], band.last[i] - 1 - left);
    if (first >= band.first[i] || before.last[i] != band.first[i] || other[i] != own[i]) continue;
    before.last[i] = band.first[i] = first;
  }
}

}  // namespace

/// What all layers of a kind share of a block.
struct ChunkedEngine::Block {
  int64_t kind = 0;
  int64_t begin = 0;    // place in the stream of the first query
  int64_t size = 0;     // queries
  View cached;          // what the first query's view holds, in the buffer before the block's own
  int64_t carried = 0;  // keys in `cached`
  RotaryTable key_table;
  std::vector<RangeView> ranges;  // all but the queries; the last range holds the query itself
  std::vector<RotaryTable> query_tables;  // for each range
  std::vector<bool> as_last;    // seen from the same places as the last range, so rotated once
  ScatteredView scattered;      // all but the query and the keys; no spans: nothing is
  RotaryTable scattered_table;  // of the queries, where they stand for what is scattered

  // Attention in parts:
  std::optional<Band> band;           // the last range; nothing: the plain way
  std::vector<at::Tensor> few_first;  // of each other range, int32 [size] on the device
  std::vector<at::Tensor> few_last;

  std::vector<int64_t> before;  // carried keys before each range of `cached`

  /// Index in the buffer of the token at a place in the stream, or of the next one that is there.
  int64_t index_of(int64_t place) const {
    if (place >= begin) return carried + place - begin;
    const auto range = std::partition_point(cached.begin(), cached.end(),
                                            [&](const Range& r) { return r.end <= place; });
    if (range == cached.end()) return carried;
    return before[range - cached.begin()] + std::max<int64_t>(place - range->begin, 0);
  }
};

ChunkedEngine::ChunkedEngine(const Decoder& decoder, const IndexPolicy& policy, int64_t chunk,
                             bool in_parts, const StorageSpec& storage)
    : Engine(decoder, storage),
      views_(policy, decoder.config()),
      kinds_(views_.kinds()),
      chunk_(chunk),
      in_parts_(storage.is_native() &&  // what is stored otherwise is decoded to float32
                (in_parts || attends_in_parts(decoder.config(), decoder.options()))) {}

int64_t ChunkedEngine::block_size(const DecoderConfig& config, int64_t chunk, int64_t fed,
                                  at::Device device) {
  return std::min(chunk > 0 ? chunk : choose_chunk(config, device), fed);
}

void ChunkedEngine::check(int64_t fed) const {
  check_views(views_, decoder_.config(), fed);
}

void ChunkedEngine::prepare() {
  const c10::InferenceMode inference;
  const DecoderConfig& config = decoder_.config();
  const at::Device device = decoder_.options().device;
  block_ = block_size(config, chunk_, fed(), device);
  ahead_.reset();
  std::vector<int64_t> room;  // of each kind
  for (int64_t k = 0; k < views_.kinds(); ++k) {
    Kind& kind = kinds_[k];
    kind.rotary = config.rotary(views_.example(k));
    const int64_t kept = views_.kept(k, fed());
    // Dense keeps everything: the last block's keys land where its own room is.
    room.push_back(std::min(kept + block_, fed() + block_));
    kind.scattered = views_.scattered(k, fed());
    kind.by_rank = kind.scattered && views_.positions(k) == Positions::cache;
    kind.in_parts = in_parts_ && !kind.scattered && !config.alibi && config.score_cap == 0.0;
    if (kind.by_rank && kind.rotary != nullptr) {
      std::vector<int64_t> ranks(kept + 1);
      std::iota(ranks.begin(), ranks.end(), 0);
      kind.ranks = rotary_table(*kind.rotary, ranks, decoder_.accumulate_dtype(), device);
    }
    if (config.alibi) {
      kind.bias.emplace(*config.alibi, bias_places(views_, k, fed()), decoder_.accumulate_dtype(),
                        device);
    }
  }
  for (auto* buffers : {&keys_, &values_, &unrotated_}) buffers->resize(config.layers);
  for (int64_t layer = 0; layer < config.layers; ++layer) {
    const int64_t kind = views_.kind(layer);
    const at::ScalarType dtype =
        kinds_[kind].in_parts ? decoder_.options().dtype : decoder_.accumulate_dtype();
    const bool turns = kinds_[kind].by_rank && kinds_[kind].rotary != nullptr;
    // Those of the piece before serve, where its length made them the same.
    if (keys_[layer].defined() && keys_[layer].size(1) == room[kind] &&
        keys_[layer].scalar_type() == dtype && unrotated_[layer].defined() == turns) {
      continue;
    }
    const auto buffer = [&] {
      const auto options = at::TensorOptions().dtype(dtype).device(device);
      const std::vector<int64_t> sizes = {config.kv_heads, room[kind], config.head_dim};
      // In parts nothing is read that was not written; zeros of gigabytes take milliseconds.
      return kinds_[kind].in_parts ? at::empty(sizes, options) : at::zeros(sizes, options);
    };
    keys_[layer] = values_[layer] = unrotated_[layer] = at::Tensor();  // before there are others
    keys_[layer] = buffer();
    values_[layer] = buffer();
    if (turns) unrotated_[layer] = buffer();
  }
}

void ChunkedEngine::advance_piece(const RowSink& sink) {
  const c10::InferenceMode inference;
  const int64_t begin = next_;
  const int64_t end = block_end(begin);
  const at::Tensor x = run_block(begin, end);
  // All that is carried by now is of such tokens.
  if (begin < storage_.zero_values()) {
    for (at::Tensor& values : values_) values.zero_();
  }
  next_ = end;
  sink({.x = x, .first = begin});
}

std::vector<at::Tensor> ChunkedEngine::state() const {
  std::vector<at::Tensor> result;
  for (const auto* buffers : {&keys_, &values_, &unrotated_}) {
    for (size_t layer = 0; layer < buffers->size(); ++layer) {
      const at::Tensor& buffer = (*buffers)[layer];
      if (!buffer.defined()) continue;
      const View view = views_.view(views_.kind(static_cast<int64_t>(layer)), next_);
      result.push_back(buffer.narrow(1, 0, sinkbench::size(view)));
    }
  }
  return result;
}

ChunkedEngine::Block ChunkedEngine::begin_block(int64_t k, int64_t begin, int64_t end) {
  const Kind& kind = kinds_[k];
  const Positions rule = views_.positions(k);
  Block block;
  block.kind = k;
  block.begin = begin;
  block.size = end - begin;
  block.cached = views_.view(k, begin);
  for (const Range& range : block.cached) {
    block.before.push_back(block.carried);
    block.carried += range.size();
  }
  const size_t ranges = kind.scattered ? 1 : block.cached.size();
  std::vector<std::vector<int64_t>> places(ranges);  // of the query for each range
  std::vector<int64_t> scattered_places;
  View last_scattered;
  block.ranges.resize(ranges);
  for (int64_t t = begin; t < end; ++t) {
    const View view = views_.view(k, t);
    std::vector<int64_t> positions = query_positions(view, t, rule);
    if (!kind.scattered && view.size() != ranges) {
      throw std::logic_error("the number of a view's ranges changes where none was foreseen");
    }
    const size_t first = view.size() - ranges;
    for (size_t r = 0; r < ranges; ++r) {
      const Range& seen = view[first + r];
      RangeView& range = block.ranges[r];
      places[r].push_back(positions[first + r]);
      range.first.push_back(block.index_of(seen.begin));
      range.last.push_back(block.index_of(seen.end) + (r + 1 == ranges ? 1 : 0));
      if (kind.bias) {
        range.column.push_back(kind.bias->column(seen.begin, positions[first + r]) -
                               range.first.back());
      }
    }
    if (!kind.scattered) continue;
    const int64_t query = kind.by_rank ? sinkbench::size(view) : t;
    scattered_places.push_back(query);
    if (kind.bias) block.scattered.column.push_back(kind.bias->column(0, query));
    const View before(view.begin(), view.end() - 1);
    std::vector<ScatteredView::Span>& spans = block.scattered.spans;
    if (spans.empty() || before != last_scattered) {
      spans.push_back({.begin = t - begin, .end = 0, .entries = {}});
      for (const Range& range : before) {
        const int64_t index = block.index_of(range.begin);
        for (int64_t i = 0; i < range.size(); ++i) spans.back().entries.push_back(index + i);
      }
      last_scattered = before;
    }
    spans.back().end = t + 1 - begin;
  }
  if (kind.in_parts) {
    if (ranges > 1) widen_band(block.ranges, places);
    block.band =
        as_band(block.ranges.back().first, block.ranges.back().last, block.carried + block.size);
    const auto there = [&](const std::vector<int64_t>& keys) {
      return at::tensor(keys, at::kInt)
          .to(decoder_.options().device, at::kInt, /*non_blocking=*/true);
    };
    for (size_t r = 0; r + 1 < ranges && block.band; ++r) {
      const RangeView& range = block.ranges[r];
      for (int64_t i = 0; i < block.size; ++i) {
        if (range.last[i] - range.first[i] > few_keys) block.band.reset();
        if (!block.band) break;
      }
      block.few_first.push_back(there(range.first));
      block.few_last.push_back(there(range.last));
    }
  }
  if (kind.scattered && kind.bias && !kind.by_rank) {
    for (const Range& range : block.cached) {
      for (int64_t place = range.begin; place < range.end; ++place) {
        block.scattered.place.push_back(place);
      }
    }
    for (int64_t place = begin; place < end; ++place) block.scattered.place.push_back(place);
  }
  if (kind.rotary != nullptr) {
    std::vector<int64_t> stream(block.size);
    std::iota(stream.begin(), stream.end(), begin);
    const auto table = [&](const std::vector<int64_t>& positions) {
      return rotary_table(*kind.rotary, positions, decoder_.accumulate_dtype(),
                          decoder_.options().device);
    };
    block.key_table = table(stream);
    for (size_t r = 0; r < ranges; ++r) {
      block.as_last.push_back(places[r] == places.back());
      block.query_tables.push_back(block.as_last[r] ? RotaryTable{} : table(places[r]));
    }
    block.query_tables.back() = table(places.back());
    if (kind.by_rank) {
      block.scattered_table = table(scattered_places);
      block.scattered.table = kind.ranks;
      block.scattered.rotary = kind.rotary;
    }
  }
  return block;
}

std::vector<ChunkedEngine::Block> ChunkedEngine::begin_blocks(int64_t begin, int64_t end) {
  std::vector<Block> blocks;
  for (int64_t k = 0; k < views_.kinds(); ++k) blocks.push_back(begin_block(k, begin, end));
  return blocks;
}

void ChunkedEngine::restore(const std::vector<at::Tensor>& state) {
  ahead_.reset();
  copy_state(state, this->state());
}

int64_t ChunkedEngine::block_end(int64_t begin) const {
  // A token whose value the next one must not find is a block of its own.
  return begin < storage_.zero_values() ? begin + 1 : std::min(begin + block_, fed());
}

at::Tensor ChunkedEngine::run_block(int64_t begin, int64_t end) {
  const bool is_ahead = ahead_ && ahead_->front().begin == begin;
  const std::vector<Block> blocks = is_ahead ? std::move(*ahead_) : begin_blocks(begin, end);
  ahead_.reset();
  const std::vector<int64_t> wide(ids_.begin() + begin, ids_.begin() + end);
  const at::Tensor ids =
      at::tensor(wide, at::kLong).to(decoder_.options().device, at::kLong, /*non_blocking=*/true);
  at::Tensor x = decoder_.embed(ids, at::arange(begin, end, ids.options()));
  for (int64_t layer = 0; layer < decoder_.config().layers; ++layer) {
    const Projection projection = project(layer, x, begin);
    const Block& block = blocks[views_.kind(layer)];
    x = decoder_.finish(layer, x, attend(block, layer, projection));
    carry(block, layer, end);
  }
  if (decoder_.options().device.is_cuda() && end < fed()) {
    ahead_ = std::make_shared<std::vector<Block>>(begin_blocks(end, block_end(end)));
  }
  return x;
}

at::Tensor ChunkedEngine::attend(const Block& block, int64_t layer, const Projection& projection) {
  if (block.band) return attend_band_and_few(block, layer, projection);
  const DecoderConfig& config = decoder_.config();
  const Kind& kind = kinds_[block.kind];
  const at::ScalarType dtype = decoder_.accumulate_dtype();
  const auto own = [&](const at::Tensor& buffer) {
    return buffer.narrow(1, block.carried, block.size);
  };
  place_heads(kind.rotary, projection.key, block.key_table, own(keys_[layer]));
  place_heads(nullptr, projection.value, {}, own(values_[layer]));
  if (unrotated_[layer].defined()) own(unrotated_[layer]).copy_(projection.key.transpose(0, 1));
  const int64_t keys = block.carried + block.size;

  AttentionInput input = {.ranges = block.ranges,
                          .scattered = block.scattered,
                          .keys = keys_[layer].narrow(1, 0, keys).to(dtype),
                          .values = values_[layer].narrow(1, 0, keys).to(dtype),
                          .bias = kind.bias ? &*kind.bias : nullptr,
                          .sink_logit = decoder_.sink_logit(layer),
                          .scale = config.attention_scale,
                          .score_cap = config.score_cap};
  const auto query = [&](const RotaryTable& table) {
    const at::Tensor query = at::empty({config.heads, block.size, config.head_dim},
                                       projection.query.options().dtype(dtype));
    place_heads(kind.rotary, projection.query, table, query);
    return query;
  };
  input.ranges.back().query =
      query(kind.rotary != nullptr ? block.query_tables.back() : RotaryTable{});
  for (size_t r = 0; r + 1 < block.ranges.size(); ++r) {
    const bool same = kind.rotary == nullptr || block.as_last[r];
    input.ranges[r].query = same ? input.ranges.back().query : query(block.query_tables[r]);
  }
  if (kind.scattered) {
    const bool moved = block.scattered_table.cosine.defined();
    input.scattered.query = moved ? query(block.scattered_table) : input.ranges.back().query;
    input.scattered.keys =
        unrotated_[layer].defined() ? unrotated_[layer].narrow(1, 0, keys) : input.keys;
  }
  return sinkbench::attend(input).to(decoder_.options().dtype);
}

at::Tensor ChunkedEngine::attend_band_and_few(const Block& block, int64_t layer,
                                              const Projection& projection) {
  const DecoderConfig& config = decoder_.config();
  const Kind& kind = kinds_[block.kind];
  const int64_t keys = block.carried + block.size;
  const int64_t rotated = kind.rotary != nullptr ? kind.rotary->dims : 0;
  const auto table = [&](size_t r) {
    if (kind.rotary == nullptr) return RotaryTable{};
    return block.as_last[r] ? block.query_tables.back() : block.query_tables[r];
  };
  const auto own = [&](const at::Tensor& buffer) {
    return buffer.narrow(1, block.carried, block.size);
  };
  PartsInput input = {.query = fused::place_block(
                          {projection.query, projection.key, projection.value, rotated},
                          kind.rotary != nullptr ? block.query_tables.back() : RotaryTable{},
                          block.key_table, own(keys_[layer]), own(values_[layer])),
                      .keys = keys_[layer].narrow(1, 0, keys),
                      .values = values_[layer].narrow(1, 0, keys),
                      .band = *block.band,
                      .ranges = {},
                      .scale = config.attention_scale,
                      .sink_logit = decoder_.sink_logit(layer)};
  for (size_t r = 0; r + 1 < block.ranges.size(); ++r) {
    input.ranges.push_back({.query = projection.query,
                            .table = table(r),
                            .rotated = rotated,
                            .keys = input.keys,
                            .values = input.values,
                            .first = block.few_first[r],
                            .last = block.few_last[r],
                            .scale = config.attention_scale});
  }
  return attend_in_parts(input);
}

void ChunkedEngine::carry(const Block& block, int64_t layer, int64_t next) {
  const View view = views_.view(block.kind, next);
  const at::Tensor* buffers[] = {&keys_[layer], &values_[layer], &unrotated_[layer]};
  if (kinds_[block.kind].scattered) {
    std::vector<int64_t> sources;
    for (const Range& range : view) {
      const int64_t index = block.index_of(range.begin);
      for (int64_t i = 0; i < range.size(); ++i) sources.push_back(index + i);
    }
    const at::Tensor index = at::tensor(sources, at::kLong).to(keys_[layer].device());
    for (const at::Tensor* buffer : buffers) {
      if (!buffer->defined()) continue;
      buffer->narrow(1, 0, index.size(0)).copy_(buffer->index_select(1, index));
    }
    return;
  }
  int64_t target = 0;
  for (const Range& range : view) {
    const int64_t source = block.index_of(range.begin);
    if (range.size() > 0 && source != target) {
      for (const at::Tensor* buffer : buffers) {  // where the two places overlap, through a copy
        if (!buffer->defined()) continue;
        const at::Tensor from = buffer->narrow(1, source, range.size());
        const bool overlap = source < target + range.size();
        buffer->narrow(1, target, range.size()).copy_(overlap ? from.clone() : from);
      }
    }
    target += range.size();
  }
}

}  // namespace sinkbench
