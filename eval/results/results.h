// What was measured, as plain data. reports/ only formats it; configs/README.md documents the JSON.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <vector>

#include "eval/experiment/experiment.h"
#include "eval/tasks/answers.h"

namespace sinkbench {

/// Over the scored tokens. NLL in nats, natural logarithm.
struct PerplexityResult {
  double token = 0;         ///< exp(nll_mean)
  double token_stderr = 0;  ///< token * nll_stderr
  double nll_mean = 0;
  double nll_stderr = 0;  ///< by batch means over blocks: neighbouring tokens are correlated
  int64_t scored = 0;
  int64_t stride = 1;  ///< one token in so many was scored
  /// By words and bytes of the text that the scored tokens stand for; nothing where the text is
  /// not known (a file of token ids), `word` also where words make no sense (fewer than 1 white
  /// space in 20 characters).
  std::optional<double> word, byte, bits_per_byte;
};

/// The same over the tokens that all cells of the model and stream scored, where strides differ;
/// see eval/results/common_tokens.h.
struct CommonTokensResult {
  int64_t stride = 1;
  int64_t scored = 0;
  double nll_mean = 0, nll_stderr = 0;
};

/// Neighbouring samples of a cell's latency, and what the machine did then.
struct TimingRound {
  int64_t samples = 0;
  double fast_ms = 0;                 ///< of a step: a tenth of whole periods take less; 0: unknown
  double processor_ms = 0;            ///< of a step: the mean over the round, all threads together
  double yardstick_ms = 0;            ///< of a fixed piece of work (eval/run/yardstick.h); 0: none
  double yardstick_processor_ms = 0;  ///< the same, of the processors
  int64_t turn = 0;                   ///< of the turns of two programs (below), counted over both
};

/// One-token decode steps at a cache as full as it gets; for a policy that recomputes, whole
/// passes.
struct LatencyResult {
  double p50_ms = 0, p90_ms = 0, p99_ms = 0, max_ms = 0;
  int64_t samples = 0;
  int64_t cache_entries = 0;   ///< keys that the query attended to beside itself, at the most
  int64_t fewest_entries = 0;  ///< at the least, over the timed steps
  std::vector<double> samples_ms;
  std::vector<TimingRound> rounds = {};  ///< of the samples, in their order; none in older results
  /// Whether a CUDA device's events timed the steps, rather than the clock around each.
  bool by_events = false;
  /// What is the same for two programs whose rounds were timed in turn (eval/run/turns.h); else "".
  std::string session = {};
};

struct MemoryResult {
  int64_t cache_entries = 0;  ///< kept at the most, of the layer or head with most of them
  double mean_entries = 0;    ///< the same, the mean over layers and key heads
  int64_t kv_bytes_formula =
      0;                      ///< entries * layers * kv_heads * head_dim * 2 * bytes of an element
  int64_t kv_bytes_held = 0;  ///< counted on the tensors
  int64_t weight_bytes = 0;
  int64_t peak_rss_bytes = 0;  ///< of the process while the cell ran
  /// Of a CUDA device, by its allocator, 0 on a CPU: what tensors hold with the weights and the
  /// cache of kv_bytes_held there, and the most that they held while the cell ran.
  int64_t device_held_bytes = 0, device_peak_bytes = 0;
};

/// A cell's predictions against those of its reference, over the tokens that both score.
struct DivergenceResult {
  std::string reference;  ///< id of the cell
  /// Kullback-Leibler divergence KL(reference || cell) of the next token's distribution, in nats.
  double kl_mean = 0;
  double kl_stderr = 0;  ///< by batch means, as that of the NLL
  double kl_max = 0;
  double same_top = 0;  ///< share of the tokens whose most likely one is the same, 0..1
  double same_top_stderr = 0;
  int64_t tokens = 0;
  double seconds = 0;  ///< wall time, which is no part of the cell's scoring
};

/// Where a cell's NLL leaves its reference's; see reports/collapse.h.
struct CollapseResult {
  std::string reference;         ///< id of the cell
  int64_t window = 0;            ///< tokens that both scored
  double margin = 0;             ///< nats
  std::optional<int64_t> onset;  ///< place in the stream; nothing where it never leaves
};

/// Share of dense attention that the tokens which a policy has evicted would have received.
struct EvictedMassResult {
  double mean = 0;                           ///< over layers, heads and queries, 0..1
  int64_t tokens = 0;                        ///< the stream's first ones, each a query
  std::vector<std::vector<double>> by_head;  ///< [layers][heads], over queries
  /// How far the output of each layer's attention is off, as EvictedMass has it; nothing in older
  /// results.
  std::vector<double> output_error = {};
  /// The share that each head gives to its trained sink; empty without one, and in older results.
  std::vector<std::vector<double>> to_sink_logit = {};
};

struct CellResult {
  Cell cell;
  std::string model_sha256, tokenizer_sha256, dataset_sha256;  ///< of what was really read
  int64_t context = 0;  ///< positions that the model was trained on; 0: not stated
  /// Layers with a window of the model's own, where others have none: what these hold is the
  /// window's, and the policy works on the others. None in older results.
  std::vector<int64_t> local_layers;
  int64_t parameters = 0;
  int64_t threads = 0;
  std::string policy_label;           ///< "4+252"
  std::string cache_label;            ///< the same of the cache alone: "all" of dense
  std::optional<int64_t> cache_size;  ///< as Policy::size
  TextFacts text;                     ///< what was read
  int64_t pieces = 1;                 ///< that the stream was cut into
  std::optional<PerplexityResult> perplexity;
  std::optional<CommonTokensResult> common;
  std::vector<LatencyResult> latency;
  std::optional<MemoryResult> memory;
  std::optional<DivergenceResult> divergence;
  std::optional<CollapseResult> collapse;  ///< nothing for the reference itself
  std::optional<EvictedMassResult> evicted_mass;
  std::vector<AnswerBin> answers;  ///< of a task: of all its questions, then of parts of them
  std::string answers_file;        ///< the same of its answers; empty where there is no task
  std::string decisions_file;      ///< the same of its decision log; empty where there is none
  std::string nll_file;            ///< relative to the results' folder; empty without perplexity
  double scoring_seconds = 0;      ///< wall time of the perplexity run; never a latency
  double seconds = 0;              ///< wall time of the cell
  std::string error;               ///< why it failed; empty where it didn't
};

/// Facts of the machine and of the program that ran.
struct RunInfo {
  std::string name = {};  ///< of the experiment
  std::string config_sha256 = {};
  std::string started = {};  ///< UTC, ISO 8601
  std::map<std::string, std::string> versions = {};
  std::map<std::string, std::string> machine = {};
  std::vector<std::string> warnings = {};  ///< why a measurement can't be trusted
};

struct Results {
  RunInfo info;
  std::vector<CellResult> cells;
};

inline constexpr int results_schema_version = 1;

nlohmann::json to_json(const Results& results);
nlohmann::json to_json(const TextFacts& text);
/// The way back. Throws nlohmann::json::exception for what it can't be made from.
Results results_from_json(const nlohmann::json& object);
/// Throws InputError naming the file and the field.
Results read_results(const std::filesystem::path& folder);
/// results.json, replaced as a whole.
void write_results(const Results& results, const std::filesystem::path& folder);

}  // namespace sinkbench
