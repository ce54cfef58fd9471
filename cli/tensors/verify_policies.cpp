// verify --plugin: policies that people bring, on the terms that all policies keep.
#include <ATen/ATen.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <functional>

#include "base/console.h"
#include "base/error.h"
#include "base/file.h"
#include "cli/tensors/commands.h"
#include "eval/engines/method.h"
#include "policies/plugin.h"
#include "policies/properties.h"

namespace sinkbench {
namespace {

namespace fs = std::filesystem;

constexpr int64_t stream_tokens = 96;
constexpr double tolerance = 1e-9;  // nats, in float64

/// A small llama with grouped queries, its weights random, in float64.
Decoder small_decoder() {
  const char* const config = R"({"model_type": "llama", "vocab_size": 64, "hidden_size": 32,
    "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "rms_norm_eps": 1e-05, "max_position_embeddings": 256})";
  const fs::path folder = fs::temp_directory_path() / fmt::format("sinkbench-{}", ::getpid());
  fs::create_directories(folder);
  const fs::path file = folder / "config.json";
  write_file_atomically(file, config);
  Decoder decoder = Decoder::random(file, 1, {.dtype = at::kDouble});
  fs::remove_all(folder);
  return decoder;
}

struct Run {
  std::vector<double> nll;
  std::vector<Decision> decisions;
};

/// The whole stream; `resumed`: with a new engine for each block, gone on from the last one's
/// state.
Run run(const std::string& engine_name, const Decoder& decoder, const Policy& policy,
        std::span<const int32_t> ids, int64_t chunk, bool resumed = false) {
  Run result;
  EngineOptions options = {.chunk = chunk};
  options.decisions.sink = [&](std::span<const Decision> decisions) {
    result.decisions.insert(result.decisions.end(), decisions.begin(), decisions.end());
  };
  const NllSink sink = [&](std::span<const double> nll) {
    result.nll.insert(result.nll.end(), nll.begin(), nll.end());
  };
  auto engine = make_engine(engine_name, decoder, policy, options);
  engine->begin(ids);
  while (!engine->done()) {
    engine->advance(sink);
    if (!resumed || engine->done()) continue;
    std::vector<at::Tensor> state;
    for (const at::Tensor& tensor : engine->state()) state.push_back(tensor.clone());
    const int64_t next = engine->next();
    engine = make_engine(engine_name, decoder, policy, options);
    engine->begin(ids);
    engine->resume(next, state);
  }
  return result;
}

double largest_difference(const std::vector<double>& a, const std::vector<double>& b) {
  double largest = a.size() == b.size() ? 0 : INFINITY;
  for (size_t i = 0; i < std::min(a.size(), b.size()); ++i) {
    const double difference = std::abs(a[i] - b[i]);
    if (!(difference <= largest)) largest = difference;  // NaN counts as a difference
  }
  return largest;
}

/// Of a cache of about 24 entries where that can be chosen, the rest by default.
PolicyArguments small_arguments(const PolicyEntry& entry) {
  PolicyArguments arguments = smallest_arguments(entry);
  for (const PolicyParameter& parameter : entry.parameters) {
    if (parameter.size) {
      arguments[parameter.name] = std::clamp<int64_t>(24, parameter.minimum, parameter.maximum);
    } else if (parameter.fallback && !parameter.only_with) {
      arguments[parameter.name] = *parameter.fallback;
    }
  }
  if (entry.is_score_policy()) arguments["sinks"] = arguments["recent"] = 4;
  return arguments;
}

std::string engines_differ(const PolicyEntry& entry, const Decoder& decoder,
                           std::span<const int32_t> ids) {
  const auto policy = make_policy(entry.name, small_arguments(entry));
  const Run oracle = run("stepwise", decoder, *policy, ids, 0);
  for (const int64_t chunk : {1, 7, 64}) {
    const Run blocks = run("chunked", decoder, *policy, ids, chunk);
    const double difference = largest_difference(oracle.nll, blocks.nll);
    if (!(difference <= tolerance)) {
      return fmt::format("{}: in blocks of {} the NLL differs by {:.2g}", policy->label(), chunk,
                         difference);
    }
    if (oracle.decisions != blocks.decisions) {
      return fmt::format("{}: in blocks of {} other entries are evicted", policy->label(), chunk);
    }
  }
  return "";
}

std::string not_gone_on(const PolicyEntry& entry, const Decoder& decoder,
                        std::span<const int32_t> ids) {
  const auto policy = make_policy(entry.name, small_arguments(entry));
  for (const char* engine : {"chunked", "stepwise"}) {
    if (run(engine, decoder, *policy, ids, 5, /*resumed=*/true).nll !=
        run(engine, decoder, *policy, ids, 5).nll) {
      return fmt::format("{}: the {} engine gives other numbers where it was interrupted",
                         policy->label(), engine);
    }
  }
  return "";
}

std::string not_dense(const PolicyEntry& entry, const Decoder& decoder,
                      std::span<const int32_t> ids) {
  if (!entry.is_score_policy()) return "";
  PolicyArguments arguments = small_arguments(entry);
  arguments["capacity"] = 2 * stream_tokens;
  const auto policy = make_policy(entry.name, arguments);
  const double difference =
      largest_difference(run("chunked", decoder, *policy, ids, 16).nll,
                         run("chunked", decoder, *make_policy("dense", {}), ids, 16).nll);
  return difference <= tolerance
             ? ""
             : fmt::format("{}: the NLL differs by {:.2g}", policy->label(), difference);
}

}  // namespace

bool verify_policies(const std::vector<fs::path>& plugins) {
  const Decoder decoder = small_decoder();
  std::vector<int32_t> ids(stream_tokens);
  for (int64_t i = 0; i < stream_tokens; ++i) {
    ids[i] = static_cast<int32_t>(uniform(1, 0, 0, i, 0) *
                                  static_cast<double>(decoder.config().vocab_size));
  }
  bool all = true;
  for (const fs::path& file : plugins) {
    const PolicyPlugin plugin = load_plugin(file);
    print_out("{}: version {}, SHA-256 {}\n", file.string(), plugin.version, plugin.sha256);
    for (const PolicyEntry& entry : policy_registry()) {
      if (entry.plugin != plugin) continue;
      const bool by_score = entry.is_score_policy();
      print_out("  {}: {} ({})\n", entry.name, entry.summary, by_score ? "by score" : "by index");
      std::fflush(stdout);  // a plug-in may crash
      const auto tried = [&](const char* property, const std::function<std::string()>& broken) {
        std::string what;
        try {
          what = broken();
        } catch (const std::exception& exception) {
          const std::string text = exception.what();
          what = text.substr(0, text.find('\n'));
        }
        all = all && what.empty();
        print_out("    {:<6} {}{}\n", what.empty() ? "ok" : "BROKEN", property,
                  what.empty() ? "" : ": " + what);
        std::fflush(stdout);
      };
      tried(by_score ? "scores are numbers and depend on what is asked for alone"
                     : "views are ascending, causal, within the capacity, and nothing comes back",
            [&] { return broken_property(entry); });
      tried("both engines and blocks of any size give the same numbers",
            [&] { return engines_differ(entry, decoder, ids); });
      tried("a run that was interrupted gives the same numbers",
            [&] { return not_gone_on(entry, decoder, ids); });
      if (by_score) {
        tried("a cache that holds everything is dense",
              [&] { return not_dense(entry, decoder, ids); });
      }
    }
  }
  return all;
}

}  // namespace sinkbench
