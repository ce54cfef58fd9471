// What a decoder is, as plain data. A family (models/families) fills it in from a config.json;
// nothing else in the program asks which family a model is of.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace sinkbench {

enum class NormKind { rms, layer };
/// Where the norms of a layer stand, f being its attention or its MLP.
enum class NormPlacement {
  before,   ///< x + f(norm(x))
  after,    ///< x + norm(f(x)): OLMo 2
  around,   ///< x + norm'(f(norm(x))): Gemma 2
  residual  ///< norm(x + f(x)): OPT 350m, and the first transformer
};
/// Root-mean-square norms of queries and keys before they are rotated.
enum class QueryKeyNorm {
  none,
  heads,  ///< of each head by itself: Qwen 3
  whole   ///< of all heads together: OLMo 2
};
enum class Activation { silu, gelu, gelu_tanh, relu };

/// Rotary position embedding (Su et al. 2021, arXiv 2104.09864), the halves of the rotated part
/// turned against each other as in GPT-NeoX and Llama.
struct RotaryConfig {
  int64_t dims = 0;  ///< leading dimensions of each head that are rotated
  std::vector<double> inverse_frequencies = {};  ///< radians per position, [dims / 2]
  double magnitude = 1.0;  ///< factor on cosine and sine (YaRN's attention factor)
  double theta = 0.0;      ///< base of the unscaled frequencies
  /// Positions up to which these frequencies hold; 0: all. Past them, the model's own would depend
  /// on how long the whole sequence is, so that what is cached would have to change with every
  /// token.
  int64_t limit = 0;
  std::string scaling = "none";  ///< what was done to them, for people: "linear, factor 4"
};

/// Attention with linear biases (Press et al. 2021, arXiv 2108.12409): a key at distance x has
/// -slope * x added to its score, a slope for each head.
struct AlibiConfig {
  std::vector<double> slopes;  ///< [heads], of the scaled scores
};

/// A mixture of experts in place of the MLP of some layers, or all: a router chooses some of them
/// for each token.
struct ExpertsConfig {
  int64_t experts = 0, chosen = 0;
  int64_t size = 0;          ///< width of an expert's inner layer
  int64_t shared_size = 0;   ///< of the one that every token has; 0: there is none
  bool shared_gated = true;  ///< by a sigmoid of its own
  /// Whether the router's scores are a softmax or each a sigmoid, as in DeepSeek-V3 (arXiv
  /// 2412.19437); then a correction is added to them for the choice alone.
  bool sigmoid = false;
  /// Whether the chosen experts' weights sum to 1; else they are their scores.
  bool normalised = true;
  double scale = 1.0;  ///< factor on these weights
  bool router_bias = false, bias = false;
  double limit = 0.0;                   ///< gpt-oss's clamped activation; 0: the model's own
  std::vector<bool> dense_layers = {};  ///< [layers] with an ordinary MLP, or empty: none
  int64_t dense_size = 0;               ///< width of such an MLP
  bool is_dense(int64_t layer) const {
    return !dense_layers.empty() && dense_layers[static_cast<size_t>(layer)];
  }
};

struct DecoderConfig {
  std::string family;  ///< the model_type of config.json
  int64_t vocab_size = 0;
  int64_t hidden_size = 0;
  int64_t mlp_size = 0;  ///< width of the MLP's inner layer; of experts, of all that a token has
  int64_t layers = 0;
  int64_t heads = 0;     ///< query heads
  int64_t kv_heads = 0;  ///< key/value heads; divides heads
  int64_t head_dim = 0;
  int64_t context = 0;  ///< positions that the model was trained on; 0: not stated

  NormKind norm = NormKind::rms;
  NormPlacement norm_placement = NormPlacement::before;
  QueryKeyNorm query_key_norm = QueryKeyNorm::none;
  double norm_epsilon = 1e-5;
  Activation activation = Activation::silu;
  bool gated_mlp = true;           ///< down(act(gate(x)) * up(x)), else down(act(up(x)))
  bool parallel_residual = false;  ///< x + attention(norm(x)) + mlp(norm'(x))
  bool one_parallel_norm = false;  ///< norm and norm' are the same
  bool tied_head = false;          ///< logits are products with the embedding
  // Which of the linear maps and norms add a bias.
  bool qkv_bias = false, output_bias = false, mlp_bias = false, norm_bias = false;
  bool head_bias = false;
  double embedding_scale = 1.0;         ///< factor on what the embedding gives
  bool rounds_embedding_scale = false;  ///< which is a number of the model's precision: Gemma
  double residual_scale = 1.0;   ///< factor on what attention and MLP add to the residual stream
  double attention_scale = 0.0;  ///< factor on query-key products
  double score_cap = 0.0;        ///< scaled scores s become cap tanh(s / cap); 0: they don't
  double logit_scale = 1.0;      ///< factor on the logits
  double logit_cap = 0.0;        ///< logits l become cap tanh(l / cap); 0: they don't
  double clip_qkv = 0.0;  ///< queries, keys (normed) and values are clamped to this; 0: they aren't

  /// Rotary embeddings, and which of them each layer has: [layers] indices, -1 where it has none;
  /// empty where all layers have the only one, if there is one.
  std::vector<RotaryConfig> rotaries = {};
  std::vector<int> rotary_of_layer = {};
  /// Which of `rotaries` the layer's queries and keys are rotated by; -1: they aren't.
  int rotary_index(int64_t layer) const {
    if (rotaries.empty()) return -1;
    return rotary_of_layer.empty() ? 0 : rotary_of_layer[static_cast<size_t>(layer)];
  }
  const RotaryConfig* rotary(int64_t layer) const {  ///< the same, or null
    const int index = rotary_index(layer);
    return index < 0 ? nullptr : &rotaries[static_cast<size_t>(index)];
  }
  std::optional<AlibiConfig> alibi = {};
  std::optional<ExpertsConfig> experts = {};
  int64_t learned_positions = 0;  ///< rows of the table added to the embeddings; 0: there is none
  /// Layers with a window of their own: a query sees so many tokens at the most, itself among them;
  /// 0: all. [layers], or empty where no layer has one.
  std::vector<int64_t> local_windows = {};
  bool every_layer_is_local() const {
    for (const int64_t window : local_windows) {
      if (window == 0) return false;
    }
    return !local_windows.empty();
  }
  /// The layers with a window where others have none.
  std::vector<int64_t> local_layers() const {
    std::vector<int64_t> local;
    for (int64_t layer = 0; layer < std::ssize(local_windows); ++layer) {
      if (local_windows[layer] > 0 && !every_layer_is_local()) local.push_back(layer);
    }
    return local;
  }

  /// Attention sinks that are part of the model, whatever its family (see configs/README.md). The
  /// first two are a term exp(logit) of every softmax's denominator, with no value behind it.
  bool learned_sink_logits = false;                ///< a logit for each head, in the checkpoint
  std::optional<double> constant_sink_logit = {};  ///< one logit for all; 0: softmax plus one
  /// The token that starts every stream, in place of a BOS.
  std::optional<int32_t> sink_token = {};

  /// What the model's files say that has no part in what is computed, for people.
  std::vector<std::string> notes = {};

  /// Bytes of keys and values that one cached token takes, over all layers.
  int64_t kv_bytes_per_token(int64_t element_bytes) const {
    return 2 * layers * kv_heads * head_dim * element_bytes;
  }
};

}  // namespace sinkbench
