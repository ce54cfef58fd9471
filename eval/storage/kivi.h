// KIVI (Liu et al. 2024, arXiv 2402.02750): keys quantised by channel, in groups of tokens; values
// by token, in groups of channels; the newest tokens as they are.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>

#include "eval/experiment/storage_spec.h"
#include "eval/storage/codec.h"
#include "models/config.h"

namespace sinkbench {

/// As in the authors' code (jy-yuan/KIVI), token by token: with a residual of R, keys are quantised
/// R at a time, as soon as R are there that aren't, and values one at a time, as soon as more than
/// R are there. A query sees its own key and value as they are.
class Kivi {
 public:
  /// InputError where the model's heads can't have the form.
  Kivi(const StorageSpec& spec, const DecoderConfig& config);

  int64_t residual() const { return residual_; }
  /// After t tokens: how many keys, and how many values, from the first on, are quantised.
  int64_t quantised_keys(int64_t t) const { return t / residual_ * residual_; }
  int64_t quantised_values(int64_t t) const { return t > residual_ ? t - residual_ : 0; }

  /// Keys of `residual` tokens, [kv_heads, residual, head_dim], as bytes [kv_heads, head_dim,
  /// row_bytes]; and any number of such blocks [kv_heads, blocks, head_dim, row_bytes] back, as
  /// float32 [kv_heads, blocks * residual, head_dim].
  at::Tensor encode_keys(const at::Tensor& keys) const;
  at::Tensor decode_keys(const at::Tensor& blocks) const;
  /// Values [kv_heads, n, head_dim] as bytes [kv_heads, n, row_bytes], and back as float32.
  at::Tensor encode_values(const at::Tensor& values) const;
  at::Tensor decode_values(const at::Tensor& bytes) const;

  int64_t key_row_bytes() const { return keys_->row_bytes(); }      ///< a channel of a block
  int64_t value_row_bytes() const { return values_->row_bytes(); }  ///< a token
  /// Of one key head's keys and values after t tokens, with room for `residual` of them as they
  /// are: `element`, bytes of a number of the run's own precision.
  int64_t bytes(int64_t t, int64_t element) const;

 private:
  int64_t head_dim_, residual_;
  std::unique_ptr<Codec> keys_, values_;
};

}  // namespace sinkbench
