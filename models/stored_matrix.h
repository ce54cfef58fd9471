// A matrix that stays in its file's form, mapped, and is decoded where it is used.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstddef>
#include <memory>
#include <span>
#include <vector>

#include "base/gguf.h"

namespace sinkbench {

/// How much memory decoded matrices may take that are kept from one use to the next: the first that
/// ask for it keep what they take, the best that can be done for layers that are used in turns.
class DecodedCache;
std::shared_ptr<DecodedCache> make_decoded_cache(int64_t bytes);

/// What becomes of matrices that can stay in their file's form.
struct KeptForm {
  bool as_stored = false;  ///< else they are decoded once, when they are read
  std::shared_ptr<DecodedCache> cache = nullptr;
};

/// [rows, columns], of one tensor or of several below each other; or a part of its rows. Copies
/// share what they hold.
class StoredMatrix {
 public:
  /// Rows of one tensor.
  struct Part {
    std::shared_ptr<const void> owner;  ///< of the memory
    const GgmlType* type = nullptr;     ///< of blocks along the rows; null: MXFP4 of safetensors,
    std::span<const std::byte> numbers;
    std::span<const std::byte> powers = {};  ///< which has its powers here (models/ggml_blocks.h)
    int64_t rows = 0;
    /// Not 0: the rows are so many groups, of whose two halves they are stored in turns.
    int64_t groups = 0;
  };

  StoredMatrix() = default;
  /// Nothing is kept where there is no cache.
  StoredMatrix(std::vector<Part> parts, int64_t columns,
               std::shared_ptr<DecodedCache> cache = nullptr);

  bool defined() const { return whole_ != nullptr; }
  bool is_same(const StoredMatrix& other) const {
    return whole_ == other.whole_ && first_ == other.first_ && rows_ == other.rows_;
  }
  int64_t rows() const { return rows_; }
  int64_t columns() const;
  int64_t bytes() const;  ///< as stored
  StoredMatrix narrow(int64_t first, int64_t rows) const;

  /// [rows, columns] on the CPU, exact in float32 and float64, else rounded once.
  at::Tensor decode(at::ScalarType dtype) const;
  /// The rows that ids name, int64 [n]: [n, columns].
  at::Tensor look_up(const at::Tensor& ids, at::ScalarType dtype) const;
  /// x [n, columns] times its transpose, plus bias [rows] or nothing: [n, rows]. Of float32 and
  /// bfloat16, few rows are multiplied with the stored form, sums in float32; more with decoded
  /// parts, in x's precision or in a wider one where the machine multiplies that faster.
  at::Tensor product(const at::Tensor& x, const at::Tensor& bias) const;

 private:
  struct Whole;
  std::shared_ptr<const Whole> whole_;
  int64_t first_ = 0, rows_ = 0;
};

}  // namespace sinkbench
