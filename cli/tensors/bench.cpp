#include "eval/run/bench.h"

#include <ATen/Parallel.h>
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <random>

#include "base/error.h"
#include "base/gguf.h"
#include "cli/tensors/commands.h"
#include "eval/engines/method.h"
#include "eval/engines/recompute.h"
#include "eval/engines/stepwise.h"
#include "eval/metrics/batch_means.h"
#include "eval/results/results.h"
#include "eval/run/machine.h"
#include "models/cuda/graph.h"
#include "policies/registry.h"

namespace sinkbench {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point begin) {
  return std::chrono::duration<double>(Clock::now() - begin).count();
}

at::Device device_of(const BenchOptions& options) {
  return options.device == "cuda" ? at::kCUDA : at::kCPU;
}

at::ScalarType type_of(const std::string& name) {
  if (name == "float16") return at::kHalf;
  return name == "bfloat16" ? at::kBFloat16 : at::kFloat;
}

Decoder load(const BenchOptions& options, at::ScalarType dtype) {
  const std::filesystem::path path = options.model;
  const DecoderOptions of = {.dtype = dtype, .device = device_of(options)};
  if (std::filesystem::is_directory(path) || is_gguf(path)) return Decoder::load(path, of);
  return Decoder::random(path, 0, of);
}

/// Seconds to score the stream: the best of some runs, the first of which also warms up.
double score_seconds(const Decoder& decoder, const Policy& policy, std::span<const int32_t> ids,
                     int64_t chunk, int runs = 2) {
  double best = INFINITY;
  for (int run = 0; run < runs; ++run) {
    const auto begin = Clock::now();
    make_engine("chunked", decoder, policy, {.chunk = chunk})
        ->score(ids, [](std::span<const double>) {});
    decoder.synchronize();
    best = std::min(best, seconds_since(begin));
  }
  return best;
}

/// What policies that evict by content cost beside sinks, which evicts by index.
struct PolicyRow {
  const char* name;
  int64_t every;
  Positions positions;
};
constexpr PolicyRow policy_rows[] = {
    {"knorm", 1, Positions::original},    {"random", 1, Positions::original},
    {"keydiff", 16, Positions::original}, {"h2o", 16, Positions::cache},
    {"tova", 16, Positions::cache},       {"snapkv", 16, Positions::cache},
    {"keydiff", 16, Positions::cache},    {"h2o", 1, Positions::cache},
    {"tova", 1, Positions::cache},        {"snapkv", 1, Positions::cache},
    {"knorm", 1, Positions::cache}};

void bench_policies(const BenchOptions& options, const std::string& dtype, const Decoder& decoder,
                    std::span<const int32_t> ids, int64_t capacity) {
  fmt::print("\n  {:<9} {:<32} {:>11} {:>10}\n", "dtype",
             fmt::format("scoring {} tokens", ids.size() - 1), "tokens/s", "of sinks");
  const auto rate = [&](const Policy& policy) {
    return static_cast<double>(ids.size() - 1) /
           score_seconds(decoder, policy, ids, options.chunk, 1);
  };
  for (const PolicyRow& row : policy_rows) {
    const auto sinks =
        make_policy("sinks", {{"sinks", options.sinks}, {"window", options.window}}, row.positions);
    const auto policy =
        make_policy(row.name, {{"capacity", capacity}, {"every", row.every}}, row.positions);
    // In turn, so that a machine that changes its speed has both at the same.
    double base = 0, own = 0;
    for (int turn = 0; turn < 3; ++turn) {
      base = std::max(base, rate(*sinks));
      own = std::max(own, rate(*policy));
    }
    fmt::print(
        "  {:<9} {:<32} {:>11.0f} {:>8.2f} x\n", dtype,
        fmt::format("{} {}, every {}, {}", row.name, capacity, row.every, to_string(row.positions)),
        own, own / base);
  }
  fmt::print("\n");
}

}  // namespace

void bench(const BenchOptions& options) {
  const int64_t threads = options.threads > 0 ? options.threads : available_cores().count;
  at::set_num_threads(static_cast<int>(threads));
  const RunInfo info = describe_run("bench", "", device_of(options).is_cpu());
  fmt::print("{}, {} threads, LibTorch {}\n{}\n", info.machine.at("cpu"), threads,
             info.versions.at("libtorch"), info.versions.at("blas"));
  for (const std::string& warning : info.warnings) fmt::print("warning: {}\n", warning);

  if (options.device == "cuda" && !at::hasCUDA()) {
    throw InputError(
        "device is 'cuda', but this LibTorch or this machine has no CUDA; expected cpu");
  }
  const Ceilings ceilings = measure_ceilings(options.ceilings, device_of(options));
  fmt::print(
      "\nCeilings of this {}, through the same library\n"
      "  float32 product   {:8.1f} GFLOP/s\n"
      "  bfloat16 product  {:8.1f} GFLOP/s\n"
      "  read              {:8.1f} GB/s\n",
      options.device == "cuda" ? "GPU (TF32 is off)" : "machine", ceilings.float32_flops / 1e9,
      ceilings.bfloat16_flops / 1e9, ceilings.read_bytes / 1e9);

  const auto sinks = make_policy("sinks", {{"sinks", options.sinks}, {"window", options.window}});
  const auto* policy = dynamic_cast<const IndexPolicy*>(sinks.get());
  const int64_t capacity = *policy->capacity();
  const auto passes = make_policy("recompute", {{"window", capacity}});
  const auto* recompute = dynamic_cast<const RecomputePolicy*>(passes.get());
  bool first = true;
  for (const std::string& name : options.dtypes) {
    const at::ScalarType dtype = type_of(name);
    const double ceiling = dtype == at::kFloat ? ceilings.float32_flops : ceilings.bfloat16_flops;
    const Decoder decoder = load(options, dtype);
    const DecoderConfig& config = decoder.config();
    if (first) {
      fmt::print("\n{}: {:.1f}M parameters, cache {}\n", options.model,
                 static_cast<double>(decoder.parameters()) / 1e6, policy->label());
      fmt::print("  {:<9} {:<22} {:>11} {:>13} {:>11}\n", "dtype", "what", "tokens/s", "rate",
                 "of ceiling");
      first = false;
    }
    std::mt19937 random(1);
    std::vector<int32_t> ids(std::max(options.tokens, capacity + options.recomputed) + 1);
    for (int32_t& id : ids) id = static_cast<int32_t>(random() % config.vocab_size);
    const auto line = [&](const std::string& what, double tokens_per_second, double rate,
                          const char* unit, double top) {
      fmt::print("  {:<9} {:<22} {:>11.0f} {:>6.1f} {:<6} {:>9.0f} %\n", name, what,
                 tokens_per_second, rate / 1e9, unit, 100 * rate / top);
    };

    const auto stream = std::span(ids).first(options.tokens + 1);
    const double seconds = score_seconds(decoder, *policy, stream, options.chunk);
    const DeviceMemory memory = device_memory(device_of(options), /*reset=*/true);
    line("scoring", static_cast<double>(options.tokens) / seconds,
         scoring_flops(config, *policy, options.tokens) / seconds, "GFLOP/s", ceiling);

    if (options.recomputed > 0) {
      const int64_t fed = capacity + options.recomputed;
      const double recompute_seconds =
          score_seconds(decoder, *recompute, std::span(ids).first(fed + 1), options.chunk);
      line(fmt::format("recompute {}", capacity), static_cast<double>(fed) / recompute_seconds,
           scoring_flops(config, *recompute, fed) / recompute_seconds, "GFLOP/s", ceiling);
    }

    if (options.dense > 0) {
      const auto dense = make_policy("dense", {});
      std::vector<int32_t> longer(options.dense + 1);
      for (int32_t& id : longer) id = static_cast<int32_t>(random() % config.vocab_size);
      const double dense_seconds = score_seconds(decoder, *dense, longer, options.chunk);
      line(fmt::format("dense, {} tokens", options.dense),
           static_cast<double>(options.dense) / dense_seconds,
           scoring_flops(config, dynamic_cast<const IndexPolicy&>(*dense), options.dense) /
               dense_seconds,
           "GFLOP/s", ceiling);
    }

    // By the clock and, on a GPU, by its events: what the host takes between is in both.
    const auto median_step = [&](Decoding& decoding, int64_t warmup, int64_t count) {
      decoding.fill(std::nullopt, capacity, warmup + count);
      for (int64_t i = 0; i < warmup; ++i) decoding.step(ids[i]);
      decoder.synchronize();
      std::vector<double> clock, events;
      for (int64_t i = 0; i < count; ++i) {
        const auto begin = Clock::now();
        events.push_back(
            seconds_of(device_of(options), [&] { decoding.step(ids[i % options.tokens]); }));
        clock.push_back(seconds_since(begin));
      }
      return std::pair(quantile(clock, 0.5), quantile(events, 0.5));
    };
    const auto by_events = [&](double median) {
      return options.device == "cuda" ? fmt::format(", events {:.3f}", 1e3 * median)
                                      : std::string();
    };
    if (options.passes > 0) {
      RecomputeEngine engine(decoder, *recompute);
      const auto [median, events] = median_step(engine, 2, options.passes);
      const double n = static_cast<double>(*recompute->size());
      line(fmt::format("pass of {:.0f}, {:.3f} ms{}", n, 1e3 * median, by_events(events)),
           1 / median, n * flops_per_token(config, (n + 1) / 2) / median, "GFLOP/s", ceiling);
    }
    StepwiseEngine engine(decoder, *policy);
    const auto [median, events] = median_step(engine, 10, options.samples);
    line(fmt::format("decode, {:.3f} ms{}", 1e3 * median, by_events(events)), 1 / median,
         decode_bytes(decoder, capacity) / median, "GB/s", ceilings.read_bytes);
    if (options.device == "cuda") {
      fmt::print("  {:<9} device memory: held {:.2f} GB, peak while scoring {:.2f} GB\n", name,
                 static_cast<double>(memory.held) / 1e9, static_cast<double>(memory.peak) / 1e9);
    }
    if (options.policy_tokens > 0 && dtype == at::kFloat) {
      bench_policies(options, name, decoder,
                     std::span(ids).first(std::min(options.policy_tokens, options.tokens) + 1),
                     capacity);
    }
  }
  fmt::print(
      "\nCounted are multiply-adds (as two) of products with weights and of attention;\n"
      "for decode the bytes of the weights and the cache. Decode: median of {} steps.\n",
      options.samples);
}

}  // namespace sinkbench
