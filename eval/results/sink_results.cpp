#include "eval/results/sink_results.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>
#include <numeric>

#include "base/error.h"
#include "base/file.h"
#include "base/json.h"
#include "base/record_field.h"

namespace sinkbench {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
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
           {"last_to_first", s.last_to_first[row]},
           {"trained_sink_mass", s.trained_sink ? ordered_json(s.logit_mass[row]) : nullptr}});
    }
    layers.push_back({{"layer", layer},
                      {"alpha_0_mean", s.mean_alpha_first(layer)},
                      {"alpha_0_max", s.max_alpha_first(layer)},
                      {"last_to_first_mean", s.last_to_first_of(layer).first},
                      {"last_to_first_deviation", s.last_to_first_of(layer).second},
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

std::pair<double, double> SinkStatistics::last_to_first_of(int64_t layer) const {
  const double n = static_cast<double>(heads);
  double sum = 0, squares = 0;
  for (int64_t head = 0; head < heads; ++head) sum += last_to_first[layer * heads + head];
  for (int64_t head = 0; head < heads; ++head) {
    squares += std::pow(last_to_first[layer * heads + head] - sum / n, 2);
  }
  return {sum / n, std::sqrt(squares / n)};
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
          {"input", to_string(results.sampling.input)},
          {"seed", results.sampling.seed},
          {"bos_asked", results.sampling.bos},
          {"samples", s.samples},
          {"tokens", s.tokens},
          {"bos", results.prefix.empty()       ? ordered_json()
                  : results.prefix.size() == 1 ? ordered_json(results.prefix.front())
                                               : ordered_json(results.prefix)},
          {"epsilon", s.epsilon},
          {"mapped", results.options.mapped},
          {"logits",
           {{"layers", results.options.logit_layers}, {"heads", results.options.logit_heads}}},
          {"sink_percent", s.sink_rate},
          {"layers", layers_json(s)}};
}

std::string sinks_csv(const SinkStatistics& s) {
  std::string text = "layer,head";
  for (int64_t k = 0; k < s.positions; ++k) text += fmt::format(",alpha_{}", k);
  for (int64_t k = 0; k < s.positions; ++k) text += fmt::format(",above_epsilon_percent_{}", k);
  text += ",value_norm_first,value_norm_others,trained_sink_mass,last_to_first\n";
  for (int64_t row = 0; row < s.layers * s.heads; ++row) {
    text += fmt::format("{},{}", row / s.heads, row % s.heads);
    for (const auto* values : {&s.alpha, &s.above}) {
      for (const double value : part(*values, row * s.positions, s.positions)) {
        text += fmt::format(",{}", value);
      }
    }
    text += fmt::format(",{},{},{},{}\n", s.value_norm_first[row], s.value_norm_others[row],
                        s.trained_sink ? fmt::format("{}", s.logit_mass[row]) : "",
                        s.last_to_first[row]);
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

std::string logits_csv(const SinkStatistics& s) {
  std::string text = "layer,head,query,key,logit\n";
  for (const SinkStatistics::LogitMap& map : s.logits) {
    for (int64_t query = 0; query < s.tokens; ++query) {
      for (int64_t key = 0; key <= query; ++key) {
        const double mean = map.mean[query * s.tokens + key];
        if (std::isnan(mean)) continue;  // beyond the layer's window
        text += fmt::format("{},{},{},{},{:.6g}\n", map.layer, map.head, query, key, mean);
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
  if (!results.statistics.logits.empty()) {
    write_file_atomically(folder / "logits.csv", logits_csv(results.statistics));
  } else {
    fs::remove(folder / "logits.csv", error);
  }
  // Pictures of an earlier measurement are none of this one.
  for (const char* name : sink_pictures_names) {
    for (const char* extension : {".csv", ".gp", ".png", ".svg"}) {
      fs::remove(folder / "plots" / (std::string(name) + extension), error);
    }
  }
}

SinkResults read_sinks(const fs::path& folder) {
  const fs::path file = folder / "sinks.json";
  try {
    const json object = parse_json(read_file(file));
    const RecordField fields(object);
    fields.at("schema_version").integer(1, sink_schema_version);
    SinkResults results;
    results.info.name = fields.at("name").text();
    results.info.started = fields.at("started").text();
    results.info.versions = fields.at("versions").text_map();
    results.info.machine = fields.at("machine").text_map();
    const RecordField model = fields.at("model");
    results.cell.model.path = model.at("path").text();
    results.model_sha256 = model.at("sha256").text();
    results.parameters = model.at("parameters").integer(0);
    results.context = model.at("context").integer(0);
    const RecordField dataset = fields.at("dataset");
    results.dataset_sha256 = dataset.at("sha256").text();
    results.tokenizer_sha256 = dataset.at("tokenizer_sha256").text();
    if (const RecordField tokens = dataset.later("tokens_file"); !tokens.is_null()) {
      results.cell.dataset.tokens_file = tokens.text();
    } else {
      for (const std::string& text : dataset.at("text").texts()) {
        results.cell.dataset.texts.emplace_back(text);
      }
    }
    results.cell.dtype = fields.at("dtype").text();
    results.cell.device = fields.at("device").text();
    results.threads = fields.at("threads").integer(0);
    SinkStatistics& s = results.statistics;
    s.samples = fields.at("samples").integer(1);
    s.tokens = fields.at("tokens").integer(1);
    s.epsilon = fields.at("epsilon").number(0, 1);
    results.sampling = {.samples = s.samples, .tokens = s.tokens};
    if (const RecordField input = fields.later("input"); !input.is_null()) {
      results.sampling.input = static_cast<SinkInput>(input.index_in(sink_input_names()));
    }
    if (const RecordField bos = fields.later("bos_asked"); !bos.is_null()) {
      results.sampling.bos = bos.flag();
    }
    if (const RecordField seed = fields.later("seed"); !seed.is_null()) {
      if (!seed.json().is_number_unsigned()) seed.refuse("an integer of 0 or more");
      results.sampling.seed = seed.json().get<uint64_t>();
    }
    results.options.epsilon = s.epsilon;
    if (const RecordField mapped = fields.later("mapped"); !mapped.is_null()) {
      results.options.mapped = mapped.integer(0);
    }
    if (const RecordField logits = fields.later("logits"); !logits.is_null()) {
      results.options.logit_layers = logits.at("layers").integers(0);
      results.options.logit_heads = logits.at("heads").integers(0);
    }
    constexpr int64_t largest_id = std::numeric_limits<int32_t>::max();
    if (const RecordField bos = fields.at("bos"); bos.json().is_array()) {
      for (const int64_t id : bos.integers(0, largest_id)) {
        results.prefix.push_back(static_cast<int32_t>(id));
      }
    } else if (!bos.is_null()) {
      results.prefix = {static_cast<int32_t>(bos.integer(0, largest_id))};
    }
    s.sink_rate = fields.at("sink_percent").numbers(0);
    s.positions = std::ssize(s.sink_rate);
    const std::vector<RecordField> layers = fields.at("layers").elements();
    s.layers = std::ssize(layers);
    for (const RecordField& layer : layers) {
      const std::vector<RecordField> heads = layer.at("heads").elements();
      s.heads = std::ssize(heads);
      for (const RecordField& head : heads) {
        const auto append = [&](std::vector<double>& values, const char* name) {
          const std::vector<double> more = head.at(name).numbers_or_nan();
          values.insert(values.end(), more.begin(), more.end());
        };
        append(s.alpha, "alpha");
        append(s.above, "above_epsilon_percent");
        s.value_norm_first.push_back(head.at("value_norm_first").number_or_nan());
        s.value_norm_others.push_back(head.at("value_norm_others").number_or_nan());
        s.last_to_first.push_back(head.later("last_to_first").number_or_nan());
        const RecordField mass = head.at("trained_sink_mass");
        s.trained_sink = !mass.is_null();
        s.logit_mass.push_back(mass.is_null() ? 0 : mass.number());
      }
    }
    const size_t heads = static_cast<size_t>(s.layers * s.heads);
    if (s.value_norm_first.size() != heads ||
        s.alpha.size() != heads * static_cast<size_t>(s.positions) ||
        s.above.size() != s.alpha.size()) {
      throw JsonError("layers differ in their heads");
    }
    return results;
  } catch (const json::exception& error) {
    throw InputError::format("{}: not as `sinkbench sinks` writes it: {}", file.string(),
                             json_reason(error));
  }
}

std::string sink_differences(const SinkResults& a, const SinkResults& b) {
  const SinkStatistics &s = a.statistics, &t = b.statistics;
  if (a.model_sha256 != b.model_sha256) return "the model";
  if (a.dataset_sha256 != b.dataset_sha256) return "the samples";
  if (s.epsilon != t.epsilon || s.positions != t.positions || s.tokens != t.tokens ||
      s.samples != t.samples || a.options.mapped != b.options.mapped ||
      a.options.logit_layers != b.options.logit_layers ||
      a.options.logit_heads != b.options.logit_heads) {
    return "the settings";
  }
  if (a.cell.dtype != b.cell.dtype || a.cell.device != b.cell.device) return "dtype or device";
  if (a.threads != b.threads) return "the threads";
  if (a.info.versions != b.info.versions) return "the program";
  return "";
}

}  // namespace sinkbench
