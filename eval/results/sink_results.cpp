#include "eval/results/sink_results.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <numeric>

#include "base/error.h"
#include "base/file.h"

namespace sinkbench {
namespace {

namespace fs = std::filesystem;
using nlohmann::ordered_json;

std::vector<double> part(const std::vector<double>& values, int64_t begin, int64_t size) {
  return {values.begin() + begin, values.begin() + begin + size};
}

ordered_json layers_json(const SinkStatistics& s) {
  ordered_json layers = ordered_json::array();
  for (int64_t layer = 0; layer < s.layers; ++layer) {
    ordered_json heads = ordered_json::array();
    for (int64_t head = 0; head < s.heads; ++head) {
      const int64_t row = layer * s.heads + head;
      heads.push_back(
          {{"alpha", part(s.alpha, row * s.positions, s.positions)},
           {"above_epsilon_percent", part(s.above, row * s.positions, s.positions)},
           {"value_norm_first", s.value_norm_first[row]},
           {"value_norm_others", s.value_norm_others[row]},
           {"trained_sink_mass", s.trained_sink ? ordered_json(s.logit_mass[row]) : nullptr}});
    }
    layers.push_back({{"layer", layer},
                      {"alpha_0_mean", s.mean_alpha_first(layer)},
                      {"alpha_0_max", s.max_alpha_first(layer)},
                      {"heads", heads}});
  }
  return layers;
}

}  // namespace

double SinkStatistics::mean_alpha_first(int64_t layer) const {
  double sum = 0;
  for (int64_t head = 0; head < heads; ++head) sum += alpha_first(layer, head);
  return sum / static_cast<double>(heads);
}

double SinkStatistics::max_alpha_first(int64_t layer) const {
  double largest = 0;
  for (int64_t head = 0; head < heads; ++head) {
    largest = std::max(largest, alpha_first(layer, head));
  }
  return largest;
}

ordered_json to_json(const SinkResults& results) {
  const Cell& cell = results.cell;
  const SinkStatistics& s = results.statistics;
  ordered_json dataset = {{"sha256", results.dataset_sha256},
                          {"tokenizer_sha256", results.tokenizer_sha256}};
  if (cell.dataset.texts.empty()) {
    dataset["tokens_file"] = cell.dataset.tokens_file.string();
  } else {
    dataset["field"] = cell.dataset.documents.field;
    dataset["text"] = ordered_json::array();
    for (const fs::path& path : cell.dataset.texts) dataset["text"].push_back(path.string());
  }
  dataset.update(ordered_json(to_json(results.text)));
  return {{"schema_version", sink_schema_version},
          {"name", results.info.name},
          {"started", results.info.started},
          {"versions", results.info.versions},
          {"machine", results.info.machine},
          {"model",
           {{"path", cell.model.path.string()},
            {"sha256", results.model_sha256},
            {"parameters", results.parameters},
            {"context", results.context}}},
          {"dataset", dataset},
          {"dtype", cell.dtype},
          {"device", cell.device},
          {"threads", results.threads},
          {"samples", s.samples},
          {"tokens", s.tokens},
          {"bos", results.prefix.empty()       ? ordered_json()
                  : results.prefix.size() == 1 ? ordered_json(results.prefix.front())
                                               : ordered_json(results.prefix)},
          {"epsilon", s.epsilon},
          {"sink_percent", s.sink_rate},
          {"layers", layers_json(s)}};
}

std::string sinks_csv(const SinkStatistics& s) {
  std::string text = "layer,head";
  for (int64_t k = 0; k < s.positions; ++k) text += fmt::format(",alpha_{}", k);
  for (int64_t k = 0; k < s.positions; ++k) text += fmt::format(",above_epsilon_percent_{}", k);
  text += ",value_norm_first,value_norm_others,trained_sink_mass\n";
  for (int64_t row = 0; row < s.layers * s.heads; ++row) {
    text += fmt::format("{},{}", row / s.heads, row % s.heads);
    for (const auto* values : {&s.alpha, &s.above}) {
      for (const double value : part(*values, row * s.positions, s.positions)) {
        text += fmt::format(",{}", value);
      }
    }
    text += fmt::format(",{},{},{}\n", s.value_norm_first[row], s.value_norm_others[row],
                        s.trained_sink ? fmt::format("{}", s.logit_mass[row]) : "");
  }
  return text;
}

std::string attention_map_csv(const SinkStatistics& s) {
  std::string text = "layer,query,key,attention\n";
  size_t place = 0;
  for (int64_t layer = 0; layer < s.layers; ++layer) {
    for (int64_t query = 0; query < s.mapped; ++query) {
      if (s.trained_sink) {
        text += fmt::format("{},{},logit,{:.6g}\n", layer, query,
                            s.map_logit[layer * s.mapped + query]);
      }
      for (int64_t key = 0; key < s.mapped; ++key) {
        text += fmt::format("{},{},{},{:.6g}\n", layer, query, key, s.map[place++]);
      }
    }
  }
  return text;
}

void write_sinks(const SinkResults& results, const fs::path& folder) {
  std::error_code error;
  fs::create_directories(folder, error);
  if (error) {
    throw InputError::format("{}: cannot create the folder: {}", folder.string(), error.message());
  }
  // A path may hold bytes that are no UTF-8.
  write_file_atomically(
      folder / "sinks.json",
      to_json(results).dump(2, ' ', false, ordered_json::error_handler_t::replace) + "\n");
  write_file_atomically(folder / "sinks.csv", sinks_csv(results.statistics));
  write_file_atomically(folder / "attention-maps.csv", attention_map_csv(results.statistics));
}

}  // namespace sinkbench
