#include "eval/attention/attention_kernel.h"

#include <ATen/Parallel.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <memory>
#include <type_traits>
#include <vector>

#include "base/simd.h"
#include "eval/attention/panel.h"
#include "models/share.h"

#pragma GCC diagnostic ignored "-Wpsabi"

namespace sinkbench {
namespace {

constexpr int64_t key_tile = 128;    // scores of a tile of queries stay in the first-level cache
constexpr int64_t panel_width = 32;  // columns that scratch is padded to

int64_t padded(int64_t n) {
  return (n + panel_width - 1) / panel_width * panel_width;
}

/// Keys transposed and values padded, for one key/value head of the block.
struct Packed {
  const float* key;    // [head_dim, key_columns]
  const float* value;  // [keys, value_columns]
  int64_t key_columns;
  int64_t value_columns;
};

/// Room for one thread's work on a tile of queries.
struct TileScratch {
  float* query;   // [rows, head_dim]
  float* scores;  // [rows, key_tile]
  float* mixed;   // [rows, value_columns]
};

/// A range with the keys that it counts.
struct PackedRange {
  RangeOfBlock range;
  Packed packed;
  const int64_t* bias_place;  // of each packed key, or null: its index
};

/// Which queries a tile's rows are: neighbouring heads of one query, then of the next.
struct TileRows {
  int64_t first_head, heads;
  int64_t first_query, end_query;
  int64_t head(int64_t row) const { return first_head + row % heads; }
  int64_t query(int64_t row) const { return first_query + row / heads; }
  int64_t count() const { return (end_query - first_query) * heads; }
};

/// `rows` rows of queries, `first` and those after it, over all ranges.
template <int bytes, int rows, int vectors>
SINKBENCH_INLINE void attend_tile(const BlockAttention& block, std::span<const PackedRange> ranges,
                                  const TileRows& all, int64_t first, const TileScratch& scratch) {
  using F = simd::Float<bytes>;
  constexpr int width = bytes / sizeof(float);
  constexpr int columns = vectors * width;
  constexpr float infinity = std::numeric_limits<float>::infinity();
  const int64_t live = std::min<int64_t>(rows, all.count() - first);
  const int64_t value_columns = ranges.front().packed.value_columns;
  // A short last tile reads the last query again in place of those that aren't there.
  int64_t query_of[rows], head_of[rows];
  for (int64_t i = 0; i < rows; ++i) {
    const int64_t row = first + std::min(i, live - 1);
    query_of[i] = all.query(row);
    head_of[i] = all.head(row);
  }
  const int64_t first_query = query_of[0], last_query = query_of[rows - 1];
  float* const query = scratch.query;
  float* const scores = scratch.scores;
  float* const mixed = scratch.mixed;

  float maximum[rows];
  float denominator[rows];
  for (int i = 0; i < rows; ++i) {
    maximum[i] = block.sink_logit != nullptr ? block.sink_logit[head_of[i]] : -infinity;
    denominator[i] = block.sink_logit != nullptr ? 1.0f : 0.0f;
  }
  std::fill(mixed, mixed + rows * value_columns, 0.0f);

  for (const auto& [range, packed, bias_place] : ranges) {
    const int64_t begin = range.begin[first_query];
    const int64_t end = range.end[last_query];
    if (begin >= end) continue;
    for (int i = 0; i < rows; ++i) {
      const float* source =
          range.query + (head_of[i] * block.queries + query_of[i]) * block.head_dim;
      for (int64_t c = 0; c < block.head_dim; ++c)
        query[i * block.head_dim + c] = source[c] * block.scale;
    }
    for (int64_t tile = begin; tile < end; tile += key_tile) {
      const int64_t keys = std::min(key_tile, end - tile);
      for (int64_t j = 0; j < keys; j += columns) {
        panel<bytes, rows, vectors>(block.head_dim, query, block.head_dim, packed.key + tile + j,
                                    packed.key_columns, scores + j, key_tile, false);
      }
      for (int i = 0; i < rows; ++i) {
        const int64_t q = query_of[i];
        float* row = scores + i * key_tile;
        // Keys that this query sees, as indices into the row.
        const int64_t low = std::clamp<int64_t>(range.begin[q] - tile, 0, keys);
        const int64_t high = std::clamp<int64_t>(range.end[q] - tile, low, keys);
        if (block.score_cap != 0.0f) {
          for (int64_t j = 0; j < keys; j += width) {
            const F score = simd::load<bytes>(row + j) / block.score_cap;
            simd::store<bytes>(row + j, simd::tanh<bytes>(score) * block.score_cap);
          }
        }
        if (range.bias_offset != nullptr) {
          const float* bias =
              block.bias_table + head_of[i] * block.bias_stride + range.bias_offset[q];
          for (int64_t j = low; j < high; ++j) {
            row[j] += bias[bias_place != nullptr ? bias_place[tile + j] : tile + j];
          }
        }
        const int64_t row_end = (keys + width - 1) / width * width;
        std::fill(row, row + low, -infinity);
        std::fill(row + high, row + row_end, -infinity);
        if (low == high) {
          std::fill(row, row + row_end, 0.0f);
          continue;
        }
        F largest = simd::load<bytes>(row);
        for (int64_t j = width; j < row_end; j += width) {
          const F v = simd::load<bytes>(row + j);
          largest = v > largest ? v : largest;
        }
        const float tile_maximum = simd::largest<bytes>(largest);
        if (tile_maximum > maximum[i]) {
          const float rescale = std::exp(maximum[i] - tile_maximum);
          maximum[i] = tile_maximum;
          denominator[i] *= rescale;
          for (int64_t c = 0; c < value_columns; ++c) {
            mixed[i * value_columns + c] *= rescale;
          }
        }
        F sum{};
        for (int64_t j = 0; j < row_end; j += width) {
          const F weight = simd::exp<bytes>(simd::load<bytes>(row + j) - maximum[i]);
          simd::store<bytes>(row + j, weight);
          sum += weight;
        }
        denominator[i] += simd::sum<bytes>(sum);
      }
      for (int64_t c = 0; c < value_columns; c += columns) {
        panel<bytes, rows, vectors>(keys, scores, key_tile, packed.value + tile * value_columns + c,
                                    value_columns, mixed + c, value_columns, true);
      }
    }
  }
  for (int64_t i = 0; i < live; ++i) {
    float* out = block.output + (query_of[i] * block.heads + head_of[i]) * block.head_dim;
    const float inverse = 1.0f / denominator[i];
    for (int64_t c = 0; c < block.head_dim; ++c) {
      out[c] = mixed[i * value_columns + c] * inverse;
    }
  }
}

using TileFunction = void (*)(const BlockAttention&, std::span<const PackedRange>, const TileRows&,
                              int64_t first, const TileScratch&);

#if defined(__x86_64__)
// Tiles are as large as each instruction set's registers hold.
SINKBENCH_AVX512 void attend_tile_avx512(const BlockAttention& block,
                                         std::span<const PackedRange> ranges, const TileRows& all,
                                         int64_t first, const TileScratch& scratch) {
  attend_tile<64, 8, 2>(block, ranges, all, first, scratch);
}

SINKBENCH_AVX2 void attend_tile_avx2(const BlockAttention& block,
                                     std::span<const PackedRange> ranges, const TileRows& all,
                                     int64_t first, const TileScratch& scratch) {
  attend_tile<32, 4, 2>(block, ranges, all, first, scratch);
}
#endif

void attend_tile_baseline(const BlockAttention& block, std::span<const PackedRange> ranges,
                          const TileRows& all, int64_t first, const TileScratch& scratch) {
  attend_tile<16, 4, 2>(block, ranges, all, first, scratch);
}

struct Dispatch {
  TileFunction function;
  int64_t rows;
};

Dispatch best_tile() {
#if defined(__x86_64__)
  if (simd::level() == simd::Level::avx512) return {attend_tile_avx512, 8};
  if (simd::level() == simd::Level::avx2) return {attend_tile_avx2, 4};
#endif
  return {attend_tile_baseline, 4};
}

/// Room for one thread's work on a query head.
struct HeadScratch {
  float* scores;  // [slots + 1], and a vector
  float* row;     // [head_dim]
};

/// Scores, softmax and mix of one query head; what lies so many bytes ahead is fetched, 0: nothing.
template <int bytes, int bytes_ahead, typename K, typename V>
SINKBENCH_INLINE void attend_one_head(const DecodeAttention& a, int64_t head,
                                      const HeadScratch& scratch) {
  using F = simd::Float<bytes>;
  constexpr int64_t width = bytes / sizeof(float);
  const int64_t d = a.head_dim;
  const int64_t kv_head = head / (a.heads / a.kv_heads);
  const K* keys = static_cast<const K*>(a.key) + kv_head * a.slots * d;
  const V* values = static_cast<const V*>(a.value) + kv_head * a.slots * d;
  float* const scores = scratch.scores;
  float* const row = scratch.row;

  int64_t n = 0;
  for (const Segment& segment : a.segments) {
    const float* query =
        a.query + (head * (a.ranges + 1) + static_cast<int64_t>(segment.range)) * d;
    simd::in_order_of_two<bytes, K>(d, [&](int64_t i, int64_t j) { row[i] = query[j]; });
    simd::dot_rows<bytes, bytes_ahead>(keys + segment.slot * d, row, d, segment.size,
                                       [&](int64_t j, auto y) {
                                         if constexpr (std::is_same_v<decltype(y), float>) {
                                           scores[n + j] = y * a.scale;
                                         } else {
                                           simd::store<bytes>(scores + n + j, y * a.scale);
                                         }
                                       });
    n += segment.size;
  }
  const float* own_query = a.query + (head * (a.ranges + 1) + a.ranges) * d;
  scores[n++] = simd::dot<bytes>(a.own_key + kv_head * d, own_query, d) * a.scale;
  const int64_t end = (n + width - 1) / width * width;
  if (a.score_cap != 0.0f) {
    std::fill(scores + n, scores + end, 0.0f);
    for (int64_t j = 0; j < end; j += width) {
      const F score = simd::load<bytes>(scores + j) / a.score_cap;
      simd::store<bytes>(scores + j, simd::tanh<bytes>(score) * a.score_cap);
    }
  }
  if (a.bias != nullptr) {
    float* score = scores;
    for (const Segment& segment : a.segments) {
      const float* bias = a.bias + head * a.slots + segment.slot;
      for (int64_t j = 0; j < segment.size; ++j) *score++ += bias[j];
    }
  }

  constexpr float infinity = std::numeric_limits<float>::infinity();
  std::fill(scores + n, scores + end, -infinity);
  F largest = F{} - infinity;
  for (int64_t j = 0; j < end; j += width) {
    const F v = simd::load<bytes>(scores + j);
    largest = v > largest ? v : largest;
  }
  float maximum = simd::largest<bytes>(largest);
  if (a.sink_logit != nullptr) maximum = std::max(maximum, a.sink_logit[head]);
  F total{};
  for (int64_t j = 0; j < end; j += width) {
    const F weight = simd::exp<bytes>(simd::load<bytes>(scores + j) - maximum);
    simd::store<bytes>(scores + j, weight);
    total += weight;
  }
  float denominator = simd::sum<bytes>(total);
  if (a.sink_logit != nullptr) denominator += std::exp(a.sink_logit[head] - maximum);

  // Some columns stay in registers while the values pass by.
  int64_t c = 0;
  const auto mix = [&]<int pairs>(std::integral_constant<int, pairs>)
      __attribute__((always_inline)) {
    F sum[2 * pairs] = {};
    const float* weight = scores;
    for (const Segment& segment : a.segments) {
      const V* value = values + segment.slot * d + c;
      for (int64_t j = 0; j < segment.size; ++j, value += d) {
        const float factor = *weight++;
        for (int p = 0; p < pairs; ++p) {
          const V* const columns = value + 2 * p * width;
          if constexpr (bytes_ahead > 0) simd::fetch<2 * width * sizeof(V)>(columns, bytes_ahead);
          const simd::Two<bytes> two = simd::load_two<bytes>(columns);
          sum[2 * p] += factor * two.first;
          sum[2 * p + 1] += factor * two.second;
        }
      }
    }
    for (int v = 0; v < 2 * pairs; ++v) simd::store<bytes>(row + c + v * width, sum[v]);
    c += 2 * pairs * width;
  };
  while (c + 8 * width <= d) mix(std::integral_constant<int, 4>());
  while (c + 4 * width <= d) mix(std::integral_constant<int, 2>());
  while (c + 2 * width <= d) mix(std::integral_constant<int, 1>());
  if (c + width <= d) {
    F sum{};
    const float* weight = scores;
    for (const Segment& segment : a.segments) {
      const V* value = values + segment.slot * d + c;
      for (int64_t j = 0; j < segment.size; ++j, value += d) {
        sum += *weight++ * simd::load_as_float<bytes>(value);
      }
    }
    simd::store<bytes>(row + c, sum);
    c += width;
  }
  for (; c < d; ++c) {
    float sum = 0.0f;
    const float* weight = scores;
    for (const Segment& segment : a.segments) {
      const V* value = values + segment.slot * d + c;
      for (int64_t j = 0; j < segment.size; ++j) sum += *weight++ * simd::as_float(value[j * d]);
    }
    row[c] = sum;
  }
  const float inverse = 1.0f / denominator;
  const float own = scores[n - 1];
  const auto result = [&](auto* out) {
    simd::in_order_of_two<bytes, V>(d, [&](int64_t i, int64_t j) {
      const float mixed = (row[i] + own * a.own_value[kv_head * d + j]) * inverse;
      simd::store_one(out + head * d + j, mixed);
    });
  };
  if (a.bfloat16_output) {
    result(static_cast<uint16_t*>(a.output));
  } else {
    result(static_cast<float*>(a.output));
  }
}

using OneHeadFunction = void (*)(const DecodeAttention&, int64_t head, const HeadScratch&);

#if defined(__x86_64__)
template <typename K, typename V>
SINKBENCH_AVX512 void attend_one_head_avx512(const DecodeAttention& a, int64_t head,
                                             const HeadScratch& scratch) {
  attend_one_head<64, 0, K, V>(a, head, scratch);
}
template <typename K, typename V>
SINKBENCH_AVX512 void attend_one_head_avx512_ahead(const DecodeAttention& a, int64_t head,
                                                   const HeadScratch& scratch) {
  attend_one_head<64, simd::bytes_ahead, K, V>(a, head, scratch);
}
template <typename K, typename V>
SINKBENCH_AVX2 void attend_one_head_avx2(const DecodeAttention& a, int64_t head,
                                         const HeadScratch& scratch) {
  attend_one_head<32, 0, K, V>(a, head, scratch);
}
#endif

template <typename K, typename V>
OneHeadFunction best_one_head() {
#if defined(__x86_64__)
  if (simd::level() == simd::Level::avx512) {
    return simd::fetches() ? attend_one_head_avx512_ahead<K, V> : attend_one_head_avx512<K, V>;
  }
  if (simd::level() == simd::Level::avx2) return attend_one_head_avx2<K, V>;
#endif
  return [](const DecodeAttention& a, int64_t head, const HeadScratch& scratch) {
    attend_one_head<16, 0, K, V>(a, head, scratch);
  };
}

/// Lays a key and its value into the packed places of index j.
struct Packing {
  float* key;    // [head_dim, key_columns]
  float* value;  // [keys, value_columns]
  int64_t key_columns, value_columns, head_dim;

  void put_value(int64_t j, const float* source) const {
    std::copy_n(source, head_dim, value + j * value_columns);
  }
  Packed packed() const { return {key, value, key_columns, value_columns}; }
};

/// The entries of a span for one key head.
void pack_entries(const BlockAttention& block, const ScatteredEntries& scattered,
                  const ScatteredEntries::Span& span, int64_t kv_head, const Packing& packing) {
  const float* key = scattered.key + kv_head * block.key_stride * block.head_dim;
  const float* value = block.value + kv_head * block.key_stride * block.head_dim;
  const int64_t half = scattered.cosine != nullptr ? scattered.rotated / 2 : 0;
  for (int64_t i = 0; i < span.count; ++i) {
    const float* source = key + span.entries[i] * block.head_dim;
    for (int64_t c = 0; c < half; ++c) {
      const float cosine = scattered.cosine[i * half + c], sine = scattered.sine[i * half + c];
      packing.key[c * packing.key_columns + i] = source[c] * cosine - source[c + half] * sine;
      packing.key[(c + half) * packing.key_columns + i] =
          source[c + half] * cosine + source[c] * sine;
    }
    for (int64_t c = 2 * half; c < block.head_dim; ++c) {
      packing.key[c * packing.key_columns + i] = source[c];
    }
    packing.put_value(i, value + span.entries[i] * block.head_dim);
  }
}

}  // namespace

void attend_block(const BlockAttention& block, std::span<const RangeOfBlock> ranges,
                  const ScatteredEntries* scattered) {
  static const Dispatch tile = best_tile();
  const int64_t key_columns = padded(block.keys) + key_tile;  // a tile may read past the last key
  const int64_t value_columns = padded(block.head_dim);
  std::vector<float> keys(block.kv_heads * block.head_dim * key_columns);
  std::vector<float> values(block.kv_heads * block.keys * value_columns);
  const auto packing_of = [&](int64_t kv_head) {
    return Packing{keys.data() + kv_head * block.head_dim * key_columns,
                   values.data() + kv_head * block.keys * value_columns, key_columns, value_columns,
                   block.head_dim};
  };
  at::parallel_for(0, block.kv_heads, 1, [&](int64_t from, int64_t to) {
    for (int64_t h = from; h < to; ++h) {
      const float* key = block.key + h * block.key_stride * block.head_dim;
      const float* value = block.value + h * block.key_stride * block.head_dim;
      const Packing packing = packing_of(h);
      constexpr int64_t strip = 16;  // keys at a time, so that reads and writes stay in cache lines
      for (int64_t j0 = 0; j0 < block.keys; j0 += strip) {
        const int64_t j1 = std::min(j0 + strip, block.keys);
        for (int64_t c = 0; c < block.head_dim; ++c) {
          for (int64_t j = j0; j < j1; ++j) {
            packing.key[c * key_columns + j] = key[j * block.head_dim + c];
          }
        }
      }
      for (int64_t j = 0; j < block.keys; ++j) packing.put_value(j, value + j * block.head_dim);
    }
  });
  const int64_t group = block.heads / block.kv_heads;
  const auto packed_ranges = [&](int64_t kv_head) {
    std::vector<PackedRange> result;
    for (const RangeOfBlock& range : ranges) {
      result.push_back({range, packing_of(kv_head).packed(), nullptr});
    }
    return result;
  };
  struct Scratch {
    Scratch(int64_t rows, int64_t head_dim, int64_t value_columns)
        : query(rows * head_dim), scores(rows * key_tile), mixed(rows * value_columns) {}
    std::vector<float> query, scores, mixed;
    TileScratch tile() { return {query.data(), scores.data(), mixed.data()}; }
  };
  if (scattered == nullptr) {
    const int64_t tiles = (block.queries + tile.rows - 1) / tile.rows;
    constexpr int64_t tiles_at_once = 16;
    share(block.heads * tiles, tiles_at_once, [&](int64_t from, int64_t to) {
      Scratch scratch(tile.rows, block.head_dim, value_columns);
      std::vector<PackedRange> packed;
      for (int64_t i = from; i < to; ++i) {
        const int64_t head = i / tiles;
        if (i == from || i % tiles == 0) packed = packed_ranges(head / group);
        tile.function(block, packed, {head, 1, 0, block.queries}, i % tiles * tile.rows,
                      scratch.tile());
      }
    });
    return;
  }

  const std::span<const ScatteredEntries::Span> spans = scattered->spans;
  int64_t most = 0;
  for (const ScatteredEntries::Span& span : spans) most = std::max(most, span.count);
  const std::vector<int64_t> none(block.queries, 0);
  std::vector<int64_t> counts(block.queries);
  for (const ScatteredEntries::Span& span : spans) {
    std::fill(counts.begin() + span.begin, counts.begin() + span.end, span.count);
  }
  const int64_t count = static_cast<int64_t>(spans.size());
  const int64_t entry_columns = padded(most) + key_tile;
  share(block.kv_heads * count, 1, [&](int64_t from, int64_t to) {
    Scratch scratch(tile.rows, block.head_dim, value_columns);
    std::vector<float> entry_keys(block.head_dim * entry_columns);
    std::vector<float> entry_values(most * value_columns);
    std::vector<int64_t> places;
    const Packing entries = {entry_keys.data(), entry_values.data(), entry_columns, value_columns,
                             block.head_dim};
    for (int64_t i = from; i < to; ++i) {
      const int64_t kv_head = i / count;
      const ScatteredEntries::Span& span = spans[i % count];
      pack_entries(block, *scattered, span, kv_head, entries);
      std::vector<PackedRange> packed = packed_ranges(kv_head);
      packed.push_back(
          {.range = {scattered->query, none.data(), counts.data(), scattered->bias_offset},
           .packed = entries.packed(),
           .bias_place = nullptr});
      if (scattered->bias_place != nullptr) {
        places.resize(span.count);
        for (int64_t e = 0; e < span.count; ++e) {
          places[e] = scattered->bias_place[span.entries[e]];
        }
        packed.back().bias_place = places.data();
      }
      const TileRows rows = {kv_head * group, group, span.begin, span.end};
      for (int64_t first = 0; first < rows.count(); first += tile.rows) {
        tile.function(block, packed, rows, first, scratch.tile());
      }
    }
  });
}

void attend_one(const DecodeAttention& a) {
  static const OneHeadFunction functions[2][2] = {
      {best_one_head<float, float>(), best_one_head<float, uint16_t>()},
      {best_one_head<uint16_t, float>(), best_one_head<uint16_t, uint16_t>()}};
  const OneHeadFunction function = functions[a.bfloat16_keys][a.bfloat16_values];
  constexpr int64_t widest = 16;  // floats in a vector, which the last store may fill
  share(a.heads, 1, [&](int64_t from, int64_t to) {
    const auto scores = std::make_unique_for_overwrite<float[]>(a.slots + 1 + widest);
    const auto row = std::make_unique_for_overwrite<float[]>(a.head_dim);
    for (int64_t head = from; head < to; ++head) {
      function(a, head, {.scores = scores.get(), .row = row.get()});
    }
  });
}

}  // namespace sinkbench
