#include "reports/compare.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <fnmatch.h>
#include <yaml-cpp/yaml.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <deque>
#include <limits>
#include <map>
#include <set>

#include "base/error.h"
#include "base/file.h"
#include "base/yaml.h"
#include "eval/metrics/batch_means.h"
#include "eval/results/nll_file.h"
#include "reports/answers.h"
#include "reports/statistics.h"
#include "reports/text_table.h"

namespace sinkbench {
namespace {

namespace fs = std::filesystem;

constexpr const char* confidence_name = "confidence";
constexpr const char* answers_name = "answers";

// ---- which cells belong together ----

/// What defines a cell, each part with its name in results.json.
using Identity = std::vector<std::pair<std::string, std::string>>;

Identity identity_of(const CellResult& result) {
  const Cell& cell = result.cell;
  std::vector<std::string> arguments;
  for (const auto& [name, value] : cell.policy.arguments) {
    arguments.push_back(fmt::format("{}={}", name, to_string(value)));
  }
  return {{"model.sha256", result.model_sha256},
          {"model.seed", cell.model.random ? std::to_string(cell.model.seed) : ""},
          {"model.weights", cell.model.as_stored ? "as-stored" : ""},
          {"dataset.task", task_label(cell.dataset.task)},
          {"dataset.sha256", cell.dataset.reset ? fmt::format("{}, reset {}", result.dataset_sha256,
                                                              to_string(*cell.dataset.reset))
                                                : result.dataset_sha256},
          {"policy.name", cell.policy.name},
          {"policy.parameters", fmt::format("{}", fmt::join(arguments, " "))},
          {"policy.positions", positions_label(cell.policy)},
          {"engine", cell.engine},
          {"chunk", std::to_string(cell.chunk)},
          {"dtype", cell.dtype},
          {"kv", storage_label(cell.kv)},
          {"device", cell.device}};
}

std::string shortened(const std::string& value) {
  return value.empty() ? "nothing" : value.size() > 24 ? value.substr(0, 12) + "..." : value;
}

/// Why `baseline` is not `candidate`: "dataset.sha256 differs (d0 in the baseline, d1 in the ...)".
std::string differences(const Identity& baseline, const Identity& candidate) {
  std::vector<std::string> parts;
  for (size_t i = 0; i < baseline.size(); ++i) {
    if (baseline[i] == candidate[i]) continue;
    parts.push_back(fmt::format("{} differs ({} in the baseline, {} in the candidate)",
                                baseline[i].first, shortened(baseline[i].second),
                                shortened(candidate[i].second)));
  }
  return fmt::format("{}", fmt::join(parts, "; "));
}

size_t distance(const Identity& a, const Identity& b) {
  size_t result = 0;
  for (size_t i = 0; i < a.size(); ++i) result += a[i] != b[i];
  return result;
}

/// The cell of `others` that `cell` was most likely meant to be: of the same id, or apart in few
/// respects.
const CellResult* counterpart(const CellResult& cell,
                              const std::vector<const CellResult*>& others) {
  const CellResult* nearest = nullptr;
  size_t least = 3;
  for (const CellResult* other : others) {
    if (other->cell.id == cell.cell.id) return other;
    const size_t apart = distance(identity_of(cell), identity_of(*other));
    if (apart < least) {
      nearest = other;
      least = apart;
    }
  }
  return nearest;
}

// ---- the quantities ----

void judge(QuantityComparison& comparison, bool is_worse, bool is_better) {
  comparison.verdict = !comparison.limit ? Verdict::shown
                       : is_worse        ? Verdict::worse
                       : is_better       ? Verdict::better
                                         : Verdict::same;
}

struct Context {
  const MeasuredRun& baseline;
  const MeasuredRun& candidate;
  const Thresholds& thresholds;
};

/// Nats below which a change of the mean NLL is none, whatever the limit.
constexpr double next_to_nothing = 1e-4;

/// Whether a worsening beyond the limit isn't out of the question: as judge_latency has it, twice
/// the limit must be.
bool may_be_more(const Interval& worsening, double limit) {
  return !std::isfinite(worsening.high) || worsening.mean > std::max(limit, next_to_nothing) ||
         worsening.high > std::max(2 * limit, next_to_nothing);
}

void compare_perplexity(const Context& context, const CellResult& a, const CellResult& b,
                        std::vector<QuantityComparison>& out) {
  if (!a.perplexity) return;
  const std::string& id = b.cell.id;
  QuantityComparison perplexity{.quantity = Quantity::perplexity,
                                .baseline = a.perplexity->token,
                                .limit = context.thresholds.limit(Quantity::perplexity, id)};
  if (!b.perplexity) {
    perplexity.verdict = Verdict::missing;
    out.push_back(perplexity);
    return;
  }
  perplexity.candidate = b.perplexity->token;
  const NllSeries nll_a = context.baseline.nll(a), nll_b = context.candidate.nll(b);
  if (a.perplexity->scored != b.perplexity->scored ||
      nll_a.block_means.size() != nll_b.block_means.size()) {
    perplexity.verdict = Verdict::refused;
    perplexity.note = fmt::format("{} tokens were scored in the baseline, {} in the candidate",
                                  a.perplexity->scored, b.perplexity->scored);
    out.push_back(perplexity);
    return;
  }
  std::vector<double> differences;
  for (size_t i = 0; i < nll_a.block_means.size(); ++i) {
    differences.push_back(nll_b.block_means[i] - nll_a.block_means[i]);
  }
  const bool all_equal = std::all_of(differences.begin(), differences.end(),
                                     [](double difference) { return difference == 0; });
  const Interval interval =
      all_equal ? Interval{} : bootstrap_mean(differences, context.thresholds.confidence(id));
  perplexity.change = interval.mean;
  perplexity.low = interval.low;
  perplexity.high = interval.high;
  const double limit = perplexity.limit.value_or(0);
  if (std::isfinite(interval.mean)) {
    judge(perplexity, interval.low > 0 && interval.mean > limit,
          interval.high < 0 && interval.mean < -limit);
    if (perplexity.verdict == Verdict::same && may_be_more(interval, limit)) {
      perplexity.verdict = Verdict::unsure;
      perplexity.note = "too few tokens to tell a change from chance";
    }
  } else {
    const bool was = std::isfinite(a.perplexity->nll_mean);
    const bool is = std::isfinite(b.perplexity->nll_mean);
    judge(perplexity, was && !is, is && !was);
    if (perplexity.limit && was == is) perplexity.verdict = Verdict::unsure;
    perplexity.note = fmt::format("the NLL {} not a finite number", was  ? "is"
                                                                    : is ? "was"
                                                                         : "is and was");
  }
  out.push_back(perplexity);

  if (nll_a.tokens.empty() || nll_a.tokens.size() != nll_b.tokens.size()) return;
  size_t place = 0;
  const auto apart = [&](size_t i) {
    return std::abs(static_cast<double>(nll_b.tokens[i]) - static_cast<double>(nll_a.tokens[i]));
  };
  for (size_t i = 0; i < nll_a.tokens.size() && !std::isnan(apart(place)); ++i) {
    if (!(apart(i) <= apart(place))) place = i;
  }
  QuantityComparison token{.quantity = Quantity::token_nll,
                           .baseline = nll_a.tokens[place],
                           .candidate = nll_b.tokens[place],
                           .change = apart(place),
                           .limit = context.thresholds.limit(Quantity::token_nll, id)};
  judge(token, !(token.change <= token.limit.value_or(0)), false);
  if (token.change > 0) token.note = fmt::format("at scored token {}", place);
  out.push_back(token);
}

void compare_answers(const Context& context, const CellResult& a, const CellResult& b,
                     std::vector<QuantityComparison>& out) {
  if (a.answers.empty()) return;
  const std::string& id = b.cell.id;
  const auto of = [&](Quantity quantity, double AnswerBin::*member) {
    QuantityComparison comparison{.quantity = quantity,
                                  .baseline = a.answers.front().*member,
                                  .limit = context.thresholds.limit(quantity, id)};
    if (b.answers.empty()) {
      comparison.verdict = Verdict::missing;
    } else {
      comparison.candidate = b.answers.front().*member;
      comparison.change = comparison.candidate - comparison.baseline;
    }
    return comparison;
  };
  QuantityComparison accuracy = of(Quantity::accuracy, &AnswerBin::accuracy);
  QuantityComparison likely = of(Quantity::log_probability, &AnswerBin::log_probability);
  const auto give = [&](Verdict verdict, const std::string& note) {
    for (QuantityComparison* comparison : {&accuracy, &likely}) {
      if (comparison->verdict != Verdict::missing) comparison->verdict = verdict;
      comparison->note = note;
      out.push_back(*comparison);
    }
  };
  if (b.answers.empty()) return give(Verdict::missing, "");
  if (!context.baseline.answers || !context.candidate.answers) {
    return give(Verdict::shown, "a history has no single answers");
  }
  const std::vector<Answer> before = context.baseline.answers(a);
  const std::vector<Answer> after = context.candidate.answers(b);
  PairedAnswers paired;
  try {
    paired = paired_answers(before, after);
  } catch (const InputError& error) {
    return give(Verdict::refused, error.what());
  }
  const double confidence = context.thresholds.confidence(id);
  const int64_t fewest = context.thresholds.answers(id);
  const auto judge_change = [&](QuantityComparison& comparison, bool certain) {
    const double limit = comparison.limit.value_or(0);
    judge(comparison, certain && comparison.change < -limit, certain && comparison.change > limit);
    const Interval worsening = {-comparison.change, -comparison.high.value_or(comparison.change),
                                -comparison.low.value_or(comparison.change)};
    if (comparison.verdict == Verdict::same && may_be_more(worsening, limit)) {
      comparison.verdict = Verdict::unsure;
      comparison.note = "too few answers to tell a change from chance";
    }
    if (paired.groups < fewest && comparison.limit && std::abs(comparison.change) > limit) {
      comparison.verdict = Verdict::unsure;
      comparison.note =
          fmt::format("{} independent answers; expected {} or more", paired.groups, fewest);
    }
  };
  accuracy.change = paired.accuracy.mean;
  judge_change(accuracy, paired.p < 1 - confidence);
  if (accuracy.note.empty() && paired.lost + paired.won > 0) {
    accuracy.note = fmt::format("{} lost, {} won, p {:.2g}", paired.lost, paired.won, paired.p);
  }
  likely.change = paired.log_probability.mean;
  if (!paired.equal && paired.groups > 1) {
    const double half = student_t(confidence, paired.groups - 1) * paired.log_probability.error;
    likely.low = likely.change - half;
    likely.high = likely.change + half;
  }
  judge_change(likely, likely.low && (*likely.low > 0 || *likely.high < 0));
  out.push_back(accuracy);
  out.push_back(likely);
}

/// Facts of the machine that timings depend on; the others come and go with a reboot or an update.
std::string other_machine(const RunInfo& a, const RunInfo& b) {
  std::map<std::string, std::string> facts_a = a.machine, facts_b = b.machine;
  for (const char* passing : {"load_average", "kernel", "os", "memory"}) {
    facts_a.erase(passing);
    facts_b.erase(passing);
  }
  for (const auto& [name, value] : facts_a) {
    const std::string other = facts_b.contains(name) ? facts_b[name] : "";
    if (other != value) {
      return fmt::format("another machine: its {} is {}, the baseline's {}", name,
                         other.empty() ? "not known" : other, value);
    }
  }
  return facts_a.size() < facts_b.size() ? "another machine: the baseline's is not known as well"
                                         : "";
}

// Steps of one run are alike because the machine was the same for all of them: what counts is how
// much rounds of them differ. And what became slower between two runs may be the machine. So the
// change of the steps' time has an interval, by Welch's t on the logarithms of the rounds' medians,
// and it is widened by what the machine may have done meanwhile, as the yardstick's rounds say.

constexpr size_t most_rounds = 8;  // more of them would be neighbours in time
constexpr size_t fewest_rounds = 3;
/// No two pieces of work suffer alike: the program may be slowed down by so many times (in
/// logarithms) what the yardstick is. Of pairs of runs of one program on a machine whose speed
/// wandered by a factor of three, 2 to 3 % were flagged with the yardstick's mean as it is, 0.7 %
/// so.
constexpr double machines_share = 1.5;

constexpr size_t fewest_pairs = 5;  // of rounds of two programs in turn

/// What was measured of a cell's steps, by rounds, in logarithms of milliseconds.
struct Rounds {
  std::vector<double> steps = {}, yardstick = {};
};

/// Means over as many groups of neighbours as `most_rounds`.
std::vector<double> grouped(const std::vector<double>& values) {
  return block_means(values, std::min(most_rounds, values.size()));
}

/// A machine that is shared or busy has moments in which it is left alone: those in which the
/// yardstick takes no more than so much (in logarithms) above what it took at the least in the run
/// in which that is more.
constexpr double of_fast_moments = 0.04;
constexpr size_t fewest_fast_rounds = 12;  // of each run

/// Results of before have no rounds: neighbouring samples stand for them.
std::vector<TimingRound> rounds_of(const LatencyResult& timing) {
  if (!timing.rounds.empty()) return timing.rounds;
  std::vector<TimingRound> rounds;
  const size_t samples = timing.samples_ms.size(), count = std::min<size_t>(5, samples);
  for (size_t r = 0; r < count; ++r) {
    rounds.push_back(
        {.samples = static_cast<int64_t>((r + 1) * samples / count - r * samples / count)});
  }
  return rounds;
}

/// Of each of its rounds the median, in logarithms of milliseconds.
std::vector<double> medians_of(const LatencyResult& timing,
                               const std::vector<TimingRound>& rounds) {
  std::vector<double> medians;
  auto sample = timing.samples_ms.begin();
  for (const TimingRound& round : rounds) {
    medians.push_back(std::log(quantile({sample, sample + round.samples}, 0.5)));
    sample += round.samples;
  }
  return medians;
}

Rounds wall_times(const LatencyResult& timing) {
  const std::vector<TimingRound> rounds = rounds_of(timing);
  std::vector<double> yardstick;
  for (const TimingRound& round : rounds) {
    if (round.yardstick_ms > 0) yardstick.push_back(std::log(round.yardstick_ms));
  }
  return {grouped(medians_of(timing, rounds)), grouped(yardstick)};
}

Rounds processor_times(const LatencyResult& timing) {
  Rounds result;
  for (const TimingRound& round : timing.rounds) {
    if (round.processor_ms <= 0 || round.yardstick_processor_ms <= 0) return {};
    result.steps.push_back(std::log(round.processor_ms));
    result.yardstick.push_back(std::log(round.yardstick_processor_ms));
  }
  return {grouped(result.steps), grouped(result.yardstick)};
}

/// The program's change, as a share, of what became of the steps (in logarithms) by two runs'
/// rounds.
Interval program_change(const Rounds& a, const Rounds& b, const Interval& steps) {
  double slower = 0, faster = 0;  // what became of the machine, at the most
  if (!a.yardstick.empty() && !b.yardstick.empty()) {
    const auto [least_a, most_a] = std::minmax_element(a.yardstick.begin(), a.yardstick.end());
    const auto [least_b, most_b] = std::minmax_element(b.yardstick.begin(), b.yardstick.end());
    slower = std::max(0.0, *most_b - *least_a);
    faster = std::max(0.0, *most_a - *least_b);
  }
  return {std::expm1(steps.mean), std::expm1(steps.low - machines_share * slower),
          std::expm1(steps.high + machines_share * faster)};
}

Verdict judge_latency(const Interval& change, double limit) {
  if (change.low > 0 && change.mean > limit) return Verdict::worse;
  if (change.high < 0 && change.mean < -limit) return Verdict::better;
  // A change of twice the limit must be out of the question.
  return change.mean <= limit && change.high <= 2 * limit ? Verdict::same : Verdict::unsure;
}

/// From the nearest to the farthest values of two runs. Moments that are alike to the yardstick
/// need not be to the program, and that for as long as a run takes: more than the chance of a mean.
Interval distance(const std::vector<double>& a, const std::vector<double>& b) {
  const auto [least_a, most_a] = std::minmax_element(a.begin(), a.end());
  const auto [least_b, most_b] = std::minmax_element(b.begin(), b.end());
  return {.mean = mean(b) - mean(a), .low = *least_b - *most_a, .high = *most_b - *least_a};
}

/// By the fast steps of the rounds that fell into such moments. Nothing where there are too few, or
/// where the medians of these rounds say otherwise: some of the steps may have become slower, not
/// all.
std::optional<Interval> fast_change(const LatencyResult& a, const LatencyResult& b, double limit) {
  double least = -INFINITY;
  for (const LatencyResult* run : {&a, &b}) {
    double of_run = INFINITY;
    for (const TimingRound& round : run->rounds) {
      if (round.fast_ms <= 0 || round.yardstick_ms <= 0) return {};
      of_run = std::min(of_run, std::log(round.yardstick_ms));
    }
    least = std::max(least, of_run);
  }
  Rounds fast[2];
  double medians[2] = {};
  for (const int run : {0, 1}) {
    const LatencyResult& timing = run == 0 ? a : b;
    const std::vector<double> of_rounds = medians_of(timing, timing.rounds);
    for (size_t r = 0; r < of_rounds.size(); ++r) {
      const TimingRound& round = timing.rounds[r];
      const double yardstick = std::log(round.yardstick_ms);
      if (yardstick > least + of_fast_moments) continue;
      fast[run].steps.push_back(std::log(round.fast_ms));
      fast[run].yardstick.push_back(yardstick);
      medians[run] += of_rounds[r];
    }
    const size_t rounds = fast[run].steps.size();
    if (rounds < fewest_fast_rounds) return {};
    medians[run] /= static_cast<double>(rounds);
    fast[run] = {grouped(fast[run].steps), grouped(fast[run].yardstick)};
  }
  const Interval change = program_change(fast[0], fast[1], distance(fast[0].steps, fast[1].steps));
  const double typical = std::expm1(medians[1] - medians[0]);
  const Verdict verdict = judge_latency(change, limit);
  const bool agrees = verdict == Verdict::worse    ? typical > 0
                      : verdict == Verdict::better ? typical < 0
                                                   : verdict == Verdict::same && typical <= limit;
  return agrees ? std::optional(change) : std::nullopt;
}

/// Of two programs whose rounds were timed in turn (eval/run/turns.h): what the machine did is in
/// both rounds of a pair. One of the candidate's is held against the mean of the baseline's before
/// and after it, which a steady drift doesn't move. Nothing where there are too few.
std::optional<Interval> change_in_turn(const LatencyResult& a, const LatencyResult& b,
                                       double confidence) {
  if (a.session.empty() || a.session != b.session) return {};
  std::map<int64_t, double> baseline;  // by turn
  const std::vector<double> medians_a = medians_of(a, a.rounds);
  const std::vector<double> medians_b = medians_of(b, b.rounds);
  for (size_t r = 0; r < medians_a.size(); ++r) baseline[a.rounds[r].turn] = medians_a[r];
  std::vector<double> changes;
  for (size_t r = 0; r < medians_b.size(); ++r) {
    std::vector<double> beside;
    for (const int64_t turn : {b.rounds[r].turn - 1, b.rounds[r].turn + 1}) {
      if (const auto it = baseline.find(turn); it != baseline.end()) beside.push_back(it->second);
    }
    if (!beside.empty()) changes.push_back(medians_b[r] - mean(beside));
  }
  const size_t blocks = std::min(most_rounds, changes.size());
  if (blocks < fewest_pairs) return {};
  // A round that something disturbed while its neighbours were left alone moves no median.
  std::vector<double> medians;
  for (const auto block : blocks_of(changes, blocks)) {
    medians.push_back(quantile({block.begin(), block.end()}, 0.5));
  }
  const Interval change = mean_of(medians, confidence);
  return Interval{std::expm1(change.mean), std::expm1(change.low), std::expm1(change.high)};
}

QuantityComparison compare_samples(const LatencyResult& a, const LatencyResult& b,
                                   std::optional<double> limit, double confidence) {
  QuantityComparison result{.quantity = Quantity::latency,
                            .cache_entries = b.cache_entries,
                            .baseline = a.p50_ms,
                            .candidate = b.p50_ms,
                            .change = b.p50_ms / a.p50_ms - 1,
                            .limit = limit};
  const auto take = [&](const Interval& change) {
    result.change = change.mean;
    result.low = change.low;
    result.high = change.high;
    result.verdict = limit ? judge_latency(change, *limit) : Verdict::shown;
  };
  const auto likely = [&](const Rounds& before, const Rounds& after) {
    return difference_of_means(before.steps, after.steps, confidence);
  };
  // One measurement, not two.
  if (!a.samples_ms.empty() && a.samples_ms == b.samples_ms) {
    take({});
    return result;
  }
  if (const auto change = change_in_turn(a, b, confidence)) {
    take(*change);
    result.note =
        result.verdict == Verdict::unsure ? "in turn: too few rounds, or too unsteady" : "in turn";
    return result;
  }
  const Rounds wall_a = wall_times(a), wall_b = wall_times(b);
  if (std::min(wall_a.steps.size(), wall_b.steps.size()) < fewest_rounds) {
    result.verdict = limit ? Verdict::unsure : Verdict::shown;
    result.note = "too few steps to tell a change from chance";
    return result;
  }
  take(program_change(wall_a, wall_b, likely(wall_a, wall_b)));
  if (result.verdict != Verdict::unsure) return result;
  if (const auto change = fast_change(a, b, *limit)) {
    take(*change);
    result.note = "by the moments in which the machine was left alone";
    return result;
  }
  const Rounds processor_a = processor_times(a), processor_b = processor_times(b);
  if (std::min(processor_a.steps.size(), processor_b.steps.size()) >= fewest_rounds) {
    const Interval change =
        program_change(processor_a, processor_b, likely(processor_a, processor_b));
    if (judge_latency(change, *limit) != Verdict::unsure) {
      take(change);
      result.note = "by processor time: the machine was not steady";
      return result;
    }
  }
  result.note = "the machine was not steady; measure both again";
  return result;
}

void compare_latency(const Context& context, const CellResult& a, const CellResult& b,
                     std::vector<QuantityComparison>& out) {
  std::string refusal =
      other_machine(context.baseline.results.info, context.candidate.results.info);
  if (refusal.empty() && a.threads != b.threads) {
    refusal = fmt::format("on {} threads, the baseline on {}", b.threads, a.threads);
  }
  const std::optional<double> limit = context.thresholds.limit(Quantity::latency, b.cell.id);
  for (const LatencyResult& timing : a.latency) {
    const auto other =
        std::find_if(b.latency.begin(), b.latency.end(), [&](const LatencyResult& candidate) {
          return candidate.cache_entries == timing.cache_entries;
        });
    QuantityComparison result{.quantity = Quantity::latency,
                              .cache_entries = timing.cache_entries,
                              .baseline = timing.p50_ms,
                              .limit = limit};
    if (other == b.latency.end()) {
      result.verdict = Verdict::missing;
    } else if (!refusal.empty()) {
      result.candidate = other->p50_ms;
      result.change = result.candidate / result.baseline - 1;
      result.verdict = Verdict::refused;
      result.note = refusal;
    } else {
      result = compare_samples(timing, *other, limit, context.thresholds.confidence(b.cell.id));
    }
    out.push_back(result);
  }
}

void compare_memory(const Context& context, const CellResult& a, const CellResult& b,
                    std::vector<QuantityComparison>& out) {
  if (!a.memory) return;
  const std::pair<Quantity, int64_t MemoryResult::*> members[] = {
      {Quantity::cache_entries, &MemoryResult::cache_entries},
      {Quantity::kv_bytes_formula, &MemoryResult::kv_bytes_formula},
      {Quantity::kv_bytes_held, &MemoryResult::kv_bytes_held},
      {Quantity::weight_bytes, &MemoryResult::weight_bytes},
      {Quantity::peak_rss_bytes, &MemoryResult::peak_rss_bytes}};
  for (const auto& [quantity, member] : members) {
    QuantityComparison result{.quantity = quantity,
                              .baseline = static_cast<double>(*a.memory.*member),
                              .limit = context.thresholds.limit(quantity, b.cell.id)};
    if (!b.memory) {
      result.verdict = Verdict::missing;
      out.push_back(result);
      continue;
    }
    result.candidate = static_cast<double>(*b.memory.*member);
    const double difference = result.candidate - result.baseline;
    const double limit = result.limit.value_or(0);
    if (quantity == Quantity::cache_entries) {
      result.change = difference;
      judge(result, std::abs(difference) > limit, false);
    } else {
      result.change = difference == 0 ? 0 : difference / result.baseline;
      judge(result, result.change > limit, result.change < -limit);
    }
    out.push_back(result);
  }
}

std::vector<std::string> changed_versions(const RunInfo& a, const RunInfo& b) {
  std::vector<std::string> notes;
  for (const auto& [name, value] : a.versions) {
    if (name == "commit") continue;  // what a comparison is for
    const auto other = b.versions.find(name);
    const std::string there = other == b.versions.end() ? "unknown" : other->second;
    if (there != value) notes.push_back(fmt::format("{}: {}, was {}", name, there, value));
  }
  return notes;
}

// ---- reading ----

std::string nats(double value) {
  return std::isfinite(value) ? fmt::format("{:+.5f}", value) : fmt::format("{:+}", value);
}

std::string percent(double share) {
  return std::isfinite(share) ? fmt::format("{:+.2f} %", 100 * share) : none;
}

bool in_table(const QuantityComparison& comparison, Quantity first, Quantity last) {
  return comparison.quantity >= first && comparison.quantity <= last;
}

std::string table_of(const Comparison& comparison, Quantity first, Quantity last, bool markdown) {
  Column cell{.name = "cell", .number = false}, name{.name = "quantity", .number = false};
  Column length{.name = "cached"}, baseline{.name = "baseline"}, candidate{.name = "candidate"};
  Column change{.name = "change"}, uncertainty{.name = "uncertainty"}, limit{.name = "limit"};
  Column verdict{.name = "verdict", .number = false};
  for (const CellComparison& row : comparison.cells) {
    bool named = false;
    for (const QuantityComparison& q : row.quantities) {
      if (!in_table(q, first, last)) continue;
      // Of what is the same by definition or by default, one line is enough.
      const bool quiet = q.verdict == Verdict::same || q.verdict == Verdict::shown;
      if (quiet &&
          (q.quantity == Quantity::cache_entries || q.quantity == Quantity::kv_bytes_formula ||
           q.quantity == Quantity::weight_bytes ||
           (q.quantity == Quantity::token_nll && !q.limit))) {
        continue;
      }
      cell.cells.push_back(named && !markdown ? "" : row.id);
      named = true;
      name.cells.push_back(to_string(q.quantity));
      length.cells.push_back(std::to_string(q.cache_entries));
      const bool absent = q.verdict == Verdict::missing;
      const auto value = [&](double number) {
        switch (q.quantity) {
          case Quantity::perplexity:
            return significant(number);
          case Quantity::token_nll:
            return fmt::format("{:.5f}", number);
          case Quantity::accuracy:
            return sinkbench::percent(number);
          case Quantity::log_probability:
            return fmt::format("{:.4f}", number);
          case Quantity::latency:
            return fmt::format("{:.3f} ms", number);
          case Quantity::cache_entries:
            return fmt::format("{:.0f}", number);
          default:
            return format_bytes(static_cast<int64_t>(number));
        }
      };
      baseline.cells.push_back(value(q.baseline));
      candidate.cells.push_back(absent ? none : value(q.candidate));
      const bool in_nats = q.quantity == Quantity::perplexity ||
                           q.quantity == Quantity::token_nll ||
                           q.quantity == Quantity::log_probability;
      const bool in_entries = q.quantity == Quantity::cache_entries;
      change.cells.push_back(absent       ? none
                             : in_nats    ? nats(q.change)
                             : in_entries ? fmt::format("{:+}", q.change)
                                          : percent(q.change));
      uncertainty.cells.push_back(!q.low ? none
                                  : in_nats
                                      ? fmt::format("{} to {}", nats(*q.low), nats(*q.high))
                                      : fmt::format("{} to {}", percent(*q.low), percent(*q.high)));
      limit.cells.push_back(!q.limit                ? "off"
                            : in_nats || in_entries ? fmt::format("{:g}", *q.limit)
                                                    : fmt::format("{:g} %", 100 * *q.limit));
      verdict.cells.push_back(
          (markdown && q.verdict == Verdict::worse ? "**worse**" : to_string(q.verdict)) +
          (q.note.empty() ? "" : ": " + q.note));
    }
  }
  Columns columns = {cell, name, baseline, candidate, change};
  if (first == Quantity::latency) columns[1] = length;
  if (first <= Quantity::latency) columns.push_back(uncertainty);
  columns.push_back(limit);
  columns.push_back(verdict);
  return render(columns, markdown);
}

std::string list_of(const char* title, const std::vector<LeftOut>& cells, bool markdown) {
  if (cells.empty()) return "";
  std::string text = fmt::format("\n{}{}\n{}", markdown ? "## " : "", title, markdown ? "\n" : "");
  for (const LeftOut& cell : cells) {
    text += fmt::format("{}{}{}\n", markdown ? "- " : "  ", cell.id,
                        cell.reason.empty() ? "" : ": " + cell.reason);
  }
  return text;
}

}  // namespace

NllSeries nll_series(const CellResult& cell, std::vector<double> tokens, const std::string& place) {
  check_nlls(tokens, *cell.perplexity, place);
  NllSeries series{.block_means = block_means(tokens)};
  series.tokens = std::move(tokens);
  return series;
}

std::string identity_text(const CellResult& cell) {
  std::vector<std::string> parts;
  for (const auto& [name, value] : identity_of(cell)) parts.push_back(name + ": " + value);
  return fmt::format("{}", fmt::join(parts, ", "));
}

MeasuredRun read_run(const fs::path& folder) {
  return {
      .name = folder.string(),
      .results = read_results(folder),
      .nll =
          [folder](const CellResult& cell) {
            if (cell.nll_file.empty()) {
              throw InputError::format(
                  "{}: {} has no nll_file, its tokens' NLLs; expected results as `run` wrote them",
                  (folder / "results.json").string(), cell.cell.id);
            }
            const fs::path path = folder / cell.nll_file;
            return nll_series(cell, read_nll_file(path), path.string());
          },
      .answers =
          [folder](const CellResult& cell) {
            const fs::path path = folder / cell.answers_file;
            return read_answers(path, cell.answers);
          }};
}

std::string to_string(Quantity quantity) {
  switch (quantity) {
    case Quantity::perplexity:
      return "perplexity";
    case Quantity::token_nll:
      return "token_nll";
    case Quantity::accuracy:
      return "accuracy";
    case Quantity::log_probability:
      return "log_probability";
    case Quantity::latency:
      return "latency";
    case Quantity::cache_entries:
      return "cache_entries";
    case Quantity::kv_bytes_formula:
      return "kv_bytes_formula";
    case Quantity::kv_bytes_held:
      return "kv_bytes_held";
    case Quantity::weight_bytes:
      return "weight_bytes";
    case Quantity::peak_rss_bytes:
      return "peak_rss_bytes";
  }
  return "";
}

std::string to_string(Verdict verdict) {
  switch (verdict) {
    case Verdict::same:
      return "same";
    case Verdict::better:
      return "better";
    case Verdict::worse:
      return "worse";
    case Verdict::unsure:
      return "can't tell";
    case Verdict::shown:
      return "-";
    case Verdict::refused:
      return "not comparable";
    case Verdict::missing:
      return "missing";
  }
  return "";
}

Thresholds::Thresholds()
    : rules_{{"*", "perplexity", 0.001},
             {"*", "token_nll", std::nullopt},
             {"*", "accuracy", 0.02},
             {"*", "log_probability", 0.02},
             {"*", answers_name, 20},
             {"*", "latency", 0.05},
             {"*", "cache_entries", 0},
             {"*", "kv_bytes_formula", 0},
             {"*", "kv_bytes_held", 0},
             {"*", "weight_bytes", 0},
             {"*", "peak_rss_bytes", std::nullopt},
             {"*", confidence_name, 0.99}} {}

void Thresholds::add(std::string pattern, std::string name, const std::string& value,
                     const std::string& place) {
  std::vector<std::string> names = {confidence_name, answers_name};
  for (const Quantity quantity : all_quantities) names.push_back(to_string(quantity));
  if (std::find(names.begin(), names.end(), name) == names.end()) {
    throw InputError::format("{}: unknown threshold '{}'{}", place, name, suggestion(name, names));
  }
  double number = 0;
  const auto [end, error] = std::from_chars(value.data(), value.data() + value.size(), number);
  const bool is_number = error == std::errc() && end == value.data() + value.size() &&
                         std::isfinite(number) && number >= 0;
  if (name == confidence_name) {
    if (!is_number || number < 0.5 || number > 0.999) {
      throw InputError::format("{}: {} is '{}'; expected a number from 0.5 to 0.999", place, name,
                               value);
    }
  } else if (name == answers_name) {
    if (!is_number || number < 2 || number > 1e6 || number != std::floor(number)) {
      throw InputError::format("{}: {} is '{}'; expected an integer of 2 or more", place, name,
                               value);
    }
  } else if (!is_number && value != "off") {
    throw InputError::format("{}: {} is '{}'; expected a number of 0 or more, or off", place, name,
                             value);
  }
  rules_.push_back(
      {std::move(pattern), std::move(name), is_number ? std::optional(number) : std::nullopt});
}

void Thresholds::read(const fs::path& yaml) {
  if (!fs::is_regular_file(yaml)) {
    throw InputError::format("{}: no such file of thresholds", yaml.string());
  }
  const auto at = [&](const YAML::Node& node) {
    return fmt::format("{}:{}", yaml.string(), node.Mark().line + 1);
  };
  const auto once = [&](const YAML::Node& key, std::set<std::string>& seen) {
    if (seen.insert(key.Scalar()).second) return;
    throw InputError::format("{}: '{}' stands twice", at(key), key.Scalar());
  };
  const auto read_mapping = [&](const std::string& pattern, const YAML::Node& mapping) {
    if (!mapping.IsMap()) {
      throw InputError::format("{}: expected a mapping of names to thresholds", at(mapping));
    }
    std::set<std::string> seen;
    for (const auto& entry : mapping) {
      const std::string name = entry.first.Scalar();
      once(entry.first, seen);
      if (pattern == "*" && name == "cells") continue;
      if (!entry.second.IsScalar()) {
        throw InputError::format("{}: {}: expected a number, or off", at(entry.first), name);
      }
      add(pattern, name, entry.second.Scalar(), at(entry.first));
    }
  };
  const YAML::Node root = parse_yaml(read_file(yaml), yaml.string());
  if (root.IsNull()) {
    throw InputError::format("{}: is empty; expected a mapping of names to thresholds",
                             yaml.string());
  }
  read_mapping("*", root);
  const YAML::Node cells = root["cells"];
  if (!cells) return;
  if (!cells.IsMap()) {
    throw InputError::format("{}: cells: expected a mapping of patterns of ids to thresholds",
                             at(cells));
  }
  std::set<std::string> seen;
  for (const auto& entry : cells) {
    once(entry.first, seen);
    read_mapping(entry.first.Scalar(), entry.second);
  }
}

void Thresholds::set(std::string_view assignment) {
  const std::string place = fmt::format("--threshold {}", assignment);
  const size_t equals = assignment.rfind('=');
  if (equals == std::string_view::npos) {
    throw InputError::format("{}: expected NAME=VALUE or PATTERN:NAME=VALUE", place);
  }
  const std::string_view left = assignment.substr(0, equals);
  const size_t colon = left.rfind(':');
  add(colon == std::string_view::npos ? "*" : std::string(left.substr(0, colon)),
      std::string(colon == std::string_view::npos ? left : left.substr(colon + 1)),
      std::string(assignment.substr(equals + 1)), place);
}

std::optional<double> Thresholds::find(const std::string& name, const std::string& cell) const {
  const auto rule = std::find_if(rules_.rbegin(), rules_.rend(), [&](const Rule& candidate) {
    return candidate.name == name && ::fnmatch(candidate.pattern.c_str(), cell.c_str(), 0) == 0;
  });
  return rule->value;  // the defaults match every cell
}

std::optional<double> Thresholds::limit(Quantity quantity, const std::string& cell) const {
  return find(to_string(quantity), cell);
}

double Thresholds::confidence(const std::string& cell) const {
  return *find(confidence_name, cell);
}

int64_t Thresholds::answers(const std::string& cell) const {
  return static_cast<int64_t>(*find(answers_name, cell));
}

std::vector<std::string> Thresholds::idle(const std::vector<std::string>& cells) const {
  std::vector<std::string> result;
  for (const Rule& rule : rules_) {
    const bool found = std::any_of(cells.begin(), cells.end(), [&](const std::string& cell) {
      return ::fnmatch(rule.pattern.c_str(), cell.c_str(), 0) == 0;
    });
    const bool said = std::find(result.begin(), result.end(), rule.pattern) != result.end();
    if (!found && !said && rule.pattern != "*") result.push_back(rule.pattern);
  }
  return result;
}

int64_t Comparison::count(Verdict verdict) const {
  int64_t result = 0;
  for (const CellComparison& cell : cells) {
    result += std::count_if(cell.quantities.begin(), cell.quantities.end(),
                            [&](const QuantityComparison& q) { return q.verdict == verdict; });
  }
  return result;
}

Outcome Comparison::outcome() const {
  if (count(Verdict::worse) > 0) return Outcome::regression;
  const bool compared = count(Verdict::same) + count(Verdict::better) + count(Verdict::unsure) > 0;
  const bool whole = failed.empty() && missing.empty() && count(Verdict::missing) == 0;
  if (!compared && failed.empty() && count(Verdict::missing) == 0) {
    return Outcome::nothing_comparable;
  }
  if (!whole) return Outcome::incomplete;
  return count(Verdict::unsure) > 0 || !idle_patterns.empty() ? Outcome::unsure : Outcome::fine;
}

Comparison compare(const MeasuredRun& baseline, const MeasuredRun& candidate,
                   const Thresholds& thresholds) {
  Comparison result{.baseline = baseline.name,
                    .candidate = candidate.name,
                    .baseline_info = baseline.results.info,
                    .candidate_info = candidate.results.info};
  result.notes = changed_versions(baseline.results.info, candidate.results.info);

  std::map<Identity, std::deque<const CellResult*>> unmatched;
  for (const CellResult& cell : baseline.results.cells) {
    if (!cell.error.empty()) continue;
    unmatched[identity_of(cell)].push_back(&cell);
  }
  const Context context{baseline, candidate, thresholds};
  std::vector<const CellResult*> added;
  std::vector<std::string> ids, failed_ids;
  for (const CellResult& cell : candidate.results.cells) {
    ids.push_back(cell.cell.id);
    if (!cell.error.empty()) {
      // Its hashes may not be known: it goes by its name.
      const auto& before = baseline.results.cells;
      const bool in_both = std::any_of(before.begin(), before.end(), [&](const CellResult& other) {
        return other.cell.id == cell.cell.id && !other.error.empty();
      });
      (in_both ? result.failed_in_both : result.failed).push_back({cell.cell.id, cell.error});
      failed_ids.push_back(cell.cell.id);
      continue;
    }
    const auto match = unmatched.find(identity_of(cell));
    if (match == unmatched.end() || match->second.empty()) {
      added.push_back(&cell);
      continue;
    }
    const CellResult& before = *match->second.front();
    match->second.pop_front();
    CellComparison comparison{.id = cell.cell.id, .seconds = cell.seconds, .quantities = {}};
    compare_perplexity(context, before, cell, comparison.quantities);
    compare_answers(context, before, cell, comparison.quantities);
    compare_latency(context, before, cell, comparison.quantities);
    compare_memory(context, before, cell, comparison.quantities);
    result.cells.push_back(std::move(comparison));
  }

  std::vector<const CellResult*> missing;
  for (const CellResult& cell : baseline.results.cells) {
    ids.push_back(cell.cell.id);
    const auto left = unmatched.find(identity_of(cell));
    const bool is_left = cell.error.empty() && std::find(left->second.begin(), left->second.end(),
                                                         &cell) != left->second.end();
    const bool failed =
        std::find(failed_ids.begin(), failed_ids.end(), cell.cell.id) != failed_ids.end();
    if (is_left && !failed) missing.push_back(&cell);
  }
  for (const CellResult* cell : missing) {
    const CellResult* other = counterpart(*cell, added);
    result.missing.push_back(
        {cell->cell.id, other == nullptr ? "no such cell in the candidate"
                                         : differences(identity_of(*cell), identity_of(*other))});
  }
  for (const CellResult* cell : added) {
    const CellResult* other = counterpart(*cell, missing);
    const auto& before = baseline.results.cells;
    const auto failed = std::find_if(before.begin(), before.end(), [&](const CellResult& there) {
      return there.cell.id == cell->cell.id && !there.error.empty();
    });
    result.added.push_back(
        {cell->cell.id, other != nullptr ? differences(identity_of(*other), identity_of(*cell))
                        : failed != before.end() ? "failed in the baseline: " + failed->error
                                                 : "no such cell in the baseline"});
  }
  result.idle_patterns = thresholds.idle(ids);
  return result;
}

std::string summary(const Comparison& comparison) {
  std::vector<std::string> counts;
  for (const Verdict verdict :
       {Verdict::worse, Verdict::better, Verdict::same, Verdict::refused, Verdict::missing}) {
    const int64_t count = comparison.count(verdict);
    if (count > 0) counts.push_back(fmt::format("{} {}", count, to_string(verdict)));
  }
  if (const int64_t unsure = comparison.count(Verdict::unsure); unsure > 0) {
    counts.push_back(fmt::format("{} too uncertain to tell", unsure));
  }
  const size_t failed = comparison.failed.size(), missing = comparison.missing.size();
  if (failed > 0) counts.push_back(fmt::format("{} cell{} failed", failed, failed == 1 ? "" : "s"));
  if (missing > 0) {
    counts.push_back(
        fmt::format("{} cell{} of the baseline not found", missing, missing == 1 ? "" : "s"));
  }
  // Not gated, and no reason for another status; but a gate that says "fine" says of how much.
  if (const size_t both = comparison.failed_in_both.size(); both > 0) {
    counts.push_back(fmt::format("{} cell{} failed in both", both, both == 1 ? "" : "s"));
  }
  if (const size_t added = comparison.added.size(); added > 0) {
    counts.push_back(fmt::format("{} cell{} in the candidate alone", added, added == 1 ? "" : "s"));
  }
  const std::string detail = fmt::format("{}", fmt::join(counts, ", "));
  switch (comparison.outcome()) {
    case Outcome::fine:
      return "no regression: " + detail;
    case Outcome::regression:
      return "REGRESSION: " + detail;
    case Outcome::incomplete:
      return "INCOMPLETE: " + detail;
    case Outcome::unsure:
      return "CAN'T TELL: " + detail;
    case Outcome::nothing_comparable:
      return "NOTHING COMPARABLE" + (detail.empty() ? "" : ": " + detail);
  }
  return "";
}

std::string format_comparison(const Comparison& comparison, bool markdown) {
  const auto side = [](const std::string& name, const RunInfo& info) {
    const auto commit = info.versions.find("commit");
    return fmt::format("{} ({}{})", name, info.started,
                       commit == info.versions.end() ? "" : ", commit " + commit->second);
  };
  const char* const bullet = markdown ? "- " : "";
  std::string text = markdown ? fmt::format("# {}\n\n", summary(comparison)) : "";
  text += fmt::format("{0}baseline:  {1}\n{0}candidate: {2}\n", bullet,
                      side(comparison.baseline, comparison.baseline_info),
                      side(comparison.candidate, comparison.candidate_info));
  const auto add = [&](const char* title, Quantity first, Quantity last) {
    const std::string body = table_of(comparison, first, last, markdown);
    if (body.empty()) return;
    text += fmt::format("\n{}{}\n{}{}", markdown ? "## " : "", title, markdown ? "\n" : "", body);
  };
  add("Perplexity (change: mean NLL in nats, paired by token)", Quantity::perplexity,
      Quantity::token_nll);
  add("Recall (change: paired by answer; McNemar's test, and in nats)", Quantity::accuracy,
      Quantity::log_probability);
  add("Latency (median of a decode step)", Quantity::latency, Quantity::latency);
  add("Memory", Quantity::cache_entries, Quantity::peak_rss_bytes);
  text += list_of("Failed in the candidate", comparison.failed, markdown);
  text += list_of("Failed in both", comparison.failed_in_both, markdown);
  text += list_of("In the baseline alone", comparison.missing, markdown);
  text += list_of("In the candidate alone", comparison.added, markdown);
  for (const std::string& note : comparison.notes) {
    text += fmt::format("\n{}changed: {}\n", markdown ? "> " : "", note);
  }
  for (const std::string& pattern : comparison.idle_patterns) {
    text += fmt::format("\n{}no cell matches the thresholds' pattern '{}'\n", markdown ? "> " : "",
                        pattern);
  }
  if (!markdown) text += "\n" + summary(comparison) + "\n";
  return text;
}

}  // namespace sinkbench
