// An experiment: one YAML file, unfolded into the grid of cells that it describes. The keys are
// documented in configs/README.md.
#pragma once

#include <array>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "datasets/stream.h"
#include "eval/experiment/storage_spec.h"
#include "eval/tasks/task.h"
#include "policies/arguments.h"

namespace sinkbench {

/// A checkpoint's folder, or the shape of a config.json with random weights.
struct ModelSpec {
  std::filesystem::path path = {};  ///< the folder; with random weights the config.json
  bool random = false;
  uint64_t seed = 0;  ///< of random weights
  /// Matrices stay in their file's form (DecoderOptions).
  bool as_stored = false;
  int64_t decoded_mib = 0;  ///< of these, what is kept decoded
  std::string get = {};     ///< how to get it, for whoever doesn't have it
  auto operator<=>(const ModelSpec&) const = default;
};

/// Text, a file of token ids, or a task, whose texts are what it is made from.
struct DatasetSpec {
  std::vector<std::filesystem::path> texts = {};  ///< one stream, in this order
  std::filesystem::path tokens_file = {};         ///< instead of texts
  DocumentOptions documents = {};                 ///< of texts
  BosPlacement bos = BosPlacement::stream;
  std::string bos_token = {};  ///< in place of the tokenizer's own: its text or its id; "": none is
  SpecialTokens special_tokens = SpecialTokens::parse;  ///< that are spelled out in the texts
  std::optional<int64_t> tokens = {};                   ///< at most so many are fed
  std::optional<Reset> reset = {};                      ///< where the stream is cut into pieces
  std::string get = {};  ///< how to get the texts, for whoever doesn't have them
  TaskSpec task = {};
  bool is_task() const { return !task.name.empty(); }
  auto operator<=>(const DatasetSpec&) const = default;
};

/// How decode steps are timed.
struct LatencySpec {
  int64_t warmup = 16;
  int64_t samples = 128;
  /// Rounds of warm-up and samples, each from the same state, follow until so much time is in the
  /// samples: what disturbs the machine for a moment must not be all that was measured.
  double seconds = 0.5;
  std::vector<int64_t> lengths = {};  ///< cache entries at which a policy without capacity is timed
  auto operator<=>(const LatencySpec&) const = default;
};

enum class Metric { perplexity, latency, memory, divergence, evicted_mass };
inline constexpr std::array all_metrics = {Metric::perplexity, Metric::latency, Metric::memory,
                                           Metric::divergence, Metric::evicted_mass};

/// When a cell's NLL has left its reference's; see reports/collapse.h.
struct CollapseSpec {
  int64_t window = 256;  ///< tokens that both scored
  double margin = 0.5;   ///< nats
};

/// One measurement: a point of the grid.
struct Cell {
  /// Readable, the same for the same cell in every experiment, fit for a file's name:
  /// model-dataset-policy-dtype and whatever else departs from its default.
  std::string id;
  ModelSpec model;
  DatasetSpec dataset;
  PolicySpec policy;
  std::string engine = "chunked";
  std::string dtype = "float32";
  StorageSpec kv = {};  ///< in which form keys and values are stored
  std::string device = "cpu";
  int64_t threads = 0;  ///< 0: all cores
  int64_t chunk = 0;    ///< queries per block of the chunked engine; 0: the engine's choice
  LatencySpec latency;
  std::string reference = {};          ///< id of the cell to compare with; empty: none is named
  PolicySpec reference_policy = {};    ///< in which alone it differs
  int64_t evicted_mass_tokens = 4096;  ///< of the stream, at most
  bool decisions = false;              ///< whether what rounds evict is written down
  std::set<Metric> metrics = {Metric::perplexity, Metric::latency, Metric::memory};
};

struct Experiment {
  std::string name;
  std::vector<Cell> cells;                    ///< model by model, dataset by dataset
  std::string sha256;                         ///< of the YAML with its overrides
  std::optional<CollapseSpec> collapse = {};  ///< whether and how it is looked for
  /// Shared libraries with policies; whoever runs the cells loads them, too.
  std::vector<std::filesystem::path> plugins = {};
};

/// What the command line changes in a YAML file.
struct Overrides {
  /// "key=value" with a dotted key ("dataset.tokens=4096", "policies.1.window=64") and a YAML
  /// value. Paths in it are relative to the current folder, those in the file to the file.
  std::vector<std::string> set = {};
  std::optional<int64_t> limit = {};  ///< no dataset is longer
  std::optional<int64_t> threads = {};
  std::optional<std::string> device = {};
  std::vector<std::filesystem::path> plugins = {};  ///< beside those that the file names
  /// Whether plug-ins are loaded, which is to run their code. Where they aren't, policies that the
  /// program doesn't know are taken as they stand, with nothing checked.
  bool load_plugins = false;
};

/// Throws InputError naming file, line, key, value and what was expected: unknown keys (with the
/// nearest valid one), wrong types, keys given twice, bad policies, two cells that are the same,
/// environment variables in paths that aren't set.
Experiment load_experiment(const std::filesystem::path& yaml, const Overrides& overrides);

/// An experiment in a few words.
struct QuickExperiment {
  std::string model, text;
  std::vector<std::string> policies;  ///< "sinks:sinks=4,window=508", "dense"
  int64_t tokens = 0;
  std::vector<std::string> metrics = {};  ///< empty: the usual ones
  std::string dtype = {}, engine = {};    ///< empty: the usual one
  std::string kv = {};                    ///< YAML: "q8_0", "{keys: q8_0, values: q4_0}"
  std::string weights = {};               ///< decoded, as-stored, or the usual one
};

/// The experiment that a YAML file of the same content would be, by the name of eval-MODEL-TEXT;
/// InputError as load_experiment has it.
Experiment quick_experiment(const QuickExperiment& quick, const Overrides& overrides);

/// Whether a YAML file is meant as an experiment and not as data or a training: it has policies.
/// Throws InputError where it is no valid YAML.
bool is_experiment(const std::filesystem::path& yaml);

/// The name of the file of its NLLs: .f64 in float64, else .f32.
std::string nll_name(const Cell& cell);

std::string to_string(Metric metric);
/// "16384" or "document".
std::string to_string(Reset reset);
/// The way back; nothing where it is neither.
std::optional<Reset> reset_from_string(const std::string& text);
std::string to_string(BosPlacement bos);
std::string to_string(SpecialTokens special_tokens);
std::string to_string(InvalidBytes invalid);
/// "cache", "capped 2048"
std::string positions_label(const PolicySpec& policy);
const std::vector<std::string>& dtype_names();

}  // namespace sinkbench
