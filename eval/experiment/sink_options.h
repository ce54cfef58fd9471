// What is measured of a model's sinks, and on what.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace sinkbench {

/// What samples are made of (table 1 of Gu et al. 2024).
enum class SinkInput {
  natural,  ///< pieces of the text
  random,   ///< tokens drawn evenly from the vocabulary, each by itself
  repeated  ///< one such token, another for each sample, over and over
};
/// "natural", "random", "repeated"
const std::vector<std::string>& sink_input_names();
std::string to_string(SinkInput input);

struct SinkOptions {
  double epsilon = 0.3;   ///< from 0 to below 1
  int64_t positions = 4;  ///< k = 0 .. positions - 1; at most T
  int64_t mapped = 32;    ///< the map is of the first so many positions, of T where that is less
  /// Mean logits, the scores before the softmax, are kept of these heads of these layers, over all
  /// T positions.
  std::vector<int64_t> logit_layers = {}, logit_heads = {};
  int64_t pairs_at_once = int64_t{1} << 24;  ///< query-key pairs, over all heads, scored at a time
};

/// How the samples are cut out of the text, or made.
struct SinkSampling {
  SinkInput input = SinkInput::natural;
  int64_t samples = 100;
  int64_t tokens = 64;  ///< of a sample, its BOS included
  /// The model's sink token or else the tokenizer's BOS, where there is one, before each sample.
  /// Files of token ids are taken as they are.
  bool bos = true;
  uint64_t seed = 0;  ///< of what is drawn
};

}  // namespace sinkbench
