// Where a model's attention goes, as plain data. docs/sinks.md documents the JSON.
#pragma once

#include <array>
#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "eval/experiment/sink_options.h"
#include "eval/results/results.h"

namespace sinkbench {

/// The sink metric of Gu et al. 2024, "When attention sink emerges in language models"
/// (arXiv 2410.10781), on samples of T tokens, under dense causal attention A of each layer and
/// head. With positions counted from 0 (the paper counts from 1),
///   alpha_k = 1 / (T - k) * sum over i = k .. T-1 of A[i,k],
/// the paper's mean over the queries from position k to the last. The query i = k, position k's own
/// attention to itself, is among them; A[0,0] is always 1 without a trained sink. Then
///   Sink_k = 100 * share of all (sample, layer, head) with alpha_k > epsilon.
struct SinkStatistics {
  int64_t layers = 0, heads = 0, positions = 0, samples = 0;
  int64_t tokens = 0;  ///< T, a BOS included
  double epsilon = 0;
  std::vector<double> sink_rate;  ///< [positions] Sink_k in percent
  std::vector<double> alpha;      ///< [layers, heads, positions] mean over the samples
  std::vector<double> above;      ///< [layers, heads, positions] percent of samples above epsilon
  bool trained_sink = false;      ///< whether the model has a sink logit in any layer
  /// [layers, heads] mean over samples and queries of the mass that goes to it; the rows of A then
  /// sum to 1 minus that. 0 without one.
  std::vector<double> logit_mass;
  /// [layers, heads] L2 norm of the value vector at position 0, and its mean over the others, of
  /// the head's key-value head, as it is cached; means over the samples.
  std::vector<double> value_norm_first, value_norm_others;
  int64_t mapped = 0;             ///< positions of the map
  std::vector<double> map;        ///< [layers, mapped, mapped] A[i,j], mean over samples and heads
  std::vector<double> map_logit;  ///< [layers, mapped] the same of what goes to the sink logit
  /// [layers, heads] A[T-1,0], what the last query gives to position 0, mean over the samples.
  std::vector<double> last_to_first;
  /// Of the heads that were asked for: scores before the softmax, with whatever the model adds to
  /// or caps of them, mean over the samples.
  struct LogitMap {
    int64_t layer = 0, head = 0;
    std::vector<double> mean = {};  ///< [T, T]; NaN where a query doesn't see a key
  };
  std::vector<LogitMap> logits;

  /// alpha_0 of a head, and of a layer the mean and the largest over its heads.
  double alpha_first(int64_t layer, int64_t head) const {
    return alpha[(layer * heads + head) * positions];
  }
  double mean_alpha_first(int64_t layer) const;
  double max_alpha_first(int64_t layer) const;
  /// The mean over a layer's heads of `last_to_first`, and the standard deviation over them.
  std::pair<double, double> last_to_first_of(int64_t layer) const;
};

struct SinkResults {
  RunInfo info;
  Cell cell;  ///< of which model, dataset, dtype and device count
  SinkSampling sampling;
  SinkOptions options;  ///< as they were asked for
  std::string model_sha256, tokenizer_sha256;
  std::string dataset_sha256;   ///< of the ids of all samples, each with its BOS
  TextFacts text;               ///< what was read
  std::vector<int32_t> prefix;  ///< that stands before each sample: a BOS, several ids or none
  int64_t context = 0;          ///< positions that the model was trained on; 0: not stated
  int64_t parameters = 0;
  int64_t threads = 0;
  SinkStatistics statistics;
};

inline constexpr int sink_schema_version = 1;
/// Of the pictures that are drawn of one.
inline constexpr std::array sink_pictures_names = {"sinks", "attention-maps", "logits"};

nlohmann::ordered_json to_json(const SinkResults& results);

/// Tables for programs, a header and a line for each: layer and head; layer, query and key; layer,
/// head, query and key.
std::string sinks_csv(const SinkStatistics& statistics);
std::string attention_map_csv(const SinkStatistics& statistics);
std::string logits_csv(const SinkStatistics& statistics);

/// sinks.json, sinks.csv, attention-maps.csv and, where there are any, logits.csv, each replaced as
/// a whole; the folder is made where it is missing. InputError where it can't be written.
void write_sinks(const SinkResults& results, const std::filesystem::path& folder);

/// The sinks.json of a folder, without maps and logits. InputError naming the file where it is
/// none.
SinkResults read_sinks(const std::filesystem::path& folder);

/// What differs in how two were measured (model, samples, settings, program), in words; "" where
/// one is as good as the other.
std::string sink_differences(const SinkResults& a, const SinkResults& b);

}  // namespace sinkbench
