#include "eval/results/generation.h"

#include <algorithm>
#include <array>
#include <set>

namespace sinkbench {

double repetition(const std::vector<int32_t>& ids, int64_t begin, int64_t end) {
  constexpr int64_t run = 4;
  std::set<std::array<int32_t, run>> seen;
  int64_t repeated = 0, counted = 0;
  for (int64_t i = run - 1; i < end; ++i) {
    std::array<int32_t, run> last;
    std::copy_n(ids.begin() + (i - run + 1), run, last.begin());
    const bool again = !seen.insert(last).second;
    if (i < begin) continue;
    ++counted;
    if (again) ++repeated;
  }
  return counted > 0 ? static_cast<double>(repeated) / static_cast<double>(counted) : 0.0;
}

}  // namespace sinkbench
