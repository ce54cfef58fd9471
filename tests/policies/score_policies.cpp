// What score policies choose, on paper.
#include <cmath>
#include <map>

#include "policies/registry.h"
#include "tests/catch.h"
#include "tests/policies/arguments.h"

using namespace sinkbench;

namespace {

/// One layer, one head, a cache of 3. Affinities (exp of logits) of query t to token j; a weight is
/// an affinity over the sum of what is visible.
const std::vector<std::vector<double>> affinity = {
    {1}, {3, 1}, {2, 1, 1}, {4, 1, 3, 2}, {2, 2, 5, 1, 2}};
const std::vector<std::vector<double>> key = {{3, 4}, {0, 1}, {1, 1}, {2, 0}};

/// The tokens that a policy evicts after t = 3 and t = 4, of weights and keys worked out here.
std::vector<int64_t> choices(const std::string& name, PolicyArguments arguments, int64_t recent,
                             int64_t tokens) {
  arguments.merge(PolicyArguments{{"capacity", 3}, {"sinks", 0}, {"recent", recent}});
  const auto made = make_policy(name, arguments);
  const auto& policy = dynamic_cast<const ScorePolicy&>(*made);
  const Needs needs = policy.needs();
  std::vector<int64_t> place, result;
  std::map<int64_t, double> sum, last;
  std::map<int64_t, std::map<int64_t, double>> rows;  // by row, then by token
  for (int64_t t = 0; t < tokens; ++t) {
    place.push_back(t);
    double visible = 0;
    for (const int64_t j : place) visible += affinity[t][j];
    last.clear();
    rows[t % std::max<int64_t>(needs.rows, 1)].clear();
    for (const int64_t j : place) {
      const double weight = affinity[t][j] / visible;
      sum[j] = sum[j] * needs.decay + weight;
      last[j] = weight;
      rows[t % std::max<int64_t>(needs.rows, 1)][j] = weight;
    }
    const int64_t n = static_cast<int64_t>(place.size());
    if (n <= 3) continue;
    std::vector<double> sums, lasts, all_rows, keys, entry_scores, scores(n);
    for (const int64_t j : place) {
      sums.push_back(sum[j]);
      lasts.push_back(last[j]);
      const auto k = key.at(j < 4 ? j : 0);
      keys.insert(keys.end(), k.begin(), k.end());
      if (needs.entry_score) {
        entry_scores.push_back(
            policy.enter({.layer = 0, .head = 0, .place = j, .key = k, .rotated = k}));
      }
    }
    for (int64_t r = 0; r < needs.rows; ++r) {
      for (const int64_t j : place) all_rows.push_back(rows[r][j]);
    }
    const Round round = {.layer = 0,
                         .head = 0,
                         .next = t + 1,
                         .place = place,
                         .sum = sums,
                         .last = lasts,
                         .rows = all_rows.data(),
                         .row_stride = n,
                         .row_count = std::min(needs.rows, t + 1),
                         .keys = keys,
                         .head_dim = 2,
                         .entry_score = entry_scores};
    policy.score(round, scores);
    const std::vector<int64_t> leave = evicted(policy.retention(), round, scores);
    REQUIRE(leave.size() == 1);
    result.push_back(place[leave[0]]);
    place.erase(place.begin() + leave[0]);
  }
  return result;
}

using Tokens = std::vector<int64_t>;

/// A round of n entries at places 0, 10, 20 ..., each number of which is a draw.
struct AnyRound {
  AnyRound(const ScorePolicy& policy, int64_t n, int64_t head_dim) {
    const Needs needs = policy.needs();
    uint64_t draws = 0;
    const auto fill = [&](std::vector<double>& values, int64_t size) {
      for (int64_t i = 0; i < size; ++i) values.push_back(uniform(3, 0, 0, 0, ++draws));
    };
    for (int64_t i = 0; i < n; ++i) place.push_back(10 * i);
    fill(sum, needs.sum ? n : 0);
    fill(last, needs.last ? n : 0);
    fill(rows, needs.rows * n);
    fill(keys, needs.keys ? n * head_dim : 0);
    fill(entry_score, needs.entry_score ? n : 0);
    // What isn't asked for is not there.
    round = {.layer = 1,
             .head = 0,
             .next = 10 * n - 5,
             .place = place,
             .sum = sum,
             .last = last,
             .rows = rows.data(),
             .row_stride = n,
             .row_count = needs.rows,
             .keys = keys,
             .head_dim = head_dim,
             .entry_score = entry_score};
  }
  std::vector<int64_t> place;
  std::vector<double> sum, last, rows, keys, entry_score;
  Round round;
};

}  // namespace

TEST_CASE("the worked example: who leaves a cache of three") {
  CHECK(choices("tova", {}, 0, 5) == Tokens{1, 3});
  CHECK(choices("h2o", {}, 1, 5) == Tokens{2, 3});
  CHECK(choices("h2o", {}, 0, 4) == Tokens{3});
  CHECK(choices("h2o", {{"score", "mean"}}, 1, 4) == Tokens{1});
  // A half-life so long that it is the sum, and one so short that only the last weight counts.
  CHECK(choices("h2o", {{"score", "ema"}, {"half_life", 1'000'000}}, 1, 5) == Tokens{2, 3});
  CHECK(choices("snapkv", {{"rows", 2}, {"pool", 1}}, 0, 4) == Tokens{1});
  // Average pooling makes both .35 + .9 over 3: of equals the older leaves.
  CHECK(choices("snapkv", {{"rows", 2}, {"pool", 3}}, 0, 4) == Tokens{0});
  // The larger of the two neighbours is .45 for both.
  CHECK(choices("snapkv", {{"rows", 2}, {"pool", 3}, {"pooling", "max"}}, 0, 4) == Tokens{0});
  CHECK(choices("knorm", {}, 0, 4) == Tokens{0});
  CHECK(choices("keydiff", {}, 0, 4) == Tokens{2});
}

TEST_CASE("an ema halves after its half-life") {
  const auto policy = make_policy("h2o", {{"capacity", 64}, {"score", "ema"}, {"half_life", 8}});
  CHECK(std::pow(dynamic_cast<const ScorePolicy&>(*policy).needs().decay, 8) == Approx(0.5));
}

TEST_CASE("draws are those of SplitMix64, on every machine") {
  // By the reference implementation in Python: mix folded over seed, layer, head, place, round.
  CHECK(uniform(0, 0, 0, 0, 0) == 0.47141042966848024);
  CHECK(uniform(7, 2, 1, 33, 0) == 0.2623362877813341);
  CHECK(uniform(123456789, 11, 3, 1000000, 1000001) == 0.23316146062199916);
  double sum = 0;
  for (int64_t i = 0; i < 10000; ++i) sum += uniform(1, 0, 0, i, 0);
  CHECK(std::abs(sum / 10000 - 0.5) < 0.02);
}

TEST_CASE("what a score policy asks for is enough, and heads are alike to it") {
  for (const PolicyEntry& entry : policy_registry()) {
    if (!entry.is_score_policy()) continue;
    const auto made = make_policy(entry.name, test::arguments_of_size(entry, 24));
    const auto& policy = dynamic_cast<const ScorePolicy&>(*made);
    INFO(policy.label());
    CHECK(policy.needs().weights() == entry.weights);
    AnyRound any(policy, 30, 8);
    std::vector<double> scores(30, NAN), again(30, NAN);
    policy.score(any.round, scores);
    for (const double score : scores) CHECK(score == score);
    policy.score(any.round, again);
    CHECK(scores == again);  // pure
    if (entry.name != "random") {
      any.round.head = 3;
      policy.score(any.round, again);
      CHECK(scores == again);
    }
    const std::vector<int64_t> leave = evicted(policy.retention(), any.round, scores);
    CHECK(leave.size() == 6);
    for (const int64_t i : leave) {
      CHECK(any.place[i] >= policy.retention().sinks);
      CHECK(i < 30 - policy.retention().recent);
    }
  }
}

TEST_CASE("eviction goes by the score in float32, then by age, around what is protected") {
  Retention retention;
  retention.name = "any";
  retention.capacity = {4};
  retention.sinks = 2;
  retention.recent = 1;
  std::vector<int64_t> place = {0, 5, 6, 7, 8, 9};
  const Round round = {.layer = 0,
                       .head = 2,
                       .next = 10,
                       .place = place,
                       .sum = {},
                       .last = {},
                       .row_stride = 0,
                       .row_count = 0,
                       .keys = {},
                       .head_dim = 0,
                       .entry_score = {}};
  const auto leave = [&](const std::vector<double>& scores) {
    return evicted(retention, round, scores);
  };
  CHECK(leave({-9, 3, 1, 2, 4, -9}) == Tokens{2, 3});
  CHECK(leave({0, 1, 1, 1, 1, 0}) == Tokens{1, 2});                  // equals: the older ones
  CHECK(leave({0, 1, 1 - 1e-12, 1, 1 - 1e-12, 0}) == Tokens{1, 2});  // equal in float32
  CHECK(leave({0, 5, 5, 5, 5, -INFINITY}) == Tokens{1, 2});
  retention.capacity = {5};
  CHECK(leave({0, 3, 1, 2, 1, 0}) == Tokens{2});
  retention.capacity = {6};
  CHECK(leave({0, 3, 1, 2, 1, 0}).empty());
  retention.capacity = {5};
  CHECK_THROWS_WITH(leave({0, 3, NAN, 2, 1, 0}),
                    ContainsSubstring("policy any: the score of token 6 in layer 0, head 2 is not "
                                      "a number, in the round after token 9"));
}
