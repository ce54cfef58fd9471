// Forms in which a cache stores a key or a value of one token and key head: a row of numbers as
// bytes. docs/policies.md defines each with a worked block.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace sinkbench {

class Codec {
 public:
  virtual ~Codec() = default;
  /// Bytes of a row, scales included.
  virtual int64_t row_bytes() const = 0;
  /// A row once, when it is written; never again from what was decoded.
  virtual void encode(const float* row, std::byte* out) const = 0;
  virtual void decode(const std::byte* bytes, float* row) const = 0;
};

/// A form of storage_formats() for rows of `numbers`, but for "native". InputError where they can't
/// have it: blocks of 32 don't divide them. `rotated`, a power of two that divides them: the
/// Hadamard transform of so many neighbours each is what is stored; 0: they are as they are.
std::unique_ptr<Codec> make_codec(const std::string& format, int64_t numbers, int64_t rotated = 0);
/// Rows of groups of so many numbers, each with a scale and a least of its own (KIVI's, arXiv
/// 2402.02750): scale = (max - min) / (2^bits - 1), quants round((x - min) / scale), to nearest,
/// ties to even, bits 2, 4 or 8; scale and least are stored as float16.
std::unique_ptr<Codec> make_grouped_codec(int bits, int64_t group, int64_t numbers);
/// The same of rows whose first `pairs` * 2 numbers come in another order: i and i + pairs beside
/// each other.
std::unique_ptr<Codec> interleaved(std::unique_ptr<Codec> codec, int64_t numbers, int64_t pairs);

/// x H / sqrt(n) in place, H of n rows, a power of two, by Sylvester's construction; its own
/// inverse.
void hadamard(float* x, int64_t n);

/// The quantiser of the least mean square error, with 2^bits levels, of a coordinate of a point
/// that is spread evenly over the unit sphere of n dimensions: levels, ascending (Lloyd 1957, Max
/// 1960).
std::vector<double> sphere_levels(int bits, int64_t n);

/// An orthogonal matrix [n, n] by rows, drawn evenly from all of them: Gram and Schmidt's on rows
/// of normal numbers, the same everywhere.
std::vector<double> random_rotation(int64_t n);

}  // namespace sinkbench
