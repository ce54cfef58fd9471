// How fast the machine is at the moment.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

namespace sinkbench {

/// What a piece of work took.
struct WorkTime {
  double wall_ms = 0;
  double processor_ms = 0;  ///< of all threads of this process together
};

/// Measures from its making on.
class Stopwatch {
 public:
  Stopwatch();
  WorkTime elapsed() const;

 private:
  double wall_, processor_;
};

/// A fixed piece of work of the kind that decode steps consist of: LibTorch's own operators on a
/// few small tensors, and products of a vector with 16 MiB of weights, which pass through the
/// caches. It has nothing of this program in it: where it takes longer than before, it is the
/// machine that has become slower, by other work on it, less power, another guest.
class Yardstick {
 public:
  Yardstick();
  /// The median of several repetitions, some milliseconds together.
  WorkTime measure() const;

 private:
  void work() const;

  std::vector<at::Tensor> up_, down_;  // of each layer, [wide, narrow] and [narrow, wide]
  at::Tensor input_;                   // [narrow]
};

}  // namespace sinkbench
