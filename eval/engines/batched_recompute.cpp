#include "eval/engines/batched_recompute.h"

#include <ATen/ATen.h>
#include <c10/core/InferenceMode.h>

#include <algorithm>
#include <optional>

#include "eval/attention/attention.h"
#include "eval/attention/parts.h"
#include "eval/engines/limits.h"
#include "eval/engines/recompute.h"
#include "models/rotary.h"

namespace sinkbench {

BatchedRecomputeEngine::BatchedRecomputeEngine(const Decoder& decoder,
                                               const RecomputePolicy& policy, bool in_parts)
    : Engine(decoder),
      policy_(policy),
      in_parts_(in_parts || attends_in_parts(decoder.config(), decoder.options())) {}

void BatchedRecomputeEngine::check(int64_t fed) const {
  check_passes(policy_, decoder_.config(), *policy_.capacity() + 1);
}

void BatchedRecomputeEngine::prepare() {
  prefix_ = 1;
  while (prefix_ < fed() && size(policy_.view(prefix_)) == prefix_) ++prefix_;
  prefix_engine_.emplace(decoder_, whole_, 0);
  prefix_engine_->begin(ids_.first(prefix_ + 1));
}

std::vector<at::Tensor> BatchedRecomputeEngine::state() const {
  return prefix_engine_ ? prefix_engine_->state() : std::vector<at::Tensor>{};
}

void BatchedRecomputeEngine::restore(const std::vector<at::Tensor>& state) {
  if (next_ < prefix_) {
    prefix_engine_->resume(next_, state);
  } else {
    prefix_engine_.reset();
  }
}

void BatchedRecomputeEngine::advance_piece(const RowSink& sink) {
  const c10::InferenceMode inference;
  const int64_t stride = policy_.stride();
  if (prefix_engine_) {
    prefix_engine_->advance_rows([&](const QueryRows& rows) {
      const int64_t first = (rows.first + stride - 1) / stride * stride;
      if (first >= rows.first + rows.x.size(0)) return;
      sink({.x = rows.x.slice(0, first - rows.first, rows.x.size(0), stride).contiguous(),
            .first = first,
            .step = stride});
    });
    next_ = prefix_engine_->next();
    if (prefix_engine_->done()) {
      prefix_engine_.reset();
      next_ = std::min((prefix_ + stride - 1) / stride * stride, fed());
    }
    return;
  }
  const int64_t rows = size(policy_.view(next_)) + 1;
  std::vector<int64_t> queries;
  int64_t t = next_;
  for (; t < fed() && size(policy_.view(t)) + 1 == rows &&
         (queries.empty() || (static_cast<int64_t>(queries.size()) + 1) * rows <= rows_at_once);
       t += stride) {
    queries.push_back(t);
  }
  next_ = std::min(t, fed());
  sink({.x = pass(queries), .first = queries.front(), .step = stride});
}

at::Tensor BatchedRecomputeEngine::pass(std::span<const int64_t> queries) {
  const DecoderConfig& config = decoder_.config();
  const at::Device device = decoder_.options().device;
  const at::ScalarType dtype = decoder_.accumulate_dtype();
  const int64_t windows = static_cast<int64_t>(queries.size());
  const int64_t size = sinkbench::size(policy_.view(queries.front())) + 1;
  const auto tensor = [&](const std::vector<int64_t>& values) {
    return at::tensor(values, at::kLong).to(device);
  };

  // Every token that is in some window, once (with learned positions, which are part of the
  // embedding, once for each window); and for each row of each window, which it is.
  const bool shared = config.learned_positions == 0;
  std::vector<int64_t> tokens, places, token_of_row, position_of_row, last_rows;
  for (int64_t w = 0; w < windows; ++w) {
    int64_t position = 0;
    for (const int64_t place : places_of_pass(policy_, queries[w])) {
      if (!shared || places.empty() || place > places.back()) {
        places.push_back(place);
        tokens.push_back(ids_[place]);
      }
      const auto it =
          shared ? std::lower_bound(places.begin(), places.end(), place) : std::prev(places.end());
      token_of_row.push_back(it - places.begin());
      position_of_row.push_back(position++);
    }
    last_rows.push_back((w + 1) * size - 1);
  }
  const at::Tensor rows = tensor(token_of_row);
  const at::Tensor last = tensor(last_rows);

  std::vector<RotaryTable> tables, last_tables;  // of all rows, and of each window's last
  for (const RotaryConfig& rotary : config.rotaries) {
    const RotaryTable table = rotary_table(rotary, position_of_row, dtype, device);
    tables.push_back(table);
    last_tables.push_back({table.cosine.index_select(0, last), table.sine.index_select(0, last)});
  }
  const auto placed = [&](int64_t layer, const at::Tensor& heads,
                          const std::vector<RotaryTable>& at) {
    const int rotary = config.rotary_index(layer);
    return (rotary < 0 ? heads : rotate(config.rotaries[rotary], heads, at[rotary])).to(dtype);
  };
  std::optional<AlibiTable> bias;
  if (config.alibi) bias.emplace(*config.alibi, size, dtype, device);
  // What the rows of one window see: all of them, and the last one alone.
  const auto causal = [&](int64_t layer, int64_t first_row) {
    const int64_t window = config.local_windows.empty() ? 0 : config.local_windows[layer];
    RangeView view;
    for (int64_t i = first_row; i < size; ++i) {
      view.first.push_back(window > 0 ? std::max<int64_t>(0, i + 1 - window) : 0);
      view.last.push_back(i + 1);
      if (bias) view.column.push_back(bias->column(0, i));
    }
    return view;
  };

  const at::Tensor embedded =
      decoder_.embed(tensor(tokens), shared ? at::Tensor() : tensor(position_of_row));
  at::Tensor x = embedded.index_select(0, rows);
  for (int64_t layer = 0; layer < config.layers; ++layer) {
    const bool is_last = layer + 1 == config.layers;
    Projection projection;
    if (in_parts_) {
      projection = decoder_.project(layer, layer == 0 ? embedded : x);
      if (layer == 0) {
        for (at::Tensor* heads : {&projection.query, &projection.key, &projection.value}) {
          *heads = heads->index_select(0, rows);
        }
      }
      const at::Tensor attended =
          attend_windows(decoder_, layer, projection, tables, size, is_last ? 1 : size);
      x = decoder_.finish(layer, is_last ? x.index_select(0, last) : x, attended);
      continue;
    }
    if (layer == 0) {
      projection = decoder_.project(0, embedded);
      projection.query =
          projection.query.index_select(0, is_last ? rows.index_select(0, last) : rows);
      projection.key = projection.key.index_select(0, rows);
      projection.value = projection.value.index_select(0, rows);
      if (is_last) x = x.index_select(0, last);
    } else if (is_last) {
      const at::Tensor x_last = x.index_select(0, last);
      projection = decoder_.project(layer, x, x_last);
      x = x_last;
    } else {
      projection = decoder_.project(layer, x);
    }
    const int64_t query_rows = is_last ? 1 : size;
    // [windows * rows, heads, head_dim] -> [windows, heads, rows, head_dim]
    const auto by_window = [&](const at::Tensor& heads, int64_t n) {
      return heads.view({windows, n, heads.size(1), config.head_dim}).transpose(1, 2).contiguous();
    };
    const at::Tensor query =
        by_window(placed(layer, projection.query, is_last ? last_tables : tables), query_rows);
    const at::Tensor key = by_window(placed(layer, projection.key, tables), size);
    const at::Tensor value = by_window(projection.value.contiguous().to(dtype), size);
    AttentionInput input = {.ranges = {causal(layer, size - query_rows)},
                            .keys = {},
                            .values = {},
                            .bias = bias ? &*bias : nullptr,
                            .sink_logit = decoder_.sink_logit(layer),
                            .scale = config.attention_scale,
                            .score_cap = config.score_cap};
    std::vector<at::Tensor> attended;
    for (int64_t w = 0; w < windows; ++w) {
      input.ranges.front().query = query[w];
      input.keys = key[w];
      input.values = value[w];
      attended.push_back(attend(input));
    }
    x = decoder_.finish(layer, x, at::cat(attended).to(decoder_.options().dtype));
  }
  return x;
}

}  // namespace sinkbench
