// What the paper published, to stand beside what was measured; never a gate.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "eval/results.h"

namespace sinkbench {

/// Perplexity per token of a model under a cache: "4+1020", "all" (dense), "1024" (recomputation).
struct Published {
  std::string_view model;
  std::string_view cache;
  double perplexity;
  std::string_view where;  ///< table or figure
};

/// Of "Efficient Streaming Language Models with Attention Sinks" (arXiv 2309.17453v4): figure 1 and
/// table 1 over the first book of PG-19's test set (65K tokens), tables 2 and 6 over 400K tokens of
/// the concatenated test set.
std::span<const Published> published_values();

/// Those of a measured cell: its model's folder is named after the model ("Llama-2-7b-hf"), its
/// cache is the same.
std::vector<Published> published_for(const CellResult& cell);

}  // namespace sinkbench
