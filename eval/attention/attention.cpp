#include "eval/attention/attention.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <limits>

#include "eval/attention/attention_kernel.h"

namespace sinkbench {
namespace {

at::Tensor attend_in_kernel(const AttentionInput& input) {
  const at::Tensor& first_query = input.ranges.front().query;
  const int64_t heads = first_query.size(0);
  const int64_t n = first_query.size(1);
  const int64_t head_dim = first_query.size(2);
  at::Tensor output = at::empty({n, heads * head_dim}, at::kFloat);
  std::vector<at::Tensor> queries;  // kept alive while the kernel reads them
  std::vector<RangeOfBlock> ranges;
  for (const RangeView& range : input.ranges) {
    queries.push_back(range.query.contiguous());
    ranges.push_back({.query = queries.back().data_ptr<float>(),
                      .begin = range.first.data(),
                      .end = range.last.data(),
                      .bias_offset = input.bias != nullptr ? range.column.data() : nullptr});
  }
  const BlockAttention block = {
      .queries = n,
      .heads = heads,
      .kv_heads = input.keys.size(0),
      .head_dim = head_dim,
      .keys = input.keys.size(1),
      .key_stride = input.keys.stride(0) / head_dim,
      .key = input.keys.data_ptr<float>(),
      .value = input.values.data_ptr<float>(),
      .scale = static_cast<float>(input.scale),
      .score_cap = static_cast<float>(input.score_cap),
      .bias_table = input.bias != nullptr ? input.bias->values().data_ptr<float>() : nullptr,
      .bias_stride = input.bias != nullptr ? input.bias->values().size(1) : 0,
      .sink_logit = input.sink_logit.defined() ? input.sink_logit.data_ptr<float>() : nullptr,
      .output = output.data_ptr<float>()};
  if (input.scattered.spans.empty()) {
    attend_block(block, ranges);
    return output;
  }
  const ScatteredView& view = input.scattered;
  std::vector<ScatteredEntries::Span> spans;
  for (const ScatteredView::Span& span : view.spans) {
    spans.push_back(
        {span.begin, span.end, span.entries.data(), static_cast<int64_t>(span.entries.size())});
  }
  const bool rotated = view.table.cosine.defined();
  const at::Tensor query = view.query.contiguous();
  const ScatteredEntries scattered = {
      .spans = spans,
      .query = query.data_ptr<float>(),
      .key = view.keys.data_ptr<float>(),
      .cosine = rotated ? view.table.cosine.data_ptr<float>() : nullptr,
      .sine = rotated ? view.table.sine.data_ptr<float>() : nullptr,
      .rotated = rotated ? view.rotary->dims : 0,
      .bias_offset = input.bias != nullptr ? view.column.data() : nullptr,
      .bias_place = view.place.empty() ? nullptr : view.place.data()};
  attend_block(block, ranges, &scattered);
  return output;
}

/// Queries `first` to `first + count` of the block, all of the span that is named, if one is.
AttentionInput rows_of(const AttentionInput& input, int64_t first, int64_t count,
                       const ScatteredView::Span* span) {
  const auto cut = [&](const std::vector<int64_t>& values) {
    return values.empty()
               ? values
               : std::vector<int64_t>(values.begin() + first, values.begin() + first + count);
  };
  AttentionInput part = {.ranges = {},
                         .keys = input.keys,
                         .values = input.values,
                         .bias = input.bias,
                         .sink_logit = input.sink_logit,
                         .scale = input.scale,
                         .score_cap = input.score_cap};
  for (const RangeView& range : input.ranges) {
    part.ranges.push_back({.query = range.query.narrow(1, first, count),
                           .first = cut(range.first),
                           .last = cut(range.last),
                           .column = cut(range.column)});
  }
  if (span == nullptr) return part;
  const ScatteredView& all = input.scattered;
  part.scattered = {.spans = {*span},
                    .query = all.query.narrow(1, first, count),
                    .keys = all.keys,
                    .table = all.table,
                    .rotary = all.rotary,
                    .column = cut(all.column),
                    .place = all.place};
  return part;
}

/// All queries in one go.
at::Tensor attend_at_once(const AttentionInput& input) {
  const at::Tensor& query = input.ranges.front().query;
  const int64_t heads = query.size(0);
  const int64_t n = query.size(1);
  const int64_t head_dim = query.size(2);
  const int64_t kv_heads = input.keys.size(0);
  const int64_t share = heads / kv_heads;  // query heads for each key head
  const auto integers = query.options().dtype(at::kLong);
  const auto column_of = [&](const std::vector<int64_t>& values) {
    return at::tensor(values, at::kLong).to(query.device()).unsqueeze(1);
  };

  std::vector<at::Tensor> scores, values;
  for (const RangeView& range : input.ranges) {
    const int64_t begin = range.first.front();
    const int64_t m = range.last.back() - begin;
    if (m <= 0) continue;
    // The query heads of one key head are laid below each other: keys are never repeated.
    const at::Tensor rows = range.query.reshape({kv_heads, share * n, head_dim});
    at::Tensor score = at::bmm(rows, input.keys.narrow(1, begin, m).transpose(1, 2))
                           .mul_(input.scale)
                           .view({heads, n, m});
    cap_scores(score, input.score_cap);
    const at::Tensor key = at::arange(begin, begin + m, integers);
    if (input.bias != nullptr) {
      const int64_t places = input.bias->values().size(1);
      const at::Tensor columns = (column_of(range.column) + key).clamp(0, places - 1);
      score = score + input.bias->values().index_select(1, columns.flatten()).view({heads, n, m});
    }
    const at::Tensor unseen =
        (key < column_of(range.first)).logical_or(key >= column_of(range.last));
    score.masked_fill_(unseen, -std::numeric_limits<double>::infinity());
    scores.push_back(score);
    values.push_back(input.values.narrow(1, begin, m));
  }
  if (!input.scattered.spans.empty() && !input.scattered.spans.front().entries.empty()) {
    const ScatteredView& view = input.scattered;
    const std::vector<int64_t>& entries = view.spans.front().entries;
    const int64_t m = static_cast<int64_t>(entries.size());
    const at::Tensor index = at::tensor(entries, at::kLong).to(query.device());
    at::Tensor keys = view.keys.index_select(1, index);
    if (view.table.cosine.defined()) {
      const RotaryTable table = {view.table.cosine.narrow(0, 0, m),
                                 view.table.sine.narrow(0, 0, m)};
      keys = rotate(*view.rotary, keys.transpose(0, 1), table).transpose(0, 1);
    }
    at::Tensor score =
        at::bmm(view.query.reshape({kv_heads, share * n, head_dim}), keys.transpose(1, 2))
            .mul_(input.scale)
            .view({heads, n, m});
    cap_scores(score, input.score_cap);
    if (input.bias != nullptr) {
      const at::Tensor place =
          view.place.empty()
              ? at::arange(m, integers)
              : at::tensor(view.place, at::kLong).to(query.device()).index_select(0, index);
      const at::Tensor columns = column_of(view.column) + place;
      score = score + input.bias->values().index_select(1, columns.flatten()).view({heads, n, m});
    }
    scores.push_back(score);
    values.push_back(input.values.index_select(1, index));
  }
  if (input.sink_logit.defined()) {
    scores.push_back(
        input.sink_logit.to(query.scalar_type()).view({heads, 1, 1}).expand({heads, n, 1}));
    values.push_back(at::zeros({kv_heads, 1, head_dim}, query.options()));
  }
  const at::Tensor weights = at::softmax(at::cat(scores, -1), -1);
  return at::bmm(weights.view({kv_heads, share * n, -1}), at::cat(values, 1))
      .view({heads, n, head_dim})
      .transpose(0, 1)
      .reshape({n, heads * head_dim});
}

}  // namespace

void cap_scores(at::Tensor& scores, double cap) {
  if (cap != 0.0) scores.div_(cap).tanh_().mul_(cap);
}

at::Tensor attend(const AttentionInput& input) {
  const bool rows_are_packed =
      input.keys.stride(1) == input.keys.size(2) && input.values.stride(1) == input.keys.size(2) &&
      input.keys.stride(2) == 1 && input.values.strides() == input.keys.strides();
  if (input.keys.device().is_cpu() && input.keys.scalar_type() == at::kFloat && rows_are_packed) {
    return attend_in_kernel(input);
  }
  return attend_in_tensors(input);
}

at::Tensor attend_in_tensors(const AttentionInput& input, int64_t pairs_at_once) {
  const int64_t n = input.ranges.front().query.size(1);
  const int64_t heads = input.ranges.front().query.size(0);
  const int64_t rows = std::clamp<int64_t>(pairs_at_once / (heads * input.keys.size(1)), 1, n);
  const std::vector<ScatteredView::Span>& spans = input.scattered.spans;
  if (rows == n && spans.size() <= 1) return attend_at_once(input);
  std::vector<at::Tensor> parts;
  size_t span = 0;
  for (int64_t row = 0; row < n;) {
    int64_t count = std::min(rows, n - row);
    const ScatteredView::Span* within = nullptr;
    if (!spans.empty()) {
      while (spans[span].end <= row) ++span;
      within = &spans[span];
      count = std::min(count, within->end - row);
    }
    parts.push_back(attend_at_once(rows_of(input, row, count, within)));
    row += count;
  }
  return at::cat(parts);
}

}  // namespace sinkbench
