#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "cli/tensors/commands.h"
#include "eval/engines/method.h"
#include "eval/experiment/ids.h"
#include "eval/run/machine.h"
#include "eval/run/run.h"
#include "policies/plugin.h"
#include "policies/registry.h"
#include "reports/names.h"

namespace sinkbench {
namespace {

/// Whether query t sees all earlier tokens, of a policy that doesn't look at them.
bool sees_all(const Policy& policy, int64_t layers, int64_t t) {
  if (const auto* recompute = dynamic_cast<const RecomputePolicy*>(&policy)) {
    return size(recompute->view(t)) == t;
  }
  const auto& by_index = dynamic_cast<const IndexPolicy&>(policy);
  const auto* reads = dynamic_cast<const ReadPolicy*>(&policy);
  for (int64_t layer = 0; layer < layers; ++layer) {
    if (size(by_index.view(layer, t)) < t) return false;
    const auto reading = reads == nullptr ? std::nullopt : reads->reading(layer);
    if (reading && t / reading->page + 1 > reading->pages) return false;
  }
  return true;
}

}  // namespace

Kit make_kit(const Experiment& experiment, bool decisions, Progress::Style style) {
  for (const std::filesystem::path& plugin : experiment.plugins) load_plugin(plugin);
  Runner runner(style);
  check_cells(runner, experiment.cells);
  const Cell& first = experiment.cells.front();
  Kit kit;
  kit.versions = describe_run("golden", "", false).versions;
  kit.model = first.model.path;
  kit.model_name = model_name(first);
  kit.text = dataset_name(first);
  kit.dtype = first.dtype;
  kit.as_stored = first.model.as_stored;
  {
    const Runner::Text text = runner.text(first);
    kit.ids = text.stream.ids;
    kit.tokenizer_sha256 = text.tokenizer_sha256;
    kit.prefix = first.dataset.bos == BosPlacement::none ? 0 : std::ssize(text.prefix);
  }
  kit.model_sha256 = runner.load(first).decoder.sha256();
  const int64_t layers = runner.config(first).layers;
  for (const Cell& cell : experiment.cells) {
    const auto policy = make_policy(cell.policy);
    KitPolicy entry{.id = policy_id(cell.policy),
                    .label = named_label(cell.policy.name, policy->label()),
                    .policy = cell.policy,
                    .cached = policy->capacity(),
                    .nll = {},
                    .decisions = {}};
    const int64_t scored = std::ssize(kit.ids) - 1;
    if (find_policy(cell.policy.name).is_score_policy()) {
      if (decisions) entry.decisions.emplace();
      int64_t round = scored;  // the first that evicts, after this token
      entry.nll =
          runner.score(cell, {.sink = [&](std::span<const Decision> made) {
                         for (const Decision& d : made) {
                           round = std::min(round, d.t);
                           if (!decisions) continue;
                           entry.decisions->push_back(
                               {.t = d.t, .layer = d.layer, .head = d.head, .places = d.places});
                         }
                       }});
      if (round + 2 <= scored) entry.first = round + 2;
    } else {
      entry.nll = runner.score(cell);
      for (int64_t t = 0; t < scored && !entry.first; ++t) {
        if (!sees_all(*policy, layers, t)) entry.first = t + 1;
      }
    }
    for (size_t i = 0; i < entry.nll.size(); ++i) {
      if (std::isfinite(entry.nll[i])) continue;
      throw InputError::format("{}, {}: the NLL of token {} is not a finite number",
                               first.model.path.string(), entry.id, i + 1);
    }
    kit.policies.push_back(std::move(entry));
  }
  return kit;
}

std::vector<std::vector<double>> score_variants(const Kit& kit, const std::string& model,
                                                const std::vector<Variant>& variants,
                                                const std::string& device, int64_t threads,
                                                Progress::Style style) {
  Cell cell;
  cell.model.path = model.empty() ? kit.model : std::filesystem::path(model);
  cell.model.as_stored = kit.as_stored;
  cell.dtype = kit.dtype;
  cell.device = device;
  cell.threads = threads;
  Runner runner(style);
  if (!std::filesystem::exists(cell.model.path)) {
    throw InputError::format("{}: there is no such model", cell.model.path.string());
  }
  const Decoder& decoder = runner.load(cell).decoder;
  if (decoder.sha256() != kit.model_sha256) {
    throw InputError::format("{}: is not the kit's model: SHA-256 {}, the kit's {}",
                             cell.model.path.string(), decoder.sha256(), kit.model_sha256);
  }
  check_ids(kit.ids, decoder.config());
  std::vector<std::vector<double>> numbers;
  Progress progress(style, "variants", std::ssize(variants), "variants");
  for (const Variant& variant : variants) {
    std::vector<double>& nll = numbers.emplace_back();
    try {
      const auto policy = make_policy(variant.policy);
      const auto engine = make_engine("chunked", decoder, *policy, {});
      engine->score(std::span(kit.ids).subspan(static_cast<size_t>(variant.dropped)),
                    [&](std::span<const double> block) {
                      nll.insert(nll.end(), block.begin(), block.end());
                    });
    } catch (const InputError&) {
      nll.clear();  // not of this model: learned positions, for one
    }
    progress.update(std::ssize(numbers));
  }
  return numbers;
}

}  // namespace sinkbench
