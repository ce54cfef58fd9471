// sinkbench golden: the conformance kit of an experiment; and `compare --golden`, which holds
// somebody else's numbers against one.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>

#include "base/console.h"
#include "base/error.h"
#include "cli/commands.h"
#include "cli/conformance.h"
#include "cli/tensors.h"
#include "eval/conformance/kit.h"
#include "eval/conformance/variants.h"
#include "eval/experiment/engine_names.h"
#include "eval/experiment/experiment.h"
#include "eval/experiment/ids.h"
#include "reports/tables.h"
#include "reports/text_table.h"

namespace sinkbench {
namespace {

struct Options {
  std::string config, out;
  Overrides overrides;
  bool decisions = false, quiet = false;
};

double perplexity(std::span<const double> nll) {
  double sum = 0;
  for (const double value : nll) sum += value;
  return std::exp(sum / static_cast<double>(nll.size()));
}

/// One model, one text and one setting, of which every token is scored.
void check(const Experiment& experiment, const std::string& config) {
  const Cell& first = experiment.cells.front();
  for (const Cell& cell : experiment.cells) {
    const char* several = cell.model != first.model       ? "models"
                          : cell.dataset != first.dataset ? "texts"
                          : cell.dtype != first.dtype     ? "dtypes"
                          : cell.engine != first.engine   ? "engines"
                          : cell.kv != first.kv           ? "forms of storage (kv)"
                                                          : nullptr;
    if (several != nullptr) {
      throw InputError::format(
          "{}: has several {}; a kit has one, and policies (--set chooses one)", config, several);
    }
    if (cell.dataset.is_task()) {
      throw InputError::format("{}: has a task; a kit is of a text, one stream", config);
    }
    if (cell.dataset.reset) {
      throw InputError::format(
          "{}: dataset.reset cuts the text into pieces; a kit is of one stream", config);
    }
    if (!cell.kv.is_native()) {
      throw InputError::format("{}: kv is {}; a kit is of caches that store numbers as they are",
                               config, storage_label(cell.kv));
    }
    if (cell.model.random) {
      throw InputError::format("{}: the model's weights are random; a kit is of a checkpoint",
                               config);
    }
    const auto stride = cell.policy.arguments.find("stride");
    if (cell.policy.name == "recompute" && stride != cell.policy.arguments.end() &&
        stride->second != PolicyValue(1)) {
      throw InputError::format("{}: recompute has a stride of {}; a kit has every token's NLL",
                               config, to_string(stride->second));
    }
  }
}

void golden(const Options& options) {
  Overrides overrides = options.overrides;
  overrides.load_plugins = true;
  Experiment experiment = load_experiment(options.config, overrides);
  check(experiment, options.config);
  const TensorCommands& tensors = tensor_commands(uses_cuda(experiment.cells));
  const Kit kit = tensors.make_kit(experiment, options.decisions,
                                   options.quiet ? Progress::Style::silent : Progress::detect());
  write_kit(kit, options.out);
  Columns columns = {{.name = "policy", .number = false, .key = true},
                     {.name = "cached"},
                     {.name = "perplexity"},
                     {.name = "first token with something evicted before it", .number = false}};
  const int64_t fed = std::ssize(kit.ids) - 1;
  std::vector<std::string> never;
  for (const KitPolicy& policy : kit.policies) {
    const bool full = policy.cached && *policy.cached < fed;
    columns[0].cells.push_back(policy.id);
    columns[1].cells.push_back(policy.cached ? std::to_string(*policy.cached) : "all");
    columns[2].cells.push_back(significant(perplexity(policy.nll)));
    columns[3].cells.push_back(full ? std::to_string(*policy.cached + 2) : none);
    if (policy.cached && !full) never.push_back(policy.id);
  }
  print_out("kit: {}, {} tokens of {}, {}\n{}\n{}\n", kit.model_name, kit.ids.size(), kit.text,
            kit.dtype, render(columns, /*markdown=*/false), options.out);
  for (const std::string& id : never) {
    remark(
        "warning: {}: the stream never fills its cache, so that dense attention would pass for it; "
        "expected more tokens\n",
        id);
  }
}

std::string nats(double value) {
  return std::isinf(value) ? "no number" : fmt::format("{:.2g}", value);
}

std::string counted_numbers(size_t n) {
  return fmt::format("{} number{}", n, n == 1 ? "" : "s");
}

/// Prints what fits where the kit's own numbers don't; false where nothing does.
bool diagnose(const Kit& kit, const KitPolicy& policy, const std::vector<double>& found,
              const Departure& own, const ConformanceOptions& options) {
  if (const std::string how = written_as(policy.nll, found, options.tolerance); !how.empty()) {
    print_out("likely cause: the numbers are written otherwise, {}\n", how);
    return true;
  }
  if (std::isinf(own.largest)) {
    print_out("token {} has no number (NaN or infinity), which no known mistake explains\n",
              own.largest_at);
    return true;
  }
  const std::vector<Variant> variants = variants_of(policy, kit);
  if (variants.empty()) return false;
  std::vector<std::vector<double>> numbers;
  try {
    numbers = tensor_commands(is_cuda(options.device))
                  .score_variants(kit, options.model, variants, options.device, options.threads,
                                  options.quiet ? Progress::Style::silent : Progress::detect());
  } catch (const InputError& error) {
    remark("no cause looked for: {}; expected the kit's model: --model PATH\n", error.what());
    return false;
  }
  struct Fit {
    const Variant* variant;
    Departure departure;
  };
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
    fits.push_back({&variants[i], departure(numbers[i], theirs, options.tolerance)});
  }
  std::stable_sort(fits.begin(), fits.end(),
                   [](const Fit& a, const Fit& b) { return a.departure.mean < b.departure.mean; });
  Columns columns = {{.name = "as if", .number = false, .key = true},
                     {.name = "largest"},
                     {.name = "mean"},
                     {.name = "tokens that depart"}};
  const auto add = [&](const std::string& name, const Departure& d) {
    columns[0].cells.push_back(name);
    columns[1].cells.push_back(nats(d.largest));
    columns[2].cells.push_back(nats(d.mean));
    columns[3].cells.push_back(fmt::format("{} of {}", d.above, d.compared));
  };
  constexpr size_t shown = 5;
  for (size_t i = 0; i < std::min(shown, fits.size()); ++i) {
    add(fits[i].variant->meaning, fits[i].departure);
  }
  add("the kit's " + policy.id, own);
  print_out("\nDifferences in nats to what known mistakes give, the nearest first\n{}\n",
            render(columns, /*markdown=*/false));
  if (fits.empty()) return false;
  const Fit& best = fits.front();
  if (best.departure.equal()) {
    print_out("likely cause: {}\n", best.variant->meaning);
    return true;
  }
  // Far nearer than the kit's, though not the same: the mistake, and something else or rounding.
  if (best.departure.mean < own.mean / 5) {
    print_out("likely cause, in part: {}; what is left is {} on average\n", best.variant->meaning,
              nats(best.departure.mean));
    return true;
  }
  return false;
}

}  // namespace

ExitStatus compare_with_kit(const ConformanceOptions& options) {
  const Kit kit = read_kit(options.kit);
  const KitPolicy& policy = kit.policy(options.policy);
  const std::vector<double> found = read_nlls(options.nll);
  const std::vector<double>& expected = policy.nll;
  if (found.size() > expected.size()) {
    throw InputError::format(
        "{}: {}; expected no more than the kit's {}, one for each token but the first{}",
        options.nll, counted_numbers(found.size()), expected.size(),
        found.size() == expected.size() + 1
            ? " (a number for the first token, or for a BOS too many?)"
            : "");
  }
  const Departure own = departure(expected, found, options.tolerance);
  const std::span<const double> first(expected.data(), found.size());
  print_out("{}, {}: {} of {} numbers compared, tolerance {:g} nats\n", kit.model_name, policy.id,
            own.compared, expected.size(), options.tolerance);
  print_out("perplexity of these tokens: {} in the kit, {} in {}\n", significant(perplexity(first)),
            significant(perplexity(found)), options.nll);
  if (own.equal()) {
    print_out("EQUAL: no token departs; the largest difference is {} (token {})\n",
              nats(own.largest), own.largest_at);
    const int64_t cached = policy.cached.value_or(0);
    if (policy.cached && own.compared <= cached + 1) {
      remark(
          "warning: nothing had been evicted yet: the cache holds {} entries, and dense attention "
          "would be equal, too\n",
          cached);
    }
    return exit_ok;
  }
  print_out(
      "DEPARTS from token {} on: {} of {} tokens differ by more, the most token {}, by {}; the "
      "mean "
      "difference is {}\n",
      own.first, own.above, own.compared, own.largest_at, nats(own.largest), nats(own.mean));
  if (policy.cached && own.first > *policy.cached + 1) {
    print_out(
        "the first {} numbers agree; the first token with something evicted before it is {}\n",
        own.first - 1, *policy.cached + 2);
  }
  if (!diagnose(kit, policy, found, own, options)) print_out("no known mistake fits\n");
  return exit_differs;
}

void add_golden(CLI::App& app) {
  auto options = std::make_shared<Options>();
  CLI::App* command = app.add_subcommand(
      "golden", "Write a conformance kit: what an exact cache gives, token by token");
  command->add_option("config", options->config, "The experiment, a YAML file")->required();
  command->add_option("--out", options->out, "The kit, a JSON file")->required();
  command->add_flag("--decisions", options->decisions,
                    "Also what each round of a policy by score evicted");
  command->add_option("--set", options->overrides.set, "Replace a value, as with run (repeatable)")
      ->allow_extra_args(false);
  add_overrides(*command, options->overrides, "Threads (default: all cores)");
  add_plugins(*command, options->overrides.plugins);
  command->add_flag("--quiet", options->quiet, "No progress");
  command->footer(
      "The experiment has one model and one text. `sinkbench compare --golden KIT` holds numbers "
      "of\n"
      "any other program against it (docs/conformance.md).\n"
      "Example: sinkbench golden configs/kits/tiny.yaml --out tiny-kit.json");
  command->callback([options] { golden(*options); });
}

}  // namespace sinkbench
