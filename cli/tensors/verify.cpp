#include <fmt/format.h>
#include <fmt/ranges.h>

#include <cmath>
#include <map>
#include <optional>
#include <set>
#include <tuple>

#include "base/console.h"
#include "base/error.h"
#include "cli/run_experiment.h"
#include "cli/tensors/commands.h"
#include "eval/run/run.h"
#include "policies/plugin.h"
#include "policies/registry.h"

namespace sinkbench {
namespace {

/// Rounding's share, with room: of float32 and coarser, and of float64.
double default_tolerance(const Cell& cell) {
  return cell.dtype == "float64" ? 1e-9 : 1e-4;
}

}  // namespace

bool verify(const Experiment& experiment, const VerifyOptions& options) {
  for (const std::filesystem::path& plugin : experiment.plugins) load_plugin(plugin);
  Runner runner(options.quiet ? Progress::Style::silent : Progress::detect());
  check_cells(runner, experiment.cells);
  size_t width = 4;
  for (const Cell& cell : experiment.cells) width = std::max(width, cell.id.size());
  print_out("  {:<{}}  {:>8}  {:>12}  {:>12}\n", "cell", width, "tokens", "largest", "mean");
  bool agree = true;
  std::set<double> tolerances;
  // Cells that differ only in the block's size share the oracle, and under a policy that evicts by
  // content one log of decisions, which all follow.
  struct Oracle {
    std::vector<double> nll;
    std::vector<Decision> log;
  };
  std::map<std::tuple<ModelSpec, DatasetSpec, PolicySpec, std::string, StorageSpec, std::string>,
           Oracle>
      oracles;
  for (const Cell& cell : experiment.cells) {
    Cell chunked = cell, stepwise = cell;
    chunked.engine = "chunked";
    stepwise.engine = "stepwise";
    chunked.id += " (chunked)";
    stepwise.id += " (stepwise)";
    const auto [oracle, is_new] = oracles.try_emplace(
        {cell.model, cell.dataset, cell.policy, cell.dtype, cell.kv, cell.device});
    std::vector<Decision>& log = oracle->second.log;
    std::vector<double>& b = oracle->second.nll;
    std::optional<Disagreement> own;
    std::vector<double> a;
    if (!find_policy(cell.policy.name).is_score_policy()) {
      if (is_new) b = runner.score(stepwise);
      a = runner.score(chunked);
    } else if (is_new) {
      a = runner.score(chunked, {.sink = [&](std::span<const Decision> decisions) {
                         log.insert(log.end(), decisions.begin(), decisions.end());
                       }});
      b = runner.score(stepwise, {.follow = &log}, &own);
    } else {
      a = runner.score(chunked, {.follow = &log}, &own);
    }
    double largest = 0.0, sum = 0.0;
    for (size_t i = 0; i < a.size(); ++i) {
      const double difference = std::abs(a[i] - b[i]);
      sum += difference;
      if (!(difference <= largest)) largest = difference;  // NaN counts as a difference
    }
    const double tolerance = options.tolerance.value_or(default_tolerance(cell));
    tolerances.insert(tolerance);
    // In float64 the gaps between scores dwarf rounding.
    const bool same_decisions = !own || cell.dtype != "float64";
    const bool within = largest <= tolerance && same_decisions;
    agree = agree && within;
    print_out("  {:<{}}  {:>8}  {:>12.2e}  {:>12.2e}{}\n", cell.id, width, a.size(), largest,
              sum / static_cast<double>(a.size()),
              largest > tolerance ? "  above the tolerance" : "");
    if (own) {
      print_out(
          "    {} first decision that another engine or block would have made otherwise: after "
          "token {}, layer {}, head {}, evict [{}], not [{}]; scores {:.2g} apart\n",
          same_decisions ? "the" : "DIFFERENT: the", own->own.t, own->own.layer, own->own.head,
          fmt::join(own->own.places, ", "), fmt::join(own->followed, ", "), own->gap);
    }
  }
  print_out("\nnats per token, chunked against stepwise; tolerance {:g}: {}\n",
            fmt::join(tolerances, ", "), agree ? "the engines agree" : "the engines DISAGREE");
  return agree;
}

}  // namespace sinkbench
