// Products of rows of ggml's blocks with a row of numbers, without decoding into memory: what a
// decode step spends its time in where weights stay in their file's form.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "base/gguf.h"

namespace sinkbench {

/// n float32 numbers that are multiplied with many rows.
struct DotOperand {
  explicit DotOperand(std::span<const float> x);

  std::span<const float> x;
  /// x as a sum of `parts` of bfloat16, exact: one where x is of that type, else three; [parts, n]
  int parts = 0;
  std::vector<uint16_t> in_parts;
  std::vector<float> sums;  ///< of 32 numbers each, where n is a multiple of that
};

/// A row in its file's form; `type` null: MXFP4 with its powers apart (models/ggml_blocks.h).
struct StoredRow {
  const GgmlType* type = nullptr;
  const std::byte* numbers = nullptr;
  const std::byte* powers = nullptr;
};

/// y[i] = rows[i] . x, all rows of one type, of one that can_decode takes; exact numbers, summed in
/// float32.
void dot_rows(std::span<const StoredRow> rows, const DotOperand& x, float* y);

namespace plain {
/// The same by the vectors that decode (models/ggml_vectors.h), row by row.
void dot_rows(std::span<const StoredRow> rows, const DotOperand& x, float* y);
}  // namespace plain

}  // namespace sinkbench
