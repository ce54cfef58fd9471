#include "eval/metrics/batch_means.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "base/error.h"

namespace sinkbench {

BatchMeans::BatchMeans(int64_t length) {
  const int64_t blocks = std::clamp<int64_t>(std::llround(std::sqrt(length)), 1, 64);
  block_size_ = std::max<int64_t>(1, length / blocks);
}

void BatchMeans::add(double value) {
  total_ += value;
  block_total_ += value;
  if (++count_ % block_size_ == 0) {
    block_means_.push_back(block_total_ / static_cast<double>(block_size_));
    block_total_ = 0;
  }
}

std::vector<double> BatchMeans::state() const {
  std::vector<double> state = {static_cast<double>(count_), total_, block_total_};
  state.insert(state.end(), block_means_.begin(), block_means_.end());
  return state;
}

void BatchMeans::restore(const std::vector<double>& state) {
  const double blocks = static_cast<double>(state.size()) - 3;
  if (blocks < 0 || !(state[0] >= 0) ||
      std::floor(state[0] / static_cast<double>(block_size_)) != blocks) {
    throw InputError("the state is not that of means over such blocks");
  }
  count_ = static_cast<int64_t>(state[0]);
  total_ = state[1];
  block_total_ = state[2];
  block_means_.assign(state.begin() + 3, state.end());
}

double BatchMeans::mean() const {
  return total_ / static_cast<double>(count_);
}

double BatchMeans::standard_error() const {
  const double n = static_cast<double>(block_means_.size());
  if (n < 2) return std::numeric_limits<double>::quiet_NaN();
  const double mean = std::accumulate(block_means_.begin(), block_means_.end(), 0.0) / n;
  double squares = 0;
  for (const double m : block_means_) squares += (m - mean) * (m - mean);
  return std::sqrt(squares / (n - 1) / n);
}

double quantile(std::vector<double> samples, double q) {
  if (samples.empty()) return std::numeric_limits<double>::quiet_NaN();
  std::sort(samples.begin(), samples.end());
  const double place = q * static_cast<double>(samples.size() - 1);
  const size_t below = static_cast<size_t>(place);
  const size_t above = std::min(below + 1, samples.size() - 1);
  return samples[below] + (place - static_cast<double>(below)) * (samples[above] - samples[below]);
}

}  // namespace sinkbench
