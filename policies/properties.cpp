#include "policies/properties.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <set>
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
  std::set<int64_t> gone;
  for (int64_t t = 0; t < tokens; ++t) {
    const View view = view_of(policy, layer, t);
    const auto broken = [&](const std::string& what) {
      return fmt::format("view of layer {}, token {} {}", layer, t, what);
    };
    int64_t end = 0;
    std::set<int64_t> seen;
    for (const Range& range : view) {
      if (range.begin < end || range.end < range.begin) {
        return broken("has ranges that are not ascending and disjoint");
      }
      if (range.end > t) return broken("has tokens that are still to come");
      end = range.end;
      for (int64_t j = range.begin; j < range.end; ++j) seen.insert(j);
    }
    const auto size = static_cast<int64_t>(seen.size());
    if (policy.capacity() && size > *policy.capacity()) {
      return broken(fmt::format("has {} tokens, and the capacity is {}", size, *policy.capacity()));
    }
    for (int64_t j = 0; j < t; ++j) {
      if (!seen.contains(j)) {
        gone.insert(j);
      } else if (gone.contains(j)) {
        return broken(fmt::format("has token {}, which had left", j));
      }
    }
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
  const Needs needs = policy.needs();
  const int64_t head_dim = 8, group = 2;
  for (const int64_t n : {int64_t{1}, int64_t{40}, int64_t{41}}) {
    uint64_t draws = 0;
    const auto draw = [&] { return uniform(seed, 0, 0, 0, static_cast<int64_t>(++draws)); };
    // What isn't asked for is not there.
    const auto numbers = [&](bool asked, int64_t count) {
      std::vector<double> result(asked ? count : 0);
      for (double& x : result) x = draw();
      return result;
    };
    std::vector<int64_t> place(n);
    for (int64_t i = 0; i < n; ++i) place[i] = 3 * i;
    std::vector<double> sum = numbers(needs.sum, n), squares = numbers(needs.squares, n),
                        last = numbers(needs.last, n), rows = numbers(true, needs.rows * n),
                        keys = numbers(needs.keys, n * head_dim),
                        values = numbers(needs.values, n * head_dim),
                        query_sum = numbers(needs.queries, group * head_dim),
                        products = numbers(needs.queries, group * head_dim * head_dim), entry_score,
                        own(needs.own * n);
    const std::vector<double> frequencies = {1, .1, .01, .001};
    for (int64_t i = 0; needs.entry_score && i < n; ++i) {
      const std::vector<double> key = numbers(true, head_dim);
      const Entry entry = {
          .layer = 1,
          .head = 0,
          .place = place[i],
          .key = key,
          .rotated = needs.keys ? std::span<const double>(key) : std::span<const double>()};
      entry_score.push_back(policy.enter(entry));
      if (policy.enter(entry) != entry_score.back()) {
        return "enter gives another score when it is asked again";
      }
    }
    if (needs.own > 0) {
      for (int64_t t = place.back(); t < place.back() + 3; ++t) {
        std::vector<double> weights = numbers(true, n);
        double total = 0;
        for (const double w : weights) total += w;
        for (double& w : weights) w /= total;
        policy.observe({.layer = 1, .head = 0, .t = t, .place = place, .weights = weights},
                       {own.data(), n});
      }
    }
    const Round round = {.layer = 1,
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
                         .queries = {.count = 7, .sum = query_sum, .products = products},
                         .rotation = {.frequencies = frequencies}};
    constexpr double untouched = 12345.5;
    std::vector<double> scores(n + 1, untouched), again(n + 1, untouched);
    policy.score(round, std::span(scores).first(n));
    policy.score(round, std::span(again).first(n));
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
