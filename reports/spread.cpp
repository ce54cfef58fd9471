#include "reports/spread.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <tuple>

#include "eval/results/common_tokens.h"
#include "policies/registry.h"
#include "reports/names.h"
#include "reports/statistics.h"

namespace sinkbench {
namespace {

/// Whether a cell's perplexity may stand beside another's.
bool counts(const CellResult& cell) {
  return cell.error.empty() && cell.perplexity && !cell.cell.dataset.is_task() &&
         std::isfinite(cell.perplexity->nll_mean);
}

/// The policy without its seed.
PolicySpec without_seed(PolicySpec policy) {
  if (policy.arguments.contains("seed")) policy.arguments["seed"] = 0;
  return policy;
}

double deviation(const std::vector<double>& values) {
  const double middle = mean(values);
  double squares = 0;
  for (const double value : values) squares += (value - middle) * (value - middle);
  return std::sqrt(squares / static_cast<double>(values.size() - 1));
}

auto setting(const CellResult& cell) {
  // The same text at another length, in pieces or with other BOS is no other text.
  const Cell& c = cell.cell;
  const DatasetSpec& d = c.dataset;
  return std::tie(cell.model_sha256, c.model, c.dtype, c.kv, c.engine, c.device, c.chunk, d.tokens,
                  d.reset, d.bos, d.bos_token, d.special_tokens);
}

}  // namespace

std::vector<Spread> spreads(const Results& results) {
  struct Group {
    const CellResult* example;
    PolicySpec policy;
    std::map<std::string, std::vector<double>> above;  // by text
  };
  std::vector<Group> groups;
  for (const CellResult& cell : results.cells) {
    if (!counts(cell) || is_plain_dense(cell.cell.policy)) continue;
    const auto dense =
        std::find_if(results.cells.begin(), results.cells.end(), [&](const CellResult& other) {
          return counts(other) && is_plain_dense(other.cell.policy) &&
                 other.dataset_sha256 == cell.dataset_sha256 && setting(other) == setting(cell);
        });
    if (dense == results.cells.end()) continue;
    const std::optional<double> above = nll_above(cell, *dense);
    if (!above) continue;
    const PolicySpec policy = without_seed(cell.cell.policy);
    auto group = std::find_if(groups.begin(), groups.end(), [&](const Group& g) {
      return g.policy == policy && setting(*g.example) == setting(cell);
    });
    if (group == groups.end()) {
      groups.push_back({.example = &cell, .policy = policy, .above = {}});
      group = groups.end() - 1;
    }
    group->above[cell.dataset_sha256].push_back(*above);
  }
  std::vector<Spread> result;
  for (const Group& group : groups) {
    if (group.above.size() < 2) continue;
    std::vector<double> texts, seeds;
    size_t fewest = group.above.begin()->second.size();
    for (const auto& [text, values] : group.above) {
      texts.push_back(mean(values));
      if (values.size() > 1) seeds.push_back(deviation(values));
      fewest = std::min(fewest, values.size());
    }
    const auto [least, most] = std::minmax_element(texts.begin(), texts.end());
    const bool known = policy_named(group.policy.name) != nullptr;
    const std::string label =
        known ? named_label(group.policy.name, make_policy(group.policy)->label())
              : named_label(group.policy.name, group.example->policy_label);
    result.push_back({.example = group.example,
                      .label = label,
                      .texts = std::ssize(texts),
                      .seeds = static_cast<int64_t>(fewest),
                      .mean = mean(texts),
                      .deviation = deviation(texts),
                      .least = *least,
                      .most = *most,
                      .over_seeds = seeds.empty() ? std::nullopt : std::optional(mean(seeds))});
  }
  return result;
}

Columns spread_table(const Results& results) {
  const Names names(measured_cells(results));
  Columns columns = {{.name = "model", .number = false, .key = true},
                     {.name = "policy", .number = false, .key = true},
                     {.name = "texts"},
                     {.name = "nats above dense"},
                     {.name = "over texts"},
                     {.name = "least"},
                     {.name = "most"},
                     {.name = "perplexity / dense's"},
                     {.name = "over seeds"}};
  const auto nats = [](double value) { return fmt::format("{:.4f}", value); };
  bool any_seeds = false;
  for (const Spread& spread : spreads(results)) {
    const std::vector<std::string> row = {names.model(*spread.example),
                                          spread.label,
                                          std::to_string(spread.texts),
                                          nats(spread.mean),
                                          nats(spread.deviation),
                                          nats(spread.least),
                                          nats(spread.most),
                                          fixed(std::exp(spread.mean), 3),
                                          spread.over_seeds ? nats(*spread.over_seeds) : none};
    any_seeds |= spread.over_seeds.has_value();
    for (size_t i = 0; i < row.size(); ++i) columns[i].cells.push_back(row[i]);
  }
  if (!any_seeds) columns.pop_back();
  return columns;
}

std::string spread_csv(const Results& results) {
  std::string text =
      "model,policy,dtype,kv,texts,seeds,nats_above_dense,deviation_over_texts,least,most,"
      "deviation_over_seeds\n";
  for (const Spread& s : spreads(results)) {
    const Cell& cell = s.example->cell;
    text += fmt::format("{},{},{},{},{},{},{},{},{},{},{}\n", csv_quoted(cell.model.path.string()),
                        csv_quoted(s.label), cell.dtype, csv_quoted(storage_label(cell.kv)),
                        s.texts, s.seeds, s.mean, s.deviation, s.least, s.most,
                        s.over_seeds ? fmt::format("{}", *s.over_seeds) : "");
  }
  return text;
}

}  // namespace sinkbench
