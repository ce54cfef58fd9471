// The decoder's tensors in the one layout that it computes with, whatever the checkpoint's.
#pragma once

#include <ATen/core/Tensor.h>

#include <vector>

#include "models/stored_matrix.h"

namespace sinkbench {

/// y = x weight^T + bias
struct Linear {
  at::Tensor weight;         ///< [out, in]; undefined where it is stored
  at::Tensor bias;           ///< [out], or undefined
  StoredMatrix stored = {};  ///< the weight in its file's form, or undefined
  bool defined() const { return weight.defined() || stored.defined(); }
};

struct NormWeights {
  at::Tensor weight;  ///< [hidden]
  at::Tensor bias;    ///< [hidden], or undefined
};

struct ExpertWeights {
  Linear gate_up;  ///< [2 * size, hidden], rows: gate then up
  Linear down;     ///< [hidden, size]
};

/// Of a mixture of experts.
struct ExpertsWeights {
  Linear router;          ///< [experts, hidden]
  at::Tensor correction;  ///< [experts], added to scores that experts are chosen by; or undefined
  std::vector<ExpertWeights> experts;
  Linear shared_gate_up, shared_down;  ///< of the expert that every token has, or undefined
  Linear shared_gate;                  ///< [1, hidden], where it is gated
};

struct LayerWeights {
  /// Before attention and MLP, or after the residual sum (NormPlacement); undefined where norms
  /// only follow them. The MLP's shares the attention's memory where there is but one.
  NormWeights attention_norm, mlp_norm;
  /// Of what attention and MLP give, before it is added; or undefined.
  NormWeights attention_post_norm, mlp_post_norm;
  Linear qkv;  ///< rows: all query heads, all key heads, all value heads
  /// [head_dim] each, or [heads * head_dim] and [kv_heads * head_dim] (QueryKeyNorm); or undefined.
  at::Tensor query_norm, key_norm;
  Linear output;           ///< [hidden, heads * head_dim]
  Linear gate_up;          ///< rows: gate then up; without a gate, up alone
  Linear down;             ///< [hidden, mlp]
  ExpertsWeights experts;  ///< in place of gate_up and down, which are then undefined
  /// [heads], or undefined: a logit that takes part in each head's softmax as if there were one
  /// more key, with a value of zero (a trained sink).
  at::Tensor sink_logit;
};

struct DecoderWeights {
  at::Tensor embedding;           ///< [vocab, hidden]; undefined where it is stored
  StoredMatrix stored_embedding;  ///< the same in its file's form, or undefined
  at::Tensor positions;           ///< [learned_positions, hidden], or undefined
  std::vector<LayerWeights> layers;
  NormWeights final_norm;
  Linear head;  ///< [vocab, hidden]; shares the embedding's memory where tied
};

}  // namespace sinkbench
