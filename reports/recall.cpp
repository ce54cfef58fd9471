#include "reports/recall.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <map>
#include <unordered_map>

#include "base/error.h"
#include "eval/metrics/batch_means.h"
#include "reports/names.h"
#include "reports/picture.h"
#include "reports/text_table.h"

namespace sinkbench {
namespace {

uint64_t pair_at(const std::vector<int32_t>& ids, int64_t t) {
  return static_cast<uint64_t>(static_cast<uint32_t>(ids[t - 1])) << 32 |
         static_cast<uint32_t>(ids[t]);
}

void add(RecallBin& bin, double nll, double& squares) {
  ++bin.tokens;
  bin.nll += nll;
  squares += nll * nll;
}

void finish(RecallBin& bin, double squares) {
  if (bin.tokens == 0) return;
  const auto n = static_cast<double>(bin.tokens);
  bin.nll /= n;
  bin.error = bin.tokens > 1 ? std::sqrt(std::max(0.0, (squares / n - bin.nll * bin.nll) / (n - 1)))
                             : std::nan("");
}

std::string distance_of(const RecallBin& bin) {
  return bin.least == bin.most ? std::to_string(bin.least)
                               : fmt::format("{}-{}", bin.least, bin.most);
}

}  // namespace

std::vector<int64_t> recall_distances(const FedStream& stream, int64_t rare) {
  const auto count = std::ssize(stream.ids);
  std::vector<bool> begins(count, false);
  for (const int64_t piece : stream.pieces) begins[piece] = true;
  std::unordered_map<uint64_t, int64_t> times, last;
  for (int64_t t = 1; t < count; ++t) {
    if (!begins[t]) ++times[pair_at(stream.ids, t)];
  }
  std::vector<int64_t> distances(count, 0);
  for (int64_t t = 0; t < count; ++t) {
    if (begins[t]) {
      last.clear();
      continue;
    }
    const uint64_t pair = pair_at(stream.ids, t);
    if (times[pair] > rare) continue;
    const auto [it, is_new] = last.try_emplace(pair, t);
    if (!is_new) distances[t] = t - std::exchange(it->second, t);
  }
  return distances;
}

RecallSplit split_recall(const CellResult& cell, const FedStream& stream,
                         std::span<const double> nll, int64_t rare) {
  if (cell.perplexity && cell.perplexity->stride != 1) {
    throw InputError::format("{}: one token in {} was scored; expected all of them (stride 1)",
                             cell.cell.id, cell.perplexity->stride);
  }
  const auto scored = std::ssize(stream.ids) - std::ssize(stream.pieces);
  if (std::ssize(nll) != scored) {
    throw InputError::format("{}: there are {} NLLs, and the text has {} scored tokens",
                             cell.nll_file, nll.size(), scored);
  }
  const std::vector<int64_t> distances = recall_distances(stream, rare);
  const int64_t farthest = *std::max_element(distances.begin(), distances.end());
  RecallSplit split{.cell = &cell, .bins = {}, .rest = {}};
  for (int64_t least = 1; least <= farthest; least *= 2) {
    split.bins.push_back({.least = least, .most = 2 * least - 1});
  }
  std::vector<double> squares(split.bins.size(), 0.0);
  std::vector<double> rest;
  size_t next = 0, piece = 0;
  for (int64_t t = 0; t < std::ssize(stream.ids); ++t) {
    if (piece < stream.pieces.size() && stream.pieces[piece] == t) {  // fed, not scored
      ++piece;
      continue;
    }
    const double value = nll[next++];
    if (distances[t] == 0) {
      rest.push_back(value);
    } else {
      const int bin = std::bit_width(static_cast<uint64_t>(distances[t])) - 1;
      add(split.bins[bin], value, squares[bin]);
    }
  }
  for (size_t i = 0; i < split.bins.size(); ++i) finish(split.bins[i], squares[i]);
  BatchMeans means(std::ssize(rest));
  for (const double value : rest) means.add(value);
  if (!rest.empty()) {
    split.rest = {.tokens = means.count(), .nll = means.mean(), .error = means.standard_error()};
  }
  return split;
}

std::string format_recall(std::span<const RecallSplit> splits, bool markdown, size_t width) {
  Columns columns = {{.name = "tokens ago", .number = true, .foldable = false, .key = true},
                     {.name = "tokens", .foldable = false, .key = true}};
  for (const RecallSplit& split : splits) {
    columns.push_back({.name = column_label(*split.cell), .foldable = false});
  }
  const auto add_row = [&](const std::string& name, const auto& bin_of) {
    columns[0].cells.push_back(name);
    columns[1].cells.push_back(std::to_string(bin_of(splits.front()).tokens));
    for (size_t i = 0; i < splits.size(); ++i) {
      const RecallBin& bin = bin_of(splits[i]);
      columns[i + 2].cells.push_back(std::isfinite(bin.error)
                                         ? fmt::format("{:.3f} ±{:.3f}", bin.nll, bin.error)
                                         : fixed(bin.nll, 3));
    }
  };
  for (size_t b = 0; b < splits.front().bins.size(); ++b) {
    if (splits.front().bins[b].tokens == 0) continue;
    add_row(distance_of(splits.front().bins[b]),
            [&](const RecallSplit& split) -> const RecallBin& { return split.bins[b]; });
  }
  add_row("others", [](const RecallSplit& split) -> const RecallBin& { return split.rest; });
  return render(columns, markdown, width);
}

std::string recall_csv(std::span<const RecallSplit> splits) {
  std::string text = "cell,policy,label,cache_size,least,most,tokens,nll,error\n";
  for (const RecallSplit& split : splits) {
    const CellResult& cell = *split.cell;
    const auto row = [&](const RecallBin& bin) {
      if (bin.tokens == 0) return;
      const bool hit = bin.least > 0;
      text += fmt::format("{},{},{},{},{},{},{},{},{}\n", csv_quoted(cell.cell.id),
                          csv_quoted(cell.cell.policy.name), csv_quoted(cell.policy_label),
                          cell.cache_size ? std::to_string(*cell.cache_size) : "",
                          hit ? std::to_string(bin.least) : "", hit ? std::to_string(bin.most) : "",
                          bin.tokens, bin.nll,
                          std::isfinite(bin.error) ? fmt::format("{}", bin.error) : "");
    };
    for (const RecallBin& bin : split.bins) row(bin);
    row(split.rest);
  }
  return text;
}

std::vector<Picture> recall_pictures(std::span<const std::vector<RecallSplit>> groups) {
  constexpr int64_t fewest = 10;  // tokens that a point stands for
  std::vector<Picture> pictures;
  for (const std::vector<RecallSplit>& splits : groups) {
    const Cell& first = splits.front().cell->cell;
    Picture picture{
        .name = groups.size() == 1 ? "recall" : fmt::format("recall-{}", pictures.size() + 1),
        .title = fmt::format("NLL of what stood in the text before: {}, {}, {}", model_name(first),
                             dataset_name(first), first.dtype),
        .x_label = "Tokens ago, at the least",
        .y_label = "NLL (nats), ± 1 standard error",
        .x_base_2 = true};
    for (const RecallSplit& split : splits) {
      Series series{.name = line_label(*split.cell), .policy = split.cell->cell.policy.name};
      for (const RecallBin& bin : split.bins) {
        if (bin.tokens < fewest || !std::isfinite(bin.nll)) continue;
        series.points.push_back({.x = static_cast<double>(bin.least),
                                 .y = bin.nll,
                                 .low = bin.nll - bin.error,
                                 .high = bin.nll + bin.error});
      }
      if (series.points.size() > 1) picture.series.push_back(std::move(series));
    }
    pictures.push_back(std::move(picture));
  }
  return pictures;
}

}  // namespace sinkbench
