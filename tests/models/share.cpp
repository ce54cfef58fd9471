#include "models/share.h"

#include <atomic>
#include <chrono>
#include <thread>
#include <vector>

#include "tests/catch.h"

using namespace sinkbench;

TEST_CASE("shared work is done once, whoever is slow") {
  const int before = at::get_num_threads();
  for (const int threads : {1, 2, 3}) {
    at::set_num_threads(threads);
    for (const int64_t n : {0, 1, 2, 7, 100}) {
      for (const int64_t part : {1, 3, 16, 200}) {
        std::vector<int> done(n);
        std::atomic<bool> empty = false;
        share(n, part, [&](int64_t from, int64_t to) {
          if (from >= to) empty = true;
          for (int64_t i = from; i < to; ++i) ++done[i];
          if (from == 0 && n == 100 && part == 16) {  // others take what this one has left
            std::this_thread::sleep_for(std::chrono::milliseconds(20));
          }
        });
        CHECK(!empty);
        CHECK(done == std::vector<int>(n, 1));
      }
    }
  }
  at::set_num_threads(before);
}
