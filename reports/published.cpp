#include "reports/published.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <numeric>

#include "base/text.h"
#include "eval/results/nll_file.h"
#include "reports/tables.h"

namespace sinkbench {
namespace {

using enum PublishedQuantity;
using Values = std::vector<std::pair<std::string_view, double>>;  // by cache

constexpr std::string_view book = "the first book of PG-19's test set, 65K tokens";
constexpr std::string_view test_set = "400K tokens of PG-19's test set";
constexpr std::string_view gpu = "one NVIDIA A6000";
constexpr std::string_view curves = "attention_sinks 0.4.0";

class Collection {
 public:
  Collection() {
    add(book, "figure 1", "Llama-2-13B", {{"all", 5641}});
    add(book, "figure 1, table 1", "Llama-2-13B",
        {{"0+1024", 5158.07}, {"1024", 5.43}, {"4+1020", 5.40}});
    add(book, "table 1", "Llama-2-13B", {{"4+1020", 5.60}});
    values.back().newlines = true;
    add_table_2("Falcon-7B", {17.90, 12.12, 12.12, 12.12, 12.12});
    add_table_2("MPT-7B", {460.29, 14.99, 15.00, 14.99, 14.98});
    add_table_2("Pythia-12B", {21.62, 11.95, 12.09, 12.09, 12.02});
    add(test_set, "table 2", "Llama-2-7B",
        {{"0+4096", 3359.95},
         {"1+4095", 11.88},
         {"2+4094", 10.51},
         {"4+4092", 9.59},
         {"8+4088", 9.54}});
    add_table_3("Pythia-160M-vanilla", {27.87, 18.49, 18.05, 18.05});
    add_table_3("Pythia-160M-zero-sink", {29214, 19.90, 18.27, 18.01});
    add_table_3("Pythia-160M-learnable-sink", {1235, 18.01, 18.01, 18.02});
    add_table_3("Pythia-160M-2-learnable-sinks", {1262, 25.73, 18.05, 18.05});
    add_table_6("Falcon-7B", {13.61, 12.84, 12.34, 12.84});
    add_table_6("MPT-7B", {14.12, 14.25, 14.33, 14.99});
    add_table_6("Pythia-12B", {13.17, 12.52, 12.08, 12.09});
    add(test_set, "table 6", "Llama-2-7B",
        {{"4+508", 9.73}, {"4+1020", 9.32}, {"4+2044", 9.08}, {"4+4092", 9.59}});
    add_figure_10("Llama-2-7B", latency_ms, {63, 103, 223, 523, 1411}, {31, 31, 35, 45, 65});
    add_figure_10("Llama-2-13B", latency_ms, {99, 169, 361, 860, 2355}, {48, 52, 60, 75, 106});
    add_figure_10("Llama-2-7B", memory_gib, {13, 13, 14, 16, 21}, {13, 13, 14, 16, 19});
    add_figure_10("Llama-2-13B", memory_gib, {25, 25, 26, 29, 36}, {25, 26, 27, 29, 34});
    add_table_7("4+2044", {85.80, 80.35, 79.15, 75.30, 0, 0, 0, 0, 0, 0, 0});
    add_table_7("4+4092", {84.60, 83.80, 82.80, 77.15, 61.60, 68.20, 0, 0, 0, 0, 0});
    add_table_7("4+8188", {81.15, 81.25, 81.50, 76.40, 50.10, 58.30, 62.75, 0, 0, 0, 0});
    add_table_7("4+16380", {77.65, 77.50, 78.50, 73.80, 40.50, 38.45, 46.90, 45.70, 28.50, 0, 0});
    // The last values are those of the last tokens that were published.
    add_curve("Llama-2-7B", 5.664, {5.618, 5.688}, {5.83, 10201}, {86.84, 1851}, {52.47, 6351});
    add_curve("Falcon-7B", 7.200, {7.089, 7.505}, {7.80, 8191}, {11.18, 8191}, {29.91, 5421});
    add_curve("MPT-7B", 6.947, {7.363, 8.165}, {8.70, 8191}, {291.38, 6171}, {28.26, 6041});
    add_curve("Pythia-6.9B", 7.469, {7.604, 8.116}, {8.47, 8191}, {16.72, 8191}, {24.61, 4011});
    add_curve("Mistral-7B", 5.291, {5.477, 5.696}, {5.96, 16381}, {22.23, 8191}, {26.84, 13731});
    add_curve("Qwen-7B", 7.101, {7.205, 7.781}, {8.07, 8191}, {8.41, 8191}, {939.29, 8191});
    add_points("BTLM-3B-8k", "4+2044", {{4096, 7.263}, {8192, 8.011}, {16381, 8.204}});
    add_points("BTLM-3B-8k", "0+2048", {{4096, 6.959}, {8192, 7.605}, {16381, 16.924}});
    add_points("BTLM-3B-8k", "all", {{4096, 6.898}, {8192, 7.112}, {16381, 13.455}});
    add_points("GPT-J-6B", "4+1020", {{2048, 6.638}, {4096, 6.989}, {8191, 7.361}});
    add_points("GPT-J-6B", "0+1024", {{2048, 8.028}, {4096, 8.701}, {8191, 9.195}});
    add_points("GPT-J-6B", "all", {{2041, 6.648}});
    add_points("Qwen-14B", "4+1020", {{2048, 6.54}, {4096, 6.989}, {8191, 7.322}});
    add_points("Qwen-14B", "all", {{1024, 6.368}, {2048, 6.544}, {4096, 48.826}, {8191, 434.516}});
    add_points("StableLM-3B-4e1t", "4+1020", {{2048, 6.941}, {4096, 7.371}, {8191, 7.642}});
    add_points("StableLM-3B-4e1t", "0+1024", {{2048, 114.48}, {4096, 371.651}, {8191, 751.443}});
    add_points("StableLM-3B-4e1t", "all", {{2048, 6.958}, {4096, 7.17}, {8191, 260.147}});
    add_tova();
    constexpr std::string_view wikitext = "4,096 tokens of WikiText-103";
    add(wikitext, "hopecommon/CS3602", "Pythia-2.8B",
        {{"0+1024", 17.69},
         {"1+1024", 9.786},
         {"2+1024", 9.789},
         {"4+1024", 9.794},
         {"8+1024", 9.627},
         {"16+1024", 9.617},
         {"4+128", 14.65},
         {"4+256", 12.89},
         {"4+512", 10.86},
         {"4+2048", 9.658}});
    constexpr std::string_view replication = "andreawwenyi/replicate-attention-sink";
    constexpr std::string_view whole = "the first book of PG-19's test set, 65,133 tokens";
    add(whole, replication, "Llama-2-7B",
        {{"0+511", 307.297}, {"4+507", 6.016}, {"4+507", 309.305}});
    values.back().positions = Positions::frozen;
    add_curve("Yi-6B", 6.661, {6.900, 7.221}, {7.43, 8191}, {125.86, 7391}, {7.30, 8191});
  }

  std::vector<Published> values;

 private:
  struct End {
    double value;
    int64_t position;
  };

  void add(std::string_view over, std::string_view where, std::string_view model,
           const Values& of_caches) {
    for (const auto& [cache, value] : of_caches) {
      values.push_back(
          {.model = model, .cache = cache, .value = value, .where = where, .over = over});
    }
  }
  void add_table_2(std::string_view model, const std::array<double, 5>& v) {
    add(test_set, "table 2", model,
        {{"0+2048", v[0]}, {"1+2047", v[1]}, {"2+2046", v[2]}, {"4+2044", v[3]}, {"8+2040", v[4]}});
  }
  void add_table_3(std::string_view model, const std::array<double, 4>& v) {
    add("the first book of PG-19's test set", "table 3", model,
        {{"0+1024", v[0]}, {"1+1023", v[1]}, {"2+1022", v[2]}, {"4+1020", v[3]}});
  }
  void add_table_6(std::string_view model, const std::array<double, 4>& v) {
    add(test_set, "table 6", model,
        {{"4+252", v[0]}, {"4+508", v[1]}, {"4+1020", v[2]}, {"4+2044", v[3]}});
  }
  void add_figure_10(std::string_view model, PublishedQuantity quantity,
                     const std::array<double, 5>& recompute, const std::array<double, 5>& sinks) {
    constexpr std::array<std::string_view, 5> passes = {"256", "512", "1024", "2048", "4096"};
    constexpr std::array<std::string_view, 5> caches = {"4+252", "4+508", "4+1020", "4+2044",
                                                        "4+4092"};
    for (size_t i = 0; i < passes.size(); ++i) {
      add(gpu, "figure 10", model, {{passes[i], recompute[i]}, {caches[i], sinks[i]}});
      values[values.size() - 2].quantity = values.back().quantity = quantity;
    }
  }
  /// Chunks of PG-19's test set, distances of the stream.
  void add_tova() {
    constexpr std::array<int64_t, 6> caches = {64, 128, 256, 512, 1024, 2048};
    struct Row {
      std::string_view policy, scope;
      std::array<double, 6> values;
      std::array<std::string_view, 6> caches;
    };
    constexpr std::array<std::string_view, 6> whole = {"64", "128", "256", "512", "1024", "2048"};
    const Row rows[] = {{"",
                         "",
                         {4812.27, 4025.01, 3275.58, 2184.62, 1001.29, 240.17},
                         {"0+64", "0+128", "0+256", "0+512", "0+1024", "0+2048"}},
                        {"",
                         "",
                         {10.20, 8.97, 8.22, 7.76, 7.50, 7.33},
                         {"1+63", "1+127", "1+255", "1+511", "1+1023", "1+2047"}},
                        {"",
                         "",
                         {10.28, 8.98, 8.19, 7.73, 7.46, 7.30},
                         {"4+60", "4+124", "4+252", "4+508", "4+1020", "4+2044"}},
                        {"h2o", "head", {10.22, 8.97, 8.21, 7.75, 7.49, 7.32}, whole},
                        {"h2o", "layer", {10.20, 8.97, 8.22, 7.76, 7.50, 7.33}, whole},
                        {"tova", "head", {11.13, 9.55, 8.69, 7.90, 7.52, 7.27}, whole},
                        {"tova", "layer", {9.53, 8.32, 7.71, 7.41, 7.25, 7.17}, whole}};
    for (const Row& row : rows) {
      for (size_t i = 0; i < caches.size(); ++i) {
        values.push_back({.model = "Llama-2-7B",
                          .cache = row.caches[i],
                          .policy = row.policy,
                          .scope = row.scope,
                          .value = row.values[i],
                          .where = "TOVA, table 3",
                          .over = "PG-19's test set in chunks of 4,096",
                          .reset = 4096,
                          .positions = Positions::original});
      }
    }
    values.push_back({.model = "Llama-2-7B",
                      .cache = "all",
                      .value = 7.16,
                      .where = "TOVA, table 3",
                      .over = "PG-19's test set in chunks of 4,096",
                      .reset = 4096,
                      .positions = Positions::original});
  }
  void add_table_7(std::string_view cache, const std::array<double, 11>& of_lines) {
    constexpr std::array<int64_t, 11> lines = {20, 40, 60, 80, 100, 150, 200, 400, 600, 800, 1000};
    for (size_t i = 0; i < lines.size(); ++i) {
      add("StreamEval, whose data was not released", "table 7", "Llama-2-7B-32K-Instruct",
          {{cache, of_lines[i]}});
      values.back().quantity = accuracy;
      values.back().lines = lines[i];
    }
  }
  void add_points(std::string_view model, std::string_view cache,
                  const std::vector<std::pair<int64_t, double>>& by_position) {
    for (const auto& [position, value] : by_position) {
      add("the first book of PG-19's test set", curves, model, {{cache, value}});
      values.back().first = position;
    }
  }
  void add_curve(std::string_view model, double at_1024, const std::array<double, 2>& sinks,
                 End sinks_end, End window_end, End dense_end) {
    const auto point = [&](std::string_view cache, End end) {
      add("the first book of PG-19's test set", curves, model, {{cache, end.value}});
      values.back().first = end.position;
    };
    for (const char* cache : {"4+1020", "0+1024", "all"}) point(cache, {at_1024, 1024});
    point("4+1020", {sinks[0], 2048});
    point("4+1020", {sinks[1], 4096});
    point("4+1020", sinks_end);
    point("0+1024", window_end);
    point("all", dense_end);
  }
};

/// What a cache is called by, where no policy by score is named: "all", "0+W", "S+W", "W".
std::string_view policy_of(std::string_view cache) {
  if (cache == "all") return "dense";
  if (cache.starts_with("0+")) return "window";
  return cache.find('+') == cache.npos ? "recompute" : "sinks";
}

/// Whether a cell is of the policy that a value is of, with its positions; those of a window, of
/// dense attention and of recomputation are the same within the cache and in the stream.
bool is_policy(const CellResult& cell, const Published& p) {
  const PolicySpec& policy = cell.cell.policy;
  if (p.cache != (p.policy.empty() ? cell.cache_label : std::string_view(p.cache))) return false;
  if (p.policy.empty()) {
    if (policy.name != policy_of(p.cache)) return false;
    return policy.positions == p.positions ||
           (policy.name != "sinks" && policy.positions == Positions::cache);
  }
  const auto argument = [&](const char* name) {
    const auto it = policy.arguments.find(name);
    return it == policy.arguments.end() ? std::string() : to_string(it->second);
  };
  return policy.name == p.policy && policy.positions == p.positions &&
         argument("capacity") == p.cache && argument("scope") == p.scope &&
         argument("sinks") == "0" && argument("every") == "1";
}

/// "Llama-2-7b-hf" is "Llama-2-7B"; "Llama-2-70b" and "falcon-7b-instruct" are other models.
bool is_model(std::string folder, std::string_view model) {
  folder = lower_case(folder);
  for (const std::string_view suffix : {"-hf", "-v0.1", " (random weights)"}) {
    if (folder.ends_with(suffix)) folder.resize(folder.size() - suffix.size());
  }
  return folder == lower_case(model);
}

}  // namespace

std::span<const Published> published_values() {
  static const Collection collection;
  return collection.values;
}

std::vector<Published> published_for(const CellResult& cell) {
  const std::string model = model_name(cell.cell);
  const auto& texts = cell.cell.dataset.texts;
  const bool newlines = !texts.empty() && texts.front().filename().string().starts_with("newline");
  std::vector<Published> found;
  for (const Published& p : published_values()) {
    if (!is_policy(cell, p) || !is_model(model, p.model)) continue;
    const std::optional<Reset>& reset = cell.cell.dataset.reset;
    if (p.quantity == perplexity && (reset ? reset->tokens : 0) != p.reset) continue;
    const bool task = cell.cell.dataset.is_task();
    if (p.quantity == perplexity && (cell.cell.model.random || p.newlines != newlines || task)) {
      continue;
    }
    if (p.quantity == accuracy && cell.cell.dataset.task.name != "streameval") continue;
    found.push_back(p);
  }
  return found;
}

std::optional<double> measured(const Published& published, const CellResult& cell,
                               const std::filesystem::path& folder) {
  switch (published.quantity) {
    case latency_ms:
      if (cell.latency.empty()) return std::nullopt;
      return cell.latency.front().p50_ms;
    case memory_gib:
      if (!cell.memory) return std::nullopt;
      return static_cast<double>(cell.memory->weight_bytes + cell.memory->kv_bytes_held) /
             (1 << 30);
    case accuracy:
      for (const AnswerBin& bin : cell.answers) {
        const auto lines = bin.of.find("lines");
        if (lines != bin.of.end() && lines->second == published.lines) return 100 * bin.accuracy;
      }
      return std::nullopt;
    case perplexity:
      break;
  }
  if (!cell.perplexity) return std::nullopt;
  if (published.first == 0) return cell.perplexity->token;
  const std::filesystem::path file = folder / cell.nll_file;
  if (folder.empty() || cell.perplexity->stride != 1 || !std::filesystem::exists(file)) {
    return std::nullopt;
  }
  const std::vector<double> nll = read_nll_file(file, *cell.perplexity);
  if (static_cast<int64_t>(nll.size()) < published.first) return std::nullopt;
  const double sum = std::accumulate(nll.begin(), nll.begin() + published.first, 0.0);
  return std::exp(sum / static_cast<double>(published.first));
}

std::optional<double> published_sink_rate(const SinkResults& measurement) {
  struct Rates {
    std::string_view model;
    std::array<double, 3> by_input;  // natural, random, repeated; below 0: not published
  };
  constexpr std::array<Rates, 6> table = {{{"gpt2-xl", {77.00, 70.29, 62.28}},
                                           {"Mistral-7B", {97.49, 75.21, 0.00}},
                                           {"Llama-2-7B", {92.47, 90.13, 0.00}},
                                           {"Meta-Llama-3-8B", {99.02, 91.23, 0.00}},
                                           {"gpt2", {73.6, -1, -1}},
                                           {"gpt2-medium", {81.0, -1, -1}}}};
  const SinkStatistics& s = measurement.statistics;
  if (s.tokens != 64 || std::abs(s.epsilon - 0.3) > 1e-9) return std::nullopt;
  for (const Rates& rates : table) {
    if (!is_model(model_name(measurement.cell), rates.model)) continue;
    const double value = rates.by_input[static_cast<size_t>(measurement.sampling.input)];
    if (value >= 0) return value;
  }
  return std::nullopt;
}

}  // namespace sinkbench
