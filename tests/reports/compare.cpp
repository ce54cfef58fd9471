#include "reports/compare.h"

#include <array>
#include <chrono>
#include <cmath>
#include <cstring>
#include <numeric>
#include <random>
#include <thread>
#include <utility>

#include "base/error.h"
#include "eval/engines/stepwise.h"
#include "eval/metrics/batch_means.h"
#include "eval/results/nll_file.h"
#include "eval/run/machine.h"
#include "eval/run/run.h"
#include "policies/registry.h"
#include "tests/catch.h"
#include "tests/data.h"
#include "tests/eval/experiment/example.h"
#include "tests/files.h"

using namespace sinkbench;
namespace fs = std::filesystem;

namespace {

const Thresholds defaults;

/// Results as they are, each cell's NLLs made by a formula and shifted by `shift`.
MeasuredRun example_run(Results results = test::example_results(), float shift = 0) {
  return {.name = "example", .results = std::move(results), .nll = [shift](const CellResult& cell) {
            NllSeries series;
            for (int64_t i = 0; i < cell.perplexity->scored; ++i) {
              series.tokens.push_back(3 + std::sin(static_cast<float>(i)) +
                                      shift * (1 + std::cos(0.7F * static_cast<float>(i))));
            }
            const std::vector<double>& tokens = series.tokens;
            for (size_t begin = 0; begin + 64 <= tokens.size(); begin += 64) {
              double sum = 0;
              for (size_t i = begin; i < begin + 64; ++i) sum += tokens[i];
              series.block_means.push_back(sum / 64);
            }
            return series;
          }};
}

/// Changed results against the example's.
template <typename Change>
Comparison against_example(Change change, const Thresholds& thresholds = defaults) {
  Results results = test::example_results();
  change(results);
  return compare(example_run(), example_run(results), thresholds);
}

const QuantityComparison& find(const Comparison& comparison, Quantity quantity, size_t cell = 0) {
  for (const QuantityComparison& q : comparison.cells.at(cell).quantities) {
    if (q.quantity == quantity) return q;
  }
  throw std::out_of_range(to_string(quantity));
}

bool flagged(const Comparison& comparison, Quantity quantity) {
  const Verdict verdict = find(comparison, quantity).verdict;
  return verdict == Verdict::worse || verdict == Verdict::better;
}

/// Real measurements of the bundled model under 4+8 on a text that the repository has.
class Bench {
 public:
  Bench() : decoder_(Decoder::load(model, {})) {
    cell_.id = "tiny-sinks-4+8";
    cell_.model = {.path = model};
    cell_.dataset = {.texts = {test::data("../../LICENSE")}, .tokens = 1500};
    cell_.policy = {.name = "sinks", .arguments = {{"sinks", 4}, {"window", 8}}};
    cell_.threads = 1;
    cell_.latency = {.warmup = 16, .samples = 64};
  }

  /// As `run` leaves it, read back.
  MeasuredRun measure() {
    return save([](CellResult&) {});
  }
  /// As a program would leave it whose 4+8 keeps another number of tokens.
  MeasuredRun measure_with_window(int64_t window) {
    Cell other = cell_;
    other.policy.arguments["window"] = window;
    return save([](CellResult&) {}, other);
  }
  /// Decode steps of the real engine in turn, those of the second kind each with a sleep: what the
  /// machine does meanwhile, it does to both.
  std::pair<LatencyResult, LatencyResult> time_in_turn(std::chrono::duration<double> sleep) {
    const auto policy = make_policy(cell_.policy.name, cell_.policy.arguments, Positions::cache);
    StepwiseEngine engine(decoder_, dynamic_cast<const IndexPolicy&>(*policy));
    engine.fill(100, 100, 100);
    for (int i = 0; i < 16; ++i) engine.step(7);
    std::array<LatencyResult, 2> kinds;
    for (int round = 0; round < 5; ++round) {
      for (int i = 0; i < 24; ++i) {
        const int kind = (i + i / 2) % 2;  // in the order a b b a
        const auto begin = std::chrono::steady_clock::now();
        engine.step(7);
        if (kind == 1 && sleep.count() > 0) std::this_thread::sleep_for(sleep);
        const std::chrono::duration<double, std::milli> time =
            std::chrono::steady_clock::now() - begin;
        kinds[kind].samples_ms.push_back(time.count());
      }
      for (LatencyResult& kind : kinds) kind.rounds.push_back({.samples = 12});
    }
    for (LatencyResult& kind : kinds) {
      kind.cache_entries = 12;
      kind.samples = static_cast<int64_t>(kind.samples_ms.size());
      kind.p50_ms = quantile(kind.samples_ms, 0.5);
    }
    return {kinds[0], kinds[1]};
  }

 private:
  template <typename Change>
  MeasuredRun save(Change change) {
    return save(change, cell_);
  }
  template <typename Change>
  MeasuredRun save(Change change, const Cell& measured) {
    const fs::path folder = folder_.path() / std::to_string(++runs_);
    fs::create_directories(folder / "nll");
    Results results{.info = describe_run("bench", ""), .cells = {}};
    CellResult result = runner_.run(measured, folder / "nll" / (cell_.id + ".f32"), results.info);
    result.cell = cell_;
    result.latency.at(0).cache_entries = 12;  // by which timings are joined
    change(result);
    results.cells.push_back(result);
    write_results(results, folder);
    return read_run(folder);
  }

  const fs::path model = test::data("../../models/tiny");
  test::TemporaryFolder folder_;
  Runner runner_{Progress::Style::silent};
  Decoder decoder_;
  Cell cell_;
  int runs_ = 0;
};

}  // namespace

TEST_CASE("a policy that evicts one token too many is caught in perplexity and in entries") {
  Bench bench;
  const MeasuredRun before = bench.measure();
  const Comparison comparison = compare(before, bench.measure_with_window(7), defaults);
  const QuantityComparison& perplexity = find(comparison, Quantity::perplexity);
  INFO(format_comparison(comparison, false));
  CHECK(perplexity.verdict == Verdict::worse);
  CHECK(*perplexity.low > 0);
  CHECK(find(comparison, Quantity::cache_entries).verdict == Verdict::worse);
  CHECK(comparison.outcome() == Outcome::regression);
}

TEST_CASE("one key-value entry more is caught in memory") {
  Bench bench;
  const MeasuredRun before = bench.measure();
  const Comparison comparison = compare(before, bench.measure_with_window(9), defaults);
  for (const Quantity quantity :
       {Quantity::cache_entries, Quantity::kv_bytes_formula, Quantity::kv_bytes_held}) {
    INFO(to_string(quantity));
    CHECK(find(comparison, quantity).verdict == Verdict::worse);
  }
  CHECK(find(comparison, Quantity::weight_bytes).verdict == Verdict::same);
  CHECK(comparison.outcome() == Outcome::regression);
}

TEST_CASE("a slower decode step is caught in latency", "[timing]") {
  Bench bench;
  MeasuredRun before = bench.measure();
  MeasuredRun after = before;
  Comparison comparison;
  // On a machine that is anything but steady it takes more than one look.
  for (int look = 0; look < 5; ++look) {
    const double step_ms = before.results.cells[0].latency[0].p50_ms;
    const auto [plain, slowed] = bench.time_in_turn(std::chrono::duration<double>(step_ms / 1000));
    before.results.cells[0].latency = {plain};
    after.results.cells[0].latency = {slowed};
    comparison = compare(before, after, defaults);
    REQUIRE(find(comparison, Quantity::latency).verdict != Verdict::same);
    if (comparison.outcome() == Outcome::regression) break;
  }
  INFO(format_comparison(comparison, false));
  CHECK(find(comparison, Quantity::latency).verdict == Verdict::worse);
  CHECK(find(comparison, Quantity::perplexity).verdict == Verdict::same);
}

TEST_CASE("steps that are alike are not flagged", "[timing]") {
  Bench bench;
  MeasuredRun before = bench.measure(), after = before;
  for (int repeat = 0; repeat < 20; ++repeat) {
    const auto [first, second] = bench.time_in_turn({});
    before.results.cells[0].latency = {first};
    after.results.cells[0].latency = {second};
    const Comparison comparison = compare(before, after, defaults);
    INFO("repeat " << repeat << "\n" << format_comparison(comparison, false));
    CHECK_FALSE(flagged(comparison, Quantity::latency));
  }
}

TEST_CASE("a run and its repeat are the same in all but time") {
  Bench bench;
  const MeasuredRun before = bench.measure(), after = bench.measure();
  Thresholds thresholds;
  thresholds.set("latency=off");
  const Comparison comparison = compare(before, after, thresholds);
  INFO(format_comparison(comparison, false));
  CHECK(comparison.outcome() == Outcome::fine);
  CHECK(comparison.count(Verdict::better) == 0);
  CHECK(find(comparison, Quantity::perplexity).change == 0);
  // Each has rounds of steps, with the processors' time and the yardstick's.
  for (const TimingRound& round : after.results.cells[0].latency[0].rounds) {
    CHECK(round.samples > 0);
    CHECK(round.processor_ms > 0);
    CHECK(round.yardstick_ms > 0);
    CHECK(round.yardstick_processor_ms > 0);
  }
  CHECK(after.results.cells[0].latency[0].rounds.size() >= 5);
}

TEST_CASE("a run compared with itself is the same in everything") {
  const Comparison comparison = compare(example_run(), example_run(), defaults);
  CHECK(comparison.cells.size() == 3);
  CHECK(comparison.count(Verdict::worse) + comparison.count(Verdict::better) == 0);
  CHECK(comparison.missing.empty());
  CHECK(comparison.added.empty());
  CHECK(comparison.outcome() == Outcome::fine);
}

TEST_CASE("a change of perplexity counts where it is certain and large enough") {
  const auto perplexity = [](float shift, const Thresholds& thresholds) {
    return find(compare(example_run(), example_run(test::example_results(), shift), thresholds),
                Quantity::perplexity);
  };
  CHECK(perplexity(0.01F, defaults).verdict == Verdict::worse);
  CHECK(perplexity(0.01F, defaults).change == Approx(0.01).epsilon(0.02));
  CHECK(perplexity(-0.01F, defaults).verdict == Verdict::better);
  CHECK(perplexity(0.0005F, defaults).verdict == Verdict::same);
  Thresholds strict, loose;
  strict.set("perplexity=0.0001");
  loose.set("perplexity=0.02");
  CHECK(perplexity(0.0005F, strict).verdict == Verdict::worse);
  CHECK(perplexity(0.01F, loose).verdict == Verdict::same);
  Thresholds off;
  off.set("perplexity=off");
  CHECK(perplexity(0.01F, off).verdict == Verdict::shown);
}

TEST_CASE("one token's difference is found, and counts where it has a threshold") {
  const MeasuredRun before = example_run();
  MeasuredRun after = before;
  after.nll = [&before](const CellResult& cell) {
    NllSeries series = before.nll(cell);
    series.tokens[17] -= 0.5F;
    return series;
  };
  Thresholds strict;
  strict.set("token_nll=0.01");
  for (const auto& [thresholds, verdict] :
       {std::pair{defaults, Verdict::shown}, {strict, Verdict::worse}}) {
    const QuantityComparison token = find(compare(before, after, thresholds), Quantity::token_nll);
    CHECK(token.change == Approx(0.5));
    CHECK(token.note == "at scored token 17");
    CHECK(token.verdict == verdict);
  }
}

TEST_CASE("an NLL that is no number is worse than one that is") {
  Results broken = test::example_results();
  broken.cells[0].perplexity->nll_mean = NAN;
  MeasuredRun after = example_run(broken);
  after.nll = [nll = after.nll](const CellResult& cell) {
    NllSeries series = nll(cell);
    series.block_means[0] = NAN;
    series.tokens[3] = NAN;
    return series;
  };
  Thresholds strict;
  strict.set("token_nll=0.01");
  const Comparison comparison = compare(example_run(), after, strict);
  CHECK(find(comparison, Quantity::perplexity).verdict == Verdict::worse);
  CHECK(find(comparison, Quantity::token_nll).verdict == Verdict::worse);
  CHECK(find(compare(after, example_run(), defaults), Quantity::perplexity).verdict ==
        Verdict::better);
  const Comparison both = compare(after, after, defaults);
  CHECK(find(both, Quantity::perplexity).verdict == Verdict::unsure);
  CHECK(find(both, Quantity::perplexity).note == "the NLL is and was not a finite number");
}

TEST_CASE("a change of the perplexity that may be beyond the limit is not the same") {
  // Of every 64 NLLs one is off, up or down: the mean's change is uncertain.
  const auto off = [](double size) {
    MeasuredRun run = example_run();
    run.nll = [nll = run.nll, size](const CellResult& cell) {
      NllSeries series = nll(cell);
      for (size_t b = 0; b < series.block_means.size(); ++b) {
        series.block_means[b] += size * (b % 3 == 0 ? -1 : 1) / 64;
      }
      return series;
    };
    return find(compare(example_run(), run, defaults), Quantity::perplexity);
  };
  const QuantityComparison wide = off(1);  // 0.005 on average, 0.001 is the limit
  CHECK(wide.change > 0.004);
  CHECK(wide.verdict == Verdict::worse);
  const QuantityComparison possible = off(0.15);  // 0.0008, and perhaps more than twice 0.001
  INFO(possible.change << " " << *possible.low << " " << *possible.high);
  CHECK(possible.verdict == (*possible.high > 0.002 ? Verdict::unsure : Verdict::same));
  CHECK(off(0.01).verdict == Verdict::same);
  CHECK(off(1e-6).verdict == Verdict::same);
  // Few tokens: nothing is certain, and much is possible.
  const auto few = [](double size) {
    const auto cut = [](double of) {
      MeasuredRun run = example_run();
      run.nll = [nll = run.nll, of](const CellResult& cell) {
        NllSeries series = nll(cell);
        series.block_means.resize(10);
        for (size_t b = 0; b < 10; ++b) series.block_means[b] += b % 3 == 0 ? -of : of;
        return series;
      };
      return run;
    };
    return find(compare(cut(0), cut(size), defaults), Quantity::perplexity);
  };
  CHECK(few(0.5).verdict == Verdict::unsure);
  CHECK(few(0.5).note == "too few tokens to tell a change from chance");
  CHECK(few(-0.5).verdict == Verdict::unsure);
  CHECK(few(1e-5).verdict == Verdict::same);
}

TEST_CASE("numbers of another run are refused") {
  const test::TemporaryFolder folder;
  const PerplexityResult perplexity = {.nll_mean = 2.5, .scored = 4};
  check_nlls(std::vector<double>{1, 2, 3, 4}, perplexity, "here");
  CHECK_THROWS_WITH(check_nlls(std::vector<double>{1, 2, 3, 4.1}, perplexity, "here"),
                    ContainsSubstring("here: the numbers' mean is 2.525000; expected 2.500000"));
  CHECK_THROWS_WITH(check_nlls(std::vector<double>{1, 2, 3, NAN}, perplexity, "here"),
                    ContainsSubstring("the numbers' mean is nan"));
  CHECK_THROWS_WITH(check_nlls(std::vector<double>{1, 2, 3}, perplexity, "here"),
                    ContainsSubstring("here: 3 numbers; expected 4"));
  const PerplexityResult broken = {.nll_mean = NAN, .scored = 2};
  check_nlls(std::vector<double>{1, INFINITY}, broken, "here");
}

TEST_CASE("where nothing is gated there is no green light") {
  Thresholds off;
  for (const Quantity quantity : all_quantities) off.set(to_string(quantity) + "=off");
  CHECK(against_example([](Results&) {}, off).outcome() == Outcome::nothing_comparable);
}

namespace {

/// A cell's timing by a formula: five rounds of 20 steps about `step_ms`, each round up to `spread`
/// off (a share), while the yardstick takes `yardstick_ms`.
struct Timed {
  double step_ms = 1.5, spread = 0.004, yardstick_ms = 1, yardstick_spread = 0.004;
  double processor_ms = 1.5, processor_yardstick_ms = 1;
};

LatencyResult timing_of(const Timed& timed) {
  LatencyResult timing{.cache_entries = 256};
  const std::array<double, 5> places = {0.3, -1, 0.1, 1, -0.4};
  for (size_t r = 0; r < places.size(); ++r) {
    const double off = 1 + timed.spread * places[r];
    for (int i = 0; i < 20; ++i) {
      timing.samples_ms.push_back(timed.step_ms * off * (1 + 0.0001 * ((i * 7) % 20)));
    }
    timing.rounds.push_back(
        {.samples = 20,
         .processor_ms = timed.processor_ms * (1 + 0.004 * places[r]),
         .yardstick_ms = timed.yardstick_ms * (1 + timed.yardstick_spread * places[4 - r]),
         .yardstick_processor_ms = timed.processor_yardstick_ms * (1 + 0.004 * places[4 - r])});
  }
  timing.samples = static_cast<int64_t>(timing.samples_ms.size());
  timing.p50_ms = quantile(timing.samples_ms, 0.5);
  return timing;
}

QuantityComparison compare_timings(LatencyResult a, LatencyResult b) {
  Results before = test::example_results();
  before.cells = {before.cells[1]};
  Results after = before;
  a.cache_entries = b.cache_entries = 256;
  before.cells[0].latency = {std::move(a)};
  after.cells[0].latency = {std::move(b)};
  return find(compare(example_run(before), example_run(after), defaults), Quantity::latency);
}

QuantityComparison latency(const Timed& before, const Timed& after) {
  return compare_timings(timing_of(before), timing_of(after));
}

}  // namespace

TEST_CASE("latency counts where the program explains it") {
  const QuantityComparison slower = latency({}, {.step_ms = 1.65, .processor_ms = 1.65});
  CHECK(slower.verdict == Verdict::worse);
  CHECK(slower.change == Approx(0.1));
  CHECK(*slower.low > 0.05);
  CHECK(latency({}, {.step_ms = 1.35, .processor_ms = 1.35}).verdict == Verdict::better);
  // Certain, but small.
  const QuantityComparison small = latency({}, {.step_ms = 1.545, .processor_ms = 1.545});
  CHECK(small.verdict == Verdict::same);
  CHECK(*small.low > 0);
}

TEST_CASE("what the machine explains is not the program's") {
  // All became twice as slow, the yardstick too.
  const Timed slow_machine = {
      .step_ms = 3, .yardstick_ms = 2, .processor_ms = 3, .processor_yardstick_ms = 2};
  const QuantityComparison unsure = latency({}, slow_machine);
  CHECK(unsure.verdict == Verdict::unsure);
  CHECK_THAT(unsure.note, ContainsSubstring("not steady"));
  // Other programs had the processors: their time tells.
  const QuantityComparison by_processor = latency({}, {.step_ms = 3, .yardstick_ms = 2});
  CHECK(by_processor.verdict == Verdict::same);
  CHECK_THAT(by_processor.note, ContainsSubstring("by processor time"));
  CHECK(latency({}, {.step_ms = 3.3, .yardstick_ms = 2, .processor_ms = 1.65}).verdict ==
        Verdict::worse);
  // A faster machine hides nothing.
  CHECK(
      latency({}, {.step_ms = 1.501, .yardstick_ms = 0.9, .processor_yardstick_ms = 0.9}).verdict ==
      Verdict::unsure);
  // Nor do rounds that differ by more than what is looked for.
  CHECK(latency({}, {.spread = 0.2, .yardstick_spread = 0.2, .processor_ms = 0}).verdict ==
        Verdict::unsure);
  // So large a change is none of the machine's.
  CHECK(latency({}, {.step_ms = 4.5, .spread = 0.1, .yardstick_ms = 1.1}).verdict ==
        Verdict::worse);
}

namespace {

/// 40 rounds of 10 steps on a machine that leaves the program alone in `quiet` of them, evenly
/// placed. In the others the yardstick takes up to twice as long, and steps, not in step with it,
/// up to 2.5 times. Of a round in five some steps are disturbed whatever the yardstick says.
LatencyResult disturbed(int quiet, double fast_ms, double step_ms, double yardstick_ms = 1) {
  LatencyResult timing;
  for (int r = 0; r < 40; ++r) {
    const bool alone = (r + 1) * quiet / 40 > r * quiet / 40;
    const double machine = alone ? 1 : 1.1 + 0.9 * ((r * 17) % 40) / 40.0;
    const double steps = alone ? 1 : 1 + 1.5 * ((r * 23) % 40) / 40.0;
    for (int i = 0; i < 10; ++i)
      timing.samples_ms.push_back(step_ms * steps * (r % 5 == 0 ? 1.2 : 1));
    const double jitter = 0.005 * ((r * 7) % 5 - 2) / 2.0;
    timing.rounds.push_back({.samples = 10,
                             .fast_ms = fast_ms * steps * (1 + jitter),
                             .processor_ms = step_ms * steps,
                             .yardstick_ms = yardstick_ms * machine * (1 - jitter),
                             .yardstick_processor_ms = yardstick_ms * machine});
  }
  timing.samples = std::ssize(timing.samples_ms);
  timing.p50_ms = quantile(timing.samples_ms, 0.5);
  return timing;
}

}  // namespace

TEST_CASE("the moments in which the machine was left alone tell what the others can't") {
  const LatencyResult before = disturbed(14, 1.0, 1.05);
  const auto with = [&](const LatencyResult& after) { return compare_timings(before, after); };
  const QuantityComparison slower = with(disturbed(16, 1.1, 1.155));
  CHECK(slower.verdict == Verdict::worse);
  CHECK(slower.change == Approx(0.1).margin(0.005));
  CHECK_THAT(slower.note, ContainsSubstring("left alone"));
  CHECK(with(disturbed(16, 0.9, 0.945)).verdict == Verdict::better);
  const QuantityComparison same = with(disturbed(16, 1.002, 1.05));
  CHECK(same.verdict == Verdict::same);
  CHECK_THAT(same.note, ContainsSubstring("left alone"));
  // Too few such moments; a machine that never was as fast; no account of the fast steps.
  CHECK(with(disturbed(5, 1.1, 1.155)).verdict == Verdict::unsure);
  CHECK(with(disturbed(16, 1.1, 1.155, 1.15)).verdict == Verdict::unsure);
  LatencyResult older = disturbed(16, 1.1, 1.155);
  for (TimingRound& round : older.rounds) round.fast_ms = 0;
  CHECK(with(older).verdict == Verdict::unsure);
  // Most steps are slower, the fast ones are not: nothing to call the same.
  CHECK(with(disturbed(16, 1.0, 1.155)).verdict == Verdict::unsure);
  // Nor is it faster where most steps are slower.
  CHECK(with(disturbed(16, 0.9, 1.155)).verdict == Verdict::unsure);
}

namespace {

/// Two programs in turn on a machine whose speed wanders by a factor of three and that now and then
/// makes one round alone twice as long: the second one takes `slower` times as long.
std::pair<LatencyResult, LatencyResult> in_turn(double slower, int rounds, double noise = 0.05) {
  std::pair<LatencyResult, LatencyResult> both;
  std::mt19937 random(3);
  std::normal_distribution<double> chance(0, noise);
  for (int turn = 1; turn <= 2 * rounds; ++turn) {
    LatencyResult& timing = turn % 2 == 1 ? both.first : both.second;
    const double machine = std::exp(0.55 * std::sin(turn / 30.0));
    const double alone = turn % 17 == 0 ? 2 : 1;
    const double step = (turn % 2 == 1 ? 1 : slower) * machine * alone * std::exp(chance(random));
    timing.samples_ms.insert(timing.samples_ms.end(), {step, 1.02 * step, 0.98 * step});
    timing.rounds.push_back({.samples = 3, .yardstick_ms = machine, .turn = turn});
  }
  for (LatencyResult* timing : {&both.first, &both.second}) {
    timing->samples = std::ssize(timing->samples_ms);
    timing->p50_ms = quantile(timing->samples_ms, 0.5);
    timing->session = "a session";
  }
  return both;
}

}  // namespace

TEST_CASE("two programs in turn are told apart by a tenth on the most unsteady machine") {
  const auto with = [](double slower, int rounds) {
    const auto [before, after] = in_turn(slower, rounds);
    return compare_timings(before, after);
  };
  const QuantityComparison slower = with(1.1, 200);
  CHECK(slower.verdict == Verdict::worse);
  CHECK(slower.change == Approx(0.1).margin(0.015));
  CHECK(slower.low > 0.05);
  CHECK(slower.high < 0.15);
  CHECK(slower.note == "in turn");
  CHECK(with(0.9, 200).verdict == Verdict::better);
  const QuantityComparison same = with(1, 200);
  CHECK(same.verdict == Verdict::same);
  CHECK(same.change == Approx(0).margin(0.015));
  // A change at the limit is neither the same nor worse.
  CHECK(with(1.05, 200).verdict != Verdict::worse);
  // Without turns nothing can be said of the same steps, nor with those of another session.
  auto [before, after] = in_turn(1.1, 200);
  after.session = "another";
  CHECK(compare_timings(before, after).verdict == Verdict::unsure);
  before.session = after.session = "";
  CHECK(compare_timings(before, after).verdict == Verdict::unsure);
}

TEST_CASE("few or unsteady rounds in turn say so") {
  const auto [before, after] = in_turn(1.1, 12, 0.3);
  const QuantityComparison unsteady = compare_timings(before, after);
  CHECK(unsteady.verdict == Verdict::unsure);
  CHECK_THAT(unsteady.note, ContainsSubstring("in turn: too few rounds, or too unsteady"));
  // Fewer than five pairs are none: rounds are compared as those of two runs are.
  const auto [few, others] = in_turn(1.1, 4);
  CHECK_THAT(compare_timings(few, others).note, !ContainsSubstring("in turn"));
  // Nor are rounds that stand far from each other.
  auto [early, late] = in_turn(1.1, 200);
  for (TimingRound& round : late.rounds) round.turn += 1000;
  CHECK_THAT(compare_timings(early, late).note, !ContainsSubstring("in turn"));
}

TEST_CASE("results without rounds are compared by their neighbouring steps") {
  LatencyResult before = timing_of({}), after = timing_of({.step_ms = 1.65});
  before.rounds.clear();
  CHECK(compare_timings(before, after).verdict == Verdict::worse);
  after.rounds.clear();
  CHECK(compare_timings(before, after).verdict == Verdict::worse);
  CHECK(compare_timings(before, before).verdict == Verdict::same);
}

TEST_CASE("too little is no reason to be content") {
  LatencyResult before = timing_of({}), after = before;
  before.rounds.clear();
  before.samples_ms = {1, 1.1};
  after.rounds.clear();
  after.samples_ms = {9, 9.1};
  const QuantityComparison few = compare_timings(before, after);
  CHECK(few.verdict == Verdict::unsure);
  CHECK_THAT(few.note, ContainsSubstring("too few steps"));

  const auto cut = [](const MeasuredRun& run, int64_t tokens, float shift) {
    MeasuredRun result = run;
    result.results.cells.resize(1);
    result.results.cells[0].latency.clear();
    std::vector<double> nll(static_cast<size_t>(tokens), 3 + shift);
    for (size_t i = 0; i < nll.size(); ++i) nll[i] += std::sin(static_cast<double>(i));
    PerplexityResult& perplexity = *result.results.cells[0].perplexity;
    perplexity.scored = tokens;
    perplexity.nll_mean =
        std::accumulate(nll.begin(), nll.end(), 0.0) / static_cast<double>(tokens);
    result.nll = [nll](const CellResult& cell) { return nll_series(cell, nll, "a test"); };
    return result;
  };
  const Comparison comparison =
      compare(cut(example_run(), 19, 0), cut(example_run(), 19, 3), defaults);
  CHECK(find(comparison, Quantity::perplexity).verdict == Verdict::unsure);
  CHECK(comparison.outcome() == Outcome::unsure);
  CHECK_THAT(summary(comparison), Catch::Matchers::StartsWith("CAN'T TELL"));
  // What is the same to the last bit is the same, however little it is.
  CHECK(compare(cut(example_run(), 19, 3), cut(example_run(), 19, 3), defaults).outcome() ==
        Outcome::fine);
}

TEST_CASE("cells that failed in both are no regression") {
  const Comparison both = against_example([](Results&) {});
  CHECK(both.failed.empty());
  REQUIRE(both.failed_in_both.size() == 1);
  CHECK(both.failed_in_both[0].reason == "out of memory");
  CHECK(both.outcome() == Outcome::fine);
}

TEST_CASE("a pattern that no cell has is said, and no green light") {
  Thresholds thresholds;
  thresholds.set("*-dens-*:perplexity=0.1");
  const Comparison comparison = against_example([](Results&) {}, thresholds);
  CHECK(comparison.idle_patterns == std::vector<std::string>{"*-dens-*"});
  CHECK(comparison.outcome() == Outcome::unsure);
  CHECK_THAT(format_comparison(comparison, false),
             ContainsSubstring("no cell matches the thresholds' pattern '*-dens-*'"));
}

TEST_CASE("another machine, or other threads, makes latency incomparable and nothing else") {
  const auto check = [](const Comparison& comparison, const std::string& reason) {
    const QuantityComparison& latency = find(comparison, Quantity::latency);
    CHECK(latency.verdict == Verdict::refused);
    CHECK_THAT(latency.note, ContainsSubstring(reason));
    CHECK(find(comparison, Quantity::perplexity).verdict == Verdict::same);
    CHECK(find(comparison, Quantity::kv_bytes_held).verdict == Verdict::same);
  };
  check(against_example([](Results& r) { r.info.machine["cpu"] = "Another Processor"; }),
        "its cpu is Another Processor, the baseline's A Processor");
  check(against_example([](Results& r) {
          for (CellResult& cell : r.cells) cell.threads = 4;
        }),
        "on 4 threads, the baseline on 2");
  const Comparison busier = against_example([](Results& r) {
    r.info.machine["load_average"] = "3.10";
    r.info.machine["kernel"] = "Linux 7";
  });
  CHECK(find(busier, Quantity::latency).verdict == Verdict::same);
}

TEST_CASE("bytes are exact, entries in both directions") {
  const auto verdict = [](int64_t MemoryResult::*member, int64_t by, Quantity quantity,
                          const Thresholds& thresholds = defaults) {
    return find(against_example([&](Results& r) { *r.cells[0].memory.*member += by; }, thresholds),
                quantity)
        .verdict;
  };
  CHECK(verdict(&MemoryResult::kv_bytes_held, 1, Quantity::kv_bytes_held) == Verdict::worse);
  CHECK(verdict(&MemoryResult::kv_bytes_held, -1, Quantity::kv_bytes_held) == Verdict::better);
  CHECK(verdict(&MemoryResult::weight_bytes, 1, Quantity::weight_bytes) == Verdict::worse);
  CHECK(verdict(&MemoryResult::cache_entries, 1, Quantity::cache_entries) == Verdict::worse);
  CHECK(verdict(&MemoryResult::cache_entries, -1, Quantity::cache_entries) == Verdict::worse);
  CHECK(verdict(&MemoryResult::peak_rss_bytes, 1 << 30, Quantity::peak_rss_bytes) ==
        Verdict::shown);
  Thresholds peak;
  peak.set("peak_rss_bytes=0.5");
  CHECK(verdict(&MemoryResult::peak_rss_bytes, 1 << 30, Quantity::peak_rss_bytes, peak) ==
        Verdict::worse);
  CHECK(verdict(&MemoryResult::peak_rss_bytes, 1 << 20, Quantity::peak_rss_bytes, peak) ==
        Verdict::same);
}

TEST_CASE("cells are joined by what defines them, not by their names or order") {
  const Comparison comparison = against_example([](Results& r) {
    r.cells.pop_back();  // the one that failed
    std::swap(r.cells[0], r.cells[2]);
    for (CellResult& cell : r.cells) {
      cell.cell.id += "-renamed";
      cell.cell.model.path = "/elsewhere";
      cell.cell.dataset.texts = {"/other/name.txt"};
    }
  });
  CHECK(comparison.cells.size() == 3);
  CHECK(comparison.outcome() == Outcome::fine);
}

TEST_CASE("what doesn't belong together is refused with the reason") {
  const auto reason = [](const std::function<void(CellResult&)>& change) {
    const Comparison comparison = against_example([&](Results& r) {
      r.cells.pop_back();
      change(r.cells[1]);
    });
    CHECK(comparison.cells.size() == 2);
    CHECK(comparison.outcome() == Outcome::incomplete);
    REQUIRE(comparison.missing.size() == 1);
    REQUIRE(comparison.added.size() == 1);
    CHECK(comparison.missing[0].reason == comparison.added[0].reason);
    return comparison.missing[0].reason;
  };
  CHECK(reason([](CellResult& c) { c.model_sha256 = "m1"; }) ==
        "model.sha256 differs (m0 in the baseline, m1 in the candidate)");
  CHECK(reason([](CellResult& c) { c.dataset_sha256 = "d1"; }) ==
        "dataset.sha256 differs (d0 in the baseline, d1 in the candidate)");
  CHECK_THAT(reason([](CellResult& c) { c.cell.policy.arguments["sinks"] = 5; }),
             ContainsSubstring("policy.parameters differs (sinks=4 window=252 in the baseline"));
  CHECK_THAT(reason([](CellResult& c) { c.cell.policy.positions = Positions::original; }),
             ContainsSubstring("policy.positions"));
  CHECK_THAT(reason([](CellResult& c) { c.cell.engine = "stepwise"; }),
             ContainsSubstring("engine differs (chunked in the baseline, stepwise"));
  CHECK_THAT(reason([](CellResult& c) { c.cell.dtype = "bfloat16"; }), ContainsSubstring("dtype"));
  CHECK_THAT(reason([](CellResult& c) { c.cell.device = "cuda"; }), ContainsSubstring("device"));
}

TEST_CASE("the outcome is the worst of what was found") {
  const auto outcome = [](const std::function<void(Results&)>& change) {
    return against_example([&](Results& r) {
             r.cells.pop_back();
             change(r);
           })
        .outcome();
  };
  const auto grow = [](Results& r) { r.cells[0].memory->kv_bytes_held += 1; };
  CHECK(outcome([](Results&) {}) == Outcome::fine);
  CHECK(outcome(grow) == Outcome::regression);
  CHECK(outcome([](Results& r) { r.cells.pop_back(); }) == Outcome::incomplete);
  CHECK(outcome([](Results& r) { r.cells[0].error = "out of memory"; }) == Outcome::incomplete);
  CHECK(outcome([](Results& r) { r.cells[0].memory.reset(); }) == Outcome::incomplete);
  CHECK(outcome([](Results& r) { r.cells[0].latency.pop_back(); }) == Outcome::incomplete);
  CHECK(outcome([](Results& r) { r.cells[1].perplexity.reset(); }) == Outcome::incomplete);
  CHECK(outcome([](Results& r) {
          for (CellResult& cell : r.cells) cell.dataset_sha256 = "d1";
        }) == Outcome::nothing_comparable);
  CHECK(outcome([](Results& r) { r.cells.clear(); }) == Outcome::nothing_comparable);
  CHECK(outcome([&](Results& r) {
          r.cells.pop_back();
          grow(r);
        }) == Outcome::regression);
}

TEST_CASE("thresholds come from a file and the command line, later ones win") {
  const test::TemporaryFolder folder;
  Thresholds thresholds;
  thresholds.read(folder.write("thresholds.yaml", R"(latency: 0.2
token_nll: 0.01
cells:
  "*-recompute-*": {latency: off, confidence: 0.95}
  "*-dense-*": {perplexity: 0.5}
)"));
  CHECK(thresholds.limit(Quantity::latency, "a-dense-b") == 0.2);
  CHECK(thresholds.limit(Quantity::latency, "a-recompute-b") == std::nullopt);
  CHECK(thresholds.confidence("a-recompute-b") == 0.95);
  CHECK(thresholds.confidence("a-dense-b") == 0.99);
  CHECK(thresholds.limit(Quantity::perplexity, "a-dense-b") == 0.5);
  CHECK(thresholds.limit(Quantity::perplexity, "a-sinks-b") == 0.001);
  thresholds.set("latency=0.3");
  CHECK(thresholds.limit(Quantity::latency, "a-recompute-b") == 0.3);
  thresholds.set("a-d*:token_nll=off");
  CHECK(thresholds.limit(Quantity::token_nll, "a-dense-b") == std::nullopt);
  CHECK(thresholds.limit(Quantity::token_nll, "a-sinks-b") == 0.01);

  const auto refused = [&](const std::string& yaml, const std::string& message) {
    const fs::path file = folder.write("wrong.yaml", yaml);
    CHECK_THROWS_WITH(Thresholds().read(file), ContainsSubstring(message));
  };
  refused("latency: 0.2\nlatencie: 0.1\n",
          "wrong.yaml:2: unknown threshold 'latencie'; did you mean 'latency'?");
  refused("latency: -1\n", "wrong.yaml:1: latency is '-1'; expected a number of 0 or more, or off");
  refused("latency: nan\n", "latency is 'nan'");
  refused("confidence: off\n", "confidence is 'off'; expected a number from 0.5 to 0.999");
  refused("latency: [1]\n", "wrong.yaml:1: latency: expected a number, or off");
  refused("cells: 3\n", "cells: expected a mapping of patterns");
  refused("cells: {a: 3}\n", "expected a mapping of names to thresholds");
  refused("{", "wrong.yaml:");
  CHECK_THROWS_WITH(Thresholds().read(folder.path() / "none.yaml"), ContainsSubstring("none.yaml"));
  CHECK_THROWS_WITH(Thresholds().set("latency"), ContainsSubstring("expected NAME=VALUE"));
  CHECK_THROWS_WITH(Thresholds().set("latency="), ContainsSubstring("latency is ''"));
}

TEST_CASE("NLL files that are missing or of another length are bad input") {
  const test::TemporaryFolder folder;
  Results results = test::example_results();
  results.cells = {results.cells[1]};
  write_results(results, folder.path());
  const MeasuredRun run = read_run(folder.path());
  CHECK_THROWS_AS(run.nll(run.results.cells[0]), InputError);
  folder.write(results.cells[0].nll_file, std::string(40, '\0'));
  CHECK_THROWS_WITH(run.nll(run.results.cells[0]),
                    ContainsSubstring("10 numbers; expected 8191, as many as were scored"));
}

TEST_CASE("the report says what was compared, what wasn't, and the outcome last") {
  const std::string text = format_comparison(against_example([](Results& r) {
                                               r.cells[0].memory->kv_bytes_held += 1024;
                                               r.cells[2].dataset_sha256 = "d1";
                                               r.cells[1].error = "killed";
                                               r.info.versions["libtorch"] = "2.0.0";
                                             }),
                                             false);
  for (const char* part :
       {"baseline:  example (2026-01-02T03:04:05Z)", "\nPerplexity (", "\nLatency (", "\nMemory\n",
        "  kv_bytes_held   12.0 MiB   12.0 MiB  +0.01 %    0 %  worse\n",
        "\nFailed in the candidate\n  tiny-book-8192-sinks-4+252-float32: killed\n",
        "\nFailed in both\n  tiny-book-8192-window-0+256-float32: out of memory\n",
        "\nIn the baseline alone\n  tiny-book-8192-recompute-256-1-in-8-float32: dataset.sha256",
        "\nchanged: libtorch: 2.0.0, was 1.13.1\n"}) {
    CHECK_THAT(text, ContainsSubstring(part));
  }
  CHECK_THAT(text, Catch::Matchers::EndsWith("\nREGRESSION: 1 worse, 6 same, 1 cell failed, 1 "
                                             "cell of the baseline not found, 1 cell failed in "
                                             "both, 1 cell in the candidate alone\n"));
}
