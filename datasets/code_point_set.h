// Sets of characters, as regular expressions and Unicode's properties speak of them.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace sinkbench {

/// Code points of 0 to 0x10FFFF.
class CodePointSet {
 public:
  CodePointSet() = default;
  /// From `first` to `last`, both included.
  CodePointSet(uint32_t first, uint32_t last) : edges_{first, last + 1} {}
  /// Where its stretches begin and end (not included), in turn, ascending.
  explicit CodePointSet(std::vector<uint32_t> edges) : edges_(std::move(edges)) {}

  bool empty() const { return edges_.empty(); }
  bool contains(uint32_t c) const;

  CodePointSet operator|(const CodePointSet& other) const;
  CodePointSet operator&(const CodePointSet& other) const;
  CodePointSet operator~() const;  // all code points but these

  const std::vector<uint32_t>& edges() const { return edges_; }

 private:
  std::vector<uint32_t> edges_;
};

}  // namespace sinkbench
