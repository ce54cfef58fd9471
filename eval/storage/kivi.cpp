#include "eval/storage/kivi.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <string>

#include "base/error.h"
#include "eval/storage/kv_storage.h"

namespace sinkbench {

Kivi::Kivi(const StorageSpec& spec, const DecoderConfig& config)
    : head_dim_(config.head_dim), residual_(spec.kivi.residual) {
  const auto [group, residual] = spec.kivi;
  const int bits = std::stoi(spec.keys.substr(std::string("kivi").size()));
  if (head_dim_ % group != 0) {
    throw InputError::format("kv: {}: groups of {} do not divide the model's heads of {} numbers",
                             storage_label(spec), group, head_dim_);
  }
  keys_ = make_grouped_codec(bits, group, residual);
  values_ = make_grouped_codec(bits, group, head_dim_);
}

at::Tensor Kivi::encode_keys(const at::Tensor& keys) const {
  return encode_rows(*keys_, keys.transpose(1, 2));
}

at::Tensor Kivi::decode_keys(const at::Tensor& blocks) const {
  // [kv_heads, blocks, head_dim, residual]
  const at::Tensor channels = decode_rows(*keys_, blocks, residual_);
  return channels.transpose(2, 3).reshape({channels.size(0), -1, head_dim_});
}

at::Tensor Kivi::encode_values(const at::Tensor& values) const {
  return encode_rows(*values_, values);
}

at::Tensor Kivi::decode_values(const at::Tensor& bytes) const {
  return decode_rows(*values_, bytes, head_dim_);
}

int64_t Kivi::bytes(int64_t t, int64_t element) const {
  const int64_t as_they_are = 2 * std::min(t, residual_) * head_dim_ * element;
  return quantised_keys(t) / residual_ * head_dim_ * key_row_bytes() +
         quantised_values(t) * value_row_bytes() + as_they_are;
}

}  // namespace sinkbench
