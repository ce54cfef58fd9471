// Which of many strings a text begins with.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

namespace sinkbench {

/// Strings with a value each, found in time proportional to the longest that matches.
class Trie {
 public:
  /// `text` is not empty; where it is there already, the last value counts.
  void add(std::string_view text, int32_t value) {
    uint32_t node = 0;
    for (const char c : text) {
      Edge& edge = edges_[slot(node, c)];
      if (edge.child != 0) {
        node = edge.child;
        continue;
      }
      edge = {key_of(node, c), static_cast<uint32_t>(values_.size())};
      node = edge.child;
      values_.push_back(kNone);
      if (2 * values_.size() > edges_.size()) grow();
    }
    values_[node] = value;
  }

  bool empty() const { return values_.size() == 1; }

  /// Calls `f(length, value)` for each of the strings that `text` begins with, the shortest first.
  template <typename F>
  void for_each_prefix(std::string_view text, F&& f) const {
    uint32_t node = 0;
    for (size_t i = 0; i < text.size(); ++i) {
      node = edges_[slot(node, text[i])].child;
      if (node == 0) return;
      if (values_[node] != kNone) f(i + 1, values_[node]);
    }
  }

  /// The length of the longest of them, or 0.
  size_t longest_prefix(std::string_view text) const {
    size_t longest = 0;
    for_each_prefix(text, [&](size_t length, int32_t) { longest = length; });
    return longest;
  }

 private:
  static constexpr int32_t kNone = INT32_MIN;
  struct Edge {
    uint64_t key = 0;    // node << 8 | byte
    uint32_t child = 0;  // 0 where the slot is free: no edge leads to the root
  };

  static uint64_t key_of(uint32_t node, char c) {
    return uint64_t{node} << 8 | static_cast<unsigned char>(c);
  }
  size_t slot(uint32_t node, char c) const {
    const uint64_t key = key_of(node, c);
    const size_t mask = edges_.size() - 1;
    size_t at = (key * 0x9E3779B97F4A7C15u) >> 32 & mask;
    while (edges_[at].child != 0 && edges_[at].key != key) at = (at + 1) & mask;
    return at;
  }
  void grow() {
    std::vector<Edge> old(2 * edges_.size());
    old.swap(edges_);
    for (const Edge& edge : old) {
      if (edge.child == 0) continue;
      edges_[slot(static_cast<uint32_t>(edge.key >> 8), static_cast<char>(edge.key & 0xFF))] = edge;
    }
  }

  std::vector<Edge> edges_ = std::vector<Edge>(64);  // open addressing, a power of two of them
  std::vector<int32_t> values_ =
      std::vector<int32_t>(1, kNone);  // of each node; node 0 is the root
};

}  // namespace sinkbench
