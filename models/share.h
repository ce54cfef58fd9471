// Work for LibTorch's threads that evens out how fast they are.
#pragma once

#include <ATen/Parallel.h>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <memory>

namespace sinkbench {

/// Calls f(from, to) for parts of 0 .. n, each of `part` but the last. Every thread has a run of
/// neighbouring parts and takes of another's when it is done with its own: on a shared machine one
/// core may be half as fast as the next for a while. Which thread does a part must not matter.
template <typename F>
void share(int64_t n, int64_t part, const F& f) {
  const int64_t parts = (n + part - 1) / part;
  const int64_t threads = std::min<int64_t>(at::get_num_threads(), parts);
  if (threads <= 1 || at::in_parallel_region()) {
    if (n > 0) f(int64_t{0}, n);
    return;
  }
  struct alignas(64) Run {  // a cache line each
    std::atomic<int64_t> next;
    int64_t end;
  };
  const auto runs = std::make_unique<Run[]>(threads);
  for (int64_t i = 0; i < threads; ++i) {
    runs[i].next.store(i * parts / threads, std::memory_order_relaxed);
    runs[i].end = (i + 1) * parts / threads;
  }
  at::parallel_for(0, threads, 1, [&](int64_t first, int64_t last) {
    for (int64_t own = first; own < last; ++own) {
      for (int64_t i = 0; i < threads; ++i) {
        Run& run = runs[(own + i) % threads];
        for (;;) {
          const int64_t at = run.next.fetch_add(1, std::memory_order_relaxed);
          if (at >= run.end) break;
          f(at * part, std::min(n, (at + 1) * part));
        }
      }
    }
  });
}

}  // namespace sinkbench
