#include "eval/results/results.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>
#include <numeric>
#include <stdexcept>

#include "base/error.h"
#include "base/file.h"
#include "base/json.h"
#include "eval/results/json_fields.h"
#include "eval/results/policy_json.h"
#include "policies/registry.h"

namespace sinkbench {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

/// JSON knows no NaN: a number that isn't there is null.
json number(double value) {
  return std::isfinite(value) ? json(value) : json(nullptr);
}
double number(const json& value) {
  return value.is_null() ? std::numeric_limits<double>::quiet_NaN() : value.get<double>();
}

/// The same of lists, in which nlohmann's json writes null for what isn't finite.
std::vector<double> numbers(const json& array) {
  std::vector<double> values;
  for (const json& value : array) values.push_back(number(value));
  return values;
}
std::vector<std::vector<double>> lists_of_numbers(const json& array) {
  std::vector<std::vector<double>> lists;
  for (const json& list : array) lists.push_back(numbers(list));
  return lists;
}

/// A path that stays in the results' folder, whoever wrote the file.
std::string inner_path(const json& value) {
  const auto text = value.get<std::string>();
  const fs::path path = text;
  if (path.is_absolute() || std::find(path.begin(), path.end(), "..") != path.end()) {
    throw std::domain_error("expected a path in the same folder, found " + value.dump());
  }
  return text;
}

json optional_number(const std::optional<double>& value) {
  return value ? number(*value) : json(nullptr);
}
std::optional<double> optional_number(const json& value) {
  return value.is_null() ? std::nullopt : std::optional(value.get<double>());
}

/// An integer that is so much or more.
int64_t at_least(int64_t minimum, const json& object, const char* name) {
  const int64_t value = integer(object.at(name));
  if (value < minimum) {
    throw JsonError(fmt::format("{} is {}; expected {} or more", name, value, minimum));
  }
  return value;
}

/// A number that older results don't have: 0.
int64_t later_integer(const json& object, const char* name) {
  const json& value = later(object, name);
  return value.is_null() ? 0 : integer(value);
}

json divergence_to_json(const DivergenceResult& d) {
  return {{"reference", d.reference},
          {"kl_mean", number(d.kl_mean)},
          {"kl_stderr", number(d.kl_stderr)},
          {"kl_max", number(d.kl_max)},
          {"same_top", number(d.same_top)},
          {"same_top_stderr", number(d.same_top_stderr)},
          {"tokens", d.tokens},
          {"seconds", d.seconds}};
}

json common_to_json(const CommonTokensResult& c) {
  return {{"stride", c.stride},
          {"scored", c.scored},
          {"nll_mean", number(c.nll_mean)},
          {"stderr", number(c.nll_stderr)}};
}

json collapse_to_json(const CollapseResult& c) {
  return {{"reference", c.reference},
          {"window", c.window},
          {"margin", c.margin},
          {"onset", c.onset ? json(*c.onset) : json(nullptr)}};
}

json evicted_mass_to_json(const EvictedMassResult& e) {
  json by_layer = json::array();
  for (const std::vector<double>& heads : e.by_head) {
    by_layer.push_back(number(std::accumulate(heads.begin(), heads.end(), 0.0) /
                              static_cast<double>(heads.size())));
  }
  return {{"mean", number(e.mean)},         {"tokens", e.tokens},
          {"by_layer", by_layer},           {"by_head", e.by_head},
          {"output_error", e.output_error}, {"to_sink_logit", e.to_sink_logit}};
}

json answers_to_json(const std::vector<AnswerBin>& bins) {
  json array = json::array();
  for (const AnswerBin& bin : bins) {
    array.push_back({{"of", bin.of},
                     {"answers", bin.answers},
                     {"groups", bin.groups},
                     {"least_distance", bin.least},
                     {"most_distance", bin.most},
                     {"accuracy", bin.accuracy},
                     {"accuracy_low", bin.low},
                     {"accuracy_high", bin.high},
                     {"log_probability", number(bin.log_probability)},
                     {"log_probability_stderr", number(bin.error)},
                     {"chosen", optional_number(bin.chosen)},
                     {"held_some", optional_number(bin.held_some)},
                     {"held_all", optional_number(bin.held_all)}});
  }
  return array;
}

std::vector<AnswerBin> answers_from_json(const json& array) {
  std::vector<AnswerBin> bins;
  for (const json& bin : array) {
    bins.push_back({.of = bin.at("of").get<std::map<std::string, int64_t>>(),
                    .answers = integer(bin.at("answers")),
                    .groups = integer(bin.at("groups")),
                    .least = integer(bin.at("least_distance")),
                    .most = integer(bin.at("most_distance")),
                    .accuracy = bin.at("accuracy").get<double>(),
                    .low = bin.at("accuracy_low").get<double>(),
                    .high = bin.at("accuracy_high").get<double>(),
                    .log_probability = number(bin.at("log_probability")),
                    .error = number(bin.at("log_probability_stderr")),
                    .chosen = optional_number(bin.at("chosen")),
                    .held_some = optional_number(bin.at("held_some")),
                    .held_all = optional_number(bin.at("held_all"))});
  }
  return bins;
}

TextFacts text_facts_from_json(const json& dataset) {
  TextFacts text;
  for (const json& file : later(dataset, "files")) text.files.emplace_back(file.get<std::string>());
  for (const json& note : later(dataset, "notes")) text.notes.push_back(note.get<std::string>());
  const auto number = [&](const char* name) {
    const json& value = later(dataset, name);
    return value.is_null() ? 0 : integer(value);
  };
  text.documents = number("documents");
  text.characters = number("characters");
  text.replaced_bytes = number("replaced_bytes");
  text.crlf_line_ends = number("crlf_line_ends");
  text.byte_order_marks = number("byte_order_marks");
  return text;
}

json cell_to_json(const CellResult& result) {
  const Cell& cell = result.cell;
  json model = {{"path", cell.model.path.string()},
                {"sha256", result.model_sha256},
                {"parameters", result.parameters},
                {"context", result.context},
                {"weights", cell.model.random      ? "random"
                            : cell.model.as_stored ? "as-stored"
                                                   : "checkpoint"}};
  if (cell.model.random) model["seed"] = cell.model.seed;
  json dataset = {
      {"sha256", result.dataset_sha256},
      {"tokenizer_sha256", result.tokenizer_sha256},
      {"bos", to_string(cell.dataset.bos)},
      {"bos_token", cell.dataset.bos_token.empty() ? json(nullptr) : json(cell.dataset.bos_token)},
      {"special_tokens", to_string(cell.dataset.special_tokens)},
      {"tokens", cell.dataset.tokens ? json(*cell.dataset.tokens) : json(nullptr)},
      {"reset", cell.dataset.reset ? json(to_string(*cell.dataset.reset)) : json(nullptr)},
      {"pieces", result.pieces},
      {"field", cell.dataset.documents.field},
      {"task", cell.dataset.is_task()
                   ? json{{"name", cell.dataset.task.name},
                          {"parameters", arguments_to_json(cell.dataset.task.arguments)}}
                   : json(nullptr)}};
  dataset.update(to_json(result.text));
  if (cell.dataset.texts.empty() && !cell.dataset.is_task()) {
    dataset["tokens_file"] = cell.dataset.tokens_file.string();
  } else {
    dataset["subfolders"] = cell.dataset.documents.subfolders;
    dataset["invalid"] = to_string(cell.dataset.documents.invalid);
    dataset["text"] = json::array();
    for (const fs::path& path : cell.dataset.texts) dataset["text"].push_back(path.string());
  }
  json latency_spec = {{"warmup", cell.latency.warmup},
                       {"samples", cell.latency.samples},
                       {"seconds", number(cell.latency.seconds)},
                       {"lengths", cell.latency.lengths}};
  json metrics = json::array();
  for (const Metric metric : cell.metrics) metrics.push_back(to_string(metric));
  json policy = policy_to_json(cell.policy);
  policy["label"] = result.policy_label;
  policy["cache"] = result.cache_label;
  policy["size"] = result.cache_size ? json(*result.cache_size) : json(nullptr);
  json object = {
      {"id", cell.id},
      {"model", model},
      {"dataset", dataset},
      {"policy", policy},
      {"engine", cell.engine},
      {"chunk", cell.chunk},
      {"dtype", cell.dtype},
      {"kv", cell.kv.is_native() ? json(nullptr)
                                 : json{{"keys", cell.kv.keys},
                                        {"values", cell.kv.values},
                                        {"rotate", cell.kv.rotate},
                                        {"interleave", cell.kv.interleave},
                                        {"group", cell.kv.kivi.group},
                                        {"residual", cell.kv.kivi.residual},
                                        {"zero_values", cell.kv.zero_values}}},
      {"device", cell.device},
      {"threads", result.threads},
      {"metrics", metrics},
      {"latency_settings", latency_spec},
      {"reference",
       cell.metrics.contains(Metric::divergence) ? json(cell.reference) : json(nullptr)},
      {"evicted_mass_settings", cell.metrics.contains(Metric::evicted_mass)
                                    ? json{{"tokens", cell.evicted_mass_tokens}}
                                    : json(nullptr)},
      {"scoring_seconds", result.scoring_seconds},
      {"seconds", result.seconds},
      {"error", result.error.empty() ? json(nullptr) : json(result.error)},
      {"perplexity", nullptr},
      {"latency", json::array()},
      {"memory", nullptr},
      {"divergence", nullptr},
      {"collapse", nullptr},
      {"common", result.common ? common_to_json(*result.common) : json(nullptr)},
      {"evicted_mass", nullptr},
      {"answers", answers_to_json(result.answers)},
      {"answers_file", result.answers_file.empty() ? json(nullptr) : json(result.answers_file)},
      {"decisions", cell.decisions},
      {"decisions_file",
       result.decisions_file.empty() ? json(nullptr) : json(result.decisions_file)},
      {"nll_file", result.nll_file.empty() ? json(nullptr) : json(result.nll_file)}};
  if (result.perplexity) {
    const PerplexityResult& p = *result.perplexity;
    object["perplexity"] = {{"token", number(p.token)},
                            {"token_stderr", number(p.token_stderr)},
                            {"nll_mean", number(p.nll_mean)},
                            {"stderr", number(p.nll_stderr)},
                            {"scored", p.scored},
                            {"stride", p.stride},
                            {"word", optional_number(p.word)},
                            {"byte", optional_number(p.byte)},
                            {"bits_per_byte", optional_number(p.bits_per_byte)}};
  }
  for (const LatencyResult& l : result.latency) {
    json rounds = json::array();
    for (const TimingRound& r : l.rounds) {
      rounds.push_back({{"samples", r.samples},
                        {"processor_ms", r.processor_ms},
                        {"yardstick_ms", r.yardstick_ms},
                        {"yardstick_processor_ms", r.yardstick_processor_ms}});
    }
    object["latency"].push_back({{"p50_ms", l.p50_ms},
                                 {"p90_ms", l.p90_ms},
                                 {"p99_ms", l.p99_ms},
                                 {"max_ms", l.max_ms},
                                 {"samples", l.samples},
                                 {"cache_entries", l.cache_entries},
                                 {"fewest_entries", l.fewest_entries},
                                 {"samples_ms", l.samples_ms},
                                 {"by_events", l.by_events},
                                 {"rounds", rounds}});
  }
  if (result.memory) {
    const MemoryResult& m = *result.memory;
    object["memory"] = {
        {"cache_entries", m.cache_entries},         {"mean_entries", m.mean_entries},
        {"kv_bytes_formula", m.kv_bytes_formula},   {"kv_bytes_held", m.kv_bytes_held},
        {"weight_bytes", m.weight_bytes},           {"peak_rss_bytes", m.peak_rss_bytes},
        {"device_held_bytes", m.device_held_bytes}, {"device_peak_bytes", m.device_peak_bytes}};
  }
  if (result.divergence) object["divergence"] = divergence_to_json(*result.divergence);
  if (result.collapse) object["collapse"] = collapse_to_json(*result.collapse);
  if (result.evicted_mass) object["evicted_mass"] = evicted_mass_to_json(*result.evicted_mass);
  return object;
}

/// What results of before don't say of a policy, which was one of these.
void complete(CellResult& result) {
  const PolicySpec& spec = result.cell.policy;
  result.cache_label = result.policy_label;
  if (policy_named(spec.name) == nullptr) return;
  const auto policy = make_policy(spec);
  result.cache_label = policy->cache();
  result.cache_size = policy->size();
}

CellResult cell_from_json(const json& object) {
  CellResult result;
  Cell& cell = result.cell;
  cell.id = object.at("id").get<std::string>();
  const json& model = object.at("model");
  cell.model.path = model.at("path").get<std::string>();
  const auto weights = model.at("weights").get<std::string>();
  cell.model.random = weights == "random";
  cell.model.as_stored = weights == "as-stored";
  if (model.contains("seed")) cell.model.seed = static_cast<uint64_t>(integer(model["seed"]));
  result.model_sha256 = model.at("sha256").get<std::string>();
  result.parameters = integer(model.at("parameters"));
  result.context = integer(model.at("context"));
  const json& dataset = object.at("dataset");
  result.dataset_sha256 = dataset.at("sha256").get<std::string>();
  result.tokenizer_sha256 = dataset.at("tokenizer_sha256").get<std::string>();
  const std::string bos = dataset.at("bos").get<std::string>();
  cell.dataset.bos = bos == "document" ? BosPlacement::document
                     : bos == "none"   ? BosPlacement::none
                                       : BosPlacement::stream;
  if (const json& token = later(dataset, "bos_token"); !token.is_null()) {
    cell.dataset.bos_token = token.get<std::string>();
  }
  if (const json& spelled = later(dataset, "special_tokens"); !spelled.is_null()) {
    cell.dataset.special_tokens =
        spelled.get<std::string>() == "text" ? SpecialTokens::text : SpecialTokens::parse;
  }
  cell.dataset.documents.field = dataset.at("field").get<std::string>();
  if (const json& subfolders = later(dataset, "subfolders"); !subfolders.is_null()) {
    cell.dataset.documents.subfolders = subfolders.get<bool>();
  }
  if (const json& invalid = later(dataset, "invalid"); !invalid.is_null()) {
    if (invalid.get<std::string>() == "replace") {
      cell.dataset.documents.invalid = InvalidBytes::replace;
    }
  }
  result.text = text_facts_from_json(dataset);
  if (const json& task = later(dataset, "task"); !task.is_null()) {
    cell.dataset.task = {.name = task.at("name").get<std::string>(),
                         .arguments = arguments_from_json(task.at("parameters"))};
  }
  if (!dataset.at("tokens").is_null()) cell.dataset.tokens = integer(dataset["tokens"]);
  if (const json& reset = later(dataset, "reset"); !reset.is_null()) {
    cell.dataset.reset = reset_from_string(reset.get<std::string>());
    if (!cell.dataset.reset)
      throw std::domain_error("expected tokens or 'document', found " + reset.dump());
  }
  if (const json& pieces = later(dataset, "pieces"); !pieces.is_null()) {
    result.pieces = integer(pieces);
  }
  if (dataset.contains("tokens_file")) {
    cell.dataset.tokens_file = dataset["tokens_file"].get<std::string>();
  } else {
    for (const json& path : dataset.at("text")) {
      cell.dataset.texts.emplace_back(path.get<std::string>());
    }
  }
  const json& policy = object.at("policy");
  cell.policy = policy_from_json(policy);
  result.policy_label = policy.at("label").get<std::string>();
  if (const json& cache = later(policy, "cache"); !cache.is_null()) {
    result.cache_label = cache.get<std::string>();
    if (const json& size = later(policy, "size"); !size.is_null()) {
      result.cache_size = integer(size);
    }
  } else {
    complete(result);
  }
  cell.engine = object.at("engine").get<std::string>();
  cell.chunk = integer(object.at("chunk"));
  cell.dtype = object.at("dtype").get<std::string>();
  if (const json& kv = later(object, "kv"); !kv.is_null()) {
    cell.kv = {
        .keys = kv.at("keys").get<std::string>(),
        .values = kv.at("values").get<std::string>(),
        .rotate = kv.at("rotate").get<bool>(),
        .interleave = kv.at("interleave").get<bool>(),
        .kivi = {.group = later_integer(kv, "group"), .residual = later_integer(kv, "residual")},
        .zero_values = later_integer(kv, "zero_values")};
  }
  cell.device = object.at("device").get<std::string>();
  result.threads = integer(object.at("threads"));
  cell.threads = result.threads;
  cell.metrics.clear();
  for (const json& name : object.at("metrics")) {
    for (const Metric metric : all_metrics) {
      if (to_string(metric) == name.get<std::string>()) cell.metrics.insert(metric);
    }
  }
  const json& settings = object.at("latency_settings");
  cell.latency = {.warmup = integer(settings.at("warmup")),
                  .samples = integer(settings.at("samples")),
                  .seconds = optional_number(later(settings, "seconds")).value_or(0),
                  .lengths = {}};
  for (const json& length : settings.at("lengths")) cell.latency.lengths.push_back(integer(length));
  if (const json& id = later(object, "reference"); !id.is_null()) {
    cell.reference = id.get<std::string>();
  }
  if (const json& spec = later(object, "evicted_mass_settings"); !spec.is_null()) {
    cell.evicted_mass_tokens = integer(spec.at("tokens"));
  }
  result.scoring_seconds = object.at("scoring_seconds").get<double>();
  result.seconds = object.at("seconds").get<double>();
  if (!object.at("error").is_null()) result.error = object["error"].get<std::string>();
  if (const json& on = later(object, "decisions"); !on.is_null()) cell.decisions = on.get<bool>();
  if (const json& file = later(object, "decisions_file"); !file.is_null()) {
    result.decisions_file = inner_path(file);
  }
  if (const json& answers = later(object, "answers"); !answers.is_null()) {
    result.answers = answers_from_json(answers);
  }
  if (const json& file = later(object, "answers_file"); !file.is_null()) {
    result.answers_file = inner_path(file);
  }
  if (!object.at("nll_file").is_null()) result.nll_file = inner_path(object["nll_file"]);
  if (const json& p = object.at("perplexity"); !p.is_null()) {
    result.perplexity = {.token = number(p.at("token")),
                         .token_stderr = number(p.at("token_stderr")),
                         .nll_mean = number(p.at("nll_mean")),
                         .nll_stderr = number(p.at("stderr")),
                         .scored = at_least(0, p, "scored"),
                         .stride = at_least(1, p, "stride"),
                         .word = optional_number(p.at("word")),
                         .byte = optional_number(p.at("byte")),
                         .bits_per_byte = optional_number(p.at("bits_per_byte"))};
  }
  if (const json& c = later(object, "common"); !c.is_null()) {
    result.common = {.stride = at_least(1, c, "stride"),
                     .scored = at_least(0, c, "scored"),
                     .nll_mean = number(c.at("nll_mean")),
                     .nll_stderr = number(c.at("stderr"))};
  }
  for (const json& l : object.at("latency")) {
    const auto samples_ms = l.at("samples_ms").get<std::vector<double>>();
    const double p99_ms = l.at("p99_ms").get<double>();
    const double max_ms =  // not in results of before
        l.contains("max_ms") ? l["max_ms"].get<double>()
        : samples_ms.empty() ? p99_ms
                             : *std::max_element(samples_ms.begin(), samples_ms.end());
    result.latency.push_back(
        {.p50_ms = l.at("p50_ms").get<double>(),
         .p90_ms = l.at("p90_ms").get<double>(),
         .p99_ms = p99_ms,
         .max_ms = max_ms,
         .samples = integer(l.at("samples")),
         .cache_entries = integer(l.at("cache_entries")),
         .fewest_entries =
             integer(l.contains("fewest_entries") ? l["fewest_entries"] : l.at("cache_entries")),
         .samples_ms = samples_ms,
         .rounds = {},
         .by_events = l.value("by_events", false)});
    if (!l.contains("rounds")) continue;
    int64_t samples = 0;
    for (const json& r : l["rounds"]) {
      result.latency.back().rounds.push_back(
          {.samples = at_least(0, r, "samples"),
           .processor_ms = r.at("processor_ms").get<double>(),
           .yardstick_ms = r.at("yardstick_ms").get<double>(),
           .yardstick_processor_ms = r.at("yardstick_processor_ms").get<double>()});
      samples += result.latency.back().rounds.back().samples;
    }
    if (!l["rounds"].empty() && samples != static_cast<int64_t>(samples_ms.size())) {
      throw JsonError(fmt::format("latency: the rounds have {} samples; expected {}", samples,
                                  samples_ms.size()));
    }
  }
  if (const json& m = object.at("memory"); !m.is_null()) {
    result.memory = {.cache_entries = integer(m.at("cache_entries")),
                     .mean_entries = 0,
                     .kv_bytes_formula = integer(m.at("kv_bytes_formula")),
                     .kv_bytes_held = integer(m.at("kv_bytes_held")),
                     .weight_bytes = integer(m.at("weight_bytes")),
                     .peak_rss_bytes = integer(m.at("peak_rss_bytes"))};
    result.memory->device_held_bytes = later_integer(m, "device_held_bytes");
    result.memory->device_peak_bytes = later_integer(m, "device_peak_bytes");
    const json& mean = later(m, "mean_entries");
    result.memory->mean_entries =
        mean.is_null() ? static_cast<double>(result.memory->cache_entries) : mean.get<double>();
  }
  if (const json& d = later(object, "divergence"); !d.is_null()) {
    result.divergence = {.reference = d.at("reference").get<std::string>(),
                         .kl_mean = number(d.at("kl_mean")),
                         .kl_stderr = number(d.at("kl_stderr")),
                         .kl_max = number(d.at("kl_max")),
                         .same_top = number(d.at("same_top")),
                         .same_top_stderr = number(d.at("same_top_stderr")),
                         .tokens = integer(d.at("tokens")),
                         .seconds = d.at("seconds").get<double>()};
  }
  if (const json& c = later(object, "collapse"); !c.is_null()) {
    result.collapse = {.reference = c.at("reference").get<std::string>(),
                       .window = integer(c.at("window")),
                       .margin = c.at("margin").get<double>(),
                       .onset = {}};
    if (!c.at("onset").is_null()) result.collapse->onset = integer(c["onset"]);
  }
  if (const json& e = later(object, "evicted_mass"); !e.is_null()) {
    result.evicted_mass = {.mean = number(e.at("mean")),
                           .tokens = integer(e.at("tokens")),
                           .by_head = lists_of_numbers(e.at("by_head"))};
    if (const json& error = later(e, "output_error"); !error.is_null()) {
      result.evicted_mass->output_error = numbers(error);
    }
    if (const json& logit = later(e, "to_sink_logit"); !logit.is_null()) {
      result.evicted_mass->to_sink_logit = lists_of_numbers(logit);
    }
  }
  return result;
}

/// The design's conventions, recorded with every result so that old numbers stay comparable.
json conventions() {
  return {
      {"order", "feed token t, score token t+1, then evict"},
      {"capacity", "a query attends to at most so many cached keys, and itself"},
      {"positions",
       "cache: by place in the cache; original: by place in the stream; frozen: a key "
       "for ever at the count of entries when it came; capped: as original, no farther than cap"},
      {"recompute",
       "a fresh pass on the first `sinks` and the last `window` tokens, positions from 0"},
      {"perplexity", "exp(mean NLL in nats) over scored tokens; every token after the first"},
      {"latency",
       "one-token decode steps at a cache as full as it gets, after warm-up; recompute: one pass"},
      {"rounds",
       "neighbouring steps; the yardstick is a fixed piece of work around them, which tells the "
       "machine's speed from the program's"},
      {"memory",
       "keys and values of the cached tokens; the query's own is counted where a round comes after "
       "it, under a policy by score"},
      {"divergence", "KL(reference || cell) in nats, over the tokens that both score"},
      {"collapse",
       "the running mean of the NLL over the reference's, which stays above the margin from "
       "the onset until a whole window after it"},
      {"evicted_mass", "share of dense attention; a trained sink's is neither kept nor evicted"}};
}

}  // namespace

json to_json(const TextFacts& text) {
  json files = json::array();
  for (const fs::path& file : text.files) files.push_back(file.string());
  return {{"files", files},
          {"documents", text.documents},
          {"characters", text.characters},
          {"replaced_bytes", text.replaced_bytes},
          {"crlf_line_ends", text.crlf_line_ends},
          {"byte_order_marks", text.byte_order_marks},
          {"notes", text.notes}};
}

json to_json(const Results& results) {
  json cells = json::array();
  for (const CellResult& cell : results.cells) cells.push_back(cell_to_json(cell));
  return {{"schema_version", results_schema_version},
          {"name", results.info.name},
          {"config_sha256", results.info.config_sha256},
          {"started", results.info.started},
          {"versions", results.info.versions},
          {"machine", results.info.machine},
          {"warnings", results.info.warnings},
          {"conventions", conventions()},
          {"cells", cells}};
}

Results results_from_json(const json& object) {
  Results results;
  results.info = {.name = object.at("name").get<std::string>(),
                  .config_sha256 = object.at("config_sha256").get<std::string>(),
                  .started = object.at("started").get<std::string>(),
                  .versions = object.at("versions").get<std::map<std::string, std::string>>(),
                  .machine = object.at("machine").get<std::map<std::string, std::string>>(),
                  .warnings = object.at("warnings").get<std::vector<std::string>>()};
  for (const json& cell : object.at("cells")) results.cells.push_back(cell_from_json(cell));
  return results;
}

Results read_results(const fs::path& folder) {
  const fs::path path = folder / "results.json";
  const MappedFile file(path);
  try {
    const json object = parse_json(file.text());
    const int64_t version = integer(object.at("schema_version"));
    if (version != results_schema_version) {
      throw InputError::format("{}: schema_version is {}; this program reads {}", path.string(),
                               version, results_schema_version);
    }
    return results_from_json(object);
  } catch (const json::exception& error) {
    throw InputError::format("{}: not the results of a run: {}", path.string(), json_reason(error));
  } catch (const std::domain_error& error) {
    throw InputError::format("{}: not the results of a run: {}", path.string(), error.what());
  }
}

void write_results(const Results& results, const fs::path& folder) {
  // A path or an error message may hold bytes that are no UTF-8.
  const std::string text =
      to_json(results).dump(2, ' ', false, json::error_handler_t::replace) + "\n";
  write_file_atomically(folder / "results.json", text);
}

}  // namespace sinkbench
