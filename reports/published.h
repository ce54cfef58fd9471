// What others published, to stand beside what was measured; never a gate.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "eval/results/results.h"
#include "eval/results/sink_results.h"

namespace sinkbench {

enum class PublishedQuantity {
  perplexity,  ///< per token
  latency_ms,  ///< of a decode step; of recomputation of a pass
  memory_gib,  ///< weights and cache
  accuracy     ///< of StreamEval's answers that stood so many lines back, per cent
};

struct Published {
  std::string_view model = {};   ///< as its checkpoint's folder is named ("-hf" aside)
  std::string_view cache = {};   ///< "4+1020", "all" (dense), "1024" (recomputation)
  std::string_view policy = {};  ///< of a policy by score its name; else the cache says it
  std::string_view scope = {};   ///< of a policy by score: "head", "layer"
  PublishedQuantity quantity = PublishedQuantity::perplexity;
  double value = 0;
  std::string_view where = {};  ///< "table 2"
  std::string_view over = {};   ///< which text, or which machine
  int64_t first = 0;      ///< of perplexity: over the first so many scored tokens; 0: over all
  int64_t lines = 0;      ///< of accuracy
  bool newlines = false;  ///< four line breaks stand before the text, in the sinks' place
  int64_t reset = 0;      ///< each so many tokens from an empty cache; 0: one stream
  Positions positions = Positions::cache;
};

/// Figures 1 and 10 and tables 1, 2, 3, 6 and 7 of "Efficient Streaming Language Models with
/// Attention Sinks" (arXiv 2309.17453v4), which gives no numbers for its figures 3, 5 and 9; points
/// of the curves that the benchmark of attention_sinks 0.4.0 published, which are like figure 3's;
/// others' runs of the paper's loop; and table 3 of TOVA (arXiv 2401.06104).
std::span<const Published> published_values();

/// Those of a cell: its model's folder is named after the model ("Llama-2-7b-hf"), its cache is the
/// same. For random weights of a model's shape, times and memory alone.
std::vector<Published> published_for(const CellResult& cell);

/// The share of sinks (Sink_0, per cent, at epsilon 0.3 and 64 tokens) that others have published
/// of a model of this name for such samples: Gu et al. 2024 (arXiv 2410.10781), table 1, and of
/// GPT-2 and its medium size the author of attention-sink-profiler.
std::optional<double> published_sink_rate(const SinkResults& measurement);

/// What the cell has measured of that; nothing where it hasn't. `folder`: where its NLL file is,
/// for a perplexity over the first tokens.
std::optional<double> measured(const Published& published, const CellResult& cell,
                               const std::filesystem::path& folder);

}  // namespace sinkbench
