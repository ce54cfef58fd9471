#include "eval/run/yardstick.h"

#include <ATen/ATen.h>

#include <ctime>

#include "eval/metrics/batch_means.h"

namespace sinkbench {
namespace {

constexpr int64_t layers = 8, narrow = 256, wide = 1024, heads = 8;
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

Yardstick::Yardstick() : input_(at::ones({narrow})) {
  for (int64_t layer = 0; layer < layers; ++layer) {
    up_.push_back(at::full({wide, narrow}, 1.0 / narrow));
    down_.push_back(at::full({narrow, wide}, 1.0 / wide));
  }
}

void Yardstick::work() const {
  at::Tensor x = input_;
  for (int64_t layer = 0; layer < layers; ++layer) {
    const at::Tensor norm = x * at::rsqrt(x.square().mean() + 1e-5);
    const at::Tensor up = at::mv(up_[layer], norm);
    const at::Tensor weights = at::softmax(up.view({heads, wide / heads}), -1);
    const at::Tensor mixed = (weights * up.view({heads, wide / heads})).sum(-1);
    x = x + at::mv(down_[layer], at::silu(up) * up) + mixed.repeat({narrow / heads});
  }
}

WorkTime Yardstick::measure() const {
  std::vector<double> wall, processor;
  const c10::InferenceMode no_gradients;
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
