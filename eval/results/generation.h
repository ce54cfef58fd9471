// What a model wrote under several policies, as plain data.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace sinkbench {

/// How the next token is chosen: of the logits divided by `temperature`, the smallest set of most
/// likely tokens whose probabilities come to `top_p` (nucleus sampling, Holtzman et al. 2020, arXiv
/// 1904.09751), one of them by chance. With a temperature of 0 the most likely one.
struct Sampling {
  double temperature = 0;
  double top_p = 1;
  uint64_t seed = 0;
};

struct GenerationOptions {
  int64_t tokens = 256;  ///< to write
  Sampling sampling = {};
  std::vector<std::string> stop = {};  ///< tokens, by id or as they are spelled, that end a text
};

/// A text under one policy. Token i of it is token prompt + i of the stream.
struct Generated {
  std::string label;  ///< the policy's, with its name
  std::vector<int32_t> ids = {};
  bool stopped = false;  ///< the last one ends it
  /// How many tokens, the prompt's among them, had been fed when the first one left the cache (of
  /// the layer and head that keep the most).
  std::optional<int64_t> first_eviction = {};
  double seconds = 0;  ///< of the steps after the prompt, without the choice of the next token
  int64_t steps = 0;
  /// [ids] in nats, given the prompt and what was written before, under dense attention; empty
  /// where the model has no such attention over so many tokens.
  std::vector<double> dense_nll = {};

  /// Where each part of about so many tokens begins, and the end: where the text can be cut.
  std::vector<int64_t> cuts = {};
  /// The text of each part, special tokens within "⟦" and "⟧".
  std::vector<std::string> parts = {};
};

struct Generation {
  std::string model;
  std::string prompt;
  int64_t prompt_tokens = 0;
  int64_t context = 0;  ///< that the model was trained on; 0: not known
  GenerationOptions options = {};
  std::string dtype, device;
  int64_t threads = 0;
  std::vector<Generated> texts = {};
  std::vector<std::string> notes = {};
};

/// Gets each piece of text as it is written, and the policy's label with "" before its first.
using TextSink = std::function<void(const std::string& label, std::string_view text)>;

/// Of the runs of four tokens that end from `begin` to before `end`, the share that was in `ids`
/// before: 0 of a text that never repeats itself.
double repetition(const std::vector<int32_t>& ids, int64_t begin, int64_t end);

}  // namespace sinkbench
