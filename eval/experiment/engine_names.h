#pragma once

#include <string>
#include <vector>

namespace sinkbench {

/// Names of the engines that make_engine builds.
inline const std::vector<std::string>& engine_names() {
  static const std::vector<std::string> names = {"chunked", "stepwise"};
  return names;
}

}  // namespace sinkbench
