#include "eval/results/results.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <nlohmann/json.hpp>
#include <numeric>
#include <set>

#include "base/error.h"
#include "base/file.h"
#include "base/json.h"
#include "base/record_field.h"
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

/// A path that stays in the results' folder, whoever wrote the file.
std::string inner_path(const RecordField& field) {
  if (field.is_null()) return {};
  const std::string text = field.text();
  const fs::path path = text;
  if (path.is_absolute() || std::find(path.begin(), path.end(), "..") != path.end()) {
    field.refuse("a path in the same folder");
  }
  return text;
}

json optional_number(const std::optional<double>& value) {
  return value ? number(*value) : json(nullptr);
}
std::optional<double> optional_number(const RecordField& field, double minimum, double maximum) {
  return field.is_null() ? std::nullopt : std::optional(field.number(minimum, maximum));
}

/// An integer that older results don't have.
int64_t later_count(const RecordField& object, const char* name, int64_t otherwise = 0) {
  const RecordField field = object.later(name);
  return field.is_null() ? otherwise : field.integer(0);
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

std::vector<AnswerBin> answers_from_json(const RecordField& list) {
  constexpr double infinity = RecordField::infinity;
  std::vector<AnswerBin> bins;
  for (const RecordField& bin : list.elements()) {
    bins.push_back({.of = bin.at("of").integer_map(),
                    .answers = bin.at("answers").integer(0),
                    .groups = bin.at("groups").integer(0),
                    .least = bin.at("least_distance").integer(),
                    .most = bin.at("most_distance").integer(),
                    .accuracy = bin.at("accuracy").number(0, 1),
                    .low = bin.at("accuracy_low").number(0, 1),
                    .high = bin.at("accuracy_high").number(0, 1),
                    .log_probability = bin.at("log_probability").number_or_nan(),
                    .error = bin.at("log_probability_stderr").number_or_nan(0, infinity),
                    .chosen = optional_number(bin.at("chosen"), 0, 1),
                    .held_some = optional_number(bin.at("held_some"), 0, 1),
                    .held_all = optional_number(bin.at("held_all"), 0, 1)});
  }
  return bins;
}

TextFacts text_facts_from_json(const RecordField& dataset) {
  TextFacts text;
  if (const RecordField files = dataset.later("files"); !files.is_null()) {
    for (const std::string& file : files.texts()) text.files.emplace_back(file);
  }
  if (const RecordField notes = dataset.later("notes"); !notes.is_null())
    text.notes = notes.texts();
  text.documents = later_count(dataset, "documents");
  text.characters = later_count(dataset, "characters");
  text.replaced_bytes = later_count(dataset, "replaced_bytes");
  text.crlf_line_ends = later_count(dataset, "crlf_line_ends");
  text.byte_order_marks = later_count(dataset, "byte_order_marks");
  return text;
}

json cell_to_json(const CellResult& result) {
  const Cell& cell = result.cell;
  json model = {{"path", cell.model.path.string()},
                {"sha256", result.model_sha256},
                {"parameters", result.parameters},
                {"context", result.context},
                {"local_layers", result.local_layers},
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
                        {"fast_ms", r.fast_ms},
                        {"processor_ms", r.processor_ms},
                        {"yardstick_ms", r.yardstick_ms},
                        {"yardstick_processor_ms", r.yardstick_processor_ms},
                        {"turn", r.turn}});
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
                                 {"session", l.session},
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

DatasetSpec dataset_from_json(const RecordField& object) {
  DatasetSpec dataset;
  dataset.bos =
      object.at("bos").one_of({BosPlacement::stream, BosPlacement::document, BosPlacement::none});
  if (const RecordField token = object.later("bos_token"); !token.is_null()) {
    dataset.bos_token = token.text();
  }
  if (const RecordField spelled = object.later("special_tokens"); !spelled.is_null()) {
    dataset.special_tokens = spelled.one_of({SpecialTokens::parse, SpecialTokens::text});
  }
  dataset.documents.field = object.at("field").text();
  if (const RecordField subfolders = object.later("subfolders"); !subfolders.is_null()) {
    dataset.documents.subfolders = subfolders.flag();
  }
  if (const RecordField invalid = object.later("invalid"); !invalid.is_null()) {
    dataset.documents.invalid = invalid.one_of({InvalidBytes::refuse, InvalidBytes::replace});
  }
  if (const RecordField task = object.later("task"); !task.is_null()) {
    dataset.task = {.name = task.at("name").text(),
                    .arguments = arguments_from_json(task.at("parameters"))};
  }
  if (const RecordField tokens = object.at("tokens"); !tokens.is_null()) {
    dataset.tokens = tokens.integer(0);
  }
  if (const RecordField reset = object.later("reset"); !reset.is_null()) {
    dataset.reset = reset_from_string(reset.text());
    if (!dataset.reset) reset.refuse("tokens or 'document'");
  }
  if (const RecordField tokens_file = object.later("tokens_file"); !tokens_file.is_null()) {
    dataset.tokens_file = tokens_file.text();
  } else {
    for (const std::string& path : object.at("text").texts()) dataset.texts.emplace_back(path);
  }
  return dataset;
}

LatencyResult latency_from_json(const RecordField& object) {
  LatencyResult latency;
  latency.samples_ms = object.at("samples_ms").numbers(0);
  latency.p50_ms = object.at("p50_ms").number(0);
  latency.p90_ms = object.at("p90_ms").number(0);
  latency.p99_ms = object.at("p99_ms").number(0);
  const std::vector<double>& samples = latency.samples_ms;
  if (const RecordField max = object.later("max_ms"); !max.is_null()) {
    latency.max_ms = max.number(0);
  } else {  // results of before
    latency.max_ms =
        samples.empty() ? latency.p99_ms : *std::max_element(samples.begin(), samples.end());
  }
  const RecordField count = object.at("samples");
  latency.samples = count.integer(0);
  if (!samples.empty() && latency.samples != std::ssize(samples)) {
    count.refuse(fmt::format("{}, the numbers of samples_ms", samples.size()));
  }
  if (!(latency.p50_ms <= latency.p90_ms && latency.p90_ms <= latency.p99_ms &&
        latency.p99_ms <= latency.max_ms)) {
    object.at("p50_ms").refuse("p50, p90, p99 and max in ascending order");
  }
  latency.cache_entries = object.at("cache_entries").integer(0);
  latency.fewest_entries = later_count(object, "fewest_entries", latency.cache_entries);
  if (const RecordField by_events = object.later("by_events"); !by_events.is_null()) {
    latency.by_events = by_events.flag();
  }
  if (const RecordField session = object.later("session"); !session.is_null()) {
    latency.session = session.text();
  }
  const RecordField rounds = object.later("rounds");
  if (rounds.is_null()) return latency;
  int64_t in_rounds = 0;
  for (const RecordField& round : rounds.elements()) {
    const RecordField fast = round.later("fast_ms");
    latency.rounds.push_back(
        {.samples = round.at("samples").integer(1, std::ssize(samples)),
         .fast_ms = fast.is_null() ? 0 : fast.number(0),
         .processor_ms = round.at("processor_ms").number(0),
         .yardstick_ms = round.at("yardstick_ms").number(0),
         .yardstick_processor_ms = round.at("yardstick_processor_ms").number(0),
         .turn = later_count(round, "turn", 0)});
    in_rounds += latency.rounds.back().samples;
  }
  if (!latency.rounds.empty() && in_rounds != std::ssize(samples)) {
    rounds.refuse(fmt::format("{} samples in all, {} found", samples.size(), in_rounds));
  }
  return latency;
}

MemoryResult memory_from_json(const RecordField& object) {
  MemoryResult memory = {.cache_entries = object.at("cache_entries").integer(0),
                         .mean_entries = 0,
                         .kv_bytes_formula = object.at("kv_bytes_formula").integer(0),
                         .kv_bytes_held = object.at("kv_bytes_held").integer(0),
                         .weight_bytes = object.at("weight_bytes").integer(0),
                         .peak_rss_bytes = object.at("peak_rss_bytes").integer(0),
                         .device_held_bytes = later_count(object, "device_held_bytes"),
                         .device_peak_bytes = later_count(object, "device_peak_bytes")};
  const RecordField mean = object.later("mean_entries");
  memory.mean_entries = mean.is_null() ? static_cast<double>(memory.cache_entries) : mean.number(0);
  return memory;
}

EvictedMassResult evicted_mass_from_json(const RecordField& object) {
  const auto lists = [](const RecordField& field) {
    std::vector<std::vector<double>> values;
    for (const RecordField& list : field.elements()) values.push_back(list.numbers_or_nan());
    return values;
  };
  EvictedMassResult mass = {.mean = object.at("mean").number_or_nan(),
                            .tokens = object.at("tokens").integer(0),
                            .by_head = lists(object.at("by_head"))};
  if (const RecordField error = object.later("output_error"); !error.is_null()) {
    mass.output_error = error.numbers_or_nan();
  }
  if (const RecordField logit = object.later("to_sink_logit"); !logit.is_null()) {
    mass.to_sink_logit = lists(logit);
  }
  return mass;
}

/// What was asked for.
void read_settings(Cell& cell, const RecordField& object) {
  cell.id = object.at("id").text();
  const RecordField model = object.at("model");
  cell.model.path = model.at("path").text();
  const std::array<std::string, 3> weights = {"checkpoint", "random", "as-stored"};
  const size_t which = model.at("weights").index_in(weights);
  cell.model.random = which == 1;
  cell.model.as_stored = which == 2;
  if (const RecordField seed = model.later("seed"); !seed.is_null()) {
    cell.model.seed = static_cast<uint64_t>(seed.integer());
  }
  cell.dataset = dataset_from_json(object.at("dataset"));
  cell.policy = policy_from_json(object.at("policy"));
  cell.engine = object.at("engine").text();
  cell.chunk = object.at("chunk").integer(0);
  cell.dtype = object.at("dtype").text();
  if (const RecordField kv = object.later("kv"); !kv.is_null()) {
    cell.kv = {.keys = kv.at("keys").text(),
               .values = kv.at("values").text(),
               .rotate = kv.at("rotate").flag(),
               .interleave = kv.at("interleave").flag(),
               .kivi = {.group = later_count(kv, "group"), .residual = later_count(kv, "residual")},
               .zero_values = later_count(kv, "zero_values")};
  }
  cell.device = object.at("device").text();
  cell.threads = object.at("threads").integer(0);
  cell.metrics.clear();
  std::vector<std::string> metrics;
  for (const Metric metric : all_metrics) metrics.push_back(to_string(metric));
  for (const RecordField& name : object.at("metrics").elements()) {
    cell.metrics.insert(all_metrics[name.index_in(metrics)]);
  }
  const RecordField latency = object.at("latency_settings");
  cell.latency = {
      .warmup = latency.at("warmup").integer(0),
      .samples = latency.at("samples").integer(0),
      .seconds = optional_number(latency.later("seconds"), 0, RecordField::infinity).value_or(0),
      .lengths = latency.at("lengths").integers(0)};
  if (const RecordField id = object.later("reference"); !id.is_null()) cell.reference = id.text();
  if (const RecordField spec = object.later("evicted_mass_settings"); !spec.is_null()) {
    cell.evicted_mass_tokens = spec.at("tokens").integer(0);
  }
  if (const RecordField on = object.later("decisions"); !on.is_null()) cell.decisions = on.flag();
}

CellResult cell_from_json(const RecordField& object) {
  constexpr double infinity = RecordField::infinity;
  CellResult result;
  read_settings(result.cell, object);
  const RecordField model = object.at("model");
  result.model_sha256 = model.at("sha256").text();
  result.parameters = model.at("parameters").integer(0);
  result.context = model.at("context").integer(0);
  if (const RecordField local = model.later("local_layers"); !local.is_null()) {
    result.local_layers = local.integers(0);
  }
  const RecordField dataset = object.at("dataset");
  result.dataset_sha256 = dataset.at("sha256").text();
  result.tokenizer_sha256 = dataset.at("tokenizer_sha256").text();
  result.text = text_facts_from_json(dataset);
  result.pieces = later_count(dataset, "pieces", 1);
  const RecordField policy = object.at("policy");
  result.policy_label = policy.at("label").text();
  if (const RecordField cache = policy.later("cache"); !cache.is_null()) {
    result.cache_label = cache.text();
    if (const RecordField size = policy.later("size"); !size.is_null()) {
      result.cache_size = size.integer(0);
    }
  } else {
    complete(result);
  }
  result.threads = result.cell.threads;
  result.scoring_seconds = object.at("scoring_seconds").number(0);
  result.seconds = object.at("seconds").number(0);
  if (const RecordField error = object.at("error"); !error.is_null()) result.error = error.text();
  result.decisions_file = inner_path(object.later("decisions_file"));
  if (const RecordField answers = object.later("answers"); !answers.is_null()) {
    result.answers = answers_from_json(answers);
  }
  result.answers_file = inner_path(object.later("answers_file"));
  result.nll_file = inner_path(object.at("nll_file"));
  if (const RecordField p = object.at("perplexity"); !p.is_null()) {
    result.perplexity = {
        .token = p.at("token").number_or_nan(0, infinity),
        .token_stderr = p.at("token_stderr").number_or_nan(0, infinity),
        .nll_mean = p.at("nll_mean").number_or_nan(),
        .nll_stderr = p.at("stderr").number_or_nan(0, infinity),
        .scored = p.at("scored").integer(0),
        .stride = p.at("stride").integer(1),
        .word = optional_number(p.at("word"), 0, infinity),
        .byte = optional_number(p.at("byte"), 0, infinity),
        .bits_per_byte = optional_number(p.at("bits_per_byte"), -infinity, infinity)};
    const double token = result.perplexity->token, exact = std::exp(result.perplexity->nll_mean);
    if (std::isfinite(token) && std::isfinite(exact) && std::abs(token - exact) > 1e-4 * exact) {
      p.at("token").refuse(fmt::format("{}, the exponential of nll_mean", exact));
    }
  }
  if (const RecordField c = object.later("common"); !c.is_null()) {
    result.common = {.stride = c.at("stride").integer(1),
                     .scored = c.at("scored").integer(0),
                     .nll_mean = c.at("nll_mean").number_or_nan(),
                     .nll_stderr = c.at("stderr").number_or_nan(0, infinity)};
  }
  for (const RecordField& latency : object.at("latency").elements()) {
    result.latency.push_back(latency_from_json(latency));
  }
  if (const RecordField memory = object.at("memory"); !memory.is_null()) {
    result.memory = memory_from_json(memory);
  }
  if (const RecordField d = object.later("divergence"); !d.is_null()) {
    result.divergence = {.reference = d.at("reference").text(),
                         .kl_mean = d.at("kl_mean").number_or_nan(),
                         .kl_stderr = d.at("kl_stderr").number_or_nan(0, infinity),
                         .kl_max = d.at("kl_max").number_or_nan(),
                         .same_top = d.at("same_top").number_or_nan(0, 1),
                         .same_top_stderr = d.at("same_top_stderr").number_or_nan(0, infinity),
                         .tokens = d.at("tokens").integer(0),
                         .seconds = d.at("seconds").number(0)};
  }
  if (const RecordField c = object.later("collapse"); !c.is_null()) {
    result.collapse = {.reference = c.at("reference").text(),
                       .window = c.at("window").integer(0),
                       .margin = c.at("margin").number(),
                       .onset = {}};
    if (const RecordField onset = c.at("onset"); !onset.is_null()) {
      result.collapse->onset = onset.integer(0);
    }
  }
  if (const RecordField mass = object.later("evicted_mass"); !mass.is_null()) {
    result.evicted_mass = evicted_mass_from_json(mass);
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
       "machine's speed from the program's; turns are of two programs in one session"},
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
  const RecordField fields(object);
  Results results;
  results.info = {.name = fields.at("name").text(),
                  .config_sha256 = fields.at("config_sha256").text(),
                  .started = fields.at("started").text(),
                  .versions = fields.at("versions").text_map(),
                  .machine = fields.at("machine").text_map(),
                  .warnings = fields.at("warnings").texts()};
  std::set<std::string> ids;
  for (const RecordField& cell : fields.at("cells").elements()) {
    results.cells.push_back(cell_from_json(cell));
    if (!ids.insert(results.cells.back().cell.id).second) {
      cell.at("id").refuse("an id that no other cell has");
    }
  }
  return results;
}

Results read_results(const fs::path& folder) {
  const fs::path path = folder / "results.json";
  const MappedFile file(path);
  try {
    const json object = parse_json(file.text());
    const int64_t version = RecordField(object).at("schema_version").integer();
    if (version != results_schema_version) {
      throw InputError::format("{}: schema_version is {}; this program reads {}", path.string(),
                               version, results_schema_version);
    }
    return results_from_json(object);
  } catch (const json::exception& error) {
    throw InputError::format("{}: not the results of a run: {}", path.string(), json_reason(error));
  }
}

void write_results(const Results& results, const fs::path& folder) {
  // A path or an error message may hold bytes that are no UTF-8.
  const std::string text =
      to_json(results).dump(2, ' ', false, json::error_handler_t::replace) + "\n";
  write_file_atomically(folder / "results.json", text);
}

}  // namespace sinkbench
