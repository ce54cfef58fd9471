// The statistics of what an engine yields.
#pragma once

#include <cstdint>
#include <vector>

namespace sinkbench {

/// Mean and standard error of a stream of known length, in constant memory. The standard error is
/// by batch means: the stream is cut into as many blocks as the square root of its length, 64 at
/// the most, and the blocks' means are taken as independent.
class BatchMeans {
 public:
  explicit BatchMeans(int64_t length);
  void add(double value);
  double mean() const;
  double standard_error() const;  ///< NaN below two whole blocks
  int64_t count() const { return count_; }

  /// All that has been added, for one of the same length to go on from to the last bit.
  std::vector<double> state() const;
  /// InputError where it is no state.
  void restore(const std::vector<double>& state);

 private:
  int64_t block_size_;
  int64_t count_ = 0;
  double total_ = 0;
  double block_total_ = 0;
  std::vector<double> block_means_;
};

/// The q-quantile (0..1) of samples, interpolated between neighbours (R's type 7, numpy's default).
double quantile(std::vector<double> samples, double q);

}  // namespace sinkbench
