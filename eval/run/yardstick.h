// How fast the machine is at the moment.
#pragma once

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

/// A fixed piece of work, of the kind that decode steps consist of: products of a vector with rows
/// of weights that the last-level cache holds, on all threads. Where it takes longer than before,
/// it is the machine that has become slower: other work on it, less power, another guest.
class Yardstick {
 public:
  explicit Yardstick(int64_t threads);
  /// The median of several repetitions, some milliseconds together.
  WorkTime measure() const;

 private:
  void work() const;

  int64_t threads_;
  std::vector<float> weights_;
  mutable std::vector<float> results_;
};

}  // namespace sinkbench
