#include "models/stored_matrix.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <algorithm>
#include <mutex>

#include "models/ggml_blocks.h"
#include "models/ggml_dot.h"
#include "models/product.h"

namespace sinkbench {

class DecodedCache {
 public:
  explicit DecodedCache(int64_t bytes) : left_(bytes) {}
  bool take(int64_t bytes) {
    const std::lock_guard lock(mutex_);
    if (bytes > left_) return false;
    left_ -= bytes;
    return true;
  }

 private:
  std::mutex mutex_;
  int64_t left_;
};

std::shared_ptr<DecodedCache> make_decoded_cache(int64_t bytes) {
  return std::make_shared<DecodedCache>(bytes);
}

struct StoredMatrix::Whole {
  std::vector<Part> parts;
  int64_t columns = 0, rows = 0, bytes = 0;
  std::shared_ptr<DecodedCache> cache;
  mutable std::mutex mutex;
  mutable at::Tensor kept;     // decoded, where the cache has room
  mutable bool asked = false;  // the cache

  StoredRow row(int64_t index) const {
    const Part* part = parts.data();
    for (; index >= part->rows; ++part) index -= part->rows;
    if (part->groups > 0) {
      const int64_t size = part->rows / part->groups, half = size / 2, within = index % size;
      index += (within < half ? 2 * within : 2 * (within - half) + 1) - within;
    }
    constexpr int64_t block = 32;  // of MXFP4
    if (part->type == nullptr) {
      return {nullptr, part->numbers.data() + index * (columns / 2),
              part->powers.data() + index * (columns / block)};
    }
    const int64_t row_bytes = columns / part->type->numbers * part->type->bytes;
    return {part->type, part->numbers.data() + index * row_bytes, nullptr};
  }

  template <typename T>
  void decode_row(int64_t index, T* out) const {
    const StoredRow at = row(index);
    if (at.type == nullptr) {
      decode_mxfp4(at.numbers, at.powers, columns, out);
    } else {
      decode_blocks(*at.type, at.numbers, columns, out);
    }
  }
};

namespace {

constexpr int64_t worth_a_thread = int64_t{1} << 16;  // numbers

/// Calls decode(row of the result, pointer to float or bfloat16's bits) for each row of a new
/// tensor.
template <typename Decode>
at::Tensor decoded(int64_t rows, int64_t columns, at::ScalarType dtype, const Decode& decode) {
  const bool direct = dtype == at::kFloat || dtype == at::kBFloat16;
  const at::Tensor out =
      at::empty({rows, columns}, at::TensorOptions().dtype(direct ? dtype : at::kFloat));
  at::parallel_for(0, rows, std::max<int64_t>(1, worth_a_thread / std::max<int64_t>(1, columns)),
                   [&](int64_t from, int64_t to) {
                     for (int64_t row = from; row < to; ++row) {
                       if (dtype == at::kBFloat16) {
                         decode(row, static_cast<uint16_t*>(out.data_ptr()) + row * columns);
                       } else {
                         decode(row, out.data_ptr<float>() + row * columns);
                       }
                     }
                   });
  return direct ? out : out.to(dtype);
}

}  // namespace

StoredMatrix::StoredMatrix(std::vector<Part> parts, int64_t columns,
                           std::shared_ptr<DecodedCache> cache) {
  auto whole = std::make_shared<Whole>();
  whole->parts = std::move(parts);
  whole->columns = columns;
  whole->cache = std::move(cache);
  for (const Part& part : whole->parts) {
    whole->rows += part.rows;
    whole->bytes += static_cast<int64_t>(part.numbers.size() + part.powers.size());
  }
  rows_ = whole->rows;
  whole_ = std::move(whole);
}

int64_t StoredMatrix::columns() const {
  return whole_->columns;
}

int64_t StoredMatrix::bytes() const {
  return whole_->bytes / whole_->rows * rows_;
}

StoredMatrix StoredMatrix::narrow(int64_t first, int64_t rows) const {
  StoredMatrix part = *this;
  part.first_ += first;
  part.rows_ = rows;
  return part;
}

at::Tensor StoredMatrix::decode(at::ScalarType dtype) const {
  const Whole& whole = *whole_;
  const auto rows_from = [&](int64_t first, int64_t rows) {
    return decoded(rows, whole.columns, dtype,
                   [&, first](int64_t row, auto* out) { whole.decode_row(first + row, out); });
  };
  if (!whole.cache) return rows_from(first_, rows_);
  const std::lock_guard lock(whole.mutex);
  if (!whole.asked) {
    whole.asked = true;
    const auto bytes = whole.rows * whole.columns * static_cast<int64_t>(at::elementSize(dtype));
    if (whole.cache->take(bytes)) whole.kept = rows_from(0, whole.rows);
  }
  if (!whole.kept.defined() || whole.kept.scalar_type() != dtype) return rows_from(first_, rows_);
  return whole.kept.narrow(0, first_, rows_);
}

at::Tensor StoredMatrix::look_up(const at::Tensor& ids, at::ScalarType dtype) const {
  const at::Tensor rows = ids.contiguous();
  const int64_t* const id = rows.data_ptr<int64_t>();
  return decoded(rows.numel(), columns(), dtype,
                 [&](int64_t row, auto* out) { whole_->decode_row(first_ + id[row], out); });
}

at::Tensor StoredMatrix::product(const at::Tensor& x, const at::Tensor& bias) const {
  constexpr int64_t few = 3;  // rows for which reading the stored form again beats decoding it
  const int64_t n = x.size(0);
  if (n <= few && (x.scalar_type() == at::kFloat || x.scalar_type() == at::kBFloat16)) {
    const at::Tensor exact = x.to(at::kFloat).contiguous();
    const at::Tensor y = at::empty({n, rows_}, at::kFloat);
    const float* const from = exact.data_ptr<float>();
    float* const to = y.data_ptr<float>();
    std::vector<DotOperand> operands;
    for (int64_t i = 0; i < n; ++i) {
      operands.emplace_back(std::span(from + i * columns(), static_cast<size_t>(columns())));
    }
    at::parallel_for(
        0, rows_, std::max<int64_t>(1, worth_a_thread / columns()),
        [&](int64_t begin, int64_t end) {
          constexpr int64_t together = 16;
          StoredRow rows[together];
          for (int64_t row = begin; row < end;) {
            int64_t count = 0;  // of the same type
            while (count < together && row + count < end) {
              rows[count] = whole_->row(first_ + row + count);
              if (rows[count].type != rows[0].type) break;
              ++count;
            }
            for (int64_t i = 0; i < n; ++i) {
              dot_rows({rows, static_cast<size_t>(count)}, operands[i], to + i * rows_ + row);
            }
            row += count;
          }
        });
    return (bias.defined() ? y + bias : y).to(x.scalar_type());
  }
  // By parts that stay in the processor's caches between decoding and the product.
  constexpr int64_t at_once = int64_t{1} << 22;  // numbers
  const int64_t step = std::max<int64_t>(1, at_once / columns());
  const at::Tensor y = at::empty({n, rows_}, x.options());
  for (int64_t row = 0; row < rows_; row += step) {
    const int64_t rows = std::min(step, rows_ - row);
    const at::Tensor part = narrow(row, rows).decode(x.scalar_type());
    const at::Tensor added = bias.defined() ? bias.narrow(0, row, rows) : bias;
    y.narrow(1, row, rows).copy_(sinkbench::product(x, part, added));
  }
  return y;
}

}  // namespace sinkbench
