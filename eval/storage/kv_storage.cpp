#include "eval/storage/kv_storage.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <algorithm>
#include <numeric>
#include <vector>

#include "base/error.h"

namespace sinkbench {
namespace {

constexpr int64_t rows_of_a_task = 64;

at::Tensor round_trip(const Codec& codec, const at::Tensor& rows) {
  return decode_rows(codec, encode_rows(codec, rows), rows.size(-1)).to(rows.scalar_type());
}

}  // namespace

KvStorage::KvStorage(const StorageSpec& spec, const DecoderConfig& config)
    : zero_values_(spec.zero_values), head_dim_(config.head_dim) {
  if (spec.is_kivi()) {
    throw InputError::format(
        "kv: {}: groups of keys are of tokens side by side, which evictions would tear; expected a "
        "policy that keeps all (dense), or another form",
        storage_label(spec));
  }
  // As llama.cpp has it from April 2026 on (pull request 21038): keys by the largest Hadamard
  // matrix that fits, values by 64s.
  const int64_t whole = head_dim_ & -head_dim_;  // the largest power of two that divides it
  const int64_t keys = spec.rotate ? whole : 0;
  const int64_t values = spec.rotate ? std::min<int64_t>(whole, 64) : 0;
  if (spec.keys != "native") keys_ = make_codec(spec.keys, head_dim_, keys);
  if (spec.interleave && keys_) {
    const RotaryConfig* const rotary = config.rotary(0);
    const int64_t turned = rotary != nullptr ? rotary->dims : head_dim_;
    keys_ = interleaved(std::move(keys_), head_dim_, turned / 2);
  }
  if (spec.values != "native") values_ = make_codec(spec.values, head_dim_, values);
}

int64_t KvStorage::key_bytes(int64_t element) const {
  return keys_ ? keys_->row_bytes() : head_dim_ * element;
}

int64_t KvStorage::value_bytes(int64_t element) const {
  return values_ ? values_->row_bytes() : head_dim_ * element;
}

Projection KvStorage::stored(const Projection& projection, const RotaryConfig* rotary,
                             int64_t begin) const {
  Projection result = projection;
  const at::ScalarType exact =
      projection.key.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
  if (values_) result.value = round_trip(*values_, projection.value.to(exact));
  if (!keys_) return result;
  const at::Tensor key = projection.key.to(exact);
  if (rotary == nullptr) {
    result.key = round_trip(*keys_, key);
    return result;
  }
  std::vector<int64_t> places(key.size(0));
  std::iota(places.begin(), places.end(), begin);
  const RotaryTable there = rotary_table(*rotary, places, exact, key.device());
  // Back by the same angles; what lengthens keys did so twice by now.
  const RotaryTable back = {there.cosine, there.sine.neg()};
  result.key = rotate(*rotary, round_trip(*keys_, rotate(*rotary, key, there)), back);
  if (rotary->magnitude != 1) {
    result.key.narrow(-1, 0, rotary->dims).div_(rotary->magnitude * rotary->magnitude);
  }
  return result;
}

at::Tensor encode_rows(const Codec& codec, const at::Tensor& rows) {
  const at::Tensor from = rows.to(at::kCPU, at::kFloat).contiguous();
  std::vector<int64_t> sizes = from.sizes().vec();
  const int64_t numbers = sizes.back(), bytes = codec.row_bytes();
  const int64_t count = numbers > 0 ? from.numel() / numbers : 0;
  sizes.back() = bytes;
  at::Tensor to = at::empty(sizes, at::TensorOptions().dtype(at::kByte));
  const auto* const x = from.data_ptr<float>();
  auto* const out = reinterpret_cast<std::byte*>(to.data_ptr<uint8_t>());
  at::parallel_for(0, count, rows_of_a_task, [&](int64_t first, int64_t last) {
    for (int64_t row = first; row < last; ++row) codec.encode(x + row * numbers, out + row * bytes);
  });
  return to.to(rows.device());
}

at::Tensor decode_rows(const Codec& codec, const at::Tensor& rows, int64_t numbers) {
  const at::Tensor from = rows.cpu().contiguous();
  std::vector<int64_t> sizes = from.sizes().vec();
  const int64_t bytes = sizes.back(), count = bytes > 0 ? from.numel() / bytes : 0;
  sizes.back() = numbers;
  at::Tensor to = at::empty(sizes, at::TensorOptions().dtype(at::kFloat));
  const auto* const in = reinterpret_cast<const std::byte*>(from.data_ptr<uint8_t>());
  auto* const out = to.data_ptr<float>();
  at::parallel_for(0, count, rows_of_a_task, [&](int64_t first, int64_t last) {
    for (int64_t row = first; row < last; ++row)
      codec.decode(in + row * bytes, out + row * numbers);
  });
  return to.to(rows.device());
}

at::Tensor decode_slots(const Codec& codec, const at::Tensor& bytes, int64_t used,
                        int64_t numbers) {
  const int64_t heads = bytes.size(0), slots = bytes.size(1), row_bytes = bytes.size(2);
  at::Tensor to = at::empty({heads, slots, numbers}, at::TensorOptions().dtype(at::kFloat));
  const at::Tensor from = bytes.cpu();
  const auto* const in = reinterpret_cast<const std::byte*>(from.data_ptr<uint8_t>());
  auto* const out = to.data_ptr<float>();
  at::parallel_for(0, heads * used, rows_of_a_task, [&](int64_t first, int64_t last) {
    for (int64_t i = first; i < last; ++i) {
      const int64_t row = i / used * slots + i % used;
      codec.decode(in + row * row_bytes, out + row * numbers);
    }
  });
  return to.to(bytes.device());
}

}  // namespace sinkbench
