#include "cli/conformance.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <optional>
#include <span>
#include <vector>

#include "base/console.h"
#include "base/error.h"
#include "cli/tensors.h"
#include "eval/conformance/kit.h"
#include "eval/conformance/variants.h"
#include "eval/experiment/engine_names.h"
#include "reports/text_table.h"

namespace sinkbench {
namespace {

std::string nats(double value) {
  return std::isinf(value) ? "no number" : fmt::format("{:.2g}", value);
}

/// How far somebody's numbers are from what a mistake gives.
struct Fit {
  Variant variant;
  Departure departure;

  const std::string& meaning() const { return variant.meaning; }
};

/// Of each of these mistakes, the nearest first; nothing where they can't be computed, which is
/// said.
std::optional<std::vector<Fit>> fits_of(const Kit& kit, const std::vector<Variant>& variants,
                                        std::span<const double> found,
                                        const ConformanceOptions& options) {
  if (variants.empty()) return std::vector<Fit>();
  std::vector<std::vector<double>> numbers;
  try {
    numbers = tensor_commands(is_cuda(options.device))
                  .score_variants(kit, options.model, variants, options.device, options.threads,
                                  options.quiet ? Progress::Style::silent : Progress::detect());
  } catch (const InputError& error) {
    remark("no cause looked for: {}{}\n", error.what(),
           options.model.empty() ? " (the kit's model can be named by --model PATH)" : "");
    return std::nullopt;
  }
  std::vector<Fit> fits;
  for (size_t i = 0; i < variants.size(); ++i) {
    if (numbers[i].empty()) continue;  // the model doesn't run so
    // Without a BOS there are as many numbers fewer, or the first are of something else.
    const int64_t dropped = variants[i].dropped;
    std::span<const double> theirs = found;
    if (dropped > 0 && std::ssize(found) != std::ssize(numbers[i])) {
      if (std::ssize(found) <= dropped) continue;
      theirs = theirs.subspan(static_cast<size_t>(dropped));
    }
    fits.push_back({variants[i], departure(numbers[i], theirs, options.tolerance)});
  }
  std::stable_sort(fits.begin(), fits.end(),
                   [](const Fit& a, const Fit& b) { return a.departure.mean < b.departure.mean; });
  return fits;
}

/// The nearest, and what `own` is in its place among them.
void print_fits(const std::vector<Fit>& fits, const Fit& own, const std::string& title) {
  constexpr size_t most = 5;
  std::vector<Fit> shown(fits.begin(),
                         fits.begin() + static_cast<std::ptrdiff_t>(std::min(most, fits.size())));
  const auto place = std::find_if(shown.begin(), shown.end(), [&](const Fit& fit) {
    return fit.departure.mean >= own.departure.mean;
  });
  shown.insert(place, own);
  Columns columns = {{.name = "as if", .number = false, .key = true},
                     {.name = "largest"},
                     {.name = "mean"},
                     {.name = "tokens that depart"}};
  for (const Fit& fit : shown) {
    columns[0].cells.push_back(fit.meaning());
    columns[1].cells.push_back(nats(fit.departure.largest));
    columns[2].cells.push_back(nats(fit.departure.mean));
    columns[3].cells.push_back(
        fmt::format("{} of {}", fit.departure.above, fit.departure.compared));
  }
  print_out("\n{}, the nearest first\n{}\n", title, render(columns, /*markdown=*/false));
}

/// Those that these numbers are equal to.
std::vector<std::string> equal_fits(const std::vector<Fit>& fits) {
  std::vector<std::string> meanings;
  for (const Fit& fit : fits) {
    if (fit.departure.equal()) meanings.push_back(fit.meaning());
  }
  return meanings;
}

constexpr const char* fits_title = "Differences in nats to what known mistakes give";

/// "likely cause: " and what fits, or what the nearest leaves.
std::string likely_cause(const std::vector<Fit>& fits, const KitPolicy& policy,
                         const Departure& own) {
  const std::vector<std::string> equal = equal_fits(fits);
  if (equal.size() == 1) return "likely cause: " + equal.front();
  if (!equal.empty()) {
    return fmt::format("likely cause one of these, which so few numbers don't tell apart: {}",
                       fmt::join(equal, "; "));
  }
  // Far nearer than the kit's, though not the same: the mistake, and something else or rounding.
  if (!fits.empty() && fits.front().departure.mean < own.mean / 5) {
    return fmt::format("likely cause, in part: {}; what is left is {} on average",
                       fits.front().meaning(), nats(fits.front().departure.mean));
  }
  if (policy.first ? own.first < *policy.first : policy.cached.has_value()) {
    return fmt::format(
        "it departs before anything was evicted{}: what differs is no rule of the cache but the "
        "ids, the precision or the model itself; hold your dense attention against the kit's "
        "'dense' first",
        policy.first ? fmt::format(" (the first token that could know is {})", *policy.first) : "");
  }
  return "no known mistake fits";
}

/// Two mistakes at once, where one alone is nearer than the kit and not the same.
std::optional<std::string> two_causes(const Kit& kit, const KitPolicy& policy, const Fit& first,
                                      std::span<const double> found,
                                      const ConformanceOptions& options) {
  const auto fits = fits_of(kit, variants_beside(first.variant, policy, kit), found, options);
  if (!fits || fits->empty()) return std::nullopt;
  const std::vector<std::string> equal = equal_fits(*fits);
  // What isn't equal is of use only where it explains most of what the first one leaves.
  if (equal.empty() && fits->front().departure.mean > first.departure.mean / 5) return std::nullopt;
  print_fits(*fits, {{.meaning = "nothing else", .policy = {}}, first.departure},
             fmt::format("With '{}', what a second mistake gives", first.meaning()));
  return fmt::format(
      "likely causes{}: {}; and{} {}", equal.empty() ? ", in part" : "", first.meaning(),
      equal.size() > 1 ? " one of these, which so few numbers don't tell apart:" : "",
      equal.empty() ? fits->front().meaning() : fmt::format("{}", fmt::join(equal, "; ")));
}

void explain(const Kit& kit, const KitPolicy& policy, std::span<const double> found,
             const Departure& own, const ConformanceOptions& options) {
  if (const std::string how = written_as(policy.nll, found, options.tolerance); !how.empty()) {
    print_out("likely cause: the numbers are written otherwise, {}\n", how);
    return;
  }
  if (std::isinf(own.largest)) {
    print_out("token {} has no number (NaN or infinity), which no known mistake explains\n",
              own.largest_at);
    return;
  }
  const auto fits = fits_of(kit, variants_of(policy, kit), found, options);
  if (!fits) return;
  std::optional<std::string> cause;
  if (!fits->empty()) {
    print_fits(*fits, {{.meaning = "the kit's " + policy.id, .policy = {}}, own}, fits_title);
    const Fit& nearest = fits->front();
    if (equal_fits(*fits).empty() && nearest.departure.mean < own.mean) {
      cause = two_causes(kit, policy, nearest, found, options);
    }
  }
  print_out("{}\n", cause ? *cause : likely_cause(*fits, policy, own));
}

/// A wide tolerance lets mistakes pass; which ones is said.
void warn_of_mistakes_that_pass(const Kit& kit, const KitPolicy& policy,
                                std::span<const double> found, const Departure& own,
                                const ConformanceOptions& options) {
  const auto fits = fits_of(kit, variants_of(policy, kit), found, options);
  if (!fits || fits->empty()) return;
  print_fits(*fits, {{.meaning = "the kit's " + policy.id, .policy = {}}, own}, fits_title);
  const std::vector<std::string> equal = equal_fits(*fits);
  if (!equal.empty()) {
    print_out("within this tolerance {} known mistake{} would be EQUAL, too: {}\n", equal.size(),
              equal.size() == 1 ? "" : "s", fmt::join(equal, "; "));
  }
  print_out("{}\n", fits->front().departure.mean < own.mean
                        ? "nearer than the kit's numbers is a mistake: " + fits->front().meaning()
                        : "nearest of all are the kit's own numbers");
}

}  // namespace

ExitStatus compare_with_kit(const ConformanceOptions& options) {
  const Kit kit = read_kit(options.kit);
  const KitPolicy& policy = kit.policy(options.policy);
  const std::vector<double> found = read_nlls(options.nll);
  const std::vector<double>& expected = policy.nll;
  if (found.size() > expected.size()) {
    throw InputError::format(
        "{}: {} numbers; expected no more than the kit's {}, one for each token but the first{}",
        options.nll, found.size(), expected.size(),
        found.size() == expected.size() + 1
            ? " (a number for the first token, or for a BOS too many?)"
            : "");
  }
  const Departure own = departure(expected, found, options.tolerance);
  const std::span<const double> first(expected.data(), found.size());
  print_out("{}, {}: {} of {} numbers compared, tolerance {:g} nats\n", kit.model_name, policy.id,
            own.compared, expected.size(), options.tolerance);
  print_out("perplexity of these tokens: {} in the kit, {} in {}\n",
            significant(perplexity_of(first)), significant(perplexity_of(found)), options.nll);
  if (own.equal()) {
    if (policy.first && own.compared < *policy.first) {
      throw InputError::format(
          "{}: {} numbers agree, and nothing had been evicted by then, so that dense attention "
          "would be equal, too: the first token with something evicted before it is {}; "
          "expected so many at least",
          options.nll, own.compared, *policy.first);
    }
    if (policy.cached && !policy.first) {
      throw InputError::format(
          "{}: {} numbers agree, and dense attention would be equal, too: the kit's stream never "
          "fills the cache of {} entries; expected a kit of more tokens",
          options.nll, own.compared, *policy.cached);
    }
    print_out("EQUAL: no token departs; the largest difference is {} (token {})\n",
              nats(own.largest), own.largest_at);
    if (options.tolerance > ConformanceOptions().tolerance) {
      warn_of_mistakes_that_pass(kit, policy, found, own, options);
    }
    return exit_ok;
  }
  print_out(
      "DEPARTS from token {} on: {} of {} tokens differ by more, the most token {}, by {}; the "
      "mean "
      "difference is {}\n",
      own.first, own.above, own.compared, own.largest_at, nats(own.largest), nats(own.mean));
  if (policy.first && own.first >= *policy.first) {
    print_out(
        "the first {} numbers agree; the first token with something evicted before it is {}\n",
        own.first - 1, *policy.first);
  }
  explain(kit, policy, found, own, options);
  return exit_differs;
}

}  // namespace sinkbench
