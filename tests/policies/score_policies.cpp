// What score policies choose, on paper.
#include <cmath>
#include <map>

#include "policies/properties.h"
#include "policies/registry.h"
#include "policies/values.h"
#include "tests/catch.h"
#include "tests/policies/arguments.h"

using namespace sinkbench;

namespace {

/// One layer, one head, a cache of 3. Affinities (exp of logits) of query t to token j; a weight is
/// an affinity over the sum of what is visible.
const std::vector<std::vector<double>> affinity = {
    {1}, {3, 1}, {2, 1, 1}, {4, 1, 3, 2}, {2, 2, 5, 1, 2}};
const std::vector<std::vector<double>> key = {{3, 4}, {0, 1}, {1, 1}, {2, 0}};
const std::vector<double> value = {1, -1, 0, 2};

/// The tokens that a policy evicts after t = 3 and t = 4, of weights and keys worked out here.
std::vector<int64_t> choices(const std::string& name, PolicyArguments arguments, int64_t recent,
                             int64_t tokens) {
  arguments.merge(PolicyArguments{{"capacity", 3}, {"sinks", 0}, {"recent", recent}});
  const auto made = make_policy(name, arguments);
  const auto& policy = dynamic_cast<const ScorePolicy&>(*made);
  const Needs needs = policy.needs();
  std::vector<int64_t> place, result;
  std::map<int64_t, double> sum, square, last;
  std::map<int64_t, std::vector<double>> own;
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
      square[j] += weight * weight;
      last[j] = weight;
      rows[t % std::max<int64_t>(needs.rows, 1)][j] = weight;
    }
    const int64_t n = static_cast<int64_t>(place.size());
    std::vector<double> sums, squares, lasts, all_rows, keys, values, entry_scores, scores(n);
    std::vector<double> owns(needs.own * n);
    for (int64_t i = 0; i < n; ++i) {
      lasts.push_back(last[place[i]]);
      own[place[i]].resize(needs.own);
      for (int64_t r = 0; r < needs.own; ++r) owns[r * n + i] = own[place[i]][r];
    }
    policy.observe({.layer = 0, .head = 0, .t = t, .place = place, .weights = lasts},
                   {owns.data(), n});
    for (int64_t i = 0; i < n; ++i) {
      for (int64_t r = 0; r < needs.own; ++r) own[place[i]][r] = owns[r * n + i];
    }
    if (n <= 3) continue;
    for (const int64_t j : place) {
      sums.push_back(sum[j]);
      squares.push_back(square[j]);
      values.push_back(value.at(j < 4 ? j : 0));
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
                         .keep = 3,
                         .place = place,
                         .sum = sums,
                         .squares = squares,
                         .last = lasts,
                         .rows = {all_rows.data(), n},
                         .row_count = std::min(needs.rows, t + 1),
                         .own = {owns.data(), n},
                         .keys = keys,
                         .head_dim = 2,
                         .values = values,
                         .value_dim = 1,
                         .entry_score = entry_scores};
    score_entries(policy, round, scores);
    const std::vector<int64_t> leave = evicted(policy.retention(), round, scores);
    REQUIRE(leave.size() == 1);
    result.push_back(place[leave[0]]);
    place.erase(place.begin() + leave[0]);
  }
  return result;
}

using Tokens = std::vector<int64_t>;

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
  CHECK(choices("roco", {}, 1, 4) == Tokens{1});
  // Of 0, 1 and 2, the one whose weights vary the most is safe: means .2 and .275 are left.
  CHECK(choices("roco", {{"ratio", 0.34}}, 1, 4) == Tokens{1});
  // Two are safe: token 2, whose weights don't vary at all, is left alone.
  CHECK(choices("roco", {{"ratio", 0.67}}, 1, 4) == Tokens{2});
  // How often each had at least the average: 4, 0, 1.
  CHECK(choices("scissorhands", {}, 1, 4) == Tokens{1});
  CHECK(choices("scissorhands", {{"window", 0}}, 1, 4) == Tokens{1});
  // The most of both rows' shares of 0 and 1, .8 and 1/3.
  CHECK(choices("morphkv", {{"rows", 2}}, 0, 4) == Tokens{1});
  CHECK(choices("morphkv", {{"rows", 2}, {"fusion", "sum"}}, 0, 4) == Tokens{1});
  // .2, .1889, .3 and .325; with the plain mean .5 of the values: .3333, .1667, .2143 and .375.
  CHECK(choices("tova", {{"values", "caote"}}, 0, 4) == Tokens{1});
  CHECK(choices("tova", {{"values", "fast_caote"}}, 0, 4) == Tokens{1});
  // 2.65, .6 and 0.
  CHECK(choices("h2o", {{"values", "norm"}}, 1, 4) == Tokens{2});
}

TEST_CASE(
    "scores combined with values, by hand and as the change of the output that they stand for") {
  const std::vector<double> weights = {.4, .1, .3, .2};
  const auto combined = [&](Retention::Values how, std::vector<double> scores) {
    combine_with_values(how, value, 1, scores);
    return scores;
  };
  using enum Retention::Values;
  CHECK(combined(none, weights) == weights);
  CHECK_THAT(combined(norm, weights), Catch::Matchers::Approx(std::vector<double>{.4, .1, 0, .4}));
  // The output changes by so much where one entry is gone and the others' weights are made to sum
  // to 1 again.
  std::vector<double> change;
  for (size_t gone = 0; gone < 4; ++gone) {
    double all = 0, rest = 0, left = 0;
    for (size_t i = 0; i < 4; ++i) {
      all += weights[i] * value[i];
      if (i != gone) rest += weights[i] * value[i], left += weights[i];
    }
    change.push_back(std::abs(rest / left - all));
  }
  CHECK_THAT(combined(caote, weights), Catch::Matchers::Approx(change));
  CHECK_THAT(change,
             Catch::Matchers::Approx(std::vector<double>{.2, .188889, .3, .325}).epsilon(1e-5));
  CHECK_THAT(
      combined(fast_caote, weights),
      Catch::Matchers::Approx(std::vector<double>{.333333, .166667, .214286, .375}).epsilon(1e-5));
  // Any multiple of the weights is as good; what is infinite stays and takes no part.
  const double most = std::numeric_limits<double>::infinity();
  CHECK_THAT(combined(caote, {4, 1, 3, 2}), Catch::Matchers::Approx(change));
  CHECK(combined(caote, {most, 0, 1, 0}) == std::vector<double>{most, 0, most, 0});
  CHECK(combined(norm, {most, 2, 1, 1}) == std::vector<double>{most, 2, 0, 2});
  CHECK(combined(caote, {0, 0, 0, 0}) == std::vector<double>{0, 0, 0, 0});
}

namespace {

/// The scores that a policy gives n entries at places 0, 1, ... with these statistics.
std::vector<double> scores_of(const std::string& name, PolicyArguments arguments, Round round,
                              int64_t n) {
  arguments.merge(PolicyArguments{{"capacity", 4}, {"sinks", 0}, {"recent", 0}});
  const auto policy = make_policy(name, arguments);
  std::vector<int64_t> place(n);
  for (int64_t i = 0; i < n; ++i) place[i] = i;
  round.place = place;
  round.next = n;
  round.keep = 4;
  std::vector<double> scores(n, NAN);
  dynamic_cast<const ScorePolicy&>(*policy).score(round, scores);
  return scores;
}

}  // namespace

TEST_CASE("LagKV: shares of what stands out from the next partition") {
  // (1, 3) and (3, 3) on the scale from (0, 0) to (4, 4): deviations of .353553 and 0.
  const std::vector<double> both = {1, 3, 3, 3, 0, 0, 4, 4, 5, 5};
  const Round round = {.layer = 0,
                       .head = 0,
                       .next = 0,
                       .keep = 4,
                       .place = {},
                       .keys = both,
                       .head_dim = 2,
                       .values = both,
                       .value_dim = 2};
  CHECK_THAT(scores_of("lagkv", {{"lag", 2}, {"score", "share"}}, round, 5),
             Catch::Matchers::Approx(std::vector<double>{.587479, .412521, 1, 1, 1}).epsilon(1e-5));
  CHECK(scores_of("lagkv", {{"lag", 2}}, round, 5) == std::vector<double>{.5, 0, 1, 1, 1});
  // Too few for two partitions: by age.
  CHECK(scores_of("lagkv", {{"lag", 3}}, round, 5) == std::vector<double>{0, .2, .4, .6, .8});
  // A dimension in which all that follow are alike says nothing.
  const std::vector<double> flat = {1, 3, 3, 9, 0, 7, 4, 7};
  CHECK(scores_of("lagkv", {{"lag", 2}, {"score", "share"}},
                  {.layer = 0,
                   .head = 0,
                   .next = 0,
                   .keep = 4,
                   .place = {},
                   .keys = flat,
                   .head_dim = 2,
                   .values = flat,
                   .value_dim = 2},
                  4)[2] == 1);
}

TEST_CASE("R-KV: of three equal keys the first is the most redundant") {
  const std::vector<double> keys = {1, 0, 1, 0, 1, 0}, row = {.5, .3, .2};
  const Round round = {.layer = 0,
                       .head = 0,
                       .next = 0,
                       .keep = 4,
                       .place = {},
                       .rows = {row.data(), 3},
                       .row_count = 1,
                       .keys = keys,
                       .head_dim = 2};
  // The softmax of 2/3, 1/3 and 0; the last entry is protected.
  const std::vector<double> scores = scores_of("rkv", {{"rows", 1}, {"lambda", 0.0}}, round, 3);
  CHECK(scores[0] == Approx(-.4484).epsilon(1e-4));
  CHECK(scores[1] == Approx(-.3213).epsilon(1e-4));
  CHECK(std::isinf(scores[2]));
  // The attention alone, pooled and apart: .5 and .3 of .8.
  CHECK(scores_of("rkv", {{"rows", 1}, {"lambda", 1.0}, {"pool", 1}}, round, 3)[1] == Approx(.375));
  CHECK(scores_of("rkv", {{"rows", 1}, {"lambda", 1.0}, {"pool", 3}}, round, 3)[1] == Approx(.625));
}

TEST_CASE("Expected Attention: a mean of 1 and a variance of 4, keys 0 and 1") {
  const std::vector<double> keys = {0, 1}, values = {1, 1}, sum = {1}, products = {5};
  const Round round = {.layer = 0,
                       .head = 0,
                       .next = 0,
                       .keep = 4,
                       .place = {},
                       .keys = keys,
                       .head_dim = 1,
                       .values = values,
                       .value_dim = 1,
                       .queries = {.count = 1, .sum = sum, .products = products}};
  // The softmax of 0 and 1 + 2.
  CHECK_THAT(scores_of("expected_attention", {}, round, 2),
             Catch::Matchers::Approx(std::vector<double>{.047426, .952574}).epsilon(1e-5));
  CHECK_THAT(scores_of("expected_attention", {{"moments", "mean"}}, round, 2),
             Catch::Matchers::Approx(
                 std::vector<double>{1 / (1 + std::exp(1)), std::exp(1) / (1 + std::exp(1))}));
}

TEST_CASE("Expected Attention expects what a known query gives at the places to come") {
  // One query again and again, and one place to come: the weights of that query there.
  const std::vector<double> query = {.3, -.7, .5, .2}, frequencies = {1.0, .1};
  const std::vector<double> keys = {.1, .9, -.4, .3, 1.2, -.5, .8, -.1, .4, .4, -.9, .6};
  std::vector<double> sum, products, values(12, 0.5);
  for (const double q : query) sum.push_back(6 * q);
  for (const double a : query) {
    for (const double b : query) products.push_back(6 * a * b);
  }
  const Round round = {.layer = 0,
                       .head = 0,
                       .next = 0,
                       .keep = 4,
                       .place = {},
                       .keys = keys,
                       .head_dim = 4,
                       .values = values,
                       .value_dim = 4,
                       .queries = {.count = 6, .sum = sum, .products = products, .scale = 0.5},
                       .rotation = {.frequencies = frequencies, .magnitude = 1.1}};
  std::vector<double> turned(4), expected;
  for (int c = 0; c < 2; ++c) {
    const double angle = 3 * frequencies[c];  // the next place
    turned[c] = 1.1 * (query[c] * std::cos(angle) - query[c + 2] * std::sin(angle));
    turned[c + 2] = 1.1 * (query[c + 2] * std::cos(angle) + query[c] * std::sin(angle));
  }
  double total = 0;
  for (int i = 0; i < 3; ++i) {
    expected.push_back(std::exp(0.5 * dot(turned.data(), keys.data() + 4 * i, 4)));
    total += expected.back();
  }
  for (double& e : expected) e /= total;  // and the values' norm is 1
  CHECK_THAT(scores_of("expected_attention", {{"future", 1}}, round, 3),
             Catch::Matchers::Approx(expected));
}

TEST_CASE("OpenVINO: weights pooled forwards, and whole blocks") {
  const auto made = make_policy(
      "openvino", {{"capacity", 4}, {"sinks", 0}, {"recent", 0}, {"every", 2}, {"pool", 2}});
  const auto& policy = dynamic_cast<const ScorePolicy&>(*made);
  std::vector<double> weights = {.4, .1, .3, .2}, own(4), scores(4);
  std::vector<int64_t> place = {0, 1, 2, 3};
  policy.observe({.layer = 0, .head = 0, .t = 3, .place = place, .weights = weights},
                 {own.data(), 4});
  CHECK(own == std::vector<double>{.4, .3, .3, .2});
  CHECK_THAT(
      scores_of("openvino", {{"capacity", 2}, {"every", 2}, {"pool", 2}, {"score", "sum"}},
                {.layer = 0, .head = 0, .next = 0, .keep = 4, .place = {}, .own = {own.data(), 4}},
                4),
      Catch::Matchers::Approx(std::vector<double>{.7, .7, .5, .5}));
  CHECK_THROWS_WITH(
      make_policy("openvino", {{"capacity", 30}, {"every", 8}, {"recent", 8}, {"sinks", 8}}),
      ContainsSubstring("policy openvino: capacity is 30; expected a multiple of "
                        "every, 8, the size of a block"));
}

TEST_CASE("Scissorhands counts the last queries alone") {
  const auto made =
      make_policy("scissorhands", {{"capacity", 4}, {"sinks", 0}, {"recent", 0}, {"window", 50}});
  const auto& policy = dynamic_cast<const ScorePolicy&>(*made);
  const int64_t rows = policy.needs().own;
  CHECK(rows == 3);
  std::vector<double> own(rows);
  std::vector<int64_t> place = {0};
  // Above the average at every third query, and the plain count of the last 50.
  std::vector<bool> above;
  for (int64_t t = 0; t < 200; ++t) {
    above.push_back(t % 3 == 0);
    const std::vector<double> weight = {above.back() ? 1.0 : 0.5};
    policy.observe({.layer = 0, .head = 0, .t = t, .place = place, .weights = weight},
                   {own.data(), 1});
    const auto from = above.end() - std::min<int64_t>(50, t + 1);
    REQUIRE(own[0] == static_cast<double>(std::count(from, above.end(), true)));
  }
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
    if (!entry.plugin.file.empty()) continue;  // of another test
    if (!entry.is_score_policy()) continue;
    const auto made = make_policy(entry.name, test::arguments_of_size(entry, 24));
    const auto& policy = dynamic_cast<const ScorePolicy&>(*made);
    INFO(policy.label());
    CHECK((policy.needs().weights() || policy.needs().ahead > 0) == entry.weights);
    SampleRound any(policy, 3, 30);
    any.round.keep = 24;
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
  retention.sinks = 2;
  retention.recent = 1;
  std::vector<int64_t> place = {0, 5, 6, 7, 8, 9};
  Round round = {.layer = 0, .head = 2, .next = 10, .keep = 4, .place = place};
  const auto leave = [&](const std::vector<double>& scores) {
    return evicted(retention, round, scores);
  };
  CHECK(leave({-9, 3, 1, 2, 4, -9}) == Tokens{2, 3});
  CHECK(leave({0, 1, 1, 1, 1, 0}) == Tokens{1, 2});                  // equals: the older ones
  CHECK(leave({0, 1, 1 - 1e-12, 1, 1 - 1e-12, 0}) == Tokens{1, 2});  // equal in float32
  CHECK(leave({0, 5, 5, 5, 5, -INFINITY}) == Tokens{1, 2});
  round.keep = 5;
  CHECK(leave({0, 3, 1, 2, 1, 0}) == Tokens{2});
  round.keep = 6;
  CHECK(leave({0, 3, 1, 2, 1, 0}).empty());
  round.keep = 5;
  CHECK_THROWS_WITH(leave({0, 3, NAN, 2, 1, 0}),
                    ContainsSubstring("policy any: the score of token 6 in layer 0, head 2 is not "
                                      "a number, in the round after token 9"));
}

TEST_CASE("budgets of layers and heads, on paper") {
  // PyramidKV: 56 without the window of 8; the integer steps of these numbers lose nothing.
  Budget pyramid{.kind = Budget::Kind::pyramid, .capacity = 64, .beta = 20};
  const Heads model = {.layers = 4, .heads = 3};
  int64_t sum = 0;
  for (int64_t layer = 0; layer < 4; ++layer) {
    const int64_t kept = pyramid.of(layer, 0, model, 8);
    CHECK(kept == std::vector<int64_t>{118, 82, 46, 10}[layer]);
    CHECK(pyramid.of(layer, 2, model, 8) == kept);
    sum += kept - 8;
  }
  CHECK(sum == 4 * 56);
  CHECK(pyramid.of(0, 0, {.layers = 1, .heads = 1}, 8) == 64);
  const Budget heads{.kind = Budget::Kind::by_head, .each = {9, 8, 7, 6, 5, 4}};
  CHECK(heads.of(1, 2, {.layers = 2, .heads = 3}, 0) == 4);
  CHECK(heads.mismatch({.layers = 2, .heads = 3}).empty());
  CHECK(heads.mismatch({.layers = 3, .heads = 3}) ==
        "budget.by_head has 6 capacities, and the model 3 layers of 3 key heads");
  CHECK(heads.least() == 4);
  CHECK(heads.most() == 9);
}

TEST_CASE("an adaptive budget: heads share their layer's entries by their scores") {
  const auto shares = [](int64_t capacity, double floor, int64_t guarded,
                         const std::vector<std::vector<double>>& scores) {
    std::vector<std::vector<int64_t>> places;
    std::vector<std::span<const double>> score_spans(scores.begin(), scores.end());
    for (const auto& head : scores) {
      places.emplace_back();
      for (size_t i = 0; i < head.size(); ++i) places.back().push_back(static_cast<int64_t>(i));
    }
    std::vector<std::span<const int64_t>> place_spans(places.begin(), places.end());
    return share_out({.kind = Budget::Kind::adaptive, .capacity = capacity, .floor = floor},
                     guarded, score_spans, place_spans);
  };
  // Of .9 .5 .3 .15 three are the first head's.
  const std::vector<std::vector<double>> scores = {{.5, .3, .15, .05}, {.9, .05, .03, .02}};
  CHECK(shares(2, 0, 0, scores) == Tokens{3, 1});
  CHECK(shares(2 + 7, 0, 7, scores) == Tokens{10, 8});
  // Rounding: counts of 3 and 1 become 2.4 and .8, of which one entry is lost.
  CHECK(shares(2, .2, 0, scores) == Tokens{2, 1});
  CHECK(shares(2, 1, 0, scores) == Tokens{2, 2});
  std::vector<std::vector<double>> many = {{}, {}};
  for (int i = 0; i < 40; ++i) {
    many[0].push_back(i < 30 ? 2 : 0);
    many[1].push_back(i < 10 ? 2 : 0);
  }
  CHECK(shares(20, .2, 0, many) == Tokens{28, 12});
  // Halves go to the even number: of counts of 5, 1 and 0 3.5, 1.5 and 1, an entry more.
  CHECK(shares(2, .5, 0, {{9, 8, 7, 6, 5}, {4}, {}}) == Tokens{4, 2, 1});
  // Of 3 and 1 2.5 and 1.5.
  CHECK(shares(2, .5, 0, scores) == Tokens{2, 2});
  // Among equals the younger, then the later head.
  CHECK(shares(1, 0, 0, {{1, 1}, {1, 1}}) == Tokens{1, 1});
  CHECK(shares(1, 0, 0, {{1}, {1}, {1}}) == Tokens{1, 1, 1});
}

TEST_CASE("what a budget can't be is refused") {
  using Arguments = PolicyArguments;
  const auto refused = [](Arguments arguments, const std::string& expected) {
    CHECK_THROWS_WITH(make_policy("h2o", arguments), ContainsSubstring(expected));
  };
  const std::vector<int64_t> list = {64, 64};
  refused({{"capacity", 64}, {"budget.by_head", list}},
          "capacity and budget.by_head are both given");
  refused({{"budget.by_layer", list}, {"budget.by_head", list}},
          "budget.by_layer and budget.by_head are both given");
  refused({{"budget.pyramid.beta", 20}},
          "budget: pyramid is of a capacity; expected one beside it");
  refused({}, "'capacity' is missing");
  refused({{"budget.by_layer", list}, {"budget.pyramid.beta", 20}},
          "budget: pyramid is of a capacity; expected one beside it");
  refused({{"capacity", 64}, {"budget.pyramid.beta", 20}, {"budget.adaptive.floor", .2}},
          "are both given");
  refused({{"capacity", 64}, {"budget.adaptive.floor", 1.5}},
          "budget.adaptive.floor is 1.5; expected a number from 0 to 1");
  refused({{"capacity", 64}, {"budget.adaptive.floor", .2}, {"scope", "layer"}},
          "with a budget by head each keeps tokens of its own; expected scope: head");
  refused({{"budget.by_head", std::vector<int64_t>{64, 10}}},
          "4 first tokens and 16 last entries are protected, and the capacity is 10");
  CHECK(make_policy("h2o", {{"capacity", 64}, {"budget.adaptive.floor", .25}})->label() ==
        "h2o 64, adaptive 0.25");
  CHECK(make_policy("h2o", {{"capacity", 64}, {"budget.pyramid.beta", 8}})->label() ==
        "h2o 64, pyramid 8");
  const std::vector<int64_t> heads = {64, largest_policy_argument};
  CHECK(make_policy("latest", {{"budget.by_head", heads}})->label() == "latest 64 to all by head");
}
