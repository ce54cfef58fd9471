// What commands do with tensors lies in a shared object of its own, which is loaded when it is
// first asked for: LibTorch's libraries, hundreds of them, take longer to load than the other
// commands take altogether.
#pragma once

#include <cstdint>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "base/progress.h"
#include "cli/run_experiment.h"
#include "eval/conformance/kit.h"
#include "eval/conformance/variants.h"
#include "eval/experiment/sink_options.h"
#include "eval/results/generation.h"
#include "eval/results/sink_results.h"
#include "reports/recall.h"

namespace sinkbench {

struct VerifyOptions {
  std::string config;
  Overrides overrides;
  std::optional<double> tolerance;
  bool quiet = false;
};

struct BenchOptions {
  std::string model;
  std::vector<std::string> caches = {"4+508"};  ///< sinks+window
  int64_t tokens = 8192;
  int64_t recomputed = 64;
  int64_t dense = 0;
  int64_t passes = 0;
  int64_t chunk = 0;
  int64_t threads = 0;
  int64_t samples = 100;
  int64_t repeats = 3;
  int64_t policy_tokens = 2048;
  int64_t ceilings = 6;  ///< seconds
  std::string device = "cpu";
  std::vector<std::string> dtypes = {"float32", "bfloat16"};
  std::string weights;  ///< "as-stored", or decoded
  std::string format = "table";
  std::string llama_bench;  ///< llama.cpp's program, or ""
  std::vector<std::filesystem::path> plugins;
};

struct TrainingOptions {
  std::string config;
  std::vector<std::string> overrides;
  std::string out;
  int threads = 0;
  int64_t range_steps = 0;  ///< 0: a training, no range test
};

/// The functions of cli/tensors/commands.h, eval/run/generate.h, eval/run/inspect.h and
/// eval/metrics/sink_metric.h.
struct TensorCommands {
  RunOutcome (*run_experiment)(const Experiment&, const RunOptions&);
  Plan (*plan)(const Experiment&, const RunOptions&);
  std::vector<std::string> (*missing)(const std::vector<Experiment>&);
  bool (*verify)(const Experiment&, const VerifyOptions&);
  bool (*verify_policies)(const std::vector<std::filesystem::path>&);
  void (*bench)(const BenchOptions&);
  nlohmann::ordered_json (*inspect_model)(const std::filesystem::path&,
                                          const std::vector<std::filesystem::path>&);
  SinkResults (*run_sinks)(Cell, const SinkSampling&, const SinkOptions&, Progress::Style,
                           const SinkResults* earlier);
  Generation (*run_generation)(const std::vector<Cell>&, const std::string& prompt,
                               const GenerationOptions&, const TextSink&);
  FedStream (*fed_stream)(const Cell&);
  Kit (*make_kit)(const Experiment&, bool decisions, Progress::Style);
  std::vector<std::vector<double>> (*score_variants)(const Kit&, const std::string& model,
                                                     const std::vector<Variant>&,
                                                     const std::string& device, int64_t threads,
                                                     Progress::Style);
  bool (*train)(const TrainingOptions&);
};

/// Loads them at the first call, with the settings that their libraries read when they are loaded.
/// `cuda`: those that can run on a CUDA device, where this build has them.
const TensorCommands& tensor_commands(bool cuda);
bool tensor_commands_loaded();

}  // namespace sinkbench
