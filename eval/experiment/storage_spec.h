// In which form a cache stores its numbers, as users choose it.
#pragma once

#include <compare>
#include <string>
#include <vector>

namespace sinkbench {

/// Names of the forms, "native" first: the run's own precision.
const std::vector<std::string>& storage_formats();

struct StorageSpec {
  std::string keys = "native", values = "native";
  bool rotate = false;  ///< by a Hadamard matrix before they are quantised
  /// Keys in the order of llama.cpp's Llama models: the two halves that rotary positions turn together
  /// in turns, 0, d/2, 1, d/2 + 1, ...
  bool interleave = false;
  auto operator<=>(const StorageSpec&) const = default;
  bool is_native() const { return keys == "native" && values == "native" && !rotate && !interleave; }
};

/// "native", "q8_0", "q8_0/q4_0" (keys/values), "q4_0 rotated interleaved".
std::string storage_label(const StorageSpec& spec);

}  // namespace sinkbench
