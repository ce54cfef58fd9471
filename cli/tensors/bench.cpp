#include "eval/run/bench.h"

#include <ATen/Parallel.h>
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <filesystem>
#include <functional>
#include <nlohmann/json.hpp>
#include <random>
#include <utility>

#include "base/console.h"
#include "base/error.h"
#include "base/gguf.h"
#include "base/json.h"
#include "cli/shell.h"
#include "cli/tensors/commands.h"
#include "eval/engines/method.h"
#include "eval/engines/recompute.h"
#include "eval/engines/stepwise.h"
#include "eval/metrics/batch_means.h"
#include "eval/results/results.h"
#include "eval/run/machine.h"
#include "models/cuda/graph.h"
#include "policies/plugin.h"
#include "policies/registry.h"

namespace sinkbench {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point begin) {
  return std::chrono::duration<double>(Clock::now() - begin).count();
}

at::Device device_of(const BenchOptions& options) {
  return at::Device(options.device);
}

at::ScalarType type_of(const std::string& name) {
  if (name == "float16") return at::kHalf;
  return name == "bfloat16" ? at::kBFloat16 : at::kFloat;
}

Decoder load(const BenchOptions& options, at::ScalarType dtype) {
  const std::filesystem::path path = options.model;
  const DecoderOptions of = {
      .dtype = dtype, .device = device_of(options), .as_stored = options.weights == "as-stored"};
  if (std::filesystem::is_directory(path) || is_gguf(path)) return Decoder::load(path, of);
  return Decoder::random(path, 0, of);
}

/// One line of the table.
struct Row {
  std::string dtype, cache, what;
  double tokens_per_second = 0;
  double spread = 0;        ///< (slowest - fastest) / median of the repetitions
  double milliseconds = 0;  ///< of a step or a pass; 0: not one by one
  double events = 0;        ///< the same by the GPU's own clock; 0: none
  double rate = 0;          ///< operations or bytes per second; 0: not counted
  const char* unit = "";    ///< "FLOP/s" or "B/s"
  double ceiling = 0;
};

/// For a ceiling beside each repetition.
constexpr double probe_seconds = 0.25;

/// Of repetitions, the first call of `work` left out.
struct Timing {
  double median, spread;  ///< of the seconds
  double ceiling;         ///< of which the median repetition has the median share
};

/// Each repetition is held against the mean of the ceiling just before and just after it.
Timing timing(int64_t repeats, const Ceiling& ceiling, double probe,
              const std::function<double()>& work) {
  work();
  ceiling.measure(0);
  std::vector<double> seconds, shares;
  for (double before = ceiling.measure(probe); std::ssize(seconds) < repeats;) {
    seconds.push_back(work());
    const double after = ceiling.measure(probe);
    shares.push_back(1 / (seconds.back() * (before + after) / 2));
    before = after;
  }
  const auto [least, most] = std::minmax_element(seconds.begin(), seconds.end());
  const double median = quantile(seconds, 0.5);
  return {median, (*most - *least) / median, 1 / (median * quantile(shares, 0.5))};
}

double score_seconds(const Decoder& decoder, const Policy& policy, std::span<const int32_t> ids,
                     int64_t chunk) {
  const auto begin = Clock::now();
  make_engine("chunked", decoder, policy, {.chunk = chunk})
      ->score(ids, [](std::span<const double>) {});
  decoder.synchronize();
  return seconds_since(begin);
}

struct Cache {
  int64_t sinks, window;
};
Cache parse_cache(const std::string& text) {
  Cache cache{};
  char rest = 0;
  if (std::sscanf(text.c_str(), "%ld+%ld%c", &cache.sinks, &cache.window, &rest) != 2 ||
      cache.sinks < 0 || cache.window < 1) {
    throw InputError::format("--cache is '{}'; expected sinks+window, such as 4+508", text);
  }
  return cache;
}

/// What policies that evict by content cost beside sinks, which evicts by index.
struct PolicyRow {
  std::string name;
  int64_t every;
  Positions positions;
};
const std::vector<PolicyRow> policy_rows = {
    {"knorm", 1, Positions::original},    {"random", 1, Positions::original},
    {"keydiff", 16, Positions::original}, {"h2o", 16, Positions::cache},
    {"tova", 16, Positions::cache},       {"snapkv", 16, Positions::cache},
    {"keydiff", 16, Positions::cache},    {"h2o", 1, Positions::cache},
    {"tova", 1, Positions::cache},        {"snapkv", 1, Positions::cache},
    {"knorm", 1, Positions::cache}};

void bench_policies(const BenchOptions& options, const std::string& dtype, const Decoder& decoder,
                    std::span<const int32_t> ids, const Cache& cache) {
  const int64_t capacity = cache.sinks + cache.window;
  print_out("\n  {:<9} {:<32} {:>11} {:>10}\n", "dtype",
            fmt::format("scoring {} tokens", ids.size() - 1), "tokens/s", "of sinks");
  const auto rate = [&](const Policy& policy) {
    return static_cast<double>(ids.size() - 1) / score_seconds(decoder, policy, ids, options.chunk);
  };
  std::vector<PolicyRow> rows = policy_rows;
  for (const PolicyEntry& entry : policy_registry()) {
    if (entry.plugin.file.empty() || !entry.is_score_policy()) continue;
    for (const int64_t every : {16, 1}) rows.push_back({entry.name, every, Positions::cache});
  }
  for (const PolicyRow& row : rows) {
    const auto sinks =
        make_policy("sinks", {{"sinks", cache.sinks}, {"window", cache.window}}, row.positions);
    const auto policy =
        make_policy(row.name, {{"capacity", capacity}, {"every", row.every}}, row.positions);
    // In turn, so that a machine that changes its speed has both at the same.
    double base = 0, own = 0;
    for (int turn = 0; turn < 3; ++turn) {
      base = std::max(base, rate(*sinks));
      own = std::max(own, rate(*policy));
    }
    print_out(
        "  {:<9} {:<32} {:>11.0f} {:>8.2f} x\n", dtype,
        fmt::format("{} {}, every {}, {}", row.name, capacity, row.every, to_string(row.positions)),
        own, own / base);
  }
  print_out("\n");
}

/// llama.cpp's rates of a prompt of 512 tokens and of decoding behind as many entries as the cache
/// has, on as many threads.
std::vector<Row> llama_bench(const BenchOptions& options, const Cache& cache, int64_t threads) {
  const std::string command = fmt::format(
      "{} -m {} -p 512 -n {} -d {} -r {} -t {}{} -o json", shell_word(options.llama_bench),
      shell_word(options.model), options.samples, cache.sinks + cache.window, options.repeats,
      threads, is_cuda(options.device) ? " -ngl 999" : " -ngl 0");
  const CommandOutput output = run_command(command);
  const auto fail = [&](const std::string& what) {
    throw InputError::format("--llama-bench: {}: {}", command, what);
  };
  if (output.status != 0) fail(fmt::format("ended with status {}", output.status));
  std::vector<Row> rows;
  try {
    for (const auto& test : parse_json(output.text)) {
      const bool decode = test.at("n_gen").get<int64_t>() > 0;
      const double rate = test.at("avg_ts").get<double>();
      rows.push_back({.dtype = test.at("model_type").get<std::string>(),
                      .cache = fmt::format("{}+{}", cache.sinks, cache.window),
                      .what = decode ? "llama.cpp, decode" : "llama.cpp, prompt",
                      .tokens_per_second = rate,
                      .spread = test.at("stddev_ts").get<double>() / rate,
                      .milliseconds = decode ? 1e3 / rate : 0});
    }
  } catch (const nlohmann::json::exception& error) {
    fail(fmt::format("its JSON is not as expected: {}", json_reason(error)));
  }
  return rows;
}

/// Prints rows as they come, or all of them at the end.
class Report {
 public:
  explicit Report(const std::string& format) : format_(format) {}
  bool table() const { return format_ == "table"; }

  void add(Row row) {
    row.ceiling = std::max(row.ceiling, row.rate);  // what was reached can be reached
    if (table()) {
      if (rows_.empty()) {
        print_out("  {:<9} {:<8} {:<18} {:>9} {:>6} {:>9} {:>9} {:>15} {:>10}\n", "dtype", "cache",
                  "what", "tokens/s", "spread", "ms", "events ms", "rate", "of ceiling");
      }
      const auto number = [](double value) {
        return value > 0 ? fmt::format("{:.3f}", value) : std::string("-");
      };
      print_out("  {:<9} {:<8} {:<18} {:>9.0f} {:>4.0f} % {:>9} {:>9} {:>15} {:>10}\n", row.dtype,
                row.cache, row.what, row.tokens_per_second, 100 * row.spread,
                number(row.milliseconds), number(row.events),
                row.rate > 0 ? fmt::format("{:.1f} G{}", row.rate / 1e9, row.unit) : "-",
                row.rate > 0 ? fmt::format("{:.0f} %", 100 * row.rate / row.ceiling) : "-");
      finish_output();
    }
    rows_.push_back(row);
  }

  void finish(nlohmann::ordered_json about) const {
    if (format_ == "json") {
      auto& array = about["rows"] = nlohmann::ordered_json::array();
      for (const Row& row : rows_) array.push_back(object(row));
      print_out("{}\n", about.dump(2, ' ', false, nlohmann::json::error_handler_t::replace));
    } else if (format_ == "csv") {
      bool first = true;
      for (const Row& row : rows_) {
        const nlohmann::ordered_json values = object(row);
        std::string names, line;
        for (const auto& [name, value] : values.items()) {
          names += (names.empty() ? "" : ",") + name;
          const std::string text = value.is_string() ? '"' + value.get<std::string>() + '"'
                                   : value.is_null() ? std::string()
                                                     : value.dump();
          line += (line.empty() ? "" : ",") + text;
        }
        if (std::exchange(first, false)) print_out("{}\n", names);
        print_out("{}\n", line);
      }
    }
  }

 private:
  static nlohmann::ordered_json object(const Row& row) {
    const auto number = [](double value) {
      return value > 0 ? nlohmann::ordered_json(value) : nlohmann::ordered_json();
    };
    return {{"dtype", row.dtype},
            {"cache", row.cache},
            {"what", row.what},
            {"tokens_per_second", row.tokens_per_second},
            {"spread", row.spread},
            {"milliseconds", number(row.milliseconds)},
            {"milliseconds_by_events", number(row.events)},
            {"rate", number(row.rate)},
            {"unit", row.unit},
            {"ceiling", number(row.ceiling)}};
  }

  std::string format_;
  std::vector<Row> rows_;
};

/// Everything about one cache in one precision.
void bench_cache(const BenchOptions& options, const std::string& dtype, const Decoder& decoder,
                 const Cache& cache, const Ceiling& product, Report& report) {
  const DecoderConfig& config = decoder.config();
  const double probe = options.ceilings > 0 ? probe_seconds : 0;
  const int64_t capacity = cache.sinks + cache.window;
  const auto sinks = make_policy("sinks", {{"sinks", cache.sinks}, {"window", cache.window}});
  const auto& policy = dynamic_cast<const IndexPolicy&>(*sinks);
  const auto passes = make_policy("recompute", {{"window", capacity}});
  const auto& recompute = dynamic_cast<const RecomputePolicy&>(*passes);
  std::mt19937 random(1);
  std::vector<int32_t> ids(
      std::max({options.tokens, capacity + options.recomputed, options.dense}) + 1);
  for (int32_t& id : ids) id = static_cast<int32_t>(random() % config.vocab_size);
  const auto first = [&](int64_t tokens) { return std::span(ids).first(tokens + 1); };
  const auto row = [&](const std::string& what, double tokens, const Timing& time, double work,
                       const char* unit) {
    return Row{.dtype = dtype,
               .cache = fmt::format("{}+{}", cache.sinks, cache.window),
               .what = what,
               .tokens_per_second = tokens / time.median,
               .spread = time.spread,
               .rate = work / time.median,
               .unit = unit,
               .ceiling = time.ceiling};
  };
  const auto scoring = [&](const std::string& what, const Policy& scored, int64_t tokens,
                           double flops) {
    const Timing time = timing(options.repeats, product, probe, [&] {
      return score_seconds(decoder, scored, first(tokens), options.chunk);
    });
    report.add(row(what, static_cast<double>(tokens), time, flops, "FLOP/s"));
  };
  scoring("scoring", policy, options.tokens, scoring_flops(config, policy, options.tokens));
  if (options.recomputed > 0) {
    const int64_t fed = capacity + options.recomputed;
    scoring("recompute", recompute, fed, scoring_flops(config, recompute, fed));
  }
  if (options.dense > 0) {
    const auto dense = make_policy("dense", {});
    scoring(fmt::format("dense {}", options.dense), *dense, options.dense,
            scoring_flops(config, dynamic_cast<const IndexPolicy&>(*dense), options.dense));
  }
  const DeviceMemory memory = device_memory(device_of(options), /*reset=*/true);

  // Steps one by one, by the clock and, on a GPU, by its events: what the host takes between is in
  // both. A repetition's time is the median of its steps.
  const auto steps = [&](const std::string& what, Decoding& decoding, int64_t warmup, int64_t count,
                         double work, const char* unit, const Ceiling& ceiling) {
    decoding.fill(std::nullopt, capacity, warmup + (options.repeats + 1) * count);
    for (int64_t i = 0; i < warmup; ++i) decoding.step(ids[i]);
    decoder.synchronize();
    std::vector<double> events;
    const Timing time = timing(options.repeats, ceiling, probe, [&] {
      std::vector<double> clock;
      for (int64_t i = 0; i < count; ++i) {
        const auto begin = Clock::now();
        events.push_back(
            seconds_of(device_of(options), [&] { decoding.step(ids[i % options.tokens]); }));
        clock.push_back(seconds_since(begin));
      }
      return quantile(clock, 0.5);
    });
    Row step = row(what, 1, time, work, unit);
    step.milliseconds = 1e3 * time.median;
    if (is_cuda(options.device)) step.events = 1e3 * quantile(events, 0.5);
    report.add(step);
  };
  if (options.passes > 0) {
    RecomputeEngine engine(decoder, recompute);
    const double n = static_cast<double>(*recompute.size());
    steps("pass", engine, 2, options.passes, n * flops_per_token(config, (n + 1) / 2), "FLOP/s",
          product);
  }
  {
    StepwiseEngine engine(decoder, policy);
    const double bytes = decode_bytes(decoder, capacity);
    const Ceiling read = read_ceiling(static_cast<int64_t>(bytes), device_of(options));
    steps("decode", engine, 10, options.samples, bytes, "B/s", read);
  }
  if (report.table() && is_cuda(options.device)) {
    print_out("  {:<9} {:<8} device memory: held {:.2f} GB, peak while scoring {:.2f} GB\n", dtype,
              fmt::format("{}+{}", cache.sinks, cache.window),
              static_cast<double>(memory.held) / 1e9, static_cast<double>(memory.peak) / 1e9);
  }
  if (report.table() && options.policy_tokens > 0 && dtype == "float32") {
    bench_policies(options, dtype, decoder, first(std::min(options.policy_tokens, options.tokens)),
                   cache);
  }
}

}  // namespace

void bench(const BenchOptions& options) {
  for (const std::filesystem::path& plugin : options.plugins) load_plugin(plugin);
  std::vector<Cache> caches;
  for (const std::string& text : options.caches) caches.push_back(parse_cache(text));
  if (!options.llama_bench.empty() && !is_gguf(options.model)) {
    throw InputError::format("--llama-bench: {} is no .gguf, which llama.cpp needs", options.model);
  }
  if (!std::filesystem::exists(options.model)) {  // before ceilings are measured
    throw InputError::format("{}: no such file or folder", options.model);
  }
  use_device(options.device);
  const Cores cores = available_cores();
  const int64_t threads = options.threads > 0 ? options.threads : cores.count;
  at::set_num_threads(static_cast<int>(threads));
  const RunInfo info = describe_run("bench", "", device_of(options).is_cpu());
  Report report(options.format);
  if (report.table()) {
    print_out("{}, {} threads, LibTorch {}\n{}\n", info.machine.at("cpu"), threads,
              info.versions.at("libtorch"), info.versions.at("blas"));
    if (const std::string card = device_title(device_of(options)); !card.empty()) {
      print_out("{}\n", card);
    }
    for (const std::string& warning : info.warnings) print_out("warning: {}\n", warning);
  }
  // Through the same library, in the same process.
  const double each =
      static_cast<double>(options.ceilings) / static_cast<double>(options.dtypes.size() + 1);
  const int64_t large = int64_t{1} << (is_cuda(options.device) ? 32 : 30);
  nlohmann::ordered_json ceilings = {
      {"read_bytes", read_ceiling(large, device_of(options)).measure(each)}};
  for (const std::string& dtype : options.dtypes) {
    ceilings[dtype + "_flops"] = product_ceiling(type_of(dtype), device_of(options)).measure(each);
  }
  if (report.table()) {
    print_out("\nCeilings of this {}, through the same library\n",
              is_cuda(options.device) ? "GPU (TF32 is off)" : "machine");
    for (const std::string& dtype : options.dtypes) {
      print_out("  {:<17} {:8.1f} GFLOP/s\n", dtype + " product",
                ceilings[dtype + "_flops"].get<double>() / 1e9);
    }
    print_out("  {:<17} {:8.1f} GB/s\n", fmt::format("read of {} GiB", large >> 30),
              ceilings["read_bytes"].get<double>() / 1e9);
  }
  int64_t parameters = 0;
  for (const std::string& dtype : options.dtypes) {
    const Decoder decoder = load(options, type_of(dtype));
    if (parameters == 0 && report.table()) {
      print_out("\n{}: {:.1f}M parameters\n", options.model,
                static_cast<double>(decoder.parameters()) / 1e6);
    }
    parameters = decoder.parameters();
    const Ceiling product = product_ceiling(type_of(dtype), device_of(options));
    for (const Cache& cache : caches) bench_cache(options, dtype, decoder, cache, product, report);
  }
  if (!options.llama_bench.empty()) {
    for (const Cache& cache : caches) {
      for (const Row& row : llama_bench(options, cache, threads)) report.add(row);
    }
  }
  if (report.table()) {
    print_out(
        "\nMedians of {} repetitions; spread: slowest less fastest, of the median. Counted are\n"
        "multiply-adds (as two) of products with weights and of attention, against a product just\n"
        "before and after each repetition; for decode the bytes of the weights and the cache,\n"
        "against a read of as many (eval/run/bench.h). A decode repetition is the median of {} "
        "steps.\n",
        options.repeats, options.samples);
    return;
  }
  report.finish({{"started", info.started},
                 {"machine", info.machine},
                 {"versions", info.versions},
                 {"warnings", info.warnings},
                 {"threads", threads},
                 {"device", options.device},
                 {"model", options.model},
                 {"parameters", parameters},
                 {"repeats", options.repeats},
                 {"ceilings", ceilings}});
}

}  // namespace sinkbench
