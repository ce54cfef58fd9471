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
  for (const Cell& cell : experiment.cells) {
    const auto policy = make_policy(cell.policy);
    KitPolicy entry{.id = policy_id(cell.policy),
                    .label = named_label(cell.policy.name, policy->label()),
                    .policy = cell.policy,
                    .cached = policy->capacity(),
                    .nll = {},
                    .decisions = {}};
    if (decisions && find_policy(cell.policy.name).is_score_policy()) {
      entry.decisions.emplace();
      entry.nll =
          runner.score(cell, {.sink = [&](std::span<const Decision> made) {
                         for (const Decision& d : made) {
                           entry.decisions->push_back(
                               {.t = d.t, .layer = d.layer, .head = d.head, .places = d.places});
                         }
                       }});
    } else {
      entry.nll = runner.score(cell);
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
