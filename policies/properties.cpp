#include "policies/properties.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "base/error.h"

namespace sinkbench {
namespace {

constexpr int64_t tokens = 80;

/// What query t sees in a layer, whatever kind of policy it is.
View view_of(const Policy& policy, int64_t layer, int64_t t) {
  if (const auto* index = dynamic_cast<const IndexPolicy*>(&policy)) return index->view(layer, t);
  return dynamic_cast<const RecomputePolicy&>(policy).view(t);
}

std::string broken_view(const Policy& policy, int64_t layer) {
  View before;
  for (int64_t t = 0; t < tokens; ++t) {
    const View view = view_of(policy, layer, t);
    const auto broken = [&](const std::string& what) {
      return fmt::format("view of layer {}, token {} {}", layer, t, what);
    };
    int64_t end = 0;
    for (const Range& range : view) {
      if (range.begin < end || range.end < range.begin) {
        return broken("has ranges that are not ascending and disjoint");
      }
      if (range.end > t) return broken("has tokens that are still to come");
      end = range.end;
    }
    if (policy.capacity() && size(view) > *policy.capacity()) {
      return broken(
          fmt::format("has {} tokens, and the capacity is {}", size(view), *policy.capacity()));
    }
    if (const auto place = returned(before, view, t)) {
      return broken(fmt::format("has token {}, which had left", *place));
    }
    before = view;
    if (view_of(policy, layer, t) != view) return broken("is another when it is asked for again");
  }
  for (const int64_t t : {tokens - 1, tokens / 2, int64_t{1}}) {  // in any order
    const View view = view_of(policy, layer, t);
    view_of(policy, layer, 0);
    if (view_of(policy, layer, t) != view) {
      return fmt::format("view of layer {}, token {} depends on what was asked before", layer, t);
    }
  }
  return "";
}

std::string broken_score(const ScorePolicy& policy, uint64_t seed) {
  for (const int64_t n : {int64_t{1}, int64_t{40}, int64_t{41}}) {
    const SampleRound sample(policy, seed, n);
    for (size_t i = 0; i < sample.entry_score.size(); ++i) {
      if (SampleRound(policy, seed, n).entry_score[i] != sample.entry_score[i]) {
        return "enter gives another score when it is asked again";
      }
    }
    constexpr double untouched = 12345.5;
    std::vector<double> scores(n + 1, untouched), again(n + 1, untouched);
    policy.score(sample.round, std::span(scores).first(n));
    policy.score(sample.round, std::span(again).first(n));
    if (scores.back() != untouched) return fmt::format("score writes more than {} scores", n);
    for (int64_t i = 0; i < n; ++i) {
      if (std::isnan(scores[i])) {
        return fmt::format("the score of entry {} of {} is not a number", i, n);
      }
    }
    if (scores != again) return "score gives other scores when it is asked again";
  }
  return "";
}

}  // namespace

SampleRound::SampleRound(const ScorePolicy& policy, uint64_t seed, int64_t n) {
  constexpr int64_t head_dim = 8, group = 2;
  const Needs needs = needs_of(policy);
  int64_t draws = 0;
  const auto draw = [&](bool asked, int64_t count) {
    std::vector<double> result(asked ? count : 0);
    for (double& x : result) x = uniform(seed, 0, 0, 0, ++draws);
    return result;
  };
  for (int64_t i = 0; i < n; ++i) place.push_back(3 * i);
  sum = draw(needs.sum, n);
  squares = draw(needs.squares, n);
  last = draw(needs.last, n);
  rows = draw(true, needs.rows * n);
  keys = draw(needs.keys, n * head_dim);
  values = draw(needs.values, n * head_dim);
  query_sum = draw(needs.queries, group * head_dim);
  query_products = draw(needs.queries, group * head_dim * head_dim);
  ahead = draw(needs.ahead > 0, n);
  frequencies = {1, .1, .01, .001};
  const std::span<const double> nothing;
  for (int64_t i = 0; needs.entry_score && i < n; ++i) {
    const std::vector<double> key = draw(true, head_dim);
    entry_score.push_back(policy.enter({.layer = 1,
                                        .head = 0,
                                        .place = place[i],
                                        .key = key,
                                        .rotated = needs.keys ? key : nothing}));
  }
  own.resize(needs.own * n);
  for (int64_t t = place.back(); needs.own > 0 && t < place.back() + 3; ++t) {
    std::vector<double> weights = draw(true, n);
    double total = 0;
    for (const double w : weights) total += w;
    for (double& w : weights) w /= total;
    policy.observe({.layer = 1, .head = 0, .t = t, .place = place, .weights = weights},
                   {own.data(), n});
  }
  round = {.layer = 1,
           .head = 0,
           .next = place.back() + 3,
           .keep = std::max<int64_t>(1, n / 2),
           .place = place,
           .sum = sum,
           .squares = squares,
           .last = last,
           .rows = {rows.data(), n},
           .row_count = needs.rows,
           .own = {own.data(), n},
           .keys = keys,
           .head_dim = head_dim,
           .values = values,
           .value_dim = head_dim,
           .entry_score = entry_score,
           .queries = {.count = 7, .sum = query_sum, .products = query_products},
           .rotation = {.frequencies = frequencies},
           .ahead = ahead};
}

PolicyArguments random_arguments(const PolicyEntry& entry, std::mt19937& random) {
  const auto any = [&] { return std::uniform_int_distribution<int64_t>(0, 12)(random); };
  PolicyArguments arguments;
  for (const PolicyParameter& parameter : entry.parameters) {
    if (parameter.list || parameter.only_with || (parameter.optional && !parameter.size)) continue;
    if (parameter.real) {
      const auto [least, most] = *parameter.real;
      arguments[parameter.name] = least + (most - least) * static_cast<double>(any()) / 12;
    } else if (parameter.words.empty()) {
      arguments[parameter.name] =
          std::min(parameter.maximum, parameter.minimum + (parameter.odd ? 2 : 1) * any());
    } else if (parameter.name != "score") {  // which may ask for another
      arguments[parameter.name] = parameter.words[any() % parameter.words.size()];
    }
  }
  // Of whole blocks, sizes are multiples of it.
  if (entry.name == "openvino") arguments["every"] = 1;
  if (arguments.contains("scope") && arguments["scope"] == PolicyValue("layer")) {
    arguments.erase("reduce");
  }
  // Where a capacity counts what is protected, it is above that.
  if (const auto it = arguments.find("capacity"); it != arguments.end()) {
    int64_t capacity = it->second.integer();
    for (const char* counted : {"sinks", "recent", "rows"}) {
      if (arguments.contains(counted)) capacity += arguments[counted].integer();
    }
    it->second = capacity;
  }
  return arguments;
}

std::string broken_property(const PolicyEntry& entry) {
  constexpr int repeats = 20;
  std::mt19937 random(1);
  std::string refused;
  int made = 0;
  for (int repeat = 0; repeat < repeats; ++repeat) {
    std::unique_ptr<Policy> policy;
    std::string broken;
    try {
      policy = make_policy(entry.name, random_arguments(entry, random));
      ++made;
    } catch (const InputError& error) {  // which it may refuse
      refused = error.what();
      continue;
    }
    try {
      if (const auto* score = dynamic_cast<const ScorePolicy*>(policy.get())) {
        broken = broken_score(*score, static_cast<uint64_t>(repeat));
      } else {
        for (int64_t layer = 0; layer < 3 && broken.empty(); ++layer) {
          broken = broken_view(*policy, layer);
        }
      }
    } catch (const std::exception& exception) {
      broken = exception.what();
    }
    if (!broken.empty()) return fmt::format("{}: {}", policy->label(), broken);
  }
  return made > 0 ? ""
                  : fmt::format("none of {} choices of arguments is taken: {}", repeats, refused);
}

}  // namespace sinkbench
