#include "eval/results/sink_results.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <numeric>

#include "base/error.h"
#include "base/file.h"
#include "base/json.h"

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
    const ordered_json json = parse_json<ordered_json>(read_file(file));
    if (integer(json.at("schema_version")) > sink_schema_version) {
      throw InputError::format("{}: schema version {}; expected {} or less", file.string(),
                               json.at("schema_version").dump(), sink_schema_version);
    }
    SinkResults results;
    results.info.name = json.at("name").get<std::string>();
    results.info.started = json.at("started").get<std::string>();
    results.info.versions = json.at("versions").get<decltype(results.info.versions)>();
    results.info.machine = json.at("machine").get<decltype(results.info.machine)>();
    const ordered_json& model = json.at("model");
    results.cell.model.path = model.at("path").get<std::string>();
    results.model_sha256 = model.at("sha256").get<std::string>();
    results.parameters = integer(model.at("parameters"));
    results.context = integer(model.at("context"));
    const ordered_json& dataset = json.at("dataset");
    results.dataset_sha256 = dataset.at("sha256").get<std::string>();
    results.tokenizer_sha256 = dataset.at("tokenizer_sha256").get<std::string>();
    if (dataset.contains("tokens_file")) {
      results.cell.dataset.tokens_file = dataset["tokens_file"].get<std::string>();
    } else {
      for (const ordered_json& text : dataset.at("text")) {
        results.cell.dataset.texts.emplace_back(text.get<std::string>());
      }
    }
    results.cell.dtype = json.at("dtype").get<std::string>();
    results.cell.device = json.at("device").get<std::string>();
    results.threads = integer(json.at("threads"));
    const std::string input = json.value("input", "natural");
    const auto& names = sink_input_names();
    const auto found = std::find(names.begin(), names.end(), input);
    if (found == names.end()) throw std::domain_error("unknown input '" + input + "'");
    SinkStatistics& s = results.statistics;
    s.samples = integer(json.at("samples"));
    s.tokens = integer(json.at("tokens"));
    s.epsilon = json.at("epsilon").get<double>();
    results.sampling = {.input = static_cast<SinkInput>(found - names.begin()),
                        .samples = s.samples,
                        .tokens = s.tokens,
                        .bos = json.value("bos_asked", true),
                        .seed = json.value("seed", uint64_t{0})};
    results.options = {.epsilon = s.epsilon, .mapped = json.value("mapped", SinkOptions().mapped)};
    if (json.contains("logits")) {
      results.options.logit_layers = json["logits"].at("layers").get<std::vector<int64_t>>();
      results.options.logit_heads = json["logits"].at("heads").get<std::vector<int64_t>>();
    }
    if (const ordered_json& bos = json.at("bos"); bos.is_array()) {
      results.prefix = bos.get<std::vector<int32_t>>();
    } else if (!bos.is_null()) {
      results.prefix = {bos.get<int32_t>()};
    }
    s.sink_rate = json.at("sink_percent").get<std::vector<double>>();
    s.positions = std::ssize(s.sink_rate);
    s.layers = std::ssize(json.at("layers"));
    const auto number = [](const ordered_json& value) {  // what isn't finite is null
      return value.is_null() ? std::nan("") : value.get<double>();
    };
    for (const ordered_json& layer : json.at("layers")) {
      s.heads = std::ssize(layer.at("heads"));
      for (const ordered_json& head : layer.at("heads")) {
        for (const ordered_json& value : head.at("alpha")) s.alpha.push_back(number(value));
        for (const ordered_json& value : head.at("above_epsilon_percent")) {
          s.above.push_back(number(value));
        }
        s.value_norm_first.push_back(number(head.at("value_norm_first")));
        s.value_norm_others.push_back(number(head.at("value_norm_others")));
        s.last_to_first.push_back(head.contains("last_to_first") ? number(head["last_to_first"])
                                                                 : std::nan(""));
        const ordered_json& mass = head.at("trained_sink_mass");
        s.trained_sink = !mass.is_null();
        s.logit_mass.push_back(mass.is_null() ? 0 : mass.get<double>());
      }
    }
    const size_t heads = static_cast<size_t>(s.layers * s.heads);
    if (s.value_norm_first.size() != heads ||
        s.alpha.size() != heads * static_cast<size_t>(s.positions) ||
        s.above.size() != s.alpha.size()) {
      throw std::domain_error("layers differ in their heads");
    }
    return results;
  } catch (const nlohmann::json::exception& error) {
    throw InputError::format("{}: not as `sinkbench sinks` writes it: {}", file.string(),
                             json_reason(error));
  } catch (const std::domain_error& error) {
    throw InputError::format("{}: not as `sinkbench sinks` writes it: {}", file.string(),
                             error.what());
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
