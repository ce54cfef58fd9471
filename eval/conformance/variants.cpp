#include "eval/conformance/variants.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <set>

#include "base/error.h"
#include "policies/registry.h"

namespace sinkbench {
namespace {

class Collector {
 public:
  explicit Collector(const KitPolicy& policy) : seen_{policy.policy} {}

  /// One more, unless it makes no sense (a window of none) or is there.
  void add(const std::string& meaning, PolicySpec policy, int64_t dropped = 0) {
    try {
      make_policy(policy);
      policy.arguments = with_defaults(find_policy(policy.name), policy.arguments);
    } catch (const InputError&) {
      return;
    }
    if (dropped == 0 && !seen_.insert(policy).second) return;
    variants_.push_back({.meaning = meaning, .policy = std::move(policy), .dropped = dropped});
  }
  /// The same with one argument changed.
  void add(const std::string& meaning, PolicySpec policy, const std::string& argument,
           PolicyValue value) {
    policy.arguments[argument] = std::move(value);
    add(meaning, std::move(policy));
  }
  std::vector<Variant> take() { return std::move(variants_); }

 private:
  std::set<PolicySpec> seen_;
  std::vector<Variant> variants_;
};

int64_t argument(const PolicySpec& policy, const std::string& name) {
  const auto it = policy.arguments.find(name);
  return it != policy.arguments.end() && it->second.is_integer() ? it->second.integer() : 0;
}

void keep_prompt(PolicySpec& policy, const PolicySpec& like) {
  const auto prompt = like.arguments.find("prompt");
  if (prompt != like.arguments.end()) policy.arguments.insert(*prompt);
}

PolicySpec sinks_and_window(int64_t sinks, int64_t window, const PolicySpec& like) {
  PolicySpec spec{.name = sinks > 0 ? "sinks" : "window",
                  .arguments = {{"window", window}},
                  .positions = like.positions,
                  .cap = like.cap};
  if (sinks > 0) spec.arguments["sinks"] = sinks;
  keep_prompt(spec, like);
  return spec;
}

void add_positions(Collector& variants, const PolicySpec& policy) {
  constexpr std::pair<Positions, const char*> rules[] = {
      {Positions::cache, "positions within the cache: what stays is moved together"},
      {Positions::original, "positions of the stream: what stays keeps its place and gaps stay"},
      {Positions::frozen,
       "positions frozen: a key keeps the place that it got when it came, and the next one's is "
       "the "
       "cache's length"}};
  for (const auto& [rule, meaning] : rules) {
    PolicySpec other = policy;
    other.positions = rule;
    other.cap = 0;
    variants.add(meaning, std::move(other));
  }
}

/// Entries that are evicted at once by who doesn't want to move a cache at each token.
constexpr int64_t batches[] = {8, 16, 32, 64, 128, 256};

/// Of a window with its sinks: where the cache grows beyond its size first, and where it shrinks
/// below it. Rounds are after each token whose count is a multiple of the batch.
void add_batches(Collector& variants, int64_t sinks, int64_t capacity, const PolicySpec& like) {
  const auto add = [&](int64_t kept, int64_t batch, const char* when) {
    PolicySpec policy{
        .name = "latest",
        .arguments = {{"capacity", kept}, {"every", batch}, {"sinks", sinks}, {"recent", 0}},
        .positions = like.positions,
        .cap = like.cap};
    keep_prompt(policy, like);
    variants.add(fmt::format("{} entries are evicted at once, {}", batch, when), std::move(policy));
  };
  for (const int64_t batch : batches) {
    if (batch >= capacity) break;
    add(capacity, batch, "where the cache is as many above its size");
    add(capacity - batch, batch, "where the cache is full");
  }
}

/// Of `sinks` and `window`, which is the same with none.
void add_index_variants(Collector& variants, const PolicySpec& policy) {
  const int64_t window = argument(policy, "window");
  const int64_t sinks = policy.name == "sinks" ? argument(policy, "sinks") : 0;
  const auto spec = [&](int64_t s, int64_t w) { return sinks_and_window(s, w, policy); };
  variants.add("one entry fewer: evicts before attention, or counts the query itself in the cache",
               spec(sinks, window - 1));
  variants.add("one entry more: evicts one token late", spec(sinks, window + 1));
  if (sinks > 0) {
    variants.add("no sinks: a window as large as the cache", spec(0, sinks + window));
    variants.add("no sinks: the window alone", spec(0, window));
    variants.add("one sink fewer, the cache as large", spec(sinks - 1, window + 1));
    variants.add("one sink fewer, the window the same", spec(sinks - 1, window));
    variants.add("one sink alone, the cache as large", spec(1, sinks + window - 1));
    variants.add("two entries fewer", spec(sinks, window - 2));
    variants.add("one sink more, the cache as large", spec(sinks + 1, window - 1));
    variants.add("the sinks come on top: the window is as large as the cache was meant",
                 spec(sinks, window + sinks));
    variants.add("the sinks are counted twice: the window is smaller by them",
                 spec(sinks, window - sinks));
    PolicySpec halves{.name = "shift",
                      .arguments = {{"capacity", sinks + window}, {"sinks", sinks}},
                      .positions = policy.positions,
                      .cap = policy.cap};
    keep_prompt(halves, policy);
    variants.add("a cache in halves: the older half goes at once (context shift)",
                 std::move(halves));
  } else {
    variants.add("four sinks are kept", spec(4, window - 4));
  }
  add_batches(variants, sinks, sinks + window, policy);
}

void add_recompute_variants(Collector& variants, const PolicySpec& policy) {
  const int64_t window = argument(policy, "window");
  variants.add("a pass of one token fewer", policy, "window", window - 1);
  variants.add("a pass of one token more", policy, "window", window + 1);
  variants.add("nothing is computed afresh: a cache with a window",
               {.name = "window", .arguments = {{"window", window - 1}}});
}

void add_score_variants(Collector& variants, const PolicySpec& policy) {
  const int64_t capacity = argument(policy, "capacity"), sinks = argument(policy, "sinks");
  const int64_t recent = argument(policy, "recent");
  if (capacity > 0) {
    variants.add(
        "one entry fewer: evicts before attention, or counts the query itself in the cache", policy,
        "capacity", capacity - 1);
    variants.add("one entry more: evicts one token late", policy, "capacity", capacity + 1);
    variants.add("the first tokens are not protected", policy, "sinks", 0);
    if (sinks == 0) variants.add("the first four tokens are protected", policy, "sinks", 4);
    variants.add("the last tokens are not protected", policy, "recent", 0);
    variants.add("one recent entry fewer: the token just fed is not counted", policy, "recent",
                 recent - 1);
    variants.add("one recent entry more: the coming query is counted", policy, "recent",
                 recent + 1);
    variants.add("what is kept is a window with the same first tokens",
                 sinks_and_window(sinks, capacity - sinks, policy));
    variants.add("a round after every token", policy, "every", 1);
    for (const int64_t batch : batches) {
      variants.add(fmt::format("a round after every {} tokens", batch), policy, "every", batch);
    }
  }
  const auto& parameters = find_policy(policy.name).parameters;
  for (const PolicyParameter& parameter : parameters) {
    if (parameter.name != "scope" && parameter.name != "reduce" && parameter.name != "score")
      continue;
    for (const std::string& word : parameter.words) {
      variants.add(fmt::format("{}: {}", parameter.name, word), policy, parameter.name, word);
    }
  }
}

}  // namespace

std::vector<Variant> variants_of(const KitPolicy& policy, const Kit& kit) {
  const PolicySpec& spec = policy.policy;
  Collector variants(policy);
  if (kit.prefix > 0) variants.add("the BOS is not fed", spec, kit.prefix);
  const int64_t fed = std::ssize(kit.ids) - 1;
  if (!policy.first || *policy.first > fed) return variants.take();
  if (policy_named(spec.name) == nullptr) return variants.take();
  add_positions(variants, spec);
  if (spec.name == "sinks" || spec.name == "window") add_index_variants(variants, spec);
  if (spec.name == "recompute") add_recompute_variants(variants, spec);
  if (find_policy(spec.name).is_score_policy()) add_score_variants(variants, spec);
  variants.add("dense after all: nothing is evicted", {.name = "dense"});
  return variants.take();
}

std::vector<Variant> variants_beside(const Variant& first, const KitPolicy& policy,
                                     const Kit& kit) {
  using Stream = std::pair<PolicySpec, int64_t>;  // what is run, and the ids that are dropped
  std::set<Stream> seen = {{policy.policy, 0}};
  for (const Variant& variant : variants_of(policy, kit)) {
    seen.insert({variant.policy, variant.dropped});
  }
  Kit rest;  // of the kit, what variants_of looks at
  rest.prefix = first.dropped > 0 ? 0 : kit.prefix;
  rest.ids.assign(kit.ids.begin() + first.dropped, kit.ids.end());
  KitPolicy mistaken;
  mistaken.policy = first.policy;
  mistaken.cached = make_policy(first.policy)->capacity();
  if (mistaken.cached) mistaken.first = *mistaken.cached + 2;
  std::vector<Variant> variants;
  for (Variant& variant : variants_of(mistaken, rest)) {
    variant.dropped += first.dropped;
    if (seen.insert({variant.policy, variant.dropped}).second) {
      variants.push_back(std::move(variant));
    }
  }
  return variants;
}

Departure departure(std::span<const double> expected, std::span<const double> found,
                    double tolerance, int64_t offset) {
  Departure result;
  const auto there =
      expected.subspan(std::min<size_t>(static_cast<size_t>(offset), expected.size()));
  result.compared = std::ssize(found.first(std::min(found.size(), there.size())));
  double sum = 0;
  for (int64_t i = 0; i < result.compared; ++i) {
    double difference = std::abs(there[i] - found[i]);
    if (std::isnan(difference)) difference = std::numeric_limits<double>::infinity();
    sum += difference;
    if (difference > result.largest || result.largest_at < 0) {
      result.largest = difference;
      result.largest_at = offset + i + 1;
    }
    if (difference <= tolerance) continue;
    if (result.above++ == 0) result.first = offset + i + 1;
  }
  result.mean = result.compared > 0 ? sum / static_cast<double>(result.compared) : 0;
  return result;
}

std::string written_as(std::span<const double> expected, std::span<const double> found,
                       double tolerance) {
  const auto changed = [&](double factor) {
    std::vector<double> values(found.begin(), found.end());
    for (double& value : values) value *= factor;
    return departure(expected, values, tolerance).equal();
  };
  if (changed(-1)) return "log-probabilities: their sign is to be changed";
  const double ln2 = std::log(2.0);
  if (changed(ln2)) return "in bits: nats are 0.693 times as much";
  if (changed(-ln2)) return "log-probabilities to the base 2";
  if (found.size() > 2) {
    if (departure(expected, found.subspan(1), tolerance).equal()) {
      return "one token late: its first number is of no token of the kit, the second of token 1";
    }
    if (departure(expected, found.first(std::min(found.size(), expected.size() - 1)), tolerance, 1)
            .equal()) {
      return "one token early: the number of token 1 is missing";
    }
  }
  // A running mean, as perplexity's usual loops print it.
  std::vector<double> values;
  double sum = 0;
  for (size_t i = 0; i < std::min(found.size(), expected.size()); ++i) {
    sum += expected[i];
    values.push_back(sum / static_cast<double>(i + 1));
  }
  if (found.size() > 1 && departure(values, found, tolerance).equal()) {
    return "the mean so far, and not of each token";
  }
  return "";
}

}  // namespace sinkbench
