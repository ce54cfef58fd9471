// How texts are cut into words before byte-level BPE, which GGUF gives by a name alone.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace sinkbench {

/// A value of tokenizer.ggml.pre, and what the tokenizer.json of the models that have it says. The
/// names, ignore_merges and add_bos are those of llama.cpp's src/llama-vocab.cpp; the rest is left
/// to llama.cpp only where no model stands behind a name ("default"). llama.cpp itself normalizes
/// nothing, and cuts some words nearly, not exactly, as the models do.
struct GgufPreTokenizer {
  std::string name;
  std::string models;          ///< that have it, for people
  nlohmann::json normalizer;   ///< as in tokenizer.json, null for none
  nlohmann::json steps;        ///< its pre_tokenizer
  bool ignore_merges = false;  ///< whether a word that is a token is that token, reached or not
  bool add_bos = false;        ///< where the file has no add_bos_token
  std::string doubt = {};      ///< how ids may differ from the model's own, for people
};

/// All that are known, by name. Whatever isn't verified against the models' own ids is missing.
const std::vector<GgufPreTokenizer>& gguf_pre_tokenizers();

}  // namespace sinkbench
