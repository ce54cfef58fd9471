#include "eval/experiment/sink_experiment.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "base/error.h"
#include "eval/experiment/engine_names.h"
#include "eval/experiment/ids.h"
#include "eval/experiment/inputs.h"
#include "eval/experiment/place.h"

namespace sinkbench {
namespace {

constexpr int64_t most_samples = int64_t{1} << 32;

std::vector<int64_t> integers(const Place& place) {
  std::vector<int64_t> result;
  for (const Place& element : place.each()) result.push_back(element.integer(0));
  return result;
}

/// What of a measurement departs from the metric's own defaults.
std::string sampling_slug(const SinkSampling& sampling) {
  const SinkSampling usual;
  std::string result = "-" + to_string(sampling.input);
  if (sampling.tokens != usual.tokens) result += fmt::format("-T{}", sampling.tokens);
  if (sampling.bos != usual.bos) result += "-bos.none";
  if (sampling.seed != usual.seed) result += fmt::format("-seed{}", sampling.seed);
  return result;
}

}  // namespace

const std::vector<std::string>& sink_input_names() {
  static const std::vector<std::string> names = {"natural", "random", "repeated"};
  return names;
}

std::string to_string(SinkInput input) {
  return sink_input_names()[static_cast<size_t>(input)];
}

bool is_sink_experiment(const std::filesystem::path& yaml) {
  const YAML::Node root = read_yaml(yaml);
  return root["sinks"].IsDefined() && !root["policies"].IsDefined();
}

SinkExperiment load_sink_experiment(const std::filesystem::path& yaml, const Overrides& overrides) {
  YAML::Node root = read_yaml(yaml);
  std::vector<std::string> set_keys;
  for (const std::string& assignment : overrides.set) apply_override(root, assignment, set_keys);
  const Place top(root, "", yaml, set_keys);
  if (top.has("policies") && !top.has("sinks")) {
    top.at("policies").fail("runs policies and measures no sinks; expected `sinkbench run`");
  }
  top.check_keys({"name", "model", "dataset", "sinks", "dtype", "device", "threads"});
  for (const char* key : {"model", "sinks"}) {
    if (!top.has(key)) top.fail(fmt::format("key '{}' is missing", key));
  }
  SinkExperiment experiment;
  experiment.name = slug(top.has("name") ? top.at("name").text() : yaml.stem().string());

  // Samples are cut and begin as `sinks` says.
  std::vector<DatasetSpec> datasets;
  if (top.has("dataset")) {
    for (const Place& dataset : top.at("dataset").each()) {
      for (const char* key : {"bos", "tokens", "reset"}) {
        if (!dataset.node().IsMap() || !dataset.has(key)) continue;
        dataset.at(key).fail(
            "has no meaning where sinks are measured; expected sinks.bos, "
            "sinks.tokens and sinks.samples");
      }
    }
    datasets = read_datasets(top.at("dataset"), std::nullopt);
  } else {
    datasets.emplace_back();
  }
  const Place place = top.at("sinks");
  place.check_keys(
      {"input", "bos", "samples", "tokens", "seed", "epsilon", "positions", "mapped", "logits"});
  SinkOptions options;
  if (place.has("epsilon")) options.epsilon = place.at("epsilon").number(0, 1);
  if (place.has("positions")) options.positions = place.at("positions").integer(1);
  if (place.has("mapped")) options.mapped = place.at("mapped").integer(1);
  if (place.has("logits")) {
    const Place logits = place.at("logits");
    logits.check_keys({"layers", "heads"});
    for (const char* key : {"layers", "heads"}) {
      if (!logits.has(key)) logits.fail(fmt::format("key '{}' is missing", key));
    }
    options.logit_layers = integers(logits.at("layers"));
    options.logit_heads = integers(logits.at("heads"));
  }
  const std::vector<Values> samplings =
      product(place, {"input", "bos", "samples", "tokens", "seed"});
  std::vector<std::string> varied = {"dtype"};
  if (!overrides.device) varied.push_back("device");
  const std::vector<Values> settings = product(top, varied);
  std::set<std::string> ids;
  for (const ModelSpec& model : read_models(top.at("model"))) {
    for (const DatasetSpec& dataset : datasets) {
      for (const Values& setting : settings) {
        for (const Values& values : samplings) {
          SinkCell cell{.id = {}, .cell = {}, .sampling = {}, .options = options};
          cell.cell.model = model;
          cell.cell.dataset = dataset;
          cell.cell.policy.name = "dense";
          if (setting.contains("dtype")) {
            cell.cell.dtype = setting.at("dtype").choice(dtype_names());
          }
          if (setting.contains("device")) {
            cell.cell.device = setting.at("device").text();
            if (!is_device(cell.cell.device)) {
              setting.at("device").fail(
                  fmt::format("is '{}'; expected {}", cell.cell.device, device_names));
            }
          }
          if (overrides.device) cell.cell.device = *overrides.device;
          if (top.has("threads")) cell.cell.threads = top.at("threads").integer(0, 4096);
          if (overrides.threads) cell.cell.threads = *overrides.threads;

          SinkSampling& sampling = cell.sampling;
          if (values.contains("input")) {
            const auto& names = sink_input_names();
            const std::string name = values.at("input").choice(names);
            sampling.input =
                static_cast<SinkInput>(std::find(names.begin(), names.end(), name) - names.begin());
          }
          sampling.bos = sampling.input == SinkInput::natural;
          if (values.contains("bos")) {
            sampling.bos = values.at("bos").choice({"sample", "none"}) == "sample";
          }
          if (values.contains("samples")) {
            sampling.samples = values.at("samples").integer(1, most_samples);
          }
          if (overrides.limit) sampling.samples = std::min(sampling.samples, *overrides.limit);
          if (values.contains("tokens")) sampling.tokens = values.at("tokens").integer(2);
          if (values.contains("seed")) {
            sampling.seed = static_cast<uint64_t>(values.at("seed").integer(0));
          }
          const bool natural = sampling.input == SinkInput::natural;
          if ((natural || sampling.bos) && !top.has("dataset")) {
            top.fail(
                "key 'dataset' is missing: natural samples are its pieces, and a BOS is its "
                "tokenizer's");
          }
          if (natural) sampling.seed = 0;  // nothing is drawn
          const auto& texts = dataset.texts;
          const std::filesystem::path text = texts.empty() ? dataset.tokens_file : texts.front();
          cell.id = model_slug(model.path) + (text.empty() ? "" : "-" + path_slug(text)) +
                    sampling_slug(sampling) + "-" + cell.cell.dtype;
          // The same natural samples for each seed.
          if (natural && values.contains("seed") && ids.contains(cell.id)) continue;
          if (!ids.insert(cell.id).second) {
            top.at("sinks").fail(fmt::format("measurement {} stands twice in the grid", cell.id));
          }
          check_size(ids.size(), top);
          experiment.cells.push_back(std::move(cell));
        }
      }
    }
  }
  return experiment;
}

}  // namespace sinkbench
