#include "datasets/code_point_set.h"

#include <algorithm>

namespace sinkbench {
namespace {

constexpr uint32_t kEnd = 0x110000;

/// The set of the points that `wanted` takes, given whether they are in `a` and in `b`.
template <typename Wanted>
std::vector<uint32_t> combine(const std::vector<uint32_t>& a, const std::vector<uint32_t>& b,
                              Wanted&& wanted) {
  std::vector<uint32_t> edges;
  bool inside = false;
  for (size_t i = 0, j = 0; i < a.size() || j < b.size();) {
    const uint32_t at = std::min(i < a.size() ? a[i] : kEnd, j < b.size() ? b[j] : kEnd);
    while (i < a.size() && a[i] == at) ++i;
    while (j < b.size() && b[j] == at) ++j;
    if (wanted(i % 2 == 1, j % 2 == 1) != inside) {
      inside = !inside;
      edges.push_back(at);
    }
  }
  return edges;
}

}  // namespace

bool CodePointSet::contains(uint32_t c) const {
  return (std::upper_bound(edges_.begin(), edges_.end(), c) - edges_.begin()) % 2 == 1;
}

CodePointSet CodePointSet::operator|(const CodePointSet& other) const {
  return CodePointSet(combine(edges_, other.edges_, [](bool a, bool b) { return a || b; }));
}

CodePointSet CodePointSet::operator&(const CodePointSet& other) const {
  return CodePointSet(combine(edges_, other.edges_, [](bool a, bool b) { return a && b; }));
}

CodePointSet CodePointSet::operator~() const {
  std::vector<uint32_t> edges;
  if (edges_.empty() || edges_.front() != 0) edges.push_back(0);
  for (const uint32_t edge : edges_) {
    if (edge != 0 && edge != kEnd) edges.push_back(edge);
  }
  if (edges.size() % 2 == 1) edges.push_back(kEnd);
  return CodePointSet(std::move(edges));
}

}  // namespace sinkbench
