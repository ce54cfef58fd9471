#include <random>
#include <set>

#include "base/error.h"
#include "policies/registry.h"
#include "tests/catch.h"

using namespace sinkbench;

namespace {

/// Random arguments within bounds for any registered policy.
PolicyArguments random_arguments(const PolicyEntry& entry, std::mt19937& random) {
  PolicyArguments arguments;
  for (const PolicyParameter& parameter : entry.parameters) {
    arguments[parameter.name] =
        parameter.minimum + std::uniform_int_distribution<int64_t>(0, 12)(random);
  }
  return arguments;
}

std::set<int64_t> tokens(const View& view) {
  std::set<int64_t> result;
  for (const Range& range : view) {
    for (int64_t j = range.begin; j < range.end; ++j) result.insert(j);
  }
  return result;
}

}  // namespace

TEST_CASE("every registered policy keeps the terms of the interface") {
  std::mt19937 random(1);
  for (const PolicyEntry& entry : policy_registry()) {
    for (int repeat = 0; repeat < 20; ++repeat) {
      const PolicyArguments arguments = random_arguments(entry, random);
      for (const Positions rule : {Positions::cache, Positions::original}) {
        if (rule == Positions::original && !entry.has_positions) continue;
        const auto policy = make_policy(entry.name, arguments, rule);
        INFO(entry.name << " " << policy->label());
        View last = policy->view(0);
        CHECK(size(last) == 0);
        std::set<int64_t> evicted;
        for (int64_t t = 0; t < 80; ++t) {
          const View view = policy->view(t);
          REQUIRE(view.size() == last.size());
          int64_t end_before = 0;
          for (size_t i = 0; i < view.size(); ++i) {
            REQUIRE(view[i].begin >= end_before);  // ascending and disjoint
            REQUIRE(view[i].end >= view[i].begin);
            REQUIRE(view[i].end <= t);                // causal
            REQUIRE(view[i].begin >= last[i].begin);  // never decreases
            REQUIRE(view[i].end >= last[i].end);
            end_before = view[i].end;
          }
          REQUIRE(view.back().end == t);  // what is kept reaches up to the query
          if (policy->capacity()) REQUIRE(size(view) <= *policy->capacity());
          const std::set<int64_t> seen = tokens(view);
          for (const int64_t j : seen) REQUIRE(!evicted.contains(j));
          for (int64_t j = 0; j < t; ++j) {
            if (!seen.contains(j)) evicted.insert(j);
          }
          last = view;
        }
        if (policy->capacity())
          CHECK(size(last) == *policy->capacity());  // full, not merely bounded
      }
    }
  }
}

TEST_CASE("positions in the cache equal those of a cache that is re-numbered at every step") {
  std::mt19937 random(2);
  for (const PolicyEntry& entry : policy_registry()) {
    for (int repeat = 0; repeat < 20; ++repeat) {
      const auto policy = make_policy(entry.name, random_arguments(entry, random));
      for (int64_t t = 0; t < 60; ++t) {
        const View view = policy->view(t);
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
  CHECK(policy->view(0) == View{{0, 0}, {0, 0}});
  CHECK(policy->view(1) == View{{0, 1}, {1, 1}});
  CHECK(policy->view(4) == View{{0, 2}, {2, 4}});
  CHECK(policy->view(5) == View{{0, 2}, {2, 5}});
  CHECK(policy->view(9) == View{{0, 2}, {6, 9}});
  // The query sits at min(t, C) for a sink; a window key is at its true distance.
  CHECK(query_positions(policy->view(3), 3, Positions::cache) == std::vector<int64_t>{3, 3});
  CHECK(query_positions(policy->view(9), 9, Positions::cache) == std::vector<int64_t>{5, 9});
  CHECK(policy->capacity() == 5);
  CHECK(policy->label() == "2+3");
  CHECK(make_policy("sinks", {{"window", 252}})->label() == "4+252");  // four by default
}

TEST_CASE("window is sinks+window without sinks; dense keeps all; recompute counts the query") {
  const auto window = make_policy("window", {{"window", 3}});
  for (int64_t t = 0; t < 10; ++t) {
    CHECK(tokens(window->view(t)) == tokens({{std::max<int64_t>(0, t - 3), t}}));
    CHECK(make_policy("dense", {})->view(t) == View{{0, t}});
  }
  const auto recompute = make_policy("recompute", {{"window", 3}, {"stride", 2}});
  CHECK(tokens(recompute->view(1)) == tokens({{0, 1}}));
  CHECK(tokens(recompute->view(9)) == tokens({{7, 9}}));
  CHECK(recompute->capacity() == 2);
  CHECK(recompute->label() == "recompute 3 (1 in 2)");
  const auto anchored = make_policy("recompute", {{"sinks", 2}, {"window", 3}});
  CHECK(tokens(anchored->view(4)) == tokens({{0, 4}}));
  CHECK(tokens(anchored->view(5)) == tokens({{0, 2}, {3, 5}}));
  CHECK(tokens(anchored->view(9)) == tokens({{0, 2}, {7, 9}}));
  CHECK(anchored->capacity() == 4);
  CHECK(anchored->label() == "recompute 2+3");
  CHECK(recompute->recomputes());
  CHECK(recompute->stride() == 2);
  CHECK(make_policy("dense", {})->capacity() == std::nullopt);
}

TEST_CASE("bad arguments are named with what was expected") {
  CHECK_THROWS_WITH(make_policy("windw", {}), ContainsSubstring("did you mean 'window'?"));
  CHECK_THROWS_WITH(make_policy("window", {}), ContainsSubstring("'window' is missing"));
  CHECK_THROWS_WITH(make_policy("window", {{"window", 0}}),
                    ContainsSubstring("window is 0; expected an integer from 1"));
  CHECK_THROWS_WITH(make_policy("sinks", {{"sinks", -1}, {"window", 4}}),
                    ContainsSubstring("sinks is -1"));
  CHECK_THROWS_WITH(make_policy("sinks", {{"sink", 4}, {"window", 4}}),
                    ContainsSubstring("did you mean 'sinks'?"));
  CHECK_THROWS_WITH(make_policy("dense", {{"window", 4}}), ContainsSubstring("takes none"));
  CHECK_THROWS_WITH(make_policy("window", {{"window", int64_t{1} << 50}}),
                    ContainsSubstring("expected an integer"));
  CHECK_THROWS_WITH(make_policy("window", {{"window", 4}}, Positions::original),
                    ContainsSubstring("positions"));
}
