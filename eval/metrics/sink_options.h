// What is measured of a model's sinks, and on what.
#pragma once

#include <cstdint>

namespace sinkbench {

struct SinkOptions {
  double epsilon = 0.3;   ///< from 0 to below 1
  int64_t positions = 4;  ///< k = 0 .. positions - 1; at most T
  int64_t mapped = 32;    ///< the map is of the first so many positions, of T where that is less
  int64_t pairs_at_once = int64_t{1} << 24;  ///< query-key pairs, over all heads, scored at a time
};

/// How the samples are cut out of the text.
struct SinkSampling {
  int64_t samples = 100;
  int64_t tokens = 64;  ///< of a sample, its BOS included
  /// The model's sink token or else the tokenizer's BOS, where there is one, before each sample.
  /// Files of token ids are taken as they are.
  bool bos = true;
};

}  // namespace sinkbench
