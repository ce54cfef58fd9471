#include "policies/policy.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "policies/arguments.h"

namespace sinkbench {

const std::vector<std::string>& positions_names() {
  static const std::vector<std::string> names = {"cache", "original", "frozen", "capped"};
  return names;
}

std::string to_string(Positions positions) {
  return positions_names()[static_cast<size_t>(positions)];
}

std::string to_string(const PolicyValue& value) {
  if (value.is_integer()) return std::to_string(value.integer());
  if (value.is_real()) return fmt::format("{}", value.real());
  if (value.is_word()) return value.word();
  return fmt::format("[{}]", fmt::join(value.list(), ", "));
}

int64_t size(const View& view) {
  int64_t total = 0;
  for (const Range& range : view) total += range.size();
  return total;
}

std::vector<int64_t> query_positions(const View& view, int64_t t, Positions positions) {
  std::vector<int64_t> result(view.size(), t);
  if (positions == Positions::original) return result;
  const int64_t query_in_cache = size(view);
  int64_t before = 0;  // cached tokens before this range: the place of its first key in the cache
  for (size_t i = 0; i < view.size(); ++i) {
    result[i] = query_in_cache + view[i].begin - before;
    before += view[i].size();
  }
  return result;
}

}  // namespace sinkbench
