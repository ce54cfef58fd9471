#include "policies/score_policy.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <stdexcept>

namespace sinkbench {

std::optional<int64_t> ScorePolicy::size() const {
  return *std::max_element(retention_.capacity.begin(), retention_.capacity.end());
}

std::optional<int64_t> ScorePolicy::capacity() const {
  return *size() + retention_.every - 1;
}

std::vector<int64_t> evicted(const Retention& retention, const Round& round,
                             std::span<const double> scores) {
  const int64_t n = static_cast<int64_t>(scores.size());
  const int64_t surplus = n - retention.capacity_of(round.layer);
  if (surplus <= 0) return {};
  // The first tokens of the stream, as many as are still there, stand at the front.
  int64_t first = 0;
  while (first < n && round.place[first] < retention.sinks) ++first;
  const int64_t last = n - retention.recent;
  std::vector<float> rounded(n);
  bool ordered = true;
  for (int64_t i = 0; i < n; ++i) {
    rounded[i] = static_cast<float>(scores[i]);
    ordered = ordered && rounded[i] == rounded[i];
  }
  if (!ordered) {
    const auto nan = std::find_if(scores.begin(), scores.end(), [](double x) { return x != x; });
    throw std::runtime_error(fmt::format(
        "policy {}: the score of token {} in layer {}, head {} is not a number, in the round after "
        "token {}",
        retention.name, round.place[nan - scores.begin()], round.layer, round.head,
        round.next - 1));
  }
  std::vector<int64_t> result;
  if (surplus == 1) {
    result = {std::min_element(rounded.begin() + first, rounded.begin() + last) - rounded.begin()};
    return result;
  }
  result.resize(last - first);
  std::iota(result.begin(), result.end(), first);
  std::nth_element(result.begin(), result.begin() + surplus - 1, result.end(),
                   [&](int64_t a, int64_t b) {
                     return rounded[a] < rounded[b] || (rounded[a] == rounded[b] && a < b);
                   });
  result.resize(surplus);
  std::sort(result.begin(), result.end());
  return result;
}

}  // namespace sinkbench
