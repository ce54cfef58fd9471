#pragma once

#include <algorithm>
#include <string>
#include <string_view>
#include <vector>

namespace sinkbench {

/// Names of the engines that make_engine builds.
inline const std::vector<std::string>& engine_names() {
  static const std::vector<std::string> names = {"chunked", "stepwise"};
  return names;
}

/// Devices are "cpu", "cuda", which is the first card, and "cuda:0", "cuda:1", ...
inline constexpr const char* device_names = "cpu, cuda or cuda:N";
inline bool is_cuda(std::string_view device) {
  return device.starts_with("cuda");
}
inline bool is_device(std::string_view name) {
  if (name == "cpu" || name == "cuda") return true;
  if (!name.starts_with("cuda:") || name.size() < 6 || name.size() > 7) return false;
  const std::string_view number = name.substr(5);
  return std::all_of(number.begin(), number.end(), [](char c) { return '0' <= c && c <= '9'; }) &&
         (number.size() == 1 || number.front() != '0');
}

}  // namespace sinkbench
