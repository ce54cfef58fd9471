// In which form a cache stores its numbers, as users choose it.
#pragma once

#include <compare>
#include <cstdint>
#include <string>
#include <vector>

namespace sinkbench {

/// Names of the forms, "native" first: the run's own precision.
const std::vector<std::string>& storage_formats();

/// KIVI's groups (Liu et al. 2024, arXiv 2402.02750), which are of keys and values: how many tokens
/// of a key's channel, or channels of a value, share a scale, and how many of the newest tokens
/// stay as they are. 0: another form.
struct KiviGroups {
  int64_t group = 0, residual = 0;
  auto operator<=>(const KiviGroups&) const = default;
};
inline constexpr KiviGroups usual_kivi_groups = {.group = 32, .residual = 128};

struct StorageSpec {
  std::string keys = "native", values = "native";
  bool rotate = false;  ///< by a Hadamard matrix before they are quantised
  /// Keys in the order of llama.cpp's Llama models: the two halves that rotary positions turn
  /// together in turns, 0, d/2, 1, d/2 + 1, ...
  bool interleave = false;
  KiviGroups kivi = {};  ///< of "kivi2", "kivi4" and "kivi8"
  /// An intervention, no form: the values of the first so many tokens are stored as zero, so that
  /// later queries find nothing there; these tokens themselves attend to their own as it is. What is
  /// left of a sink is its place in the softmax.
  int64_t zero_values = 0;
  auto operator<=>(const StorageSpec&) const = default;
  bool is_kivi() const { return kivi.group > 0; }
  bool is_native() const {
    return keys == "native" && values == "native" && !rotate && !interleave && zero_values == 0;
  }
};

/// "native", "q8_0", "q8_0/q4_0" (keys/values), "q4_0 rotated interleaved", "kivi2 by 32 but 128",
/// "native, zero values 4".
std::string storage_label(const StorageSpec& spec);

}  // namespace sinkbench
