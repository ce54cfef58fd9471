#include "policies/policy.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <numeric>
#include <utility>

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

std::string named_label(const std::string& name, const std::string& label) {
  return label.starts_with(name) ? label : name + " " + label;
}

std::vector<int64_t> pages_read(const ReadPolicy::Reading& reading,
                                std::span<const double> bounds) {
  std::vector<int64_t> pages(bounds.size() + 1);
  std::iota(pages.begin(), pages.end(), 0);
  if (std::ssize(pages) <= reading.pages) return pages;
  const auto chosen = pages.begin() + reading.pages - 1;
  std::nth_element(pages.begin(), chosen, pages.end() - 1, [&](int64_t a, int64_t b) {
    return std::pair(-bounds[a], a) < std::pair(-bounds[b], b);
  });
  *chosen = std::ssize(bounds);
  pages.erase(chosen + 1, pages.end());
  std::sort(pages.begin(), pages.end());
  return pages;
}

int64_t size(const View& view) {
  int64_t total = 0;
  for (const Range& range : view) total += range.size();
  return total;
}

std::optional<int64_t> returned(const View& before, const View& view, int64_t t) {
  size_t i = 0;  // range of `before`
  for (const Range& range : view) {
    for (int64_t place = range.begin; place < range.end;) {
      while (i < before.size() && before[i].end <= place) ++i;
      if (i < before.size() && before[i].begin <= place) {
        place = std::min(range.end, before[i].end);
      } else if (place == t - 1) {
        ++place;
      } else {
        return place;
      }
    }
  }
  return std::nullopt;
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
