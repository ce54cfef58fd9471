#include "eval/run/yardstick.h"

#include <ATen/Parallel.h>

#include <ctime>

#include "eval/metrics/batch_means.h"

namespace sinkbench {
namespace {

constexpr int64_t row = 1024;
constexpr int64_t rows = 768;  // of each thread: 3 MiB
constexpr int64_t passes = 4;
constexpr int repetitions = 7;

double milliseconds(clockid_t clock) {
  timespec time{};
  ::clock_gettime(clock, &time);
  return 1e3 * static_cast<double>(time.tv_sec) + 1e-6 * static_cast<double>(time.tv_nsec);
}

}  // namespace

Stopwatch::Stopwatch()
    : wall_(milliseconds(CLOCK_MONOTONIC)), processor_(milliseconds(CLOCK_PROCESS_CPUTIME_ID)) {}

WorkTime Stopwatch::elapsed() const {
  return {milliseconds(CLOCK_MONOTONIC) - wall_,
          milliseconds(CLOCK_PROCESS_CPUTIME_ID) - processor_};
}

Yardstick::Yardstick(int64_t threads)
    : threads_(threads),
      weights_(static_cast<size_t>(threads * rows * row), 0.5F),
      results_(static_cast<size_t>(threads * rows)) {}

void Yardstick::work() const {
  at::parallel_for(0, threads_ * rows, rows, [&](int64_t begin, int64_t end) {
    for (int64_t pass = 0; pass < passes; ++pass) {
      for (int64_t r = begin; r < end; ++r) {
        const float* const weights = weights_.data() + r * row;
        float sums[16] = {};
        for (int64_t i = 0; i < row; i += 16) {
          for (int64_t k = 0; k < 16; ++k) sums[k] += weights[i + k] * weights[i + k];
        }
        float sum = results_[static_cast<size_t>(r)] * 0.25F;
        for (const float part : sums) sum += part;
        results_[static_cast<size_t>(r)] = sum;
      }
    }
  });
}

WorkTime Yardstick::measure() const {
  std::vector<double> wall, processor;
  work();  // back into the caches
  for (int i = 0; i < repetitions; ++i) {
    const Stopwatch stopwatch;
    work();
    const WorkTime time = stopwatch.elapsed();
    wall.push_back(time.wall_ms);
    processor.push_back(time.processor_ms);
  }
  return {quantile(wall, 0.5), quantile(processor, 0.5)};
}

}  // namespace sinkbench
