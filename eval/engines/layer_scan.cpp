#include "eval/engines/layer_scan.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <numeric>
#include <optional>

#include "eval/attention/entry_attention.h"
#include "eval/engines/engine.h"
#include "models/rotary.h"

namespace sinkbench {
namespace {

constexpr int64_t most_queries = 128;      // of a step between rounds, and of a block's parts
constexpr int64_t fewest_foreseen = 8;     // tokens of a block for which foreseeing pays
constexpr int64_t fewest_in_parallel = 8;  // queries between rounds for which threads pay
constexpr int32_t for_ever = std::numeric_limits<int32_t>::max();

/// Copies what stays of n elements (each `size` wide) over what is evicted, by ascending indices.
template <typename T>
void compact(T* data, int64_t n, std::span<const int64_t> evicted, int64_t size = 1) {
  for (size_t i = 0; i < evicted.size(); ++i) {
    const int64_t from = evicted[i] + 1;
    const int64_t to = i + 1 < evicted.size() ? evicted[i + 1] : n;
    if (to > from) {
      std::memmove(data + (evicted[i] - static_cast<int64_t>(i)) * size, data + from * size,
                   (to - from) * size * sizeof(T));
    }
  }
}

/// Whether the rounds of a block are known before its attention.
bool foreseen(const Needs& needs, Positions positions) {
  return !needs.weights() && !needs.queries && needs.ahead == 0 && positions != Positions::cache;
}

/// Which number of an entry is in which row of its statistics; -1 where there is none.
struct Columns {
  Columns() = default;
  /// `with_frozen`: how many entries there were when each came is asked for, too.
  explicit Columns(const Needs& needs, bool with_frozen = false) {
    const auto next = [&](int64_t rows) {
      const int64_t first = rows > 0 ? count : -1;
      count += rows;
      return first;
    };
    sum = next(needs.sum ? 1 : 0);
    squares = next(needs.squares ? 1 : 0);
    entry_score = next(needs.entry_score ? 1 : 0);
    rows = next(needs.rows);
    own = next(needs.own);
    frozen = next(with_frozen ? 1 : 0);
  }
  int64_t sum = -1, squares = -1, entry_score = -1, rows = -1, own = -1, frozen = -1;
  int64_t count = 0;
};

/// Rounds of a block that were foreseen: each entry's first and last query, and who stays.
struct Foreseen {
  std::vector<int32_t> first, last;  // of the cache's entries, then of the block's
  std::vector<int64_t> stay;         // ascending indices into them
  std::vector<int64_t> before;       // entries that there were before each query of the block
};

template <typename T>
class Scan final : public LayerScan {
 public:
  Scan(const Decoder& decoder, const LayerRules& rules, Decisions& decisions)
      : decoder_(decoder),
        config_(decoder.config()),
        rules_(rules),
        decisions_(decisions),
        group_(config_.heads / config_.kv_heads) {}

  void reset(int64_t fed) override {
    layers_.clear();
    int64_t most = 0;
    for (int64_t l = 0; l < config_.layers; ++l) {
      Layer layer;
      layer.score = rules_.score(l);
      layer.positions = rules_.positions(l);
      layer.rotary = config_.rotary_index(l);
      if (layer.score != nullptr) layer.needs = needs_of(*layer.score);
      layer.by_layer =
          layer.score == nullptr || layer.score->retention().scope == Retention::Scope::layer;
      layer.adaptive = rules_.adaptive(l);
      layer.reading = rules_.reading(l);
      layer.columns = Columns(layer.needs, config_.alibi && layer.positions == Positions::frozen);
      const int64_t K = config_.kv_heads, d = config_.head_dim;
      layer.sets.resize(layer.by_layer ? 1 : K);
      layer.heads.resize(K);
      for (int64_t h = 0; h < K; ++h) {
        // Heads that keep the same tokens have the same room.
        const bool own = h < std::ssize(layer.sets);
        const int64_t room = own ? rules_.slots(l, h, fed) : layer.heads[0].room;
        layer.heads[h] = make_head(layer, room);
        if (own) {
          layer.sets[h] = make_set(layer, room);
          const auto number = at::TensorOptions().dtype(at::kDouble);
          if (layer.needs.queries)
            layer.sets[h].moments = at::zeros({group_ * d * (1 + d)}, number);
        }
        most = std::max(most, room);
      }
      // Of an adaptive budget one head may come to have what all of them have.
      most = std::max(most, std::min(rules_.most(l, fed) + 1, fed));
      layers_.push_back(std::move(layer));
    }
    stream_begin_ = -1;
    tables_.assign(config_.rotaries.size(), {});
    // By rank, and to the largest distance where distances are capped.
    std::vector<int64_t> ranks(most + 1 + std::min(rules_.ahead(), fed));
    std::iota(ranks.begin(), ranks.end(), 0);
    const std::vector<int64_t> cap = {rules_.cap()};
    for (size_t r = 0; r < tables_.size(); ++r) {
      const auto table = [&](const std::vector<int64_t>& places) {
        return Table(rotary_table(config_.rotaries[r], places, at::kDouble, at::kCPU));
      };
      tables_[r].ranks = table(ranks);
      if (rules_.cap() > 0) tables_[r].cap = table(cap);
    }
  }

  void restore(int64_t next, const std::vector<at::Tensor>& state) override {
    size_t at = 0;  // of the state's tensors, as in `state`
    for (int64_t l = 0; l < config_.layers; ++l) {
      Layer& layer = layers_[l];
      const int64_t sets = std::ssize(layer.sets);
      for (int64_t s = 0; s < sets; ++s) {
        layer.sets[s].n = rules_.kept(l, s, next);
        const size_t place = at + (layer.far_keys() ? 3 : 2) * (config_.kv_heads / sets);
        if (layer.adaptive && place < state.size() && state[place].dim() == 1) {
          layer.sets[s].n = std::min<int64_t>(state[place].size(0), next);
          make_room(layer, s, layer.sets[s].n + layer.score->retention().every);
        }
        at = place + 2 + (layer.needs.keys ? 1 : 0) + (layer.needs.queries ? 1 : 0);
      }
    }
    copy_state(state, this->state());
    bound_pages();
  }

  void fill(int64_t next) override {
    for (int64_t l = 0; l < config_.layers; ++l) {
      Layer& layer = layers_[l];
      for (Head& head : layer.heads) {
        head.key.normal_();
        head.value.normal_();
        if (head.far_key.defined()) head.far_key.normal_();
      }
      for (int64_t s = 0; s < std::ssize(layer.sets); ++s) {
        Set& set = layer.sets[s];
        set.n = rules_.kept(l, s, next);
        set.statistics.uniform_();
        if (set.rotated.defined()) set.rotated.normal_();
        if (set.moments.defined()) set.moments.uniform_();
        int64_t* place = set.places();
        for (int64_t i = 0; i < set.n; ++i) place[i] = next - set.n + i;
      }
    }
    bound_pages();
  }

  at::Tensor attend(int64_t l, int64_t begin, int64_t n, const Projection& projection) override {
    const auto exact =
        at::TensorOptions().dtype(c10::CppTypeToScalarType<T>::value).device(at::kCPU);
    const at::Tensor query = projection.query.to(exact).contiguous();
    const at::Tensor key = projection.key.to(exact).contiguous();
    const at::Tensor value = projection.value.to(exact).contiguous();
    const at::Tensor sink_logit =
        decoder_.sink_logit(l).defined() ? decoder_.sink_logit(l).to(exact) : at::Tensor();
    at::Tensor output = at::empty({n, config_.heads * config_.head_dim}, exact);
    Layer& layer = layers_[l];
    Block block = {.layer = l,
                   .begin = begin,
                   .size = n,
                   .ahead = query.size(0) - n,
                   .query = query.template data_ptr<T>(),
                   .key = key.template data_ptr<T>(),
                   .value = value.template data_ptr<T>(),
                   .sink_logit = sink_logit.defined() ? sink_logit.template data_ptr<T>() : nullptr,
                   .output = output.template data_ptr<T>()};
    const bool of_stream = layer.positions == Positions::original ||
                           layer.positions == Positions::capped || layer.needs.keys;
    if (of_stream && (stream_begin_ != begin || stream_size_ != query.size(0))) {
      std::vector<int64_t> places(query.size(0));
      std::iota(places.begin(), places.end(), begin);
      for (size_t r = 0; r < tables_.size(); ++r) {
        tables_[r].stream = Table(rotary_table(config_.rotaries[r], places, at::kDouble, at::kCPU));
      }
      stream_begin_ = begin;
      stream_size_ = query.size(0);
    }
    const bool foreseeable = foreseen(layer.needs, layer.positions) && !layer.adaptive;
    if (layer.reading) {
      attend_pages(layer, block);
    } else if (foreseeable && block.size >= fewest_foreseen) {
      attend_foreseen(layer, block);
    } else if (layer.adaptive) {
      attend_sets(layer, block, 0, std::ssize(layer.sets));  // whose rounds are one
    } else {
      at::parallel_for(0, std::ssize(layer.sets), 1, [&](int64_t from, int64_t to) {
        for (int64_t s = from; s < to; ++s) attend_sets(layer, block, s, s + 1);
      });
    }
    return output;
  }

  void zero_values() override {
    for (Layer& layer : layers_) {
      for (Head& head : layer.heads) head.value.zero_();
    }
  }

  std::vector<at::Tensor> state() const override {
    std::vector<at::Tensor> result;
    for (const Layer& layer : layers_) {
      const int64_t shared = config_.kv_heads / std::ssize(layer.sets);
      for (int64_t s = 0; s < std::ssize(layer.sets); ++s) {
        const Set& set = layer.sets[s];
        for (int64_t h = s; h < s + shared; ++h) {
          const Head& head = layer.heads[h];
          result.push_back(head.key.narrow(1, 0, set.n));
          if (head.far_key.defined()) result.push_back(head.far_key.narrow(1, 0, set.n));
          result.push_back(head.value.narrow(0, 0, set.n));
        }
        result.push_back(set.place.narrow(0, 0, set.n));
        result.push_back(set.statistics.narrow(1, 0, set.n));
        if (set.rotated.defined()) result.push_back(set.rotated.narrow(0, 0, set.n));
        if (set.moments.defined()) result.push_back(set.moments);
      }
    }
    return result;
  }

  int64_t entries(int64_t layer) const override {
    int64_t most = 0;
    for (const Set& set : layers_[layer].sets) most = std::max(most, set.n);
    return most;
  }

  int64_t kv_bytes() const override {
    int64_t bytes = 0;
    for (const Layer& layer : layers_) {
      for (const Head& head : layer.heads) {
        bytes += head.key.nbytes() + head.value.nbytes();
        if (head.far_key.defined()) bytes += head.far_key.nbytes();
      }
    }
    return bytes;
  }

 private:
  /// Cosines and sines: by place, and for whole columns of keys. In T and, for policies, in double.
  struct Table {
    Table() = default;
    explicit Table(const RotaryTable& exact)
        : half(exact.cosine.size(1)),
          size(exact.cosine.size(0)),
          exact_cosine(exact.cosine.contiguous()),
          exact_sine(exact.sine.contiguous()) {
      const auto dtype = c10::CppTypeToScalarType<T>::value;
      cosine = exact_cosine.to(dtype);
      sine = exact_sine.to(dtype);
      // Vectors are read beyond the last row.
      const auto columns = [&](const at::Tensor& rows) {
        at::Tensor flat = at::zeros({half * size + entry_padding}, rows.options());
        flat.narrow(0, 0, half * size).view({half, size}).copy_(rows.t());
        return flat;
      };
      cosine_columns = columns(cosine);
      sine_columns = columns(sine);
    }
    const T* cosine_of(int64_t row) const { return cosine.template data_ptr<T>() + row * half; }
    const T* sine_of(int64_t row) const { return sine.template data_ptr<T>() + row * half; }

    int64_t half = 0, size = 0;
    at::Tensor exact_cosine, exact_sine;      // [size, half] double
    at::Tensor cosine, sine;                  // [size, half]
    at::Tensor cosine_columns, sine_columns;  // [half, size]
  };

  /// Keys are transposed: [head_dim, room]. Under Positions::cache they are as they came and put at
  /// their ranks as they are used; else they are where they stay.
  struct Head {
    int64_t room = 0;  // slots
    at::Tensor key;
    at::Tensor far_key;  // capped: as at position 0
    at::Tensor value;    // [room, head_dim]
    // Where pages are read: of each dimension of a page's keys. [head_dim, pages]
    at::Tensor least, most;

    T* keys() const { return key.template data_ptr<T>(); }
    T* far_keys() const { return far_key.template data_ptr<T>(); }
    T* values() const { return value.template data_ptr<T>(); }
  };

  /// The entries and statistics of a head, or of all where they keep the same tokens.
  struct Set {
    int64_t room = 0, n = 0;  // slots, entries
    at::Tensor place;         // int64 [room]
    at::Tensor statistics;    // double [columns, room]
    at::Tensor rotated;       // double [room, head_dim]: keys at their place in the stream
    at::Tensor moments;       // double, as QueryMoments has them: sums, then products

    int64_t* places() const { return place.template data_ptr<int64_t>(); }
    /// Null where there is no such statistic.
    double* of(int64_t column) const {
      return column < 0 ? nullptr : statistics.template data_ptr<double>() + column * room;
    }
    Rows<double> from(int64_t column) const { return {of(column), room}; }
    double* rotated_keys() const {
      return rotated.defined() ? rotated.template data_ptr<double>() : nullptr;
    }
  };

  struct Layer {
    const ScorePolicy* score = nullptr;  // null: by index
    Needs needs;
    Positions positions = Positions::cache;
    int rotary = -1;        // DecoderConfig::rotary_index
    bool by_layer = false;  // all heads keep the same tokens
    bool adaptive = false;  // heads share the layer's entries
    std::optional<ReadPolicy::Reading> reading;
    Columns columns;
    std::vector<Head> heads;
    std::vector<Set> sets;  // one, or one for each head

    bool far_keys() const { return positions == Positions::capped; }
  };

  Head make_head(const Layer& layer, int64_t room) const {
    const auto exact = at::TensorOptions().dtype(c10::CppTypeToScalarType<T>::value);
    const int64_t d = config_.head_dim;
    const auto keys = [&] {  // vectors are read beyond the last column
      return at::zeros({d * room + entry_padding}, exact).narrow(0, 0, d * room).view({d, room});
    };
    Head head{.room = room,
              .key = keys(),
              .far_key = {},
              .value = at::zeros({room, d}, exact),
              .least = {},
              .most = {}};
    if (layer.far_keys()) head.far_key = keys();
    if (layer.reading) {
      head.least = at::zeros({d, pages_of(layer, room)}, exact);
      head.most = head.least.clone();
    }
    return head;
  }
  Set make_set(const Layer& layer, int64_t room) const {
    const auto number = at::TensorOptions().dtype(at::kDouble);
    Set set{.room = room,
            .place = at::zeros({room}, at::kLong),
            .statistics = at::zeros({layer.columns.count, room}, number),
            .rotated = {},
            .moments = {}};
    if (layer.needs.keys) set.rotated = at::zeros({room, config_.head_dim}, number);
    return set;
  }
  /// Of an adaptive budget: gives a head exactly so many slots.
  void make_room(Layer& layer, int64_t s, int64_t room) const {
    Set& set = layer.sets[s];
    Head& head = layer.heads[s];
    if (set.room == room) return;
    const int64_t n = std::min(set.n, set.room);
    Head new_head = make_head(layer, room);
    new_head.key.narrow(1, 0, n).copy_(head.key.narrow(1, 0, n));
    if (layer.far_keys()) new_head.far_key.narrow(1, 0, n).copy_(head.far_key.narrow(1, 0, n));
    new_head.value.narrow(0, 0, n).copy_(head.value.narrow(0, 0, n));
    Set new_set = make_set(layer, room);
    new_set.n = set.n;
    new_set.place.narrow(0, 0, n).copy_(set.place.narrow(0, 0, n));
    new_set.statistics.narrow(1, 0, n).copy_(set.statistics.narrow(1, 0, n));
    if (set.rotated.defined()) new_set.rotated.narrow(0, 0, n).copy_(set.rotated.narrow(0, 0, n));
    new_set.moments = set.moments;
    head = std::move(new_head);
    set = std::move(new_set);
  }

  /// What is to be attended to, of all heads.
  struct Block {
    int64_t layer, begin, size;
    int64_t ahead = 0;  // rows that follow, of tokens that come later
    int64_t row = 0;    // of the stream's table where it begins
    const T* query;     // [size, heads, head_dim]
    const T* key;       // [size, kv_heads, head_dim]
    const T* value;
    const T* sink_logit;  // [heads] or null
    T* output;            // [size, heads, head_dim]
  };

  /// One thread's room to work in; grows as it is asked for.
  struct Scratch {
    std::vector<T> placed, query, far_query, weights, key, far_key, value, sink_logit;
    std::vector<int64_t> far, query_place, entry_place, ids, before;
    std::vector<int32_t> query_of, first, last;
    std::vector<double> reduced, slope, vector, values, frozen, ahead;
    std::vector<T*> output;
    int64_t placed_stride = 0;
    int64_t dirty = 0;  // columns from here on are not where they stand
  };

  // ---- places ----

  /// Where query t stands, before which a head has so many entries.
  int64_t place_of(const Layer& layer, int64_t t, int64_t entries) const {
    const bool by_count =
        layer.positions == Positions::cache || layer.positions == Positions::frozen;
    return by_count ? entries : t;
  }
  /// Of a layer that has a rotary embedding.
  const Table& table_of(const Layer& layer) const {
    const bool by_count =
        layer.positions == Positions::cache || layer.positions == Positions::frozen;
    const Tables& tables = tables_[layer.rotary];
    return by_count ? tables.ranks : tables.stream;
  }

  /// out[c * stride] = source rotated by a row of a table (null: as it is), times a factor.
  void put(const T* source, const Table* table, int64_t row, T factor, T* out,
           int64_t stride) const {
    const int64_t d = config_.head_dim;
    int64_t c = 0;
    if (table != nullptr) {
      const T *cosine = table->cosine_of(row), *sine = table->sine_of(row);
      const int64_t half = table->half;
      for (; c < half; ++c) {
        const T a = source[c], b = source[c + half];
        out[c * stride] = (a * cosine[c] - b * sine[c]) * factor;
        out[(c + half) * stride] = (b * cosine[c] + a * sine[c]) * factor;
      }
      c = 2 * half;
    }
    for (; c < d; ++c) out[c * stride] = source[c] * factor;
  }

  /// Puts a key of the block, before which the head had so many entries, where it stays: in column
  /// `column` of keys of the given stride.
  void put_key(const Layer& layer, const Block& block, int64_t i, int64_t h, int64_t entries,
               int64_t column, T* key, T* far_key, int64_t stride) const {
    const T* source = block.key + (i * config_.kv_heads + h) * config_.head_dim;
    const bool moves = layer.rotary >= 0 && layer.positions != Positions::cache;
    const int64_t row = layer.positions == Positions::frozen ? entries : block.row + i;
    put(source, moves ? &table_of(layer) : nullptr, row, T{1}, key + column, stride);
    if (far_key == nullptr) return;
    // By the table's first row: not turned, but with the magnitude that a turned key has.
    put(source, layer.rotary >= 0 ? &tables_[layer.rotary].ranks : nullptr, 0, T{1},
        far_key + column, stride);
  }

  // ---- statistics ----

  /// Of an entry that comes: all that is known of it so far.
  void enter(const Layer& layer, const Block& block, int64_t i, int64_t s, const Set& set,
             int64_t at, Scratch& scratch) const {
    const int64_t d = config_.head_dim, place = block.begin + i;
    set.places()[at] = place;
    for (int64_t c = 0; c < layer.columns.count; ++c) set.of(c)[at] = 0;
    if (double* const frozen = set.of(layer.columns.frozen)) frozen[at] = static_cast<double>(at);
    double* const entry_score = set.of(layer.columns.entry_score);
    if (entry_score == nullptr && !set.rotated.defined()) return;
    const T* key = block.key + (i * config_.kv_heads + s) * d;
    scratch.vector.assign(key, key + d);
    double* const rotated = set.rotated.defined() ? set.rotated_keys() + at * d : nullptr;
    if (rotated != nullptr) {
      std::copy(scratch.vector.begin(), scratch.vector.end(), rotated);
      const Table* const stream = layer.rotary >= 0 ? &tables_[layer.rotary].stream : nullptr;
      const int64_t half = stream != nullptr ? stream->half : 0;
      for (int64_t c = 0; c < half; ++c) {
        const double cosine = stream->exact_cosine.template data_ptr<double>()[i * half + c];
        const double sine = stream->exact_sine.template data_ptr<double>()[i * half + c];
        const double x = scratch.vector[c], y = scratch.vector[c + half];
        rotated[c] = x * cosine - y * sine;
        rotated[c + half] = y * cosine + x * sine;
      }
    }
    if (entry_score == nullptr) return;
    const auto count = static_cast<size_t>(d);
    entry_score[at] =
        layer.score->enter({.layer = block.layer,
                            .head = s,
                            .place = place,
                            .key = scratch.vector,
                            .rotated = rotated != nullptr ? std::span<const double>(rotated, count)
                                                          : std::span<const double>()});
  }

  /// The weights of query t, reduced, go into the statistics.
  void observe(const Layer& layer, int64_t l, int64_t s, const Set& set, int64_t t,
               std::span<const double> reduced) const {
    const int64_t n = std::ssize(reduced);
    const Columns& columns = layer.columns;
    if (double* const sum = set.of(columns.sum)) {
      if (layer.needs.decay == 1.0) {
        for (int64_t j = 0; j < n; ++j) sum[j] += reduced[j];
      } else {
        for (int64_t j = 0; j < n; ++j) sum[j] = sum[j] * layer.needs.decay + reduced[j];
      }
    }
    if (double* const squares = set.of(columns.squares)) {
      for (int64_t j = 0; j < n; ++j) squares[j] += reduced[j] * reduced[j];
    }
    if (columns.rows >= 0) {
      std::copy_n(reduced.data(), n, set.of(columns.rows + t % layer.needs.rows));
    }
    if (columns.own >= 0) {
      layer.score->observe({.layer = l,
                            .head = s,
                            .t = t,
                            .place = {set.places(), reduced.size()},
                            .weights = reduced},
                           set.from(columns.own));
    }
  }

  /// A query goes into the moments of its head.
  void observe_queries(const Layer& layer, const Block& block, int64_t i, int64_t s, const Set& set,
                       Scratch& scratch) const {
    if (block.begin + i < layer.score->retention().sinks) return;
    const int64_t d = config_.head_dim;
    for (int64_t g = 0; g < group_; ++g) {
      const T* query = block.query + (i * config_.heads + s * group_ + g) * d;
      scratch.vector.assign(query, query + d);
      double* const moments = set.moments.template data_ptr<double>();
      double* const products = moments + (group_ + g * d) * d;
      add_scaled(1.0, scratch.vector.data(), moments + g * d, d);
      for (int64_t c = 0; c < d; ++c) {
        add_scaled(scratch.vector[c], scratch.vector.data(), products + c * d, d);
      }
    }
  }

  /// reduced[j]: of the weights that the query heads of all these key heads' groups give entry j,
  /// the rows of one query, which begin at `row` of each head's; n entries.
  void reduce(const Retention& retention, std::span<const Scratch> heads, int64_t row,
              int64_t stride, int64_t n, std::vector<double>& reduced) const {
    const bool largest = retention.reduce == Retention::Reduce::max;
    reduced.assign(n, 0.0);
    for (const Scratch& head : heads) {
      const T* weights = head.weights.data() + row;
      for (int64_t g = 0; g < group_; ++g, weights += stride) {
        if (largest) {
          for (int64_t j = 0; j < n; ++j) reduced[j] = std::max<double>(reduced[j], weights[j]);
        } else {
          for (int64_t j = 0; j < n; ++j) reduced[j] += weights[j];
        }
      }
    }
    if (largest) return;
    const double share = 1.0 / static_cast<double>(std::ssize(heads) * group_);
    for (double& x : reduced) x *= share;
  }

  /// By index: the entries of a set of n that leave after token t.
  std::vector<int64_t> leave_by_index(int64_t l, const Set& set, int64_t t, int64_t n) const {
    std::vector<int64_t> leave;
    if (rules_.kept(l, 0, t + 1) == n) return leave;
    const View view = rules_.view(l, t + 1);
    const int64_t* place = set.places();
    size_t range = 0;
    for (int64_t j = 0; j < n; ++j) {
      while (range < view.size() && view[range].end <= place[j]) ++range;
      if (range == view.size() || place[j] < view[range].begin) leave.push_back(j);
    }
    return leave;
  }

  /// By score: what a policy is told of a set's n entries after token t. `value_of_entry(h, j)`:
  /// where key head h's value of entry j is; they are gathered in `scratch`.
  template <typename ValueOf>
  Round round_of(const Layer& layer, int64_t l, int64_t s, int64_t t, int64_t n,
                 const double* last_weights, Scratch& scratch,
                 const ValueOf& value_of_entry) const {
    const Set& set = layer.sets[s];
    const Retention& retention = layer.score->retention();
    const int64_t d = config_.head_dim;
    const auto count = static_cast<size_t>(n);
    const auto span = [&](const double* data, int64_t width = 1) {
      return data != nullptr ? std::span(data, count * width) : std::span<const double>();
    };
    const auto rows = [&](int64_t column) { return Rows<const double>{set.of(column), set.room}; };
    const int64_t value_heads = config_.kv_heads / std::ssize(layer.sets);
    if (layer.needs.values) {
      scratch.values.resize(n * value_heads * d);
      double* value = scratch.values.data();
      for (int64_t j = 0; j < n; ++j) {
        for (int64_t h = s; h < s + value_heads; ++h, value += d) {
          std::copy_n(value_of_entry(h, j), d, value);
        }
      }
    }
    QueryMoments queries;
    Rotation rotation;
    if (layer.needs.queries) {
      const auto size = static_cast<size_t>(group_ * d);
      queries = {.count = t + 1 - std::min(retention.sinks, t + 1),
                 .sum = {set.moments.template data_ptr<double>(), size},
                 .products = {set.moments.template data_ptr<double>() + size,
                              size * static_cast<size_t>(d)},
                 .scale = config_.attention_scale};
      if (const RotaryConfig* rotary = config_.rotary(l)) {
        rotation = {.frequencies = rotary->inverse_frequencies, .magnitude = rotary->magnitude};
      }
    }
    return {.layer = l,
            .head = s,
            .next = t + 1,
            .keep = rules_.capacity(l, s),
            .place = {set.places(), count},
            .sum = span(set.of(layer.columns.sum)),
            .squares = span(set.of(layer.columns.squares)),
            .last = layer.needs.last ? span(last_weights) : span(nullptr),
            .rows = rows(layer.columns.rows),
            .row_count = std::min(layer.needs.rows, t + 1),
            .own = rows(layer.columns.own),
            .keys = span(set.rotated_keys(), d),
            .head_dim = d,
            .values = layer.needs.values ? std::span<const double>(scratch.values)
                                         : std::span<const double>(),
            .value_dim = value_heads * d,
            .entry_score = span(set.of(layer.columns.entry_score)),
            .queries = queries,
            .rotation = rotation,
            .ahead = layer.needs.ahead > 0 ? std::span<const double>(scratch.ahead)
                                           : std::span<const double>()};
  }

  void evict_from_set(const Layer& layer, const Set& set, int64_t n,
                      std::span<const int64_t> leave) const {
    compact(set.places(), n, leave);
    for (int64_t c = 0; c < layer.columns.count; ++c) compact(set.of(c), n, leave);
    if (set.rotated.defined()) compact(set.rotated_keys(), n, leave, config_.head_dim);
  }

  void evict_from_head(const Head& head, int64_t n, std::span<const int64_t> leave) const {
    for (int64_t c = 0; c < config_.head_dim; ++c) {
      compact(head.keys() + c * head.room, n, leave);
      if (head.far_key.defined()) compact(head.far_keys() + c * head.room, n, leave);
    }
    compact(head.values(), n, leave, config_.head_dim);
  }

  // ---- from round to round ----

  /// Where a step that begins with query i of the block ends: at a round, or at the block's end.
  int64_t step_end(const Layer& layer, const Block& block, int64_t i) const {
    int64_t end = std::min(block.size, i + most_queries);
    if (layer.score == nullptr) return i + 1;
    return std::min(end, layer.score->retention().next_round(block.begin + i) - block.begin);
  }

  /// A whole block of these sets, which have their rounds together, and of their heads.
  void attend_sets(Layer& layer, const Block& block, int64_t first, int64_t last) const {
    const int64_t shared = config_.kv_heads / std::ssize(layer.sets);  // heads of a set
    const int64_t heads = (last - first) * shared;
    std::vector<Scratch> scratches(heads);
    for (int64_t i = 0, end; i < block.size; i = end) {
      end = step_end(layer, block, i);
      const int64_t come = end - i;
      for (int64_t s = first; s < last; ++s) {
        const Set& set = layer.sets[s];
        for (int64_t q = i; q < end; ++q) {
          enter(layer, block, q, s, set, set.n + q - i, scratches[(s - first) * shared]);
        }
      }
      const auto attend = [&](int64_t from, int64_t to) {
        for (int64_t h = from; h < to; ++h) {
          const Set& set = layer.sets[first + h / shared];
          attend_step(layer, block, first * shared + h, i, end, set, scratches[h]);
        }
      };
      if (heads > 1 && come >= fewest_in_parallel) {
        at::parallel_for(0, heads, 1, attend);
      } else {
        attend(0, heads);
      }
      for (int64_t s = first; s < last; ++s) {
        Set& set = layer.sets[s];
        const std::span<Scratch> own(&scratches[(s - first) * shared], shared);
        const int64_t stride = padded_entries(set.n + come);
        for (int64_t q = i; layer.needs.weights() && q < end; ++q) {
          reduce(layer.score->retention(), own, (q - i) * group_ * stride, stride,
                 set.n + q - i + 1, own[0].reduced);
          observe(layer, block.layer, s, set, block.begin + q, own[0].reduced);
        }
        for (int64_t q = i; layer.needs.queries && q < end; ++q) {
          observe_queries(layer, block, q, s, set, own[0]);
        }
        set.n += come;
      }
      const int64_t t = block.begin + end - 1;
      if (!rules_.is_round(block.layer, t)) continue;
      std::vector<std::vector<int64_t>> leave(last - first);
      if (layer.score == nullptr) {
        leave[0] = leave_by_index(block.layer, layer.sets[first], t, layer.sets[first].n);
      } else if (is_full(layer, block.layer, first, last)) {
        if (layer.needs.ahead > 0) look_ahead(layer, block, end, first, last, scratches);
        std::vector<Round> rounds;
        for (int64_t s = first; s < last; ++s) {
          Scratch& scratch = scratches[(s - first) * shared];
          rounds.push_back(round_of(layer, block.layer, s, t, layer.sets[s].n,
                                    scratch.reduced.data(), scratch, [&](int64_t h, int64_t j) {
                                      return layer.heads[h].values() + j * config_.head_dim;
                                    }));
        }
        leave = decisions_.decide(*layer.score, rounds, layer.by_layer ? config_.kv_heads : 1);
      }
      for (int64_t s = first; s < last; ++s) {
        const std::vector<int64_t>& of_set = leave[s - first];
        Set& set = layer.sets[s];
        if (!of_set.empty()) {
          evict_from_set(layer, set, set.n, of_set);
          for (int64_t h = s * shared; h < (s + 1) * shared; ++h) {
            evict_from_head(layer.heads[h], set.n, of_set);
            Scratch& scratch = scratches[h - first * shared];
            scratch.dirty = std::min(scratch.dirty, of_set.front());
          }
          set.n -= std::ssize(of_set);
        }
      }
      if (layer.adaptive) share_room(layer, block.layer);
    }
  }

  /// What the queries from row `begin` of the block on, as many as a round looks ahead to, would
  /// give the entries of these sets if nothing left before: into the scratch of each set's first
  /// head.
  void look_ahead(const Layer& layer, const Block& block, int64_t begin, int64_t first,
                  int64_t last, std::vector<Scratch>& scratches) const {
    const int64_t shared = config_.kv_heads / std::ssize(layer.sets), d = config_.head_dim;
    const int64_t queries = std::min(layer.needs.ahead, block.size + block.ahead - begin);
    std::vector<T> outputs(most_queries * config_.heads * d);  // which nobody asks for
    for (int64_t s = first; s < last; ++s) {
      scratches[(s - first) * shared].ahead.assign(layer.sets[s].n, 0.0);
    }
    const int64_t heads = (last - first) * shared;
    for (int64_t i = 0, end; i < queries; i = end) {
      end = std::min(queries, i + most_queries);
      const auto attend = [&](int64_t from, int64_t to) {
        for (int64_t h = from; h < to; ++h) {
          const Set& set = layer.sets[first + h / shared];
          attend_ahead(layer, block, first * shared + h, begin, i, end, set, scratches[h], outputs);
        }
      };
      if (heads > 1) {
        at::parallel_for(0, heads, 1, attend);
      } else {
        attend(0, heads);
      }
      std::vector<double> reduced;
      for (int64_t s = first; s < last; ++s) {
        const int64_t n = layer.sets[s].n, stride = padded_entries(n + end);
        const std::span<const Scratch> own(&scratches[(s - first) * shared], shared);
        std::vector<double>& sum = scratches[(s - first) * shared].ahead;
        for (int64_t q = i; q < end; ++q) {
          reduce(layer.score->retention(), own, (q - i) * group_ * stride, stride, n, reduced);
          add_scaled(1.0, reduced.data(), sum.data(), n);
        }
      }
    }
  }

  /// Of one head, the weights of the queries i .. end-1 after row `begin` of the block.
  void attend_ahead(const Layer& layer, const Block& block, int64_t h, int64_t begin, int64_t i,
                    int64_t end, const Set& set, Scratch& scratch, std::vector<T>& outputs) const {
    const int64_t K = config_.kv_heads, d = config_.head_dim, n = set.n, entries = n + end;
    const Head& head = layer.heads[h];
    const Block later = {.layer = block.layer,
                         .begin = block.begin + begin + i,
                         .size = end - i,
                         .row = block.row + begin + i,
                         .query = block.query + (begin + i) * config_.heads * d,
                         .key = nullptr,
                         .value = nullptr,
                         .sink_logit = block.sink_logit,
                         .output = outputs.data()};
    const Block keys = {.layer = block.layer,
                        .begin = block.begin + begin,
                        .size = end,
                        .row = block.row + begin,
                        .query = nullptr,
                        .key = block.key + begin * K * d,
                        .value = nullptr,
                        .sink_logit = nullptr,
                        .output = nullptr};
    const int64_t stride = padded_entries(entries);
    const bool capped = head.far_key.defined();
    scratch.key.resize(d * stride + entry_padding);
    if (capped) scratch.far_key.resize(d * stride + entry_padding);
    for (int64_t c = 0; c < d; ++c) {
      std::copy_n(head.keys() + c * head.room, n, scratch.key.data() + c * stride);
      if (capped) {
        std::copy_n(head.far_keys() + c * head.room, n, scratch.far_key.data() + c * stride);
      }
    }
    for (int64_t q = 0; q < end; ++q) {
      put_key(layer, keys, q, h, n + q, n + q, scratch.key.data(),
              capped ? scratch.far_key.data() : nullptr, stride);
    }
    const T* placed = scratch.key.data();
    std::vector<T> by_rank;
    if (layer.positions == Positions::cache && layer.rotary >= 0) {
      const Table& ranks = tables_[layer.rotary].ranks;
      by_rank.resize(d * stride + entry_padding);
      rotate_entries(EntryRotation<T>{.head_dim = d,
                                      .rotated = 2 * ranks.half,
                                      .begin = 0,
                                      .end = entries,
                                      .key = placed,
                                      .key_stride = stride,
                                      .placed = by_rank.data(),
                                      .placed_stride = stride,
                                      .cosine = ranks.cosine_columns.template data_ptr<T>(),
                                      .sine = ranks.sine_columns.template data_ptr<T>(),
                                      .table_stride = ranks.size});
      placed = by_rank.data();
    }
    // Places, and how many entries there were when each came, of those that come too.
    std::vector<int64_t> place(set.places(), set.places() + n);
    scratch.first.assign(stride, 0);
    scratch.frozen.assign(entries, 0.0);
    const double* frozen = set.of(layer.columns.frozen);
    if (frozen != nullptr) std::copy_n(frozen, n, scratch.frozen.data());
    for (int64_t q = 0; q < end; ++q) {
      place.push_back(keys.begin + q);
      scratch.first[n + q] = static_cast<int32_t>(q - i);
      scratch.frozen[n + q] = static_cast<double>(n + q);
    }
    std::fill(scratch.first.begin() + entries, scratch.first.end(), for_ever);
    scratch.value.assign(entries * d, T{0});
    scratch.before.resize(end - i);
    std::iota(scratch.before.begin(), scratch.before.end(), n + i);
    attend_rows(layer, later, h, 0, end - i, scratch,
                {.entries = entries,
                 .key = placed,
                 .key_stride = stride,
                 .value = scratch.value.data(),
                 .first = scratch.first.data(),
                 .last = nullptr,
                 .far_key = capped ? scratch.far_key.data() : nullptr,
                 .place = place.data(),
                 .before = scratch.before.data(),
                 .frozen = scratch.frozen.data(),
                 .keep_weights = true});
  }

  /// Of an adaptive budget, after a round: gives each head the slots that it takes until the next,
  /// and some more where it grows, but all of them no more than the layer's entries need.
  void share_room(Layer& layer, int64_t l) const {
    constexpr int64_t more = 8;
    const int64_t every = layer.score->retention().every;
    int64_t left = 0;
    for (int64_t s = 0; s < std::ssize(layer.sets); ++s) {
      Set& set = layer.sets[s];
      if (set.n + every > set.room) make_room(layer, s, set.n + every + more);
      left += rules_.capacity(l, s) + every - set.room;
    }
    if (left >= 0) return;
    for (int64_t s = 0; s < std::ssize(layer.sets); ++s)
      make_room(layer, s, layer.sets[s].n + every);
  }

  /// Whether these sets, whose rounds are one, have more entries than a round leaves.
  bool is_full(const Layer& layer, int64_t l, int64_t first, int64_t last) const {
    int64_t surplus = 0;
    for (int64_t s = first; s < last; ++s) surplus += layer.sets[s].n - rules_.capacity(l, s);
    return surplus > 0;
  }

  /// Attention of the queries i .. end-1 over n entries and, as they come, themselves; their keys
  /// and values go into the cache.
  void attend_step(const Layer& layer, const Block& block, int64_t h, int64_t i, int64_t end,
                   const Set& set, Scratch& scratch) const {
    const Head& head = layer.heads[h];
    const int64_t d = config_.head_dim, n = set.n, entries = n + end - i;
    T* const key = head.keys();
    T* const value = head.values();
    T* const far_key = head.far_key.defined() ? head.far_keys() : nullptr;
    scratch.before.resize(end - i);
    std::iota(scratch.before.begin(), scratch.before.end(), n);
    for (int64_t q = i; q < end; ++q) {
      put_key(layer, block, q, h, n + q - i, n + q - i, key, far_key, head.room);
      std::copy_n(block.value + (q * config_.kv_heads + h) * d, d, value + (n + q - i) * d);
    }
    const T* placed = key;
    int64_t stride = head.room;
    if (layer.positions == Positions::cache && layer.rotary >= 0) {
      const Table& ranks = tables_[layer.rotary].ranks;
      stride = padded_entries(head.room);
      if (scratch.placed_stride != stride) {
        scratch.placed.assign(d * stride + entry_padding, T{0});
        scratch.placed_stride = stride;
        scratch.dirty = 0;
      }
      rotate_entries(EntryRotation<T>{.head_dim = d,
                                      .rotated = 2 * ranks.half,
                                      .begin = scratch.dirty,
                                      .end = entries,
                                      .key = key,
                                      .key_stride = head.room,
                                      .placed = scratch.placed.data(),
                                      .placed_stride = stride,
                                      .cosine = ranks.cosine_columns.template data_ptr<T>(),
                                      .sine = ranks.sine_columns.template data_ptr<T>(),
                                      .table_stride = ranks.size});
      scratch.dirty = entries;
      placed = scratch.placed.data();
    }
    const int64_t padded = padded_entries(entries);
    const int32_t* first = nullptr;
    if (end - i > 1) {
      scratch.first.assign(padded, 0);
      for (int64_t q = i; q < end; ++q) {
        scratch.first[n + q - i] = static_cast<int32_t>(q - i);
      }
      std::fill(scratch.first.begin() + entries, scratch.first.end(), for_ever);
      first = scratch.first.data();
    }
    attend_rows(layer, block, h, i, end, scratch,
                {.entries = entries,
                 .key = placed,
                 .key_stride = stride,
                 .value = value,
                 .first = first,
                 .last = nullptr,
                 .far_key = far_key,
                 .place = set.places(),
                 .before = scratch.before.data(),
                 .frozen = set.of(layer.columns.frozen),
                 .keep_weights = layer.needs.weights()});
  }

  struct Entries {
    int64_t entries;
    const T* key;
    int64_t key_stride;
    const T* value;
    const int32_t *first, *last;
    const T* far_key;
    const int64_t* place;   // of the entries, in the stream
    const int64_t* before;  // of each query: entries that its head had before it
    const double* frozen;   // of the entries: the same, where it is asked for
    bool keep_weights;
  };
  /// The queries i .. end-1 of head h's group, over these entries.
  void attend_rows(const Layer& layer, const Block& block, int64_t h, int64_t i, int64_t end,
                   Scratch& scratch, const Entries& rows) const {
    const int64_t d = config_.head_dim, count = (end - i) * group_;
    const T scale = static_cast<T>(config_.attention_scale);
    const int64_t stride = padded_entries(rows.entries);
    scratch.query.resize(count * d);
    scratch.output.resize(count);
    scratch.query_of.resize(count);
    scratch.weights.resize((rows.keep_weights ? count : tile_rows) * stride + entry_padding);
    const bool capped = rows.far_key != nullptr && layer.rotary >= 0;
    if (capped) {
      scratch.far_query.resize(count * d);
      scratch.far.resize(count);
    }
    if (config_.alibi) {
      scratch.slope.resize(count);
      scratch.query_place.resize(count);
      scratch.entry_place.resize(rows.entries);
      for (int64_t j = 0; j < rows.entries; ++j) {
        scratch.entry_place[j] = layer.positions == Positions::cache ? j
                                 : layer.positions == Positions::frozen
                                     ? static_cast<int64_t>(rows.frozen[j])
                                     : rows.place[j];
      }
    }
    if (block.sink_logit != nullptr) scratch.sink_logit.resize(count);
    for (int64_t q = i, row = 0; q < end; ++q) {
      const int64_t t = block.begin + q, at = place_of(layer, t, rows.before[q - i]);
      const Table* table = layer.rotary >= 0 ? &table_of(layer) : nullptr;
      const bool by_stream = table != nullptr && table == &tables_[layer.rotary].stream;
      const int64_t table_row = by_stream ? block.row + q : at;
      for (int64_t g = 0; g < group_; ++g, ++row) {
        const int64_t head = h * group_ + g;
        const T* source = block.query + (q * config_.heads + head) * d;
        put(source, table, table_row, scale, scratch.query.data() + row * d, 1);
        scratch.output[row] = block.output + (q * config_.heads + head) * d;
        scratch.query_of[row] = static_cast<int32_t>(q - i);
        if (capped) {
          put(source, &tables_[layer.rotary].cap, 0, scale, scratch.far_query.data() + row * d, 1);
          scratch.far[row] =
              std::lower_bound(rows.place, rows.place + rows.entries, t - rules_.cap()) -
              rows.place;
        }
        if (config_.alibi) {
          scratch.slope[row] = config_.alibi->slopes[head];
          scratch.query_place[row] = at;
        }
        if (block.sink_logit != nullptr) scratch.sink_logit[row] = block.sink_logit[head];
      }
    }
    attend_entries(EntryAttention<T>{
        .rows = count,
        .entries = rows.entries,
        .head_dim = d,
        .query = scratch.query.data(),
        .key = rows.key,
        .key_stride = rows.key_stride,
        .value = rows.value,
        .query_of = scratch.query_of.data(),
        .first = rows.first,
        .last = rows.last,
        .far_query = capped ? scratch.far_query.data() : nullptr,
        .far_key = capped ? rows.far_key : nullptr,
        .far = capped ? scratch.far.data() : nullptr,
        .score_cap = static_cast<T>(config_.score_cap),
        .slope = config_.alibi ? scratch.slope.data() : nullptr,
        .query_place = config_.alibi ? scratch.query_place.data() : nullptr,
        .entry_place = config_.alibi ? scratch.entry_place.data() : nullptr,
        .cap = layer.positions == Positions::capped ? rules_.cap()
                                                    : std::numeric_limits<int64_t>::max(),
        .sink_logit = block.sink_logit != nullptr ? scratch.sink_logit.data() : nullptr,
        .weights = scratch.weights.data(),
        .weight_stride = stride,
        .keep_weights = rows.keep_weights,
        .output = scratch.output.data()});
  }
  // ---- pages ----

  /// Columns that bounds of `entries` entries take.
  static int64_t pages_of(const Layer& layer, int64_t entries) {
    return (entries + layer.reading->page - 1) / layer.reading->page;
  }
  /// Entry `at` of a head joins the bounds of its page.
  void bound_page(const Layer& layer, const Head& head, int64_t at) const {
    const int64_t page = at / layer.reading->page, pages = head.least.size(1);
    T* const least = head.least.template data_ptr<T>() + page;
    T* const most = head.most.template data_ptr<T>() + page;
    const T* const key = head.keys() + at;
    const bool first = at % layer.reading->page == 0;
    for (int64_t c = 0; c < config_.head_dim; ++c) {
      const T x = key[c * head.room];
      T &low = least[c * pages], &high = most[c * pages];
      low = first ? x : std::min(low, x);
      high = first ? x : std::max(high, x);
    }
  }
  /// Of all entries that there are.
  void bound_pages() const {
    for (const Layer& layer : layers_) {
      if (!layer.reading) continue;
      for (const Head& head : layer.heads) {
        for (int64_t j = 0; j < layer.sets[0].n; ++j) bound_page(layer, head, j);
      }
    }
  }

  /// A block of a layer whose query heads read pages, one query after the other.
  void attend_pages(Layer& layer, const Block& block) const {
    const int64_t K = config_.kv_heads, d = config_.head_dim;
    Set& set = layer.sets[0];
    Scratch entering;
    for (int64_t i = 0; i < block.size; ++i) enter(layer, block, i, 0, set, set.n + i, entering);
    at::parallel_for(0, K, 1, [&](int64_t from, int64_t to) {
      Scratch scratch;
      for (int64_t h = from; h < to; ++h) {
        const Head& head = layer.heads[h];
        for (int64_t i = 0; i < block.size; ++i) {
          const int64_t at = set.n + i;
          put_key(layer, block, i, h, at, at, head.keys(), nullptr, head.room);
          std::copy_n(block.value + (i * K + h) * d, d, head.values() + at * d);
          bound_page(layer, head, at);
          for (int64_t g = 0; g < group_; ++g) {
            read_pages(layer, block, i, h * group_ + g, head, at + 1, scratch);
          }
        }
      }
    });
    set.n += block.size;
  }

  /// Attention of query i of one query head over what it reads of n entries.
  void read_pages(const Layer& layer, const Block& block, int64_t i, int64_t query_head,
                  const Head& head, int64_t n, Scratch& scratch) const {
    const int64_t d = config_.head_dim, page = layer.reading->page;
    scratch.query.resize(d);
    put(block.query + (i * config_.heads + query_head) * d,
        layer.rotary >= 0 ? &table_of(layer) : nullptr, block.row + i,
        static_cast<T>(config_.attention_scale), scratch.query.data(), 1);
    const int64_t pages = pages_of(layer, n);
    const T *key = head.keys(), *value = head.values();
    int64_t stride = head.room, entries = n;
    if (pages > layer.reading->pages) {
      // Dimension by dimension, the larger of the products with the page's least and most.
      std::vector<double>& bounds = scratch.vector;
      bounds.assign(pages - 1, 0.0);
      for (int64_t c = 0; c < d; ++c) {
        const T x = scratch.query[c];
        const T* edge =
            (x < 0 ? head.least : head.most).template data_ptr<T>() + c * head.least.size(1);
        for (int64_t p = 0; p < pages - 1; ++p) {
          bounds[p] += static_cast<double>(x) * static_cast<double>(edge[p]);
        }
      }
      scratch.ids = pages_read(*layer.reading, bounds);
      entries = (layer.reading->pages - 1) * page + (n - (pages - 1) * page);
      stride = padded_entries(entries);
      scratch.key.resize(d * stride + entry_padding);
      scratch.value.resize(entries * d);
      for (size_t p = 0; p < scratch.ids.size(); ++p) {
        const int64_t first = scratch.ids[p] * page, to = static_cast<int64_t>(p) * page;
        const int64_t count = std::min(page, n - first);
        for (int64_t c = 0; c < d; ++c) {
          std::copy_n(key + c * head.room + first, count, scratch.key.data() + c * stride + to);
        }
        std::copy_n(value + first * d, count * d, scratch.value.data() + to * d);
      }
      key = scratch.key.data();
      value = scratch.value.data();
    }
    scratch.weights.resize(tile_rows * padded_entries(entries) + entry_padding);
    scratch.query_of.assign(1, 0);
    T* output = block.output + (i * config_.heads + query_head) * d;
    attend_entries(EntryAttention<T>{
        .rows = 1,
        .entries = entries,
        .head_dim = d,
        .query = scratch.query.data(),
        .key = key,
        .key_stride = stride,
        .value = value,
        .query_of = scratch.query_of.data(),
        .first = nullptr,
        .last = nullptr,
        .score_cap = static_cast<T>(config_.score_cap),
        .sink_logit = block.sink_logit != nullptr ? block.sink_logit + query_head : nullptr,
        .weights = scratch.weights.data(),
        .weight_stride = padded_entries(entries),
        .keep_weights = false,
        .output = &output});
  }

  // ---- foreseen ----

  /// Runs the rounds of a block on what is known without attention; the set is as after it, but for
  /// its count.
  Foreseen foresee(const Layer& layer, const Block& block, int64_t s) const {
    const Set& set = layer.sets[s];
    const int64_t shared = config_.kv_heads / std::ssize(layer.sets), d = config_.head_dim;
    Scratch scratch;
    Foreseen result;
    result.first.assign(set.n + block.size, 0);
    result.last.assign(set.n + block.size, for_ever);
    result.before.resize(block.size);
    std::vector<int64_t>& ids = result.stay;
    ids.resize(set.n + block.size);
    std::iota(ids.begin(), ids.end(), 0);
    int64_t n = set.n;
    const auto value_of_entry = [&](int64_t h, int64_t j) {
      const int64_t id = ids[j];
      return id < set.n ? layer.heads[h].values() + id * d
                        : block.value + ((id - set.n) * config_.kv_heads + h) * d;
    };
    for (int64_t i = 0, end; i < block.size; i = end) {
      end = step_end(layer, block, i);
      for (int64_t q = i; q < end; ++q) {
        result.first[set.n + q] = static_cast<int32_t>(q);
        result.before[q] = n;
        enter(layer, block, q, s, set, n, scratch);
        ids[n++] = set.n + q;
      }
      const int64_t t = block.begin + end - 1;
      if (!rules_.is_round(block.layer, t)) continue;
      std::vector<int64_t> leave;
      if (layer.score == nullptr) {
        leave = leave_by_index(block.layer, set, t, n);
      } else if (n > rules_.capacity(block.layer, s)) {
        std::vector<Round> rounds = {
            round_of(layer, block.layer, s, t, n, nullptr, scratch, value_of_entry)};
        leave = decisions_.decide(*layer.score, rounds, shared).front();
      }
      if (leave.empty()) continue;
      for (const int64_t j : leave) result.last[ids[j]] = static_cast<int32_t>(end - 1);
      evict_from_set(layer, set, n, leave);
      compact(ids.data(), n, leave);
      n -= std::ssize(leave);
    }
    ids.resize(n);
    return result;
  }

  void attend_foreseen(Layer& layer, const Block& block) const {
    const int64_t K = config_.kv_heads, d = config_.head_dim, sets = std::ssize(layer.sets);
    const bool capped = layer.far_keys();
    // Of the entries that there are before the block.
    std::vector<std::vector<int64_t>> places;
    std::vector<std::vector<double>> frozen(sets);
    for (int64_t s = 0; s < sets; ++s) {
      const Set& set = layer.sets[s];
      places.emplace_back(set.places(), set.places() + set.n);
      const double* column = set.of(layer.columns.frozen);
      if (column != nullptr) frozen[s].assign(column, column + set.n);
    }
    const auto set_of = [&](int64_t h) { return sets == 1 ? int64_t{0} : h; };
    std::vector<Foreseen> foreseen(sets);
    at::parallel_for(0, sets, 1, [&](int64_t from, int64_t to) {
      for (int64_t s = from; s < to; ++s) foreseen[s] = foresee(layer, block, s);
    });
    // Keys of the block where they stay, transposed.
    std::vector<T> keys(K * d * block.size), far_keys(capped ? keys.size() : 0);
    const int64_t parts = (block.size + most_queries - 1) / most_queries;
    at::parallel_for(0, K, 1, [&](int64_t from, int64_t to) {
      for (int64_t h = from; h < to; ++h) {
        T* const key = keys.data() + h * d * block.size;
        T* const far = capped ? far_keys.data() + h * d * block.size : nullptr;
        for (int64_t i = 0; i < block.size; ++i) {
          put_key(layer, block, i, h, foreseen[set_of(h)].before[i], i, key, far, block.size);
        }
      }
    });
    at::parallel_for(0, K * parts, 1, [&](int64_t from, int64_t to) {
      Scratch scratch;
      for (int64_t part = from; part < to; ++part) {
        const int64_t h = part / parts, i = part % parts * most_queries;
        const int64_t end = std::min(i + most_queries, block.size);
        const int64_t s = set_of(h), n = layer.sets[s].n;
        const Head& head = layer.heads[h];
        const Foreseen& rounds = foreseen[s];
        scratch.ids.clear();
        const int64_t total = n + end;
        for (int64_t id = 0; id < total; ++id) {
          if (rounds.last[id] >= i) scratch.ids.push_back(id);
        }
        const int64_t count = static_cast<int64_t>(scratch.ids.size());
        const int64_t stride = padded_entries(count);
        scratch.key.resize(d * stride + entry_padding);
        scratch.value.resize(count * d);
        scratch.first.assign(stride, for_ever);
        scratch.last.assign(stride, 0);
        scratch.entry_place.resize(0);
        const int64_t kept =
            std::lower_bound(scratch.ids.begin(), scratch.ids.end(), n) - scratch.ids.begin();
        const auto gather = [&](const T* cached, const T* fresh, T* out) {
          for (int64_t c = 0; c < d; ++c) {
            const T* row = cached + c * head.room;
            T* to_row = out + c * stride;
            for (int64_t j = 0; j < kept; ++j) to_row[j] = row[scratch.ids[j]];
            row = fresh + c * block.size;
            for (int64_t j = kept; j < count; ++j) to_row[j] = row[scratch.ids[j] - n];
          }
        };
        gather(head.keys(), keys.data() + h * d * block.size, scratch.key.data());
        if (capped) {
          scratch.far_key.resize(d * stride + entry_padding);
          gather(head.far_keys(), far_keys.data() + h * d * block.size, scratch.far_key.data());
        }
        std::vector<int64_t> place(count);
        scratch.frozen.resize(layer.columns.frozen >= 0 ? count : 0);
        for (int64_t j = 0; j < count; ++j) {
          const int64_t id = scratch.ids[j];
          const T* source = id < n ? head.values() + id * d : block.value + ((id - n) * K + h) * d;
          std::copy_n(source, d, scratch.value.data() + j * d);
          scratch.first[j] = static_cast<int32_t>(rounds.first[id] - i);
          scratch.last[j] =
              rounds.last[id] == for_ever ? for_ever : static_cast<int32_t>(rounds.last[id] - i);
          place[j] = id < n ? places[s][id] : block.begin + id - n;
          if (!scratch.frozen.empty()) {
            scratch.frozen[j] = id < n ? frozen[s][id] : static_cast<double>(rounds.before[id - n]);
          }
        }
        attend_rows(layer, block, h, i, end, scratch,
                    {.entries = count,
                     .key = scratch.key.data(),
                     .key_stride = stride,
                     .value = scratch.value.data(),
                     .first = scratch.first.data(),
                     .last = scratch.last.data(),
                     .far_key = capped ? scratch.far_key.data() : nullptr,
                     .place = place.data(),
                     .before = rounds.before.data() + i,
                     .frozen = scratch.frozen.data(),
                     .keep_weights = false});
      }
    });
    at::parallel_for(0, K, 1, [&](int64_t from, int64_t to) {
      for (int64_t h = from; h < to; ++h) {
        const std::vector<int64_t>& stay = foreseen[set_of(h)].stay;
        const Head& head = layer.heads[h];
        const int64_t n = layer.sets[set_of(h)].n;
        const auto move = [&](T* cached, const T* fresh) {
          for (int64_t c = 0; c < d; ++c) {
            T* row = cached + c * head.room;
            for (size_t j = 0; j < stay.size(); ++j) {
              row[j] = stay[j] < n ? row[stay[j]] : fresh[c * block.size + stay[j] - n];
            }
          }
        };
        move(head.keys(), keys.data() + h * d * block.size);
        if (capped) move(head.far_keys(), far_keys.data() + h * d * block.size);
        T* const value = head.values();
        for (size_t j = 0; j < stay.size(); ++j) {
          const T* source =
              stay[j] < n ? value + stay[j] * d : block.value + ((stay[j] - n) * K + h) * d;
          if (source != value + j * d) std::copy_n(source, d, value + j * d);
        }
      }
    });
    for (int64_t s = 0; s < sets; ++s) layer.sets[s].n = std::ssize(foreseen[s].stay);
  }

  const Decoder& decoder_;
  const DecoderConfig& config_;
  const LayerRules& rules_;
  Decisions& decisions_;
  const int64_t group_;  // query heads that share a key head
  std::vector<Layer> layers_;
  /// By rank, at the largest distance, and of the block that is attended to.
  struct Tables {
    Table ranks, cap, stream;
  };
  std::vector<Tables> tables_;  // of each rotary embedding
  int64_t stream_begin_ = -1, stream_size_ = 0;
};

}  // namespace

std::unique_ptr<LayerScan> make_layer_scan(const Decoder& decoder, const LayerRules& rules,
                                           Decisions& decisions) {
  if (decoder.accumulate_dtype() == at::kDouble) {
    return std::make_unique<Scan<double>>(decoder, rules, decisions);
  }
  return std::make_unique<Scan<float>>(decoder, rules, decisions);
}

ScanBytes scan_bytes(const LayerRules& rules, const DecoderConfig& config, at::ScalarType dtype,
                     int64_t fed, int64_t block, int64_t threads) {
  const int64_t element = dtype == at::kDouble ? 8 : 4;
  const int64_t K = config.kv_heads, d = config.head_dim, group = config.heads / K;
  ScanBytes bytes;
  for (int64_t l = 0; l < config.layers; ++l) {
    const Positions positions = rules.positions(l);
    const bool capped = positions == Positions::capped;
    const ScorePolicy* score = rules.score(l);
    const bool by_layer = score == nullptr || score->retention().scope == Retention::Scope::layer;
    const Needs needs = score != nullptr ? needs_of(*score) : Needs{};
    const int64_t numbers = 1 +
                            Columns(needs, config.alibi && positions == Positions::frozen).count +
                            (needs.keys ? d : 0);
    int64_t room = 0;  // of the head with most
    for (int64_t h = 0; h < K; ++h) {
      const bool own = h == 0 || !by_layer;  // else as the first
      const int64_t slots = own ? rules.slots(l, h, fed) : room;
      bytes.entries += slots;
      bytes.keys_and_values += (capped ? 3 : 2) * d * slots * element;
      if (own) bytes.statistics += 8.0 * static_cast<double>(numbers * slots);
      room = std::max(room, slots);
    }
    room = std::max(room, std::min(rules.most(l, fed) + 1, fed));
    if (needs.queries) bytes.statistics += 8.0 * static_cast<double>(config.heads * d * (d + 1));
    double scratch = 0;
    const int64_t queries = std::min(block, most_queries);
    const auto attention = [&](int64_t entries, int64_t rows) {
      return static_cast<double>(element * (rows * padded_entries(entries) + queries * group * d));
    };
    if (foreseen(needs, positions) && !rules.adaptive(l)) {
      const int64_t entries = std::min(room + queries, fed);
      scratch = static_cast<double>(element * (capped ? 2 : 1) * K * d * block) +
                static_cast<double>(threads) *
                    (attention(entries, tile_rows) +
                     static_cast<double>(element * (capped ? 3 : 2) * d * entries));
    } else {
      const int64_t step = std::min(queries, score != nullptr ? score->retention().every : 1);
      const double placed = positions == Positions::cache && config.rotary_index(l) >= 0
                                ? static_cast<double>(element * d * padded_entries(room))
                                : 0.0;
      scratch = static_cast<double>(by_layer ? K : threads) *
                (attention(room, needs.weights() ? step * group : tile_rows) + placed);
    }
    const auto sets = static_cast<double>(by_layer ? 1 : std::min(threads, K));
    if (const auto reading = rules.reading(l)) {
      const auto pages = static_cast<double>((room + reading->page - 1) / reading->page);
      bytes.statistics += static_cast<double>(element * 2 * K * d) * pages;
    }
    if (needs.ahead > 0) {  // entries, keys by rank, values and weights, of every head at once
      const int64_t seen = room + std::min(needs.ahead, fed), rows = std::min(needs.ahead, queries);
      scratch +=
          static_cast<double>(K) * (attention(seen, rows * group) +
                                    static_cast<double>(element * (capped ? 4 : 3) * d * seen));
    }
    if (needs.values) {
      scratch += 8.0 * sets * static_cast<double>((by_layer ? K : 1) * d * room);
    }
    bytes.scratch = std::max(bytes.scratch, scratch);
  }
  // Queries, keys and values in the precision of sums, and what they become.
  const int64_t ahead = std::min(rules.ahead(), fed);
  bytes.scratch += static_cast<double>(element * (block + ahead) * (2 * config.heads + 2 * K) * d);
  return bytes;
}

}  // namespace sinkbench
