#include <random>
#include <set>

#include "base/error.h"
#include "policies/properties.h"
#include "policies/registry.h"
#include "tests/catch.h"

using namespace sinkbench;

namespace {

std::set<int64_t> tokens(const View& view) {
  std::set<int64_t> result;
  for (const Range& range : view) {
    for (int64_t j = range.begin; j < range.end; ++j) result.insert(j);
  }
  return result;
}

/// What query t sees, whatever kind of policy it is.
View view_of(const Policy& policy, int64_t t) {
  if (const auto* index = dynamic_cast<const IndexPolicy*>(&policy)) return index->view(0, t);
  return dynamic_cast<const RecomputePolicy&>(policy).view(t);
}

const RecomputePolicy& as_recompute(const Policy& policy) {
  return dynamic_cast<const RecomputePolicy&>(policy);
}

}  // namespace

TEST_CASE("every registered policy keeps the terms of the interface") {
  std::mt19937 random(1);
  for (const PolicyEntry& entry : policy_registry()) {
    if (!entry.plugin.file.empty()) continue;  // of another test
    for (int repeat = 0; repeat < 20; ++repeat) {
      const PolicyArguments arguments = random_arguments(entry, random);
      std::vector<Positions> rules = entry.positions;
      rules.push_back(Positions::cache);
      for (const Positions rule : rules) {
        const int64_t cap = rule == Positions::capped ? 7 : 0;
        const auto policy = make_policy(entry.name, arguments, rule, cap);
        INFO(entry.name << " " << policy->label());
        CHECK(policy->positions() == rule);
        CHECK(policy->cap() == cap);
        CHECK(entry.is_score_policy() == (dynamic_cast<ScorePolicy*>(policy.get()) != nullptr));
      }
    }
    INFO(entry.name);
    CHECK(broken_property(entry) == "");
  }
}

TEST_CASE("a policy's arguments may be as large as they come") {
  std::mt19937 random(4);
  for (const PolicyEntry& entry : policy_registry()) {
    if (!entry.plugin.file.empty()) continue;  // of another test
    for (const PolicyParameter& parameter : entry.parameters) {
      PolicyArguments arguments = random_arguments(entry, random);
      const bool counted =  // below the capacity
          parameter.name == "sinks" || parameter.name == "recent" || parameter.name == "rows";
      if (counted && arguments.contains("capacity")) continue;
      if (parameter.list || parameter.only_with || parameter.real || !parameter.words.empty() ||
          (parameter.optional && !parameter.size))
        continue;
      if (entry.name == "openvino" && parameter.name == "every") continue;
      arguments[parameter.name] = largest_policy_argument - (parameter.odd ? 1 : 0);
      const auto policy = make_policy(entry.name, arguments);
      INFO(policy->label());
      if (!entry.is_score_policy()) CHECK(size(view_of(*policy, 100)) <= 100);
    }
  }
}

TEST_CASE("positions in the cache equal those of a cache that is re-numbered at every step") {
  std::mt19937 random(2);
  for (const PolicyEntry& entry : policy_registry()) {
    if (!entry.plugin.file.empty()) continue;  // of another test
    if (entry.is_score_policy()) continue;
    for (int repeat = 0; repeat < 20; ++repeat) {
      const auto policy = make_policy(entry.name, random_arguments(entry, random));
      for (int64_t t = 0; t < 60; ++t) {
        const View view = view_of(*policy, t);
        const std::vector<int64_t> query = query_positions(view, t, Positions::cache);
        REQUIRE(query.size() == view.size());
        int64_t place = 0;  // of the key in the cache, counted one by one
        for (size_t i = 0; i < view.size(); ++i) {
          for (int64_t j = view[i].begin; j < view[i].end; ++j, ++place) {
            REQUIRE(query[i] - j == size(view) - place);
          }
        }
        for (const int64_t position : query_positions(view, t, Positions::original)) {
          REQUIRE(position == t);
        }
      }
    }
  }
}

TEST_CASE("sinks+window keeps the first tokens and the last, as on paper") {
  const auto policy = make_policy("sinks", {{"sinks", 2}, {"window", 3}});
  CHECK(view_of(*policy, 0) == View{{0, 0}, {0, 0}});
  CHECK(view_of(*policy, 1) == View{{0, 1}, {1, 1}});
  CHECK(view_of(*policy, 4) == View{{0, 2}, {2, 4}});
  CHECK(view_of(*policy, 5) == View{{0, 2}, {2, 5}});
  CHECK(view_of(*policy, 9) == View{{0, 2}, {6, 9}});
  // The query sits at min(t, C) for a sink; a window key is at its true distance.
  CHECK(query_positions(view_of(*policy, 3), 3, Positions::cache) == std::vector<int64_t>{3, 3});
  CHECK(query_positions(view_of(*policy, 9), 9, Positions::cache) == std::vector<int64_t>{5, 9});
  CHECK(policy->capacity() == 5);
  CHECK(policy->label() == "2+3");
  CHECK(make_policy("sinks", {{"window", 252}})->label() == "4+252");  // four by default
}

TEST_CASE("window is sinks+window without sinks; dense keeps all; recompute counts the query") {
  const auto window = make_policy("window", {{"window", 3}});
  for (int64_t t = 0; t < 10; ++t) {
    CHECK(tokens(view_of(*window, t)) == tokens({{std::max<int64_t>(0, t - 3), t}}));
    CHECK(view_of(*make_policy("dense", {}), t) == View{{0, t}});
  }
  const auto recompute = make_policy("recompute", {{"window", 3}, {"stride", 2}});
  CHECK(tokens(view_of(*recompute, 1)) == tokens({{0, 1}}));
  CHECK(tokens(view_of(*recompute, 9)) == tokens({{7, 9}}));
  CHECK(recompute->capacity() == 2);
  CHECK(recompute->label() == "recompute 3 (1 in 2)");
  const auto anchored = make_policy("recompute", {{"sinks", 2}, {"window", 3}});
  CHECK(tokens(view_of(*anchored, 4)) == tokens({{0, 4}}));
  CHECK(tokens(view_of(*anchored, 5)) == tokens({{0, 2}, {3, 5}}));
  CHECK(tokens(view_of(*anchored, 9)) == tokens({{0, 2}, {7, 9}}));
  CHECK(anchored->capacity() == 4);
  CHECK(anchored->label() == "recompute 2+3");
  CHECK(as_recompute(*recompute).stride() == 2);
  CHECK(recompute->size() == 3);  // the query counted
  CHECK(make_policy("dense", {})->capacity() == std::nullopt);
}

TEST_CASE("strided keeps sinks, a window and every k-th of what left it, as on paper") {
  const auto policy =
      make_policy("strided", {{"sinks", 1}, {"window", 3}, {"stride", 4}, {"kept", 2}});
  CHECK(tokens(view_of(*policy, 4)) == std::set<int64_t>{0, 1, 2, 3});
  CHECK(tokens(view_of(*policy, 9)) == std::set<int64_t>{0, 4, 6, 7, 8});
  CHECK(tokens(view_of(*policy, 12)) == std::set<int64_t>{0, 4, 8, 9, 10, 11});
  CHECK(tokens(view_of(*policy, 17)) == std::set<int64_t>{0, 8, 12, 14, 15, 16});
  CHECK(policy->capacity() == 6);
  CHECK(policy->label() == "1+2/4+3");
  const auto all = make_policy("strided", {{"sinks", 0}, {"window", 1}, {"stride", 4}});
  CHECK(tokens(view_of(*all, 17)) == std::set<int64_t>{0, 4, 8, 12, 16});
  CHECK(all->capacity() == std::nullopt);
  CHECK(all->label() == "0+all/4+1");
}

TEST_CASE("shift drops the older half of what follows the sinks, as on paper and step by step") {
  const auto policy = make_policy("shift", {{"capacity", 8}, {"sinks", 2}});
  // The ninth token makes nine entries: floor((9 - 2) / 2) = 3 after the first two go.
  CHECK(tokens(view_of(*policy, 8)) == tokens({{0, 8}}));
  CHECK(tokens(view_of(*policy, 9)) == tokens({{0, 2}, {5, 9}}));
  CHECK(tokens(view_of(*policy, 11)) == tokens({{0, 2}, {5, 11}}));
  CHECK(tokens(view_of(*policy, 12)) == tokens({{0, 2}, {8, 12}}));
  CHECK(policy->label() == "2/8");
  for (const auto& [capacity, sinks] :
       {std::pair<int64_t, int64_t>{2, 0}, {2, 1}, {7, 4}, {64, 4}}) {
    const auto made = make_policy("shift", {{"capacity", capacity}, {"sinks", sinks}});
    std::vector<int64_t> entries;
    for (int64_t t = 0; t < 300; ++t) {
      REQUIRE(tokens(view_of(*made, t)) == std::set<int64_t>(entries.begin(), entries.end()));
      entries.push_back(t);
      const auto n = static_cast<int64_t>(entries.size());
      if (n <= capacity) continue;
      entries.erase(entries.begin() + sinks, entries.begin() + sinks + (n - sinks) / 2);
    }
  }
  CHECK_THROWS_WITH(make_policy("shift", {{"capacity", 4}}),
                    ContainsSubstring("sinks is 4; expected less than the capacity, 4"));
}

TEST_CASE("bad arguments are named with what was expected") {
  CHECK_THROWS_WITH(make_policy("windw", {}), ContainsSubstring("did you mean 'window'?"));
  CHECK_THROWS_WITH(make_policy("window", {}), ContainsSubstring("'window' is missing"));
  CHECK_THROWS_WITH(make_policy("window", {{"window", 0}}),
                    ContainsSubstring("window is 0; expected an integer of 1 or more"));
  CHECK_THROWS_WITH(make_policy("sinks", {{"sinks", -1}, {"window", 4}}),
                    ContainsSubstring("sinks is -1"));
  CHECK_THROWS_WITH(make_policy("sinks", {{"sink", 4}, {"window", 4}}),
                    ContainsSubstring("did you mean 'sinks'?"));
  CHECK_THROWS_WITH(make_policy("dense", {{"window", 4}}), ContainsSubstring("takes none"));
  CHECK_THROWS_WITH(make_policy("window", {{"window", int64_t{1} << 50}}),
                    ContainsSubstring("expected an integer"));
  CHECK_THROWS_WITH(make_policy("window", {{"window", 4}}, Positions::original),
                    ContainsSubstring("positions"));
  CHECK_THROWS_WITH(make_policy("window", {{"window", "four"}}),
                    ContainsSubstring("window is four; expected an integer of 1 or more"));
  const auto refusal = [](const char* name, const PolicyArguments& arguments) -> std::string {
    try {
      make_policy(name, arguments);
      return "";
    } catch (const InputError& error) {
      return error.what();
    }
  };
  CHECK_THAT(refusal("h2o", {}), ContainsSubstring("'capacity' is missing"));
  CHECK_THAT(refusal("h2o", {{"capacity", 64}, {"budget.by_layer", std::vector<int64_t>{64}}}),
             ContainsSubstring("both given"));
  CHECK_THAT(refusal("h2o", {{"capacity", 19}}),
             ContainsSubstring("4 first tokens and 16 last entries are protected, and the "
                               "capacity is 19"));
  CHECK(refusal("h2o", {{"capacity", 20}}).empty());
  CHECK_THAT(refusal("h2o", {{"budget.by_layer", std::vector<int64_t>{64, 19, 64}}}),
             ContainsSubstring("the capacity is 19"));
  CHECK_THAT(refusal("h2o", {{"capacity", 64}, {"score", "median"}}),
             ContainsSubstring("score is median; expected sum or mean or ema"));
  CHECK_THAT(refusal("h2o", {{"capacity", 64}, {"half_life", 8}}),
             ContainsSubstring("half_life has a meaning only with score: ema"));
  CHECK_THAT(refusal("h2o", {{"capacity", 64}, {"score", "ema"}}),
             ContainsSubstring("'half_life' is missing"));
  CHECK_THAT(refusal("h2o", {{"capacity", 64}, {"scope", "layer"}, {"reduce", "max"}}),
             ContainsSubstring("reduce has a meaning only with scope: head"));
  CHECK_THAT(refusal("tova", {{"capacity", 64}, {"reduce", "mean"}}),
             ContainsSubstring("reduce has a meaning only with scope: head"));
  CHECK_THAT(refusal("rkv", {{"capacity", 64}, {"scope", "layer"}}),
             ContainsSubstring("it reads keys, which each head has of its own"));
  CHECK_THAT(refusal("knorm", {{"capacity", 64}, {"scope", "layer"}}),
             ContainsSubstring("it doesn't look at attention weights"));
  CHECK_THAT(refusal("snapkv", {{"capacity", 64}, {"pool", 4}}),
             ContainsSubstring("pool is 4; expected an odd integer"));
  CHECK_THAT(refusal("snapkv", {{"capacity", 64}, {"rows", 61}}),
             ContainsSubstring("61 last entries are protected"));
  CHECK_THROWS_WITH(make_policy("h2o", {{"capacity", 64}}, Positions::capped),
                    ContainsSubstring("'cap: D' beside 'positions: capped'"));
  CHECK_THROWS_WITH(make_policy("h2o", {{"capacity", 64}}, Positions::cache, 8),
                    ContainsSubstring("'positions: capped' beside it"));
}

TEST_CASE("a query reads its own page and those with the largest bounds") {
  const ReadPolicy::Reading reading = {.page = 2, .pages = 3};
  using Pages = std::vector<int64_t>;
  const auto read = [&](const std::vector<double>& bounds) { return pages_read(reading, bounds); };
  CHECK(read({}) == Pages{0});
  CHECK(read({5, 1}) == Pages{0, 1, 2});  // all that there are
  CHECK(read({2.5, 2, 3, -1}) == Pages{0, 2, 4});
  CHECK(read({1, 1, 1, 1}) == Pages{0, 1, 4});  // of equals the older
}

TEST_CASE("what comes back to a view is found") {
  CHECK_FALSE(returned({}, {{0, 1}}, 1));
  CHECK_FALSE(returned({{0, 4}}, {{0, 2}, {3, 5}}, 5));
  CHECK_FALSE(returned({{0, 2}, {3, 5}}, {{0, 1}, {4, 6}}, 6));
  CHECK(returned({{0, 2}, {3, 5}}, {{0, 3}, {4, 6}}, 6) == 2);
  CHECK(returned({{3, 5}}, {{2, 6}}, 6) == 2);
  CHECK(returned({}, {{0, 2}}, 2) == 0);
}
